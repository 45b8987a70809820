//! See the library's documentation.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::edge::check(fuzz::module!(lb_filter_native), data);
});
