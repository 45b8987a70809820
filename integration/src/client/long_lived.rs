//! Long-lived clients, each with its own pace.
//!
//! A client that fell behind its pace does not catch up with a burst: it goes on
//! from where it is. Its phase is random, since clients in step would make waves that
//! no fleet has.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Connection, End, Protocol};
use super::exchange::Outcome;
use super::parcel::Parcel;
use super::resolve::Resolver;
use super::stats::{ClientStats, EdgeConnection};
use crate::tls::TlsConfig;

const FIRST_RECONNECT_PAUSE: Duration = Duration::from_millis(20);
const LAST_RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// How often a client sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many requests a second, evenly spaced, whatever the number of streams; above 0.
    PerSecond(f64),
    /// The next request as soon as the last one has ended.
    Unpaced,
}

/// What a client does, for as long as it lives.
#[derive(Clone, Debug)]
pub struct LongLivedClient {
    /// What it speaks.
    pub protocol: Protocol,
    /// How often it sends, over all its streams.
    pub pace: Pace,
    /// The mean time after which it leaves a connection by itself for a new one, however it is
    /// told; the times are exponentially distributed. Where `None`, it stays.
    pub leaves_after: Option<Duration>,
    /// Plain text where `None`.
    pub tls: Option<TlsConfig>,
    /// The path it asks for, beginning with a slash.
    pub path: String,
    /// `Host` or `:authority`.
    pub host: String,
    /// Whether each request has a body of its own, from nothing to 1 MiB, which is to come back
    /// ([`crate::echo`]). Requests without are GETs.
    pub echoes: bool,
}

/// What all tasks of a client share.
#[derive(Clone)]
pub(super) struct Client {
    pub spec: Arc<LongLivedClient>,
    pub resolver: Arc<Resolver>,
    pub port: u16,
    pub stats: Arc<ClientStats>,
    pub stop: watch::Receiver<bool>,
}

/// One request after the other: an HTTP/1 connection has one, HTTP/2 one per concurrent stream.
/// It outlives connections, so that its pace goes on over a reconnect.
struct Lane {
    period: Option<Duration>,
    next: Instant,
    /// A request was given back unsent and is still to be sent.
    owed: bool,
}

// === impl LongLivedClient ===

impl LongLivedClient {
    /// A plain-text client that asks for `/`.
    #[must_use]
    pub fn new(protocol: Protocol, pace: Pace, host: &str) -> Self {
        Self {
            protocol,
            pace,
            leaves_after: None,
            tls: None,
            path: "/".to_owned(),
            host: host.to_owned(),
            echoes: false,
        }
    }

    /// When it leaves a connection that opens now.
    fn leaves_at(&self) -> Option<Instant> {
        let part = -(1.0 - fastrand::f64()).ln();
        self.leaves_after.map(|mean| Instant::now() + mean.mul_f64(part))
    }

    fn lanes(&self) -> Vec<Lane> {
        let count = match self.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 { concurrent_streams } => concurrent_streams.max(1),
        };
        let period = match self.pace {
            Pace::PerSecond(rate) => Some(Duration::from_secs_f64(f64::from(count) / rate)),
            Pace::Unpaced => None,
        };
        let phase = period.map_or(Duration::ZERO, |period| period.mul_f64(fastrand::f64()));
        (0..count)
            .map(|number| {
                let offset = period.map_or(Duration::ZERO, |period| {
                    period.mul_f64(f64::from(number) / f64::from(count))
                });
                Lane { period, next: Instant::now() + phase + offset, owed: false }
            })
            .collect()
    }
}

// === impl Client ===

impl Client {
    /// Lives until it is stopped.
    pub async fn run(self, start_after: Duration) {
        if !self.pause(start_after).await {
            return;
        }
        let mut lanes = self.spec.lanes();
        while let Some((connection, edge)) = self.connect().await {
            let (connection, edge) = (Arc::new(connection), Arc::new(edge));
            let leaves_at = self.spec.leaves_at();
            let mut running = JoinSet::new();
            for lane in lanes.drain(..) {
                let (connection, edge) = (Arc::clone(&connection), Arc::clone(&edge));
                running.spawn(lane.run(self.clone(), connection, edge, leaves_at));
            }
            let mut end = None;
            while let Some(ended) = running.join_next().await {
                match ended {
                    Ok((lane, lane_end)) => {
                        end = end.or(lane_end);
                        lanes.push(lane);
                    }
                    Err(error) => {
                        if let Ok(panic) = error.try_into_panic() {
                            std::panic::resume_unwind(panic);
                        }
                    }
                }
            }
            let leaves = *self.stop.borrow() || leaves_at.is_some_and(|at| Instant::now() >= at);
            self.note_end(&connection, &edge, end, leaves).await;
        }
    }

    /// The next connection; `None` when it is time to stop.
    async fn connect(&self) -> Option<(Connection, EdgeConnection)> {
        let mut pause = FIRST_RECONNECT_PAUSE;
        loop {
            if *self.stop.borrow() {
                return None;
            }
            match self.try_connect().await {
                Ok(connected) => return Some(connected),
                Err(error) => self.stats.connect_failed(&format!("{error:#}")),
            }
            if !self.pause(pause.mul_f64(0.5 + fastrand::f64())).await {
                return None;
            }
            pause = (pause * 2).min(LAST_RECONNECT_PAUSE);
        }
    }

    async fn try_connect(&self) -> Result<(Connection, EdgeConnection)> {
        let address = self.resolver.resolve().await?;
        let connection = Connection::open(
            SocketAddrV4::new(address, self.port),
            self.spec.protocol,
            self.spec.tls.as_ref(),
        )
        .await?;
        Ok((connection, self.stats.connection_opened(address)))
    }

    async fn note_end(
        &self,
        connection: &Connection,
        edge: &EdgeConnection,
        end: Option<End>,
        leaves: bool,
    ) {
        let end = match end {
            Some(end) => end,
            // We leave; the peer has not said anything.
            None if leaves => return,
            None => connection.end().await,
        };
        match end {
            End::Told => self.stats.closes_seen.add_one(),
            End::ClosedIdle => {
                self.stats.closes_seen.add_one();
                self.stats.idle_closes.add_one();
            }
            End::Lost(what) => edge.lost(&what),
        }
    }

    /// Waits; false when it is time to stop.
    async fn pause(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = sleep(time) => true,
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }
}

// === impl Lane ===

impl Lane {
    /// Sends until the connection is of no more use or it is time to leave it. Gives itself back,
    /// and why the connection is of no more use, where a response (or its absence) said so.
    async fn run(
        mut self,
        mut client: Client,
        connection: Arc<Connection>,
        edge: Arc<EdgeConnection>,
        leaves_at: Option<Instant>,
    ) -> (Self, Option<End>) {
        loop {
            tokio::select! {
                biased;
                _ = client.stop.wait_for(|stop| *stop) => return (self, None),
                () = connection.ended() => return (self, None),
                () = reached(leaves_at) => return (self, None),
                () = sleep_until(self.next), if self.period.is_some() && !self.owed => {}
                // Unpaced or owed: it is time already.
                () = std::future::ready(()), if self.period.is_none() || self.owed => {}
            }
            let spec = &client.spec;
            let parcel = spec.echoes.then(Parcel::next);
            let in_flight = edge.request_sent();
            let outcome = connection.send(&spec.host, &spec.path, parcel.as_ref()).await;
            drop(in_flight);
            if matches!(outcome, Outcome::Unsent) {
                client.stats.unsent.add_one();
                self.owed = true;
                return (self, None);
            }
            self.owed = false;
            self.set_next();
            let told = match outcome {
                Outcome::Complete { latency, told_to_close } => {
                    edge.response_ok(latency);
                    told_to_close
                }
                Outcome::Wrong { what, told_to_close } => {
                    edge.request_failed(&what);
                    told_to_close
                }
                Outcome::Broken(what) => {
                    edge.request_failed(&what);
                    if spec.protocol == Protocol::Http1 {
                        return (self, Some(End::Lost(what)));
                    }
                    // HTTP/2 may have lost one stream only; if it is the connection, the next
                    // request is given back unsent.
                    false
                }
                Outcome::Unsent => false,
            };
            if told {
                return (self, Some(End::Told));
            }
        }
    }

    fn set_next(&mut self) {
        if let Some(period) = self.period {
            self.next = (self.next + period).max(Instant::now());
        }
    }
}

/// Waits for a time, which may never come.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
