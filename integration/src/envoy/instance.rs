//! A running Envoy.
//!
//! It gets the bootstrap as the test or the fleet made it; nothing is added, so
//! that what runs is what a user would run. Envoy reads JSON as it reads YAML,
//! and the file stays beside the log for whoever wants to see why it failed.
//!
//! Hot restart is off: it would leave a shared memory segment behind each time
//! an Envoy is killed, and killing Envoys is what tests do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::EnvoyBinary;
use super::admin::{Admin, Stats};
use crate::process::ChildProcess;

/// Loading a Wasm module compiles it on every worker; on a loaded machine that takes seconds.
const READY_BOUND: Duration = Duration::from_secs(30);

/// What an Envoy is started with.
#[derive(Clone, Copy, Debug)]
pub struct EnvoyOptions<'a> {
    /// The binary, as [`super::locate`] found it.
    pub binary: &'a EnvoyBinary,
    /// Names the files, and the Envoy node where the bootstrap has no `node`.
    pub name: &'a str,
    /// The whole configuration, with `admin.address`.
    pub bootstrap: &'a Value,
    /// Where `<name>.json` and `<name>.log` go.
    pub directory: &'a Path,
    /// Worker threads (`--concurrency`).
    pub workers: u32,
    /// For all but the Wasm component, whose `info` lines tell what a filter says.
    pub log_level: &'a str,
    /// What it has in its environment besides the harness's own.
    pub environment: &'a [(&'static str, &'static str)],
}

/// A running Envoy; ended when dropped.
#[derive(Debug)]
pub struct Envoy {
    process: ChildProcess,
    admin: Admin,
    workers: u32,
}

// === impl EnvoyOptions ===

impl<'a> EnvoyOptions<'a> {
    /// One worker, log level `warning`.
    #[must_use]
    pub fn new(
        binary: &'a EnvoyBinary,
        name: &'a str,
        bootstrap: &'a Value,
        directory: &'a Path,
    ) -> Self {
        let (workers, log_level, environment) = (1, "warning", &[]);
        Self { binary, name, bootstrap, directory, workers, log_level, environment }
    }
}

// === impl Envoy ===

impl Envoy {
    /// Starts an Envoy and waits until it is ready to take traffic.
    ///
    /// # Errors
    ///
    /// The bootstrap has no admin address, Envoy refuses it, or is not ready in 30 s. Where Envoy
    /// ran at all, the text ends with its log.
    pub async fn start(options: EnvoyOptions<'_>) -> Result<Self> {
        let admin = Admin::of_bootstrap(options.bootstrap)?;
        let name = options.name;
        let config = options.directory.join(format!("{name}.json"));
        std::fs::write(&config, serde_json::to_vec_pretty(options.bootstrap)?)
            .with_context(|| format!("cannot write {}", config.display()))?;

        let mut command = Command::new(&options.binary.path);
        command
            .arg("--config-path")
            .arg(&config)
            .args(["--concurrency", &options.workers.to_string()])
            .args(["--log-level", options.log_level])
            .args(["--component-log-level", "wasm:info"])
            .args(["--drain-time-s", "5"])
            // Access logs are looked at while it runs.
            .args(["--file-flush-interval-msec", "500"])
            .arg("--disable-hot-restart")
            .envs(options.environment.iter().copied());
        if options.bootstrap["node"].is_null() {
            command.args(["--service-node", name, "--service-cluster", name]);
        }
        let process = ChildProcess::spawn(command, name, options.directory)?;

        let envoy = Self { process, admin, workers: options.workers };
        envoy.wait_until_ready().await?;
        Ok(envoy)
    }

    /// Starts an Envoy that must refuse its configuration, and gives back the log in which it
    /// says why.
    ///
    /// # Errors
    ///
    /// Envoy starts, or does neither in 30 s.
    pub async fn expect_refusal(options: EnvoyOptions<'_>) -> Result<String> {
        let name = options.name;
        match Self::start(options).await {
            Ok(_) => bail!("Envoy {name} started, though its configuration should be refused"),
            Err(error) => match error.downcast::<Refusal>() {
                Ok(refusal) => Ok(refusal.log),
                Err(error) => Err(error),
            },
        }
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_BOUND;
        let mut pause = Duration::from_millis(5);
        loop {
            // Envoy tells nobody that it is ready; asking is all there is.
            let ready = timeout_at(deadline, self.admin.is_ready()).await;
            if ready == Ok(true) {
                return Ok(());
            }
            tokio::select! {
                status = self.process.exited() => {
                    return Err(Refusal {
                        name: self.name().to_owned(),
                        status: status.to_string(),
                        log: self.log_text(),
                    }
                    .into());
                }
                () = sleep(pause) => {}
            }
            if Instant::now() >= deadline {
                bail!(
                    "Envoy {} is not ready after {} s. Its log:\n{}",
                    self.name(),
                    READY_BOUND.as_secs(),
                    self.log_text()
                );
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Where its admin interface is.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        self.process.name()
    }

    /// Worker threads.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// The process, to pause it or to see how it ended.
    #[must_use]
    pub fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// All it has logged so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.process.log_text()
    }

    /// Its counters and gauges now. Workers and filters count into shared atomics, so there is
    /// no flush to wait for.
    ///
    /// # Errors
    ///
    /// The admin interface does not answer.
    pub async fn stats(&self) -> Result<Stats> {
        self.admin.stats().await
    }

    /// The same as Prometheus scrapes it.
    ///
    /// # Errors
    ///
    /// The admin interface does not answer.
    pub async fn prometheus(&self) -> Result<String> {
        self.admin.get("/stats/prometheus").await
    }

    /// What the admin interface answers to a GET of `path`.
    ///
    /// # Errors
    ///
    /// It does not answer, or not with 200.
    pub async fn admin_text(&self, path: &str) -> Result<String> {
        self.admin.get(path).await
    }

    /// The configuration that Envoy runs.
    ///
    /// # Errors
    ///
    /// The admin interface does not answer.
    pub async fn config_dump(&self) -> Result<Value> {
        let text = self.admin.get("/config_dump").await?;
        serde_json::from_str(&text).context("Envoy's /config_dump is not JSON")
    }

    /// Sends a POST to a path of the admin interface, such as `/drain_listeners?graceful`.
    ///
    /// # Errors
    ///
    /// The admin interface does not answer, or not with 200.
    pub async fn post(&self, path: &str) -> Result<String> {
        self.admin.post(path).await
    }

    /// How long Envoy says that it took from its start until its workers were ready, in milliseconds; a
    /// hundredth or so is lost in its histogram.
    ///
    /// # Errors
    ///
    /// The admin interface does not answer, or not with that.
    pub async fn initialization_ms(&self) -> Result<f64> {
        let deadline = Instant::now() + READY_BOUND;
        loop {
            let text = self.admin.get("/stats?filter=server.initialization_time_ms").await?;
            // "server.initialization_time_ms: P0(nan,120) P25(nan,122) ...": of the last interval,
            // and of all. It is there once Envoy has flushed its histograms.
            let value = text.split("P50(").nth(1).and_then(|rest| rest.split(')').next());
            let value = value.and_then(|pair| pair.rsplit(',').next()?.trim().parse().ok());
            if let Some(value) = value {
                return Ok(value);
            }
            if Instant::now() >= deadline {
                bail!("Envoy does not say how long it took to start: {text:?}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// CPU time that the process has used, user and system, over all threads. The kernel counts
    /// it in ticks, mostly of 10 ms.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc_file("stat")?;
        // The second field is the name in parentheses and may hold blanks; utime and stime are
        // the 14th and 15th, so the 12th and 13th after it (proc(5)).
        let ticks: u64 = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').skip(11).take(2))
            .and_then(|fields| fields.map(|field| field.parse::<u64>().ok()).sum::<Option<_>>())
            .with_context(|| format!("unknown format of /proc/pid/stat: {stat}"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .and_then(|ticks| u64::try_from(ticks).ok())
            .unwrap_or(100);
        Ok(Duration::from_nanos(ticks * (1_000_000_000 / per_second)))
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn rss_kib(&self) -> Result<u64> {
        let status = self.proc_file("status")?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim_end().parse().ok())
            .with_context(|| format!("Envoy {} has ended: it has no memory left", self.name()))
    }

    fn proc_file(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.process.pid());
        std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {path}; has Envoy {} ended?", self.name()))
    }

    /// Ends it as an operator would (SIGTERM), and waits.
    ///
    /// # Errors
    ///
    /// The kernel refused the signal.
    pub async fn stop(&self) -> Result<()> {
        self.process.terminate().await.map(drop)
    }

    /// Ends it as a crash would (SIGKILL), and waits.
    ///
    /// # Errors
    ///
    /// The kernel refused the signal.
    pub async fn kill(&self) -> Result<()> {
        self.process.kill().await.map(drop)
    }
}

/// Envoy ended before it was ready.
#[derive(Debug)]
struct Refusal {
    name: String,
    status: String,
    log: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Envoy {} ended before it was ready ({}). Its log:\n{}",
            self.name, self.status, self.log
        )
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::LoopbackBlock;
    use serde_json::json;

    fn bootstrap(block: &LoopbackBlock) -> Value {
        let address = block.address(1);
        let admin = block.free_port(address).unwrap();
        json!({"admin": {"address": {"socket_address":
            {"address": address.to_string(), "port_value": admin}}}})
    }

    #[tokio::test]
    async fn an_envoy_starts_answers_and_stops() {
        let binary = crate::envoy::locate().unwrap();
        let block = LoopbackBlock::claim().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let bootstrap = bootstrap(&block);
        let options = EnvoyOptions::new(&binary, "plain", &bootstrap, directory.path());
        let envoy = Envoy::start(options).await.unwrap();

        let stats = envoy.stats().await.unwrap();
        assert_eq!(stats.gauge("server.live"), 1);
        assert_eq!(stats.gauge("server.concurrency"), 1);
        assert!(envoy.prometheus().await.unwrap().contains("envoy_server_live"));
        assert!(envoy.config_dump().await.unwrap()["configs"].is_array());
        assert!(envoy.post("/reset_counters").await.unwrap().contains("OK"));
        assert!(envoy.post("/none").await.is_err());
        assert!(envoy.cpu_time().unwrap() > Duration::ZERO);
        assert!(envoy.rss_kib().unwrap() > 1000);

        envoy.stop().await.unwrap();
        assert!(envoy.process().exit_status().unwrap().success());
        assert!(envoy.stats().await.is_err());
    }

    #[tokio::test]
    async fn a_refused_configuration_is_told_with_the_log() {
        let binary = crate::envoy::locate().unwrap();
        let block = LoopbackBlock::claim().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut bootstrap = bootstrap(&block);
        bootstrap["no_such_field"] = json!(1);
        let options = EnvoyOptions::new(&binary, "bad", &bootstrap, directory.path());
        let log = Envoy::expect_refusal(options).await.unwrap();
        assert!(log.contains("no_such_field"), "{log}");
        let error = Envoy::start(options).await.unwrap_err();
        assert!(error.to_string().contains("no_such_field"));
    }
}
