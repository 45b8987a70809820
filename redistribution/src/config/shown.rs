//! Configurations in words: the JSON that says the same, with all that it leaves to defaults.
//!
//! Numbers are shown to a millionth. That of any `f64` takes machinery that would be a tenth of a
//! module's size.

use std::fmt::{self, Display, Write};

use super::duration::Shown;
use super::{LbConfig, Mode, NodeConfig, Role};
use crate::close_rate::{CloseRate, Share};
use crate::rebalance::Rebalance;

/// A number from 0 to a few millions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(pub f64);

/// A name, as JSON.
struct Name<'a>(&'a str);

const MILLION: u64 = 1_000_000;

// === impl Number ===

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let millionths = (self.0 * MILLION as f64).round() as u64;
        write!(f, "{}", millionths / MILLION)?;
        let (mut rest, mut place) = (millionths % MILLION, MILLION / 10);
        if rest > 0 {
            f.write_char('.')?;
        }
        while rest > 0 {
            write!(f, "{}", rest / place)?;
            rest %= place;
            place /= 10;
        }
        Ok(())
    }
}

// === impl Name ===

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            // Others that JSON has escapes for are in no name.
            if matches!(character, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(character)?;
        }
        f.write_char('"')
    }
}

// === impl NodeConfig ===

impl Display for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"mode\": \"{}\", \"close_rate\": {{", self.mode)?;
        match &self.close_rate {
            CloseRate::PerSecond(rate) => write!(f, "\"per_second\": {}", Number(rate.get()))?,
            CloseRate::MeanConnectionAge(age) => {
                write!(f, "\"mean_connection_age\": \"{}\"", Shown(*age))?;
            }
            CloseRate::Rebalance(settings) => write!(f, "\"rebalance\": {settings}")?,
        }
        write!(f, "}}, \"min_connection_age\": \"{}\"", Shown(self.min_connection_age))?;
        match self.share {
            Share::Measured => f.write_str(", \"share\": \"measured\"")?,
            Share::Fixed { vms } => write!(f, ", \"share\": {{\"nodes\": {vms}}}")?,
        }
        write!(f, ", \"share_window\": \"{}\"", Shown(self.share_window))?;
        write!(f, ", \"lb_timeout\": \"{}\"}}", Shown(self.lb_timeout))
    }
}

impl Display for Rebalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"settle_time\": \"{}\"", Shown(self.settle_time))?;
        write!(f, ", \"tolerance\": {}", Number(self.tolerance))?;
        write!(f, ", \"max_per_second\": {}", Number(self.max_per_second.get()))?;
        if let Some(age) = self.floor {
            write!(f, ", \"floor\": {{\"mean_connection_age\": \"{}\"}}", Shown(age))?;
        }
        f.write_char('}')
    }
}

// === impl LbConfig ===

impl Display for LbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"role\": \"{}\"", self.role)?;
        if let Some(id) = &self.id {
            write!(f, ", \"id\": {}", Name(id))?;
        }
        write!(f, ", \"pool\": {}, \"weight\": {}", Name(&self.pool), Number(self.weight))?;
        let most = Number(self.max_closes_per_second.get());
        write!(f, ", \"mode\": \"{}\", \"max_closes_per_second\": {most}", self.mode)?;
        write!(f, ", \"max_stamps_per_second\": {}", Number(self.max_stamps_per_second.get()))?;
        write!(f, ", \"drain_timeout\": \"{}\"", Shown(self.drain_timeout))?;
        if let Some(max_drain) = self.max_drain {
            write!(f, ", \"max_drain\": \"{}\"", Shown(max_drain))?;
        }
        f.write_char('}')
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        })
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Connection => "connection",
            Self::Responses => "responses",
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn the_defaults_are_spelled_out() {
        assert_eq!(
            NodeConfig::default().to_string(),
            "{\"mode\": \"enforce\", \"close_rate\": {\"rebalance\": {\"settle_time\": \"1m\", \
             \"tolerance\": 0.1, \"max_per_second\": 50}}, \"min_connection_age\": \"10s\", \
             \"share\": \"measured\", \"share_window\": \"2s\", \"lb_timeout\": \"30s\"}"
        );
        assert_eq!(
            LbConfig::default().to_string(),
            "{\"role\": \"http\", \"pool\": \"default\", \"weight\": 1, \"mode\": \"enforce\", \
             \"max_closes_per_second\": 100, \"max_stamps_per_second\": 1000, \
             \"drain_timeout\": \"5s\"}"
        );
    }

    #[test]
    fn what_is_shown_can_be_configured() {
        let node = [
            r#"{"mode": "observe", "close_rate": {"per_second": 2.5}, "share": {"nodes": 4}}"#,
            r#"{"close_rate": {"mean_connection_age": "1h 30m"}, "min_connection_age": "0s"}"#,
            r#"{"close_rate": {"rebalance": {"tolerance": 0.123456,
                "floor": {"mean_connection_age": "2days"}}}}"#,
        ];
        for json in node {
            let config = NodeConfig::parse(json.as_bytes()).unwrap();
            assert_eq!(NodeConfig::parse(config.to_string().as_bytes()), Ok(config), "{json}");
        }
        let lb = [
            r#"{"role": "connection", "id": "a \"b\" \\c", "pool": "eu", "weight": 0.001}"#,
            r#"{"role": "responses", "mode": "observe", "max_closes_per_second": 12.75,
                "drain_timeout": "1s 500ms", "max_drain": "1h", "weight": 1000000}"#,
        ];
        for json in lb {
            let config = LbConfig::parse(json.as_bytes()).unwrap();
            assert_eq!(LbConfig::parse(config.to_string().as_bytes()), Ok(config), "{json}");
        }
    }

    #[test]
    fn numbers_are_shown_to_a_millionth() {
        let cases = [(0.0, "0"), (0.5, "0.5"), (10_000.0, "10000"), (0.1 + 0.2, "0.3")];
        for (number, text) in cases {
            assert_eq!(Number(number).to_string(), text);
        }
        assert_eq!(Number(1.000_001).to_string(), "1.000001");
        assert_eq!(Number(1e-9).to_string(), "0");
    }
}
