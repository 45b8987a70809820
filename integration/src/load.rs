//! `spillway load`: long-lived clients by themselves, for fleets that others start
//! (`docker-compose.yml`), and `spillway ready`, for their health checks.
//!
//! The clients find the edges as the machine finds names: by the first name server of
//! `/etc/resolv.conf`. Each second they say in one line of JSON what happened so far; the last one
//! is whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{ClientPool, ClientStats, ClientTotals, EdgeTotals, LongLivedClient};
use crate::client::{Pace, Protocol, Resolver};
use crate::envoy::Admin;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
const SECOND: Duration = Duration::from_secs(1);

/// Requests that an HTTP/2 client has in flight at most; an HTTP/1 client has one.
const STREAMS: u32 = 2;

/// What the user can choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The name that the edges have together
    pub name: String,
    /// Their port
    #[arg(long, default_value_t = 10000)]
    pub port: u16,
    /// Clients, each with one connection; every other one speaks HTTP/2
    #[arg(long, value_name = "COUNT", default_value_t = 120)]
    pub connections: usize,
    /// Requests per second of each
    #[arg(long, value_name = "RATE", default_value_t = 2.0)]
    pub requests_per_connection: f64,
    /// The DNS server to ask [default: the first of /etc/resolv.conf]
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Option<SocketAddr>,
}

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub struct Ready {
    /// Where the Envoy's admin interface is
    pub admin: SocketAddr,
}

/// What clients say each second: counts since they started, but for the first two fields and the last.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Line {
    /// What each edge, by its address, got in the last second.
    pub requests_per_second: BTreeMap<Ipv4Addr, f64>,
    /// How many requests were in flight there at once, at the most since the line before.
    pub most_in_flight: BTreeMap<Ipv4Addr, u64>,
    /// Requests that have ended.
    pub requests: u64,
    /// Those of them without a complete response.
    pub failed: u64,
    /// Connections that were told to close.
    pub closes_seen: u64,
    /// Connections that ended without.
    pub connections_lost: u64,
    /// Attempts to resolve or to connect that failed.
    pub connect_errors: u64,
    /// The same by the edges' addresses.
    pub edges: BTreeMap<Ipv4Addr, EdgeTotals>,
    /// In words, what went wrong since the line before; not more of it than fits a screen.
    pub failures: Vec<String>,
}

/// Runs clients until SIGTERM or Ctrl-C, and lets their requests end.
///
/// # Errors
///
/// There is no DNS server to ask, or the clients cannot be set up.
pub async fn run(options: &Options) -> Result<()> {
    let server = options.dns.map_or_else(name_server, Ok)?;
    let resolver = Resolver::new(server, &options.name)?;
    let name = options.name.trim_end_matches('.');
    let spec = |number: usize| {
        let protocol = match number % 2 {
            0 => Protocol::Http1,
            _ => Protocol::Http2 { concurrent_streams: STREAMS },
        };
        LongLivedClient::new(protocol, Pace::PerSecond(options.requests_per_connection), name)
    };
    let clients = ClientPool::start(options.connections, spec, &resolver, options.port)?;
    let stats = clients.stats().clone();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut seconds = interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut line, mut before) = (Line::default(), seconds.tick().await);
    loop {
        let now = tokio::select! {
            now = seconds.tick() => now,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        line = line.next(&stats, stats.totals(), now - before);
        say(&line)?;
        before = now;
    }
    let totals = clients.stop().await;
    say(&line.next(&stats, totals, before.elapsed()))
}

/// Asks an Envoy whether it takes traffic.
///
/// # Errors
///
/// It does not, or not yet.
pub async fn ready(options: &Ready) -> Result<()> {
    let Ready { admin } = options;
    ensure!(Admin::at(*admin).is_ready().await, "the Envoy at {admin} is not ready");
    Ok(())
}

// === impl Line ===

impl Line {
    fn next(&self, stats: &ClientStats, totals: ClientTotals, time: Duration) -> Self {
        let rate = |(address, edge): (&Ipv4Addr, &EdgeTotals)| {
            let before = self.edges.get(address).map_or(0, |edge| edge.requests);
            let per_second = (edge.requests - before) as f64 / time.as_secs_f64();
            (*address, (per_second * 10.0).round() / 10.0)
        };
        Self {
            requests_per_second: totals.edges.iter().map(rate).collect(),
            most_in_flight: stats.take_most_in_flight(),
            requests: totals.requests,
            failed: totals.failed,
            closes_seen: totals.closes_seen,
            connections_lost: totals.connections_lost,
            connect_errors: totals.connect_errors,
            edges: totals.edges,
            failures: stats.take_failures(),
        }
    }
}

fn say(line: &Line) -> Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    // All at once: a line that is followed is never half there.
    std::io::stdout().lock().write_all(text.as_bytes()).context("nobody listens")
}

fn name_server() -> Result<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).context(RESOLV_CONF)?;
    let server =
        text.lines().find_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    let server: IpAddr = server.with_context(|| format!("{RESOLV_CONF} names no server"))?;
    Ok(SocketAddr::new(server, DNS_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_each_edge_got_since_the_one_before() {
        let edge = |requests| EdgeTotals { open: 3, opened: 4, requests, failed: 1 };
        let totals = |requests, edges: &[(u8, u64)]| ClientTotals {
            requests,
            edges: edges
                .iter()
                .map(|(n, count)| (Ipv4Addr::from([10, 0, 0, *n]), edge(*count)))
                .collect(),
            ..ClientTotals::default()
        };
        let stats = ClientStats::default();
        let first = Line::default().next(&stats, totals(10, &[(1, 10)]), SECOND);
        let second = first.next(&stats, totals(40, &[(1, 25), (2, 15)]), 2 * SECOND);
        let rates: Vec<_> = second.requests_per_second.into_values().collect();
        assert_eq!((rates, second.requests), (vec![7.5, 7.5], 40));
    }

    #[tokio::test]
    async fn nobody_is_ready_where_nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        drop(listener);
        let error = ready(&Ready { admin }).await.unwrap_err().to_string();
        assert!(error.contains("is not ready"), "{error}");
    }
}
