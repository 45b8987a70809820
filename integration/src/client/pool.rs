//! Pools of long-lived clients.
//!
//! They start at random within some time, since clients in step would make waves that no fleet has.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::long_lived::{Client, LongLivedClient};
use super::resolve::Resolver;
use super::stats::{ClientStats, ClientTotals};

/// The clients of a pool start within this time, where nothing else is said.
const START_SPREAD: Duration = Duration::from_secs(1);
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// Clients that run until they are stopped; dropping the pool cuts them.
#[derive(Debug)]
pub struct ClientPool {
    stats: Arc<ClientStats>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

// === impl ClientPool ===

impl ClientPool {
    /// Starts `count` clients, spread over a second. `spec` says what each one does, by its
    /// number from 0; all connect to `port` at the address that `resolver` gives them then.
    /// To be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// A resolver for each client cannot be set up.
    pub fn start(
        count: usize,
        spec: impl Fn(usize) -> LongLivedClient,
        resolver: &Resolver,
        port: u16,
    ) -> Result<Self> {
        Self::start_behind(count, spec, std::slice::from_ref(resolver), port)
    }

    /// Like [`start`](Self::start), for clients that share `resolvers` among them in turn, as
    /// those behind the resolvers of several networks do.
    ///
    /// # Errors
    ///
    /// There are no resolvers, or one for each client cannot be set up.
    pub fn start_behind(
        count: usize,
        spec: impl Fn(usize) -> LongLivedClient,
        resolvers: &[Resolver],
        port: u16,
    ) -> Result<Self> {
        Self::start_over(START_SPREAD, count, spec, resolvers, port)
    }

    /// The same, spread over this time: so that the ages of connections are spread as well.
    ///
    /// # Errors
    ///
    /// As [`start_behind`](Self::start_behind).
    pub fn start_over(
        spread: Duration,
        count: usize,
        spec: impl Fn(usize) -> LongLivedClient,
        resolvers: &[Resolver],
        port: u16,
    ) -> Result<Self> {
        ensure!(!resolvers.is_empty(), "clients need a resolver");
        let stats = Arc::new(ClientStats::default());
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for number in 0..count {
            let client = Client {
                spec: Arc::new(spec(number)),
                resolver: Arc::new(resolvers[number % resolvers.len()].another()?),
                port,
                stats: Arc::clone(&stats),
                stop: stopped.clone(),
            };
            clients.spawn(client.run(spread.mul_f64(fastrand::f64())));
        }
        Ok(Self { stats, stop, clients })
    }

    /// The counters, which go on while the pool runs and stay readable after it.
    #[must_use]
    pub fn stats(&self) -> &Arc<ClientStats> {
        &self.stats
    }

    /// The numbers now.
    #[must_use]
    pub fn totals(&self) -> ClientTotals {
        self.stats.totals()
    }

    /// Waits until the numbers are as wished, and gives them back.
    ///
    /// # Errors
    ///
    /// They are not after `bound`; the text holds them.
    pub async fn wait_until(
        &self,
        bound: Duration,
        wished: impl Fn(&ClientTotals) -> bool,
    ) -> Result<ClientTotals> {
        let deadline = Instant::now() + bound;
        loop {
            let totals = self.totals();
            if wished(&totals) {
                return Ok(totals);
            }
            if Instant::now() >= deadline {
                bail!("not reached in {} s: {totals:?}", bound.as_secs_f64());
            }
            // The counters wake nobody: a million requests should not pay for one waiting test.
            sleep(POLL_PAUSE).await;
        }
    }

    /// Lets every request in flight end, then closes the connections.
    ///
    /// # Panics
    ///
    /// With the panic of a client, if one did.
    pub async fn stop(mut self) -> ClientTotals {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        self.stats.totals()
    }
}
