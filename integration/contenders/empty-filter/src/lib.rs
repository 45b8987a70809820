//! The empty HTTP filter, as the Rust SDK has it: a context for each request, and its default for
//! every callback. What it costs is what a filter written with the SDK costs before it does anything.

#![allow(
    missing_docs,
    reason = "a cdylib has no API to document: its only public item is made by the SDK's macro"
)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Empty))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Empty;

impl Context for Empty {}

impl HttpContext for Empty {}
