//! The callbacks that this module has the host make, and no others: each costs time with every
//! request, and those for bodies with each piece of one.

use proxy_host::{Action, Contexts};

use crate::root::Root;

thread_local! {
    static CONTEXTS: Contexts<Root> = const { Contexts::new() };
}

fn contexts<T>(callback: impl FnOnce(&Contexts<Root>) -> T) -> T {
    CONTEXTS.with(callback)
}

proxy_host::export_plugins!(contexts, crate::start);

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _: usize, _: bool) -> Action {
    contexts(|contexts| contexts.stream(id, crate::http::Http::on_request_headers))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(id: u32, _: usize, _: bool) -> Action {
    contexts(|contexts| contexts.stream(id, crate::http::Http::on_response_headers))
}
