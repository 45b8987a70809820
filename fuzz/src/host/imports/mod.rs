//! The host calls that the filters make.
//!
//! What a filter gives are addresses in its memory, which here is this program's: each call is as
//! safe as what the filter gives is right. Nothing here holds on to the host while it calls back.

mod shared;

use super::{
    BAD_ARGUMENT, CONFIGURATION, DOWNSTREAM, Headers, Host, NOT_FOUND, OK, REQUEST, RESPONSE,
    Stream, UPSTREAM, call, with,
};

/// # Safety
/// `data` has to be the address of `len` bytes.
unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// Gives `value` to the module, in memory that the module has made for it.
///
/// # Safety
/// `to` and `to_len` have to be places for an address and a length.
unsafe fn give(value: &[u8], to: *mut *mut u8, to_len: *mut usize) -> u32 {
    // An empty value is given without memory, as Envoy does.
    let data = if value.is_empty() {
        std::ptr::null_mut()
    } else {
        let data = (with(|host| host.module).memory_allocate)(value.len());
        unsafe { data.copy_from_nonoverlapping(value.as_ptr(), value.len()) };
        data
    };
    unsafe {
        to.write(data);
        to_len.write(value.len());
    }
    OK
}

/// Does a host call, unless it is to fail.
fn unless_failing(act: impl FnOnce(&mut Host) -> u32) -> u32 {
    with(|host| match host.status() {
        OK => act(host),
        status => status,
    })
}

fn found(found: Option<Vec<u8>>) -> Result<Vec<u8>, u32> {
    found.ok_or(NOT_FOUND)
}

/// A value for the module, or why there is none.
fn asked(act: impl FnOnce(&mut Host) -> Result<Vec<u8>, u32>) -> Result<Vec<u8>, u32> {
    with(|host| match host.status() {
        OK => act(host),
        status => Err(status),
    })
}

/// # Safety
/// As of [`give`].
unsafe fn answer(value: Result<Vec<u8>, u32>, to: *mut *mut u8, to_len: *mut usize) -> u32 {
    match value {
        Ok(value) => unsafe { give(&value, to, to_len) },
        Err(status) => status,
    }
}

fn headers(stream: &mut Stream, map: u32) -> Option<&mut Headers> {
    match map {
        REQUEST => Some(&mut stream.request),
        RESPONSE => Some(&mut stream.response),
        _ => None,
    }
}

fn buffer(host: &mut Host, number: u32) -> Option<&mut Vec<u8>> {
    match number {
        CONFIGURATION => Some(&mut host.configuration),
        DOWNSTREAM => host.stream().map(|stream| &mut stream.downstream),
        UPSTREAM => host.stream().map(|stream| &mut stream.upstream),
        _ => None,
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_log(_: u32, _: *const u8, _: usize) -> u32 {
    unless_failing(|_| OK)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_property(
    path: *const u8,
    path_len: usize,
    value: *mut *mut u8,
    value_len: *mut usize,
) -> u32 {
    let path = unsafe { bytes(path, path_len) };
    let property = asked(|host| {
        found(match path {
            b"connection\0id" => host.stream().map(|stream| stream.connection.clone()),
            b"request\0protocol" => host.stream().map(|stream| stream.protocol.clone()),
            b"plugin_vm_id" | b"plugin_name" => Some(b"spillway".to_vec()),
            b"xds\0node\0id" => Some(b"edge-1".to_vec()),
            _ => None,
        })
    });
    unsafe { answer(property, value, value_len) }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_property(_: *const u8, _: usize, _: *const u8, _: usize) -> u32 {
    unless_failing(|host| if host.stream().is_some() { OK } else { BAD_ARGUMENT })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_value(
    map: u32,
    key: *const u8,
    key_len: usize,
    value: *mut *mut u8,
    value_len: *mut usize,
) -> u32 {
    let key = unsafe { bytes(key, key_len) };
    let header = asked(|host| {
        let stream = host.stream().ok_or(BAD_ARGUMENT)?;
        let map = headers(stream, map).ok_or(BAD_ARGUMENT)?;
        found(map.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()))
    });
    unsafe { answer(header, value, value_len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_replace_header_map_value(
    map: u32,
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
) -> u32 {
    let (key, value) = unsafe { (bytes(key, key_len), bytes(value, value_len)) };
    unless_failing(|host| {
        let Some(map) = host.stream().and_then(|stream| headers(stream, map)) else {
            return BAD_ARGUMENT;
        };
        match map.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value.to_vec(),
            None => map.push((key.to_vec(), value.to_vec())),
        }
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_remove_header_map_value(
    map: u32,
    key: *const u8,
    key_len: usize,
) -> u32 {
    let key = unsafe { bytes(key, key_len) };
    unless_failing(|host| {
        let Some(map) = host.stream().and_then(|stream| headers(stream, map)) else {
            return BAD_ARGUMENT;
        };
        map.retain(|(name, _)| name != key);
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_buffer_bytes(
    number: u32,
    start: usize,
    max: usize,
    value: *mut *mut u8,
    value_len: *mut usize,
) -> u32 {
    let part = asked(|host| {
        let all = buffer(host, number).ok_or(NOT_FOUND)?;
        let rest = all.get(start..).unwrap_or_default();
        Ok(rest.get(..max).unwrap_or(rest).to_vec())
    });
    unsafe { answer(part, value, value_len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_buffer_bytes(
    number: u32,
    start: usize,
    len: usize,
    value: *const u8,
    value_len: usize,
) -> u32 {
    let value = unsafe { bytes(value, value_len) };
    unless_failing(|host| {
        let Some(all) = buffer(host, number) else {
            return BAD_ARGUMENT;
        };
        let start = all.len().min(start);
        let end = all.len().min(start.saturating_add(len));
        all.splice(start..end, value.iter().copied());
        OK
    })
}

/// Envoy tells of a close within this very call.
#[unsafe(no_mangle)]
extern "C" fn proxy_close_stream(_: u32) -> u32 {
    let closed = with(|host| match host.status() {
        OK => {
            let id = host.effective;
            let stream = host.stream().ok_or(BAD_ARGUMENT)?;
            Ok(Some(id).filter(|_| !std::mem::replace(&mut stream.closed, true)))
        }
        status => Err(status),
    });
    match closed {
        Ok(Some(id)) => {
            call(id, |module| {
                if let Some(edge) = module.edge {
                    (edge.downstream_connection_close)(id, 1);
                }
            });
            OK
        }
        Ok(None) => OK,
        Err(status) => status,
    }
}

/// Envoy passes on what was held back within this very call, and its codec may write at once.
#[unsafe(no_mangle)]
extern "C" fn proxy_continue_stream(_: u32) -> u32 {
    let resumed = with(|host| match host.status() {
        OK => {
            let id = host.effective;
            let stream = host.stream().ok_or(BAD_ARGUMENT)?;
            let held = std::mem::take(&mut stream.downstream);
            stream.let_through.extend_from_slice(&held);
            Ok((id, held))
        }
        status => Err(status),
    });
    match resumed {
        Ok((id, held)) => {
            (with(|host| host.on_resumed))(id, &held);
            OK
        }
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_effective_context(context: u32) -> u32 {
    // Any number is one of a context here: of which none is there any more, calls find nothing.
    unless_failing(|host| {
        host.effective = context;
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_tick_period_milliseconds(_: u32) -> u32 {
    unless_failing(|_| OK)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_define_metric(
    _: u32,
    name: *const u8,
    name_len: usize,
    id: *mut u32,
) -> u32 {
    let name = String::from_utf8_lossy(unsafe { bytes(name, name_len) });
    unless_failing(|host| {
        let index = host.metrics.iter().position(|(known, _)| *known == name);
        let index = index.unwrap_or_else(|| {
            host.metrics.push((name.into_owned(), 0));
            host.metrics.len() - 1
        });
        unsafe { id.write(u32::try_from(index).expect("there are few")) };
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_increment_metric(id: u32, by: i64) -> u32 {
    unless_failing(|host| match host.metrics.get_mut(id as usize) {
        Some((_, value)) => {
            *value = value.wrapping_add(by);
            OK
        }
        None => BAD_ARGUMENT,
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_record_metric(id: u32, to: u64) -> u32 {
    unless_failing(|host| match host.metrics.get_mut(id as usize) {
        Some((_, value)) => {
            *value = to.cast_signed();
            OK
        }
        None => BAD_ARGUMENT,
    })
}
