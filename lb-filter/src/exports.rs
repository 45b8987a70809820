//! The callbacks that this module has the host make, and no others: each costs time with every
//! request, and those for bodies with each piece of one.

use proxy_host::{Action, Contexts};

use crate::root::Root;
use crate::stream::Stream;

thread_local! {
    static CONTEXTS: Contexts<Root> = const { Contexts::new() };
}

fn contexts<T>(callback: impl FnOnce(&Contexts<Root>) -> T) -> T {
    CONTEXTS.with(callback)
}

proxy_host::export_plugins!(contexts, crate::start);

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(id: u32, _: u32) {
    contexts(|contexts| contexts.plugin(id, |root| root.on_queue_ready()));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _: usize, end_of_stream: bool) -> Action {
    contexts(|contexts| contexts.stream(id, |stream| stream.on_request_headers(end_of_stream)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(id: u32, _: usize, _: bool) -> Action {
    contexts(|contexts| contexts.stream(id, Stream::on_response_headers))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_new_connection(id: u32) -> Action {
    contexts(|contexts| contexts.stream(id, Stream::on_new_connection))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_downstream_data(id: u32, size: usize, end_of_stream: bool) -> Action {
    contexts(|contexts| {
        contexts.stream(id, |stream| stream.on_downstream_data(size, end_of_stream))
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_upstream_data(id: u32, size: usize, _: bool) -> Action {
    contexts(|contexts| contexts.stream(id, |stream| stream.on_upstream_data(size)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_downstream_connection_close(id: u32, _: u32) {
    contexts(|contexts| contexts.stream(id, Stream::on_downstream_close));
}
