//! `spillway load`: long-lived clients by themselves, for fleets that others start
//! (`docker-compose.yml`).
//!
//! They find the edges as the machine finds names: by the first name server of `/etc/resolv.conf`.
//! Each second says in one line of JSON what happened so far; the last one is whole.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{ClientPool, LongLivedClient, Pace, Protocol, Resolver};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
const SECOND: Duration = Duration::from_secs(1);

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
            _ => Protocol::Http2 { concurrent_streams: 2 },
        };
        LongLivedClient::new(protocol, Pace::PerSecond(options.requests_per_connection), name)
    };
    let clients = ClientPool::start(options.connections, spec, &resolver, options.port)?;
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut seconds = interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = seconds.tick() => say(&clients.totals())?,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    say(&clients.stop().await)
}

fn say(totals: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_string(totals)?;
    line.push('\n');
    // All at once: a line that is followed is never half there.
    std::io::stdout().lock().write_all(line.as_bytes()).context("nobody listens")
}

fn name_server() -> Result<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).context(RESOLV_CONF)?;
    let server =
        text.lines().find_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    let server: IpAddr = server.with_context(|| format!("{RESOLV_CONF} names no server"))?;
    Ok(SocketAddr::new(server, DNS_PORT))
}
