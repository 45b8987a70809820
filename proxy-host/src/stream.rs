//! The request, response or connection in hand.

use crate::abi::{BufferType, MapType, import, returned};
use crate::{Result, Status};

/// `proxy_stream_type` of the downstream side of a connection.
const DOWNSTREAM: u32 = 2;

/// The value of a property; the parts of a path of several are joined by NUL.
///
/// # Errors
/// [`Status::NotFound`] if there is none.
pub fn get_property(path: &[u8]) -> Result<Vec<u8>> {
    // SAFETY: the path and the places for the answer outlive the call.
    returned(|value, len| unsafe {
        import::proxy_get_property(path.as_ptr(), path.len(), value, len)
    })
}

/// Sets filter state: other filters of the stream find it as `wasm.PATH`.
///
/// # Errors
/// What the host says.
pub fn set_property(path: &[u8], value: &[u8]) -> Result<()> {
    // SAFETY: path and value outlive the call.
    Status::check(unsafe {
        import::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len())
    })
}

/// The first value of a header.
///
/// # Errors
/// [`Status::NotFound`] if the header is absent.
pub fn get_header(map: MapType, name: &str) -> Result<Vec<u8>> {
    // SAFETY: the name and the places for the answer outlive the call.
    returned(|value, len| unsafe {
        import::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), value, len)
    })
}

/// Sets a header, in place of the first one of that name if there is one.
///
/// # Errors
/// What the host says.
pub fn replace_header(map: MapType, name: &str, value: &[u8]) -> Result<()> {
    // SAFETY: name and value outlive the call.
    Status::check(unsafe {
        import::proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes all headers of that name, if there are any.
///
/// # Errors
/// What the host says.
pub fn remove_header(map: MapType, name: &str) -> Result<()> {
    // SAFETY: the name outlives the call.
    Status::check(unsafe {
        import::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len())
    })
}

/// Up to `max` bytes of a buffer, from `start`.
///
/// # Errors
/// What the host says.
pub fn get_buffer(buffer: BufferType, start: usize, max: usize) -> Result<Vec<u8>> {
    // SAFETY: the places for the answer outlive the call.
    returned(|value, len| unsafe {
        import::proxy_get_buffer_bytes(buffer as u32, start, max, value, len)
    })
}

/// Puts `value` behind all that a buffer holds.
///
/// # Errors
/// What the host says.
pub fn append_buffer(buffer: BufferType, value: &[u8]) -> Result<()> {
    // A start behind the end is what means that.
    // SAFETY: the value outlives the call.
    Status::check(unsafe {
        import::proxy_set_buffer_bytes(buffer as u32, usize::MAX, 0, value.as_ptr(), value.len())
    })
}

/// Puts `value` in place of the first `replace` bytes of a buffer.
///
/// # Errors
/// What the host says.
pub fn set_buffer(buffer: BufferType, replace: usize, value: &[u8]) -> Result<()> {
    // SAFETY: the value outlives the call.
    Status::check(unsafe {
        import::proxy_set_buffer_bytes(buffer as u32, 0, replace, value.as_ptr(), value.len())
    })
}

/// Closes the downstream connection of the effective context, after what is written is flushed.
///
/// # Errors
/// What the host says.
pub fn close_downstream() -> Result<()> {
    // SAFETY: plain numbers.
    Status::check(unsafe { import::proxy_close_stream(DOWNSTREAM) })
}

/// Lets through what a callback of the downstream side has held back by `Action::Pause`.
///
/// # Errors
/// What the host says.
pub fn resume_downstream() -> Result<()> {
    // SAFETY: plain numbers.
    Status::check(unsafe { import::proxy_continue_stream(DOWNSTREAM) })
}

/// Makes the following host calls act on the stream or connection of `context`.
///
/// # Errors
/// [`Status::BadArgument`] if there is no such context.
pub fn set_effective_context(context: u32) -> Result<()> {
    // SAFETY: plain numbers.
    Status::check(unsafe { import::proxy_set_effective_context(context) })
}

/// Asks for `on_tick` of the calling root context every `period` milliseconds.
///
/// # Errors
/// What the host says.
pub fn set_tick_period(period: u32) -> Result<()> {
    // SAFETY: plain numbers.
    Status::check(unsafe { import::proxy_set_tick_period_milliseconds(period) })
}
