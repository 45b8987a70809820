//! How a node's pools are doing, told when it changes: what a log line says.

use std::fmt;
use std::rc::Rc;

/// Changes kept for who asks for them.
const KEPT: usize = 64;

/// The state of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Nothing is known yet, or all is even: nothing is closed for balance.
    #[default]
    Even,
    /// Loads are uneven, and connections are being closed.
    Closing,
    /// Closing does not help this load balancer, and is held back.
    Futile(Rc<str>),
    /// No load balancer but this one has been heard of: there is nothing to compare it with.
    Alone(Rc<str>),
}

/// A pool's state has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pool.
    pub pool: Rc<str>,
    /// What it was before.
    pub before: Balance,
    /// What it is now.
    pub now: Balance,
}

/// The changes since they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<Change>);

// === impl Changes ===

impl Changes {
    /// Notes a change, unless there are too many that nobody has asked for.
    pub fn push(&mut self, change: Change) {
        if self.0.len() < KEPT {
            self.0.push(change);
        }
    }

    /// All since the last time.
    pub fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.0)
    }
}

// === impl Change ===

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}: ", self.pool)?;
        match (&self.before, &self.now) {
            (Balance::Alone(_), Balance::Even) => {
                f.write_str("more than one load balancer is heard of, and they are even")
            }
            (_, Balance::Even) => f.write_str("even again, nothing is closed for balance"),
            (Balance::Futile(lb), Balance::Closing) => {
                write!(f, "closing helps {lb} again, and goes on as it should")
            }
            (_, Balance::Closing) => f.write_str("uneven, closing connections"),
            (_, Balance::Futile(lb)) => write!(
                f,
                "closing does not help {lb}, and is held back: clients that are closed do not \
                 connect to it. Is it in DNS, with its part of the answers? Does it take new \
                 connections? Do resolvers keep an old answer? Does its weight fit?"
            ),
            (_, Balance::Alone(lb)) => write!(
                f,
                "{lb} is the only load balancer heard of: there is nothing to compare it with, and \
                 nothing is closed but for the floor. Where each load balancer has nodes of its \
                 own, use mean_connection_age or per_second"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_change_is_a_sentence_that_names_the_pool_and_the_load_balancer() {
        let futile = || Balance::Futile("edge-3".into());
        let cases = [
            (Balance::Even, Balance::Closing, "pool eu: uneven, closing connections"),
            (Balance::Closing, futile(), "pool eu: closing does not help edge-3, and is held back"),
            (futile(), Balance::Closing, "pool eu: closing helps edge-3 again"),
            (Balance::Closing, Balance::Even, "pool eu: even again"),
            (
                Balance::Even,
                Balance::Alone("edge-1".into()),
                "pool eu: edge-1 is the only load balancer heard of",
            ),
        ];
        for (before, now, start) in cases {
            let said = Change { pool: "eu".into(), before, now }.to_string();
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn changes_that_nobody_asks_for_are_bounded() {
        let mut changes = Changes::default();
        for _ in 0..1000 {
            let (before, now) = (Balance::Even, Balance::Closing);
            changes.push(Change { pool: "eu".into(), before, now });
        }
        assert_eq!(changes.take().len(), KEPT);
        assert!(changes.take().is_empty());
    }
}
