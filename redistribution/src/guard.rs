//! Whether an edge does what a close request asks (design, section 6).
//!
//! A node may be faulty, old, or speak of another edge: the edge closes only connections it
//! has, only once, and no more of them than its own limit allows.

use crate::VmToken;
use crate::config::Mode;
use crate::connections::Connections;
use crate::wire::NamedConnection;

/// What becomes of one connection of a close request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its next response closes it.
    Close,
    /// Another VM owns it, and judges.
    HandOver,
    /// It would be closed, but for mode `observe`.
    Observed,
    /// It stays open.
    Refused(Refusal),
}

/// Why a connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The close request is for another load balancer.
    OtherLoadBalancer,
    /// There is no such connection, or no longer.
    UnknownConnection,
    /// It is closing already.
    AlreadyClosing,
    /// The limit of closes per second is reached.
    OverLimit,
}

/// An edge's VM as close requests see it.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// The load balancer's id.
    pub lb: &'a str,
    /// This VM.
    pub vm: VmToken,
    /// Whether closes are done or only counted.
    pub mode: Mode,
}

// === impl Guard ===

impl Guard<'_> {
    /// Judges one connection of a close request for `lb`, and marks it where the verdict is
    /// [`Verdict::Close`]. `take_budget` is asked last, and only for what would be closed.
    #[must_use]
    pub fn judge(
        &self,
        lb: &str,
        named: NamedConnection,
        connections: &Connections,
        take_budget: impl FnOnce() -> bool,
    ) -> Verdict {
        if lb != self.lb {
            return Verdict::Refused(Refusal::OtherLoadBalancer);
        }
        if named.vm != self.vm {
            return Verdict::HandOver;
        }
        let Some(connection) = connections.get(named.id) else {
            return Verdict::Refused(Refusal::UnknownConnection);
        };
        if connection.stage() != crate::connections::Stage::Open {
            return Verdict::Refused(Refusal::AlreadyClosing);
        }
        if self.mode == Mode::Observe {
            return Verdict::Observed;
        }
        if !take_budget() {
            return Verdict::Refused(Refusal::OverLimit);
        }
        if connection.ask() { Verdict::Close } else { Verdict::Refused(Refusal::AlreadyClosing) }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::Timestamp;

    fn vm(number: u64) -> VmToken {
        VmToken::from_random(number)
    }

    fn judge(mode: Mode, lb: &str, owner: u64, connection: u64, budget: bool) -> Vec<Verdict> {
        let mut connections = Connections::default();
        connections.opened(0, 1, Timestamp::default());
        let guard = Guard { lb: "edge-1", vm: vm(1), mode };
        let named = NamedConnection { vm: vm(owner), id: connection };
        // Twice: a request that is repeated must change nothing.
        (0..2).map(|_| guard.judge(lb, named, &connections, || budget)).collect()
    }

    #[test]
    fn each_rule_has_its_verdict() {
        use Mode::{Enforce, Observe};
        use Refusal::{AlreadyClosing, OtherLoadBalancer, OverLimit, UnknownConnection};
        use Verdict::{Close, HandOver, Observed, Refused};
        let cases = [
            (Enforce, "edge-1", 1, 0, true, [Close, Refused(AlreadyClosing)]),
            (Enforce, "edge-1", 1, 0, false, [Refused(OverLimit); 2]),
            (Enforce, "edge-1", 1, 9, true, [Refused(UnknownConnection); 2]),
            (Enforce, "edge-1", 2, 0, true, [HandOver; 2]),
            (Enforce, "edge-2", 1, 0, true, [Refused(OtherLoadBalancer); 2]),
            (Observe, "edge-1", 1, 0, true, [Observed; 2]),
            (Observe, "edge-1", 1, 9, true, [Refused(UnknownConnection); 2]),
        ];
        for (mode, lb, owner, connection, budget, expected) in cases {
            let verdicts = judge(mode, lb, owner, connection, budget);
            assert_eq!(verdicts, expected, "{mode:?} {lb} {owner} {connection} {budget}");
        }
    }
}
