//! The short form of fuzzing what is read: see README.md for the long one.

use fuzz::corpus::replay;

#[test]
fn a_stamp_is_read_and_written_alike() {
    replay("stamp", 5_000, fuzz::stamp::check);
}

#[test]
fn a_close_request_is_read_and_written_alike() {
    replay("close_request", 5_000, fuzz::close_request::check);
}

#[test]
fn a_configuration_of_an_edge_is_taken_within_bounds_or_refused_in_words() {
    replay("lb_config", 5_000, fuzz::config::check_lb);
}

#[test]
fn a_configuration_of_a_node_is_taken_within_bounds_or_refused_in_words() {
    replay("node_config", 5_000, fuzz::config::check_node);
}

#[test]
fn an_http1_head_says_close_and_all_else_stays() {
    replay("http1", 5_000, fuzz::http1::check);
}

#[test]
fn http2_frames_are_followed_in_whatever_pieces() {
    replay("http2", 5_000, fuzz::http2::check);
}
