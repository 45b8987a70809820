//! How a run is ended early: Ctrl-C, SIGTERM or SIGHUP, or a key on the screen.
//!
//! All of them come out as one error, [`Interrupted`]. The run is then dropped on the way out
//! like after any other error, and with it every process it started and the screen.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::live::View;

/// How often the keyboard is looked at; it has no other way to tell.
const KEY_INTERVAL: Duration = Duration::from_millis(100);

/// The user has ended the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

// === impl Interrupted ===

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ended before its time; there is no result")
    }
}

impl std::error::Error for Interrupted {}

/// Does `work` until it is done or a signal asks to end; it is then dropped where it stands.
///
/// # Errors
///
/// Those of `work`; [`Interrupted`]; signals cannot be had.
pub(crate) async fn unless_signalled<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(Interrupted.into()),
        _ = terminate.recv() => Err(Interrupted.into()),
        _ = hang_up.recv() => Err(Interrupted.into()),
    }
}

/// Does `work` until it is done or a key asks to end.
///
/// # Errors
///
/// [`Interrupted`].
pub(super) async fn unless_key<T>(view: &mut dyn View, work: impl Future<Output = T>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return Ok(done),
            () = sleep(KEY_INTERVAL) => {
                if view.interrupted() {
                    return Err(Interrupted.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Summary, Timeline};

    struct Pressed(bool);

    impl View for Pressed {
        fn sample(&mut self, _: &Timeline) -> Result<()> {
            Ok(())
        }
        fn event(&mut self, _: f64, _: &str) {}
        fn finish(&mut self, _: &Summary) {}
        fn interrupted(&mut self) -> bool {
            self.0
        }
    }

    #[tokio::test]
    async fn a_key_ends_what_would_go_on_for_ever() {
        let ended = unless_key(&mut Pressed(true), std::future::pending::<()>()).await;
        assert_eq!(ended.unwrap_err().downcast_ref(), Some(&Interrupted));
        let work = sleep(KEY_INTERVAL * 2);
        unless_key(&mut Pressed(false), work).await.expect("nobody pressed a key");
    }
}
