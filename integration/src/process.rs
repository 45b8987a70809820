//! Child processes that cannot outlive us.
//!
//! A harness that leaves Envoys behind takes ports and CPU from the next run
//! and makes its numbers wrong. So a [`ChildProcess`] is killed when it is
//! dropped (also by a panic that unwinds), and the kernel kills it when we go
//! in any other way: Ctrl-C, SIGTERM, SIGKILL, `abort`. For that the child asks
//! for `PR_SET_PDEATHSIG`.
//!
//! The kernel sends that signal when the *thread* that forked ends, not the
//! process. So each child is forked by a thread of its own, which then waits
//! for it: it lives exactly as long as the child has to.
//!
//! Children get a process group of their own: a Ctrl-C on the terminal reaches
//! the harness alone, which can end its fleet in order.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid, getppid};
use tokio::sync::watch;

/// How long [`ChildProcess::terminate`] waits for SIGTERM to work before it sends SIGKILL.
const TERMINATION_BOUND: Duration = Duration::from_secs(10);

/// A running (or ended) process whose output goes to a log file.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    log: PathBuf,
    pid: Pid,
    /// False once the process was reaped: from then on its pid may belong to someone else, so
    /// signals are sent only under this lock.
    signalable: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
}

// === impl ChildProcess ===

impl ChildProcess {
    /// Starts `command`. Standard output and error go to `<directory>/<name>.log`, standard
    /// input is empty.
    ///
    /// # Errors
    ///
    /// The log file cannot be created or the program cannot be run.
    pub fn spawn(mut command: Command, name: &str, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone().context("cannot share the log file")?)
            .stdout(output)
            .process_group(0);
        die_with_parent(&mut command);

        let program = command.get_program().to_owned();
        let signalable = Arc::new(Mutex::new(true));
        let (exit_sender, exit) = watch::channel(None);
        let (spawned_sender, spawned) = mpsc::sync_channel(1);
        let waiter = Builder::new()
            .name(format!("wait-{name}"))
            .spawn({
                let signalable = Arc::clone(&signalable);
                move || match command.spawn() {
                    Ok(child) => {
                        let _ = spawned_sender.send(Ok(child.id()));
                        exit_sender.send_replace(Some(reap(child, &signalable)));
                    }
                    Err(error) => {
                        let _ = spawned_sender.send(Err(error));
                    }
                }
            })
            .context("cannot start a thread")?;
        let pid = spawned
            .recv()
            .context("the thread that starts processes is gone")?
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            pid: Pid::from_raw(i32::try_from(pid).context("a pid beyond i32")?),
            signalable,
            exit,
            waiter: Some(waiter),
        })
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id. After the process has ended, the id may be another's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All it has written so far; empty where the file cannot be read.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it has ended.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        // The sender goes away without a value only if the waiting thread panicked.
        ended
            .ok()
            .and_then(|status| *status)
            .unwrap_or_else(|| ExitStatus::from_raw(Signal::SIGKILL as i32))
    }

    /// Ends it with SIGTERM and waits; with SIGKILL where that has not worked after 10 s.
    ///
    /// # Errors
    ///
    /// The kernel refused the signal.
    pub async fn terminate(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        // A stopped process would take notice of it only when it is continued.
        self.signal(Signal::SIGCONT)?;
        if let Ok(status) = tokio::time::timeout(TERMINATION_BOUND, self.exited()).await {
            return Ok(status);
        }
        self.kill().await
    }

    /// Ends it with SIGKILL, as a crash of the machine would, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// The kernel refused the signal.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        Ok(self.exited().await)
    }

    /// Stops it where it is (SIGSTOP): alive for the kernel, which still accepts connections for
    /// it, and mute for everybody else.
    ///
    /// # Errors
    ///
    /// The kernel refused the signal.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// The kernel refused the signal.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Has a server read its configuration again (SIGHUP), where it takes that for it.
    ///
    /// # Errors
    ///
    /// The kernel refused the signal.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let signalable = lock(&self.signalable);
        if !*signalable {
            return Ok(());
        }
        match kill(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error)
                .with_context(|| format!("cannot send {signal} to {} ({})", self.name, self.pid)),
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Nothing to do about a refusal here, and the kernel does not refuse this to a parent.
        let killed = self.signal(Signal::SIGKILL);
        if let (Ok(()), Some(waiter)) = (killed, self.waiter.take()) {
            // Waiting gives back its ports before the next one asks for them.
            let _ = waiter.join();
        }
    }
}

/// Waits for the end without reaping, so that the pid stays ours until no one can signal it.
fn reap(mut child: Child, signalable: &Mutex<bool>) -> ExitStatus {
    let pid = Pid::from_raw(child.id().cast_signed());
    while let Err(Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
    {
    }
    let mut signalable = lock(signalable);
    *signalable = false;
    child.wait().unwrap_or_else(|_| ExitStatus::from_raw(Signal::SIGKILL as i32))
}

fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died between the fork and the line above; then the signal was
        // missed and nobody is left to send it.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec only system calls are made (prctl, getppid); nothing is
    // allocated and no lock is taken.
    unsafe {
        command.pre_exec(ask);
    }
}

fn lock(mutex: &Mutex<bool>) -> MutexGuard<'_, bool> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    const ROLE: &str = "SPILLWAY_TEST_HARNESS_ROLE";

    fn sleeper(directory: &Path) -> ChildProcess {
        let mut command = Command::new("sleep");
        command.arg("600");
        ChildProcess::spawn(command, "sleeper", directory).unwrap()
    }

    /// 'S', 'T', 'Z' and so on, from `/proc`; `None` where there is no such process.
    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn await_state(pid: u32, wanted: impl Fn(Option<char>) -> bool) {
        let start = Instant::now();
        while !wanted(state(pid)) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "process {pid} stays in state {:?}",
                state(pid)
            );
            std::thread::yield_now();
        }
    }

    /// An orphan may stay a zombie where the container's init does not reap.
    fn gone(state: Option<char>) -> bool {
        matches!(state, None | Some('Z' | 'X'))
    }

    #[tokio::test]
    async fn output_and_exit_status_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let child = ChildProcess::spawn(command, "sh", directory.path()).unwrap();
        assert_eq!(child.exited().await.code(), Some(3));
        assert_eq!(child.log_text(), "out\nerr\n");
        assert_eq!(child.terminate().await.unwrap().code(), Some(3));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = ChildProcess::spawn(Command::new("/none/at-all"), "none", directory.path());
        assert!(error.unwrap_err().to_string().contains("/none/at-all"));
    }

    #[tokio::test]
    async fn terminating_pausing_killing() {
        let directory = tempfile::tempdir().unwrap();
        let child = sleeper(directory.path());
        child.pause().unwrap();
        await_state(child.pid(), |state| state == Some('T'));
        child.resume().unwrap();
        await_state(child.pid(), |state| state != Some('T'));
        child.pause().unwrap();
        assert_eq!(child.terminate().await.unwrap().signal(), Some(15));

        let child = sleeper(directory.path());
        assert!(child.exit_status().is_none());
        assert_eq!(child.kill().await.unwrap().signal(), Some(9));
        assert!(child.exit_status().is_some());
    }

    #[test]
    fn a_drop_and_a_panic_end_the_child() {
        let directory = tempfile::tempdir().unwrap();
        let child = sleeper(directory.path());
        let pid = child.pid();
        drop(child);
        assert!(gone(state(pid)));

        let (sender, receiver) = mpsc::channel();
        let path = directory.path().to_owned();
        let panicked = std::thread::spawn(move || {
            let child = sleeper(&path);
            sender.send(child.pid()).unwrap();
            panic!("this panic is part of the test");
        })
        .join();
        assert!(panicked.is_err());
        assert!(gone(state(receiver.recv().unwrap())));
    }

    /// The child must stay when only the thread that asked for it ends, as threads of a test
    /// runner and of a runtime do.
    #[test]
    fn the_child_survives_the_thread_that_asked_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let child = std::thread::spawn(move || sleeper(&path)).join().unwrap();
        await_state(child.pid(), |state| state == Some('S'));
        assert!(child.exit_status().is_none());
    }

    /// Not a test but the harness that [`children_die_with_a_killed_harness`] kills.
    #[test]
    fn harness_to_be_killed() {
        if std::env::var_os(ROLE).is_none() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let child = sleeper(directory.path());
        println!("\nchild {}", child.pid());
        std::thread::park();
    }

    #[test]
    fn children_die_with_a_killed_harness() {
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
            // Not `current_exe()`: a build that goes on meanwhile may have replaced the file.
            let mut harness = Command::new("/proc/self/exe")
                .args(["--exact", "process::tests::harness_to_be_killed"])
                .arg("--nocapture")
                .env(ROLE, "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(harness.stdout.take().unwrap()).lines();
            let pid: u32 = lines
                .map_while(Result::ok)
                .find_map(|line| line.strip_prefix("child ")?.parse().ok())
                .expect("the harness names its child");
            assert!(!gone(state(pid)));
            kill(Pid::from_raw(harness.id().cast_signed()), signal).unwrap();
            harness.wait().unwrap();
            await_state(pid, gone);
        }
    }
}
