//! The cells of the matrix: which combinations exist, and which are asked for.

use anyhow::{Result, bail};
use serde::Serialize;

use super::Outcome;
use crate::envoy::INSTALLABLE_VERSIONS;

const PROTOCOLS: [&str; 4] = ["grpc", "http2", "http1", "http3"];
const TRANSPORTS: [&str; 2] = ["plain", "tls"];
const WAYS: [&str; 2] = ["connection_role", "native_drain"];
/// Its Lua filter cannot drain a connection yet (design.md, section 7).
const WITHOUT_NATIVE_DRAIN: &str = "1.36.";

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cell {
    /// The version.
    pub envoy: &'static str,
    /// Of [`PROTOCOLS`].
    pub protocol: &'static str,
    /// Of [`TRANSPORTS`].
    pub transport: &'static str,
    /// Of [`WAYS`].
    pub way: &'static str,
}

/// What is asked for: of each of the four kinds some, or all where none is named.
#[derive(Clone, Debug)]
pub(super) struct Selection<'a>(&'a [String]);

// === impl Selection ===

impl<'a> Selection<'a> {
    /// Takes words of any kind.
    pub fn new(words: &'a [String]) -> Result<Self> {
        for word in words {
            let kinds = [&INSTALLABLE_VERSIONS[..], &PROTOCOLS, &TRANSPORTS, &WAYS];
            if !kinds.iter().any(|kind| kind.contains(&word.as_str())) {
                bail!("--only {word}: none of {}", kinds.concat().join(", "));
            }
        }
        Ok(Self(words))
    }

    /// The cells that exist among them; those that can share a fleet stand together.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for envoy in self.of(&INSTALLABLE_VERSIONS) {
            for transport in self.of(&TRANSPORTS) {
                for way in self.of(&WAYS) {
                    for protocol in self.of(&PROTOCOLS) {
                        cells.push(Cell { envoy, protocol, transport, way });
                    }
                }
            }
        }
        cells.retain(Cell::exists);
        cells
    }

    fn of(&self, kind: &[&'static str]) -> Vec<&'static str> {
        let named = |word: &&&str| self.0.iter().any(|asked| asked == **word);
        let some: Vec<_> = kind.iter().filter(named).copied().collect();
        if some.is_empty() { kind.to_vec() } else { some }
    }
}

// === impl Cell ===

impl Cell {
    /// The head of the table.
    pub const HEAD: &str =
        "envoy    protocol  transport  way              requests  closes  connections  lost";

    pub fn native_drain(&self) -> bool {
        self.way == "native_drain"
    }

    pub fn tls(&self) -> bool {
        self.transport == "tls"
    }

    pub fn http3(&self) -> bool {
        self.protocol == "http3"
    }

    /// QUIC is always encrypted, and no network filter sees its bytes.
    fn exists(&self) -> bool {
        let drains = !self.native_drain() || !self.envoy.starts_with(WITHOUT_NATIVE_DRAIN);
        drains && (!self.http3() || self.tls() && self.native_drain())
    }

    /// Whether two cells differ in the protocol only, of those that one listener takes.
    pub fn shares_a_fleet(&self, other: &Self) -> bool {
        Self { protocol: other.protocol, ..*self } == *other && self.http3() == other.http3()
    }

    /// Its line of the table.
    pub fn line(&self, outcome: &Outcome) -> String {
        let Self { envoy, protocol, transport, way } = self;
        let Outcome { requests, closes, connections, lost, .. } = outcome;
        let verdict = if outcome.is_good() { "" } else { "  <- BAD" };
        format!(
            "{envoy:<9}{protocol:<10}{transport:<11}{way:<17}{requests:>8}{closes:>8}\
             {connections:>13}{lost:>6}{verdict}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(words: &[&str]) -> Vec<Cell> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        Selection::new(&words).expect("all of them are known").cells()
    }

    #[test]
    fn all_that_exist_are_there() {
        // 1.36: three protocols, plain and TLS, one way; the others: both ways, and HTTP/3.
        assert_eq!(cells(&[]).len(), 6 + 4 * 13);
        assert_eq!(cells(&["1.36.4"]).len(), 6);
        let http3 = cells(&["http3", "1.38.2"]);
        assert_eq!(http3.len(), 1);
        assert!(http3[0].tls() && http3[0].native_drain());
    }

    #[test]
    fn words_of_a_kind_add_up_and_kinds_narrow_each_other() {
        assert_eq!(cells(&["1.40.0", "http1", "http2", "tls"]).len(), 4);
        assert!(cells(&["http3", "plain"]).is_empty());
        let error = Selection::new(&["http4".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("--only http4") && error.contains("http3"), "{error}");
    }

    #[test]
    fn a_fleet_serves_all_protocols_but_http3() {
        let all = cells(&["1.40.0"]);
        let fleets: Vec<_> = all.chunk_by(Cell::shares_a_fleet).map(<[_]>::len).collect();
        assert_eq!(fleets, [3, 3, 3, 3, 1]);
    }
}
