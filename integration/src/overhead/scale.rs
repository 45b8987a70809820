//! Many connections on one worker: what each costs in memory, and how long the worker is held up.
//!
//! Envoy measures each turn of a worker's event loop, in which a filter's tick is one thing among others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::contenders::Contender;
use super::rounds::{Running, Things};
use crate::loopback::LoopbackBlock;
use crate::report::Scale;

/// Ports of one address: less than the kernel has to give.
const PER_ADDRESS: usize = 20_000;
/// Files that a process needs besides connections: Envoy's, and ours.
const OTHER_FILES: u64 = 300;
/// How long nothing happens, and then a little: some intervals of Envoy's histograms.
const PHASE: Duration = Duration::from_secs(11);
/// One connection in so many goes on with a request a second.
const ACTIVE_ONE_IN: usize = 20;
/// Connections opened before the next look at their responses.
const BATCH: usize = 500;
const ANSWER_BOUND: Duration = Duration::from_secs(30);

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nhost: a\r\n\r\n";
/// The end of the response: the body.
const RESPONSE_END: &[u8] = b"\r\n\r\nok";

/// The histogram of a worker's turns, in microseconds.
const TURNS: &str = "listener_manager.worker_0.dispatcher.loop_duration_us";

/// Measures one contender with `wanted` connections, or as many as this machine lets one process have.
pub(super) async fn measure(
    things: Things<'_>,
    contender: Contender,
    wanted: usize,
) -> Result<Scale> {
    let count = wanted.min(usize::try_from(files()?.saturating_sub(OTHER_FILES))?);
    ensure!(count > 0, "this process may not open enough files: see `ulimit -Hn`");
    let block = LoopbackBlock::claim()?;
    let running = Running::start_with(things, contender, &block, |bootstrap| {
        bootstrap["enable_dispatcher_stats"] = json!(true);
        bootstrap["stats_flush_interval"] = json!("1s");
    })
    .await?;
    let before = running.envoy.rss_kib()?;
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        let from = connections.len();
        for number in from..count.min(from + BATCH) {
            connections.push(connect(&block, number, running.address).await?);
        }
        for connection in &mut connections[from..] {
            connection.write_all(REQUEST).await?;
        }
        for connection in &mut connections[from..] {
            answer(connection).await?;
        }
    }
    let bytes = (running.envoy.rss_kib()? as f64 - before as f64) * 1024.0 / count as f64;

    let cpu_before = running.envoy.cpu_time()?;
    let idle_us = longest_turn(&running, PHASE).await?;
    let idle_cpu = running.envoy.cpu_time()?.saturating_sub(cpu_before);

    let active: Vec<_> = connections.iter_mut().step_by(ACTIVE_ONE_IN).collect();
    let (active_us, ()) =
        tokio::try_join!(longest_turn(&running, PHASE), keep_asking(active, PHASE))?;
    let mut tracked = None;
    if contender == Contender::LbBothRoles {
        let stats = running.envoy.stats().await?;
        tracked = Some(stats.gauge("wasmcustom.spillway.lb.connections_open"));
    }
    Ok(Scale {
        name: contender.name(),
        wanted: wanted as u64,
        connections: count as u64,
        tracked,
        bytes_per_connection: bytes,
        idle_cpu_us_per_second: idle_cpu.as_secs_f64() * 1e6 / PHASE.as_secs_f64(),
        longest_turn_idle_us: idle_us,
        longest_turn_active_us: active_us,
    })
}

/// Files that one process may have open, after asking for as many as it may ask for.
fn files() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

async fn connect(block: &LoopbackBlock, number: usize, to: SocketAddr) -> Result<TcpStream> {
    let host = u8::try_from(2 + number / PER_ADDRESS).context("too many connections")?;
    let from: Ipv4Addr = block.address(host);
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(from), 0).into())?;
    socket.connect(to).await.with_context(|| format!("connection {number}"))
}

async fn answer(connection: &mut TcpStream) -> Result<()> {
    let mut response = Vec::new();
    while !response.ends_with(RESPONSE_END) {
        let read = timeout(ANSWER_BOUND, connection.read_buf(&mut response)).await;
        ensure!(read.context("no response")?? > 0, "closed");
    }
    Ok(())
}

/// A request on each of them every second.
async fn keep_asking(mut connections: Vec<&mut TcpStream>, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        second.tick().await;
        for connection in &mut connections {
            connection.write_all(REQUEST).await?;
            answer(connection).await?;
        }
    }
    Ok(())
}

/// The longest turn that the worker's loop took within `time`, in microseconds.
async fn longest_turn(running: &Running, time: Duration) -> Result<f64> {
    let end = Instant::now() + time;
    let mut longest: f64 = 0.0;
    while Instant::now() < end {
        let next = Instant::now() + Duration::from_secs(1);
        let text = running.envoy.admin_text(&format!("/stats?filter={TURNS}")).await?;
        // "...: P0(nan,120) ... P100(300,400)": of the last second, and of all.
        let last = text.split("P100(").nth(1).and_then(|rest| rest.split(',').next());
        if let Some(turn) = last.and_then(|turn| turn.trim().parse::<f64>().ok())
            && turn.is_finite()
        {
            longest = longest.max(turn);
        }
        sleep_until(next).await;
    }
    ensure!(longest > 0.0, "Envoy has no {TURNS}");
    Ok(longest)
}
