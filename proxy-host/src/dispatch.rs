//! Which context a callback is for.
//!
//! The host numbers plugins (root contexts), and the streams of each: HTTP requests or connections.
//! It names them in every callback. Here a module keeps what it knows of them. Two things differ from
//! the SDK's dispatcher:
//!
//! - Nothing panics. A callback for a context that is not there, or that is busy, gets no answer from
//!   us, and the module answers the host as if it were not there.
//! - There is no export here. The host calls each callback that a module exports for every request,
//!   and some for each piece of a body, needed or not. So each module exports those it needs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::abi::Action;

/// A plugin: a configured filter in one VM (a root context).
pub trait Plugin {
    /// A request, or a connection, as the filter has it.
    type Stream;

    /// Begins without a configuration.
    fn new(id: u32) -> Self;

    /// Takes the configuration, so many bytes long; false refuses it.
    fn on_configure(&mut self, size: usize) -> bool;

    /// Time has passed. `streams` are those of all plugins of the VM.
    fn on_tick(&mut self, streams: &Streams<Self::Stream>);

    /// Begins a stream.
    fn stream(&self, id: u32) -> Self::Stream;
}

/// All contexts of a VM.
pub struct Contexts<P: Plugin> {
    /// A few at most.
    plugins: RefCell<Vec<(u32, P)>>,
    streams: Streams<P::Stream>,
}

/// The streams of all plugins of a VM, by the ids of their contexts.
pub struct Streams<S>(RefCell<HashMap<u32, S, BuildHasherDefault<IdHasher>>>);

/// Spreads ids, which the host counts up: one multiplication instead of a hash.
#[derive(Default)]
pub struct IdHasher(u64);

// === impl Contexts ===

impl<P: Plugin> Contexts<P> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            plugins: RefCell::new(Vec::new()),
            streams: Streams(RefCell::new(HashMap::with_hasher(BuildHasherDefault::new()))),
        }
    }

    /// `proxy_on_context_create`: a plugin, or a stream of the plugin `parent`.
    pub fn create(&self, id: u32, parent: u32) {
        if parent == 0 {
            if let Ok(mut plugins) = self.plugins.try_borrow_mut() {
                plugins.push((id, P::new(id)));
            }
            return;
        }
        let Ok(plugins) = self.plugins.try_borrow() else { return };
        let Some((_, plugin)) = plugins.iter().find(|(known, _)| *known == parent) else { return };
        let stream = plugin.stream(id);
        if let Ok(mut streams) = self.streams.0.try_borrow_mut() {
            streams.insert(id, stream);
        }
    }

    /// `proxy_on_delete`: the context is gone.
    pub fn delete(&self, id: u32) {
        let stream = self.streams.0.try_borrow_mut().ok().and_then(|mut all| all.remove(&id));
        if stream.is_none()
            && let Ok(mut plugins) = self.plugins.try_borrow_mut()
        {
            plugins.retain(|(known, _)| *known != id);
        }
    }

    /// `proxy_on_configure`: whether the plugin takes the configuration.
    pub fn configure(&self, id: u32, size: usize) -> bool {
        self.plugin(id, |plugin| plugin.on_configure(size)).unwrap_or(false)
    }

    /// `proxy_on_tick`.
    pub fn tick(&self, id: u32) {
        self.plugin(id, |plugin| plugin.on_tick(&self.streams));
    }

    /// Has the plugin `id` answer a callback; `None` where it is not there.
    pub fn plugin<T>(&self, id: u32, callback: impl FnOnce(&mut P) -> T) -> Option<T> {
        let mut plugins = self.plugins.try_borrow_mut().ok()?;
        let (_, plugin) = plugins.iter_mut().find(|(known, _)| *known == id)?;
        Some(callback(plugin))
    }

    /// Has the stream `id` answer a callback; it goes on where it is not there.
    pub fn stream(&self, id: u32, callback: impl FnOnce(&mut P::Stream) -> Action) -> Action {
        let Ok(mut streams) = self.streams.0.try_borrow_mut() else { return Action::Continue };
        streams.get_mut(&id).map_or(Action::Continue, callback)
    }
}

impl<P: Plugin> Default for Contexts<P> {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Streams ===

impl<S> Streams<S> {
    /// Calls `visit` for one stream after the other, with the id of its context, until it says no. It must
    /// make no host call that has the host call back for a stream.
    pub fn visit(&self, mut visit: impl FnMut(u32, &mut S) -> bool) {
        if let Ok(mut streams) = self.0.try_borrow_mut() {
            let _ = streams.iter_mut().all(|(id, stream)| visit(*id, stream));
        }
    }
}

// === impl IdHasher ===

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.mix(u64::from(id));
    }
}

impl IdHasher {
    fn mix(&mut self, value: u64) {
        // 2^64 divided by the golden ratio: ids that follow each other come out far apart.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Exports what every module needs: its start, its memory, and its plugins, with the function
/// `$start` for what is to be done before the first of them.
///
/// `$contexts` is a function that runs a closure on the module's [`Contexts`].
#[macro_export]
macro_rules! export_plugins {
    ($contexts:path, $start:path) => {
        #[cfg(target_os = "wasi")]
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }

        #[unsafe(no_mangle)]
        extern "C" fn _initialize() {
            // SAFETY: the linker's own function, called once, before anything else.
            #[cfg(target_os = "wasi")]
            unsafe {
                __wasm_call_ctors();
            }
            $start();
        }

        /// The version of the ABI; it is the name that counts.
        #[unsafe(no_mangle)]
        extern "C" fn proxy_abi_version_0_2_1() {}

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
            $crate::allocate(size)
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_context_create(id: u32, parent: u32) {
            $contexts(|contexts| contexts.create(id, parent));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_configure(id: u32, size: usize) -> bool {
            $contexts(|contexts| contexts.configure(id, size))
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_tick(id: u32) {
            $contexts(|contexts| contexts.tick(id));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_delete(id: u32) {
            $contexts(|contexts| contexts.delete(id));
        }
    };
}
