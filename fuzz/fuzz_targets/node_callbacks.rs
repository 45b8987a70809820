//! See the library's documentation.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::node::check(fuzz::module!(node_filter_native), data);
});
