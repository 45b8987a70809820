//! The imports, and turning what they return into values.

use std::fmt;

use crate::Result;

/// Why a host call did not do what was asked. Status 0, ok, is `Ok(_)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is no such header, property, key or queue.
    NotFound,
    /// The host does not take these arguments, or not in this callback.
    BadArgument,
    /// The queue is empty.
    Empty,
    /// Somebody else wrote first.
    CasMismatch,
    /// Any other status, by its number.
    Other(u32),
}

/// Buffers that can be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BufferType {
    /// Bytes that came from the downstream peer.
    DownstreamData = 2,
    /// Bytes on their way to the downstream peer: of a network filter's point of view, from upstream.
    UpstreamData = 3,
    /// The plugin's configuration.
    PluginConfiguration = 7,
}

/// Header maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapType {
    /// Of the request.
    RequestHeaders = 0,
    /// Of the response.
    ResponseHeaders = 2,
}

/// What the host is to do with what it has shown us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// Pass it on.
    Continue = 0,
    /// Keep it, until it is told to resume.
    Pause = 1,
}

// === impl Status ===

impl Status {
    /// The result that the number `status` stands for.
    pub(crate) fn check(status: u32) -> Result<()> {
        Err(match status {
            0 => return Ok(()),
            1 => Self::NotFound,
            2 => Self::BadArgument,
            7 => Self::Empty,
            8 => Self::CasMismatch,
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found"),
            Self::BadArgument => f.write_str("bad argument"),
            Self::Empty => f.write_str("empty"),
            Self::CasMismatch => f.write_str("compare-and-swap mismatch"),
            Self::Other(status) => write!(f, "status {status}"),
        }
    }
}

impl std::error::Error for Status {}

/// Memory of `size` bytes, for the host to put a value in: what [`returned`] takes over.
#[must_use]
pub fn allocate(size: usize) -> *mut u8 {
    Box::into_raw(vec![0_u8; size].into_boxed_slice()).cast()
}

/// Calls `get` with places for the address and length of a value, and takes the value over.
pub(crate) fn returned(get: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>> {
    let (mut data, mut len) = (std::ptr::null_mut(), 0);
    Status::check(get(&raw mut data, &raw mut len))?;
    if data.is_null() || len == 0 {
        return Ok(Vec::new());
    }
    let slice = std::ptr::slice_from_raw_parts_mut(data, len);
    // SAFETY: the host has put the value into memory it got from our `proxy_on_memory_allocate`,
    // a boxed slice of exactly `len` bytes, and gives it up.
    Ok(unsafe { Box::from_raw(slice) }.into_vec())
}

pub(crate) mod import {
    unsafe extern "C" {
        pub fn proxy_log(level: u32, message: *const u8, message_len: usize) -> u32;
        pub fn proxy_get_property(
            path: *const u8,
            path_len: usize,
            value: *mut *mut u8,
            value_len: *mut usize,
        ) -> u32;
        pub fn proxy_set_property(
            path: *const u8,
            path_len: usize,
            value: *const u8,
            value_len: usize,
        ) -> u32;
        pub fn proxy_get_header_map_value(
            map: u32,
            key: *const u8,
            key_len: usize,
            value: *mut *mut u8,
            value_len: *mut usize,
        ) -> u32;
        pub fn proxy_replace_header_map_value(
            map: u32,
            key: *const u8,
            key_len: usize,
            value: *const u8,
            value_len: usize,
        ) -> u32;
        pub fn proxy_remove_header_map_value(map: u32, key: *const u8, key_len: usize) -> u32;
        pub fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            max: usize,
            value: *mut *mut u8,
            value_len: *mut usize,
        ) -> u32;
        pub fn proxy_set_buffer_bytes(
            buffer: u32,
            start: usize,
            len: usize,
            value: *const u8,
            value_len: usize,
        ) -> u32;
        pub fn proxy_close_stream(stream: u32) -> u32;
        pub fn proxy_continue_stream(stream: u32) -> u32;
        pub fn proxy_set_effective_context(context: u32) -> u32;
        pub fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub fn proxy_define_metric(
            kind: u32,
            name: *const u8,
            name_len: usize,
            id: *mut u32,
        ) -> u32;
        pub fn proxy_increment_metric(id: u32, by: i64) -> u32;
        pub fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub fn proxy_get_shared_data(
            key: *const u8,
            key_len: usize,
            value: *mut *mut u8,
            value_len: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub fn proxy_set_shared_data(
            key: *const u8,
            key_len: usize,
            value: *const u8,
            value_len: usize,
            cas: u32,
        ) -> u32;
        pub fn proxy_register_shared_queue(
            name: *const u8,
            name_len: usize,
            queue: *mut u32,
        ) -> u32;
        pub fn proxy_resolve_shared_queue(
            vm_id: *const u8,
            vm_id_len: usize,
            name: *const u8,
            name_len: usize,
            queue: *mut u32,
        ) -> u32;
        pub fn proxy_enqueue_shared_queue(queue: u32, value: *const u8, value_len: usize) -> u32;
        pub fn proxy_dequeue_shared_queue(
            queue: u32,
            value: *mut *mut u8,
            value_len: *mut usize,
        ) -> u32;
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        pub fn clock_time_get(id: u32, precision: u64, time: *mut u64) -> u16;
    }
}
