//! See the library's documentation.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config::check_lb(data));
