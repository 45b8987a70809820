//! Envoy's admin interface, as far as the harness asks it something.
//!
//! One connection per question: questions are rare, and a kept connection would
//! be one more thing that an Envoy waits for when it drains.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longer than a `/config_dump` takes on a busy machine.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// Where an Envoy answers questions about itself.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) address: SocketAddr,
}

/// Counters and gauges of one Envoy at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, u64>);

// === impl Admin ===

impl Admin {
    /// That of an Envoy which others have started.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Its counters and gauges now.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn stats(&self) -> Result<Stats> {
        Stats::from_json(&self.get("/stats?format=json").await?)
    }

    /// Reads the address from `admin.address` of a bootstrap.
    pub(super) fn of_bootstrap(bootstrap: &serde_json::Value) -> Result<Self> {
        let socket = &bootstrap["admin"]["address"]["socket_address"];
        let address = socket["address"].as_str().and_then(|ip| ip.parse().ok());
        let port = socket["port_value"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0);
        match (address, port) {
            (Some(ip), Some(port)) => Ok(Self { address: SocketAddr::new(ip, port) }),
            _ => bail!(
                "the bootstrap needs `admin.address.socket_address` with an IP `address` and a \
                 `port_value` other than 0; the harness asks there whether Envoy is ready. It has \
                 {socket}"
            ),
        }
    }

    /// What it answers to a GET.
    ///
    /// # Errors
    ///
    /// It does not answer, or not with 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        self.expect_ok(Method::GET, path).await
    }

    pub(super) async fn post(&self, path: &str) -> Result<String> {
        self.expect_ok(Method::POST, path).await
    }

    /// Whether Envoy says that it is ready to take traffic; "no" also while it does not listen.
    pub async fn is_ready(&self) -> bool {
        matches!(self.ask(Method::GET, "/ready").await, Ok((StatusCode::OK, _)))
    }

    async fn expect_ok(&self, method: Method, path: &str) -> Result<String> {
        let (status, text) = tokio::time::timeout(ANSWER_BOUND, self.ask(method, path))
            .await
            .with_context(|| format!("no answer to {path} from {} in 10 s", self.address))?
            .with_context(|| format!("cannot ask {} for {path}", self.address))?;
        if status != StatusCode::OK {
            bail!("Envoy's admin interface answered {status} to {path}: {text}");
        }
        Ok(text)
    }

    async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, String)> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        driver.abort();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

// === impl Stats ===

impl Stats {
    /// Reads an answer to `/stats?format=json`. Histograms and text values are left out.
    ///
    /// # Errors
    ///
    /// It is not JSON, or has no `stats`.
    pub fn from_json(text: &str) -> Result<Self> {
        let answer: serde_json::Value =
            serde_json::from_str(text).context("Envoy's stats are not JSON")?;
        let stats = answer["stats"].as_array().context("Envoy's stats have no member `stats`")?;
        Ok(Self(
            stats
                .iter()
                .filter_map(|stat| {
                    Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?))
                })
                .collect(),
        ))
    }

    /// A counter; 0 where Envoy does not have it, since it makes many only when they first count.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// A gauge; 0 where Envoy does not have it.
    #[must_use]
    pub fn gauge(&self, name: &str) -> u64 {
        self.counter(name)
    }

    /// The sum over all names that begin with `prefix`.
    #[must_use]
    pub fn sum_prefix(&self, prefix: &str) -> u64 {
        self.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stats_are_read_and_absent_ones_are_zero() {
        let stats = Stats::from_json(
            r#"{"stats": [
                {"name": "a.one", "value": 3},
                {"name": "a.two", "value": 4},
                {"name": "text", "value": "word"},
                {"histograms": {"computed_quantiles": []}}
            ]}"#,
        )
        .unwrap();
        assert_eq!(stats.counter("a.one"), 3);
        assert_eq!(stats.gauge("text"), 0);
        assert_eq!(stats.sum_prefix("a."), 7);
        assert!(Stats::from_json("{}").is_err());
    }

    #[test]
    fn a_bootstrap_without_an_admin_port_is_refused_with_what_it_needs() {
        for bootstrap in [
            json!({}),
            json!({"admin": {"address": {"socket_address":
                {"address": "127.0.0.1", "port_value": 0}}}}),
            json!({"admin": {"address": {"socket_address":
                {"address": "localhost", "port_value": 9901}}}}),
        ] {
            let error = Admin::of_bootstrap(&bootstrap).unwrap_err();
            assert!(error.to_string().contains("admin.address.socket_address"));
        }
    }
}
