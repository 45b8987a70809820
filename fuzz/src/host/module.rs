//! The callbacks of a module.

/// Those that a filter exports. Two filters export the same names, so a program can have only one
/// of them: whoever links it says which, by [`module!`](crate::module).
#[derive(Clone, Copy)]
pub struct Module {
    pub initialize: extern "C" fn(),
    pub memory_allocate: extern "C" fn(usize) -> *mut u8,
    pub context_create: extern "C" fn(u32, u32),
    pub configure: extern "C" fn(u32, usize) -> bool,
    pub tick: extern "C" fn(u32),
    pub delete: extern "C" fn(u32),
    pub request_headers: extern "C" fn(u32, usize, bool) -> u32,
    pub response_headers: extern "C" fn(u32, usize, bool) -> u32,
    /// Not a callback: makes this thread another VM, once all contexts are deleted.
    pub forget: fn(),
    /// Those of `lb_filter.wasm` only.
    pub edge: Option<EdgeCallbacks>,
}

/// See [`Module::edge`].
#[derive(Clone, Copy)]
pub struct EdgeCallbacks {
    pub queue_ready: extern "C" fn(u32, u32),
    pub new_connection: extern "C" fn(u32) -> u32,
    pub downstream_data: extern "C" fn(u32, usize, bool) -> u32,
    pub upstream_data: extern "C" fn(u32, usize, bool) -> u32,
    pub downstream_connection_close: extern "C" fn(u32, u32),
}

// === impl Module ===

impl Module {
    /// The callbacks of `lb_filter.wasm`.
    ///
    /// # Panics
    /// With another filter.
    #[must_use]
    pub fn edge(&self) -> EdgeCallbacks {
        self.edge.expect("this is the edge's filter")
    }
}

/// The callbacks of the filter that is linked: `module!(lb_filter_native)`.
#[macro_export]
macro_rules! module {
    (lb_filter_native) => {{
        unsafe extern "C" {
            safe fn proxy_on_queue_ready(id: u32, queue: u32);
            safe fn proxy_on_new_connection(id: u32) -> u32;
            safe fn proxy_on_downstream_data(id: u32, size: usize, end: bool) -> u32;
            safe fn proxy_on_upstream_data(id: u32, size: usize, end: bool) -> u32;
            safe fn proxy_on_downstream_connection_close(id: u32, peer: u32);
        }
        let edge = $crate::host::EdgeCallbacks {
            queue_ready: proxy_on_queue_ready,
            new_connection: proxy_on_new_connection,
            downstream_data: proxy_on_downstream_data,
            upstream_data: proxy_on_upstream_data,
            downstream_connection_close: proxy_on_downstream_connection_close,
        };
        $crate::module!(with Some(edge), lb_filter_native::forget)
    }};
    (node_filter_native) => {{
        // What it keeps is in its contexts.
        use node_filter_native as _;
        $crate::module!(with None, || {})
    }};
    (with $edge:expr, $forget:expr) => {{
        unsafe extern "C" {
            safe fn _initialize();
            safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
            safe fn proxy_on_context_create(id: u32, parent: u32);
            safe fn proxy_on_configure(id: u32, size: usize) -> bool;
            safe fn proxy_on_tick(id: u32);
            safe fn proxy_on_delete(id: u32);
            safe fn proxy_on_request_headers(id: u32, headers: usize, end: bool) -> u32;
            safe fn proxy_on_response_headers(id: u32, headers: usize, end: bool) -> u32;
        }
        $crate::host::Module {
            initialize: _initialize,
            memory_allocate: proxy_on_memory_allocate,
            context_create: proxy_on_context_create,
            configure: proxy_on_configure,
            tick: proxy_on_tick,
            delete: proxy_on_delete,
            request_headers: proxy_on_request_headers,
            response_headers: proxy_on_response_headers,
            forget: $forget,
            edge: $edge,
        }
    }};
}
