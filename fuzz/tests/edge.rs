//! The short form of fuzzing the edge's filter: see README.md for the long one.

use fuzz::corpus::replay;

#[test]
fn an_edge_lives_through_whatever_happens_and_nobody_waits_for_ever() {
    let module = fuzz::module!(lb_filter_native);
    replay("lb_callbacks", 3_000, |data| fuzz::edge::check(module, data));
}
