//! The short form of fuzzing the node's filter: see README.md for the long one.

use fuzz::corpus::replay;

#[test]
fn a_node_lives_through_whatever_happens_and_asks_for_no_more_than_it_may() {
    let module = fuzz::module!(node_filter_native);
    replay("node_callbacks", 3_000, |data| fuzz::node::check(module, data));
}
