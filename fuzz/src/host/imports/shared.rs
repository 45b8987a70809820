//! Host calls on what the VMs of a process share.

use std::sync::Arc;

use super::super::{CAS_MISMATCH, EMPTY, NOT_FOUND, OK, Process, Shared, with};
use super::{answer, bytes, give};

/// What is shared, once it is this VM's turn.
fn shared(what: Shared, key: &[u8]) -> Result<Arc<Process>, u32> {
    let on_shared = with(|host| if host.trapped { None } else { host.on_shared.take() });
    if let Some(on_shared) = on_shared {
        let goes_on = on_shared(what, key);
        with(|host| {
            host.trapped |= !goes_on;
            host.on_shared = Some(on_shared);
        });
    }
    with(|host| match host.status() {
        OK => Ok(Arc::clone(&host.process)),
        status => Err(status),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_shared_data(
    key: *const u8,
    key_len: usize,
    value: *mut *mut u8,
    value_len: *mut usize,
    cas: *mut u32,
) -> u32 {
    let key = unsafe { bytes(key, key_len) };
    let found = shared(Shared::GetData, key).and_then(|process| {
        process.lock().get(key).map(|(data, cas)| (data.to_vec(), cas)).ok_or(NOT_FOUND)
    });
    match found {
        Ok((data, current)) => unsafe {
            cas.write(current);
            give(&data, value, value_len)
        },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_shared_data(
    key: *const u8,
    key_len: usize,
    value: *const u8,
    value_len: usize,
    cas: u32,
) -> u32 {
    let (key, value) = unsafe { (bytes(key, key_len), bytes(value, value_len)) };
    match shared(Shared::SetData, key) {
        Ok(process) if process.lock().set(key, value, cas) => OK,
        Ok(_) => CAS_MISMATCH,
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_register_shared_queue(
    name: *const u8,
    name_len: usize,
    queue: *mut u32,
) -> u32 {
    let name = unsafe { bytes(name, name_len) };
    match shared(Shared::Register, name) {
        Ok(process) => {
            unsafe { queue.write(process.lock().register(name)) };
            OK
        }
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_resolve_shared_queue(
    _: *const u8,
    _: usize,
    name: *const u8,
    name_len: usize,
    queue: *mut u32,
) -> u32 {
    let name = unsafe { bytes(name, name_len) };
    match shared(Shared::Resolve, name)
        .and_then(|process| process.lock().resolve(name).ok_or(NOT_FOUND))
    {
        Ok(number) => {
            unsafe { queue.write(number) };
            OK
        }
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_enqueue_shared_queue(
    queue: u32,
    value: *const u8,
    value_len: usize,
) -> u32 {
    let value = unsafe { bytes(value, value_len) };
    let status = shared(Shared::Enqueue, &[]).and_then(|process| {
        let mut process = process.lock();
        process.queue(queue).ok_or(NOT_FOUND)?.messages.push_back(value.to_vec());
        Ok(())
    });
    match status {
        Ok(()) => {
            with(|host| host.enqueued += 1);
            OK
        }
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_dequeue_shared_queue(
    queue: u32,
    value: *mut *mut u8,
    value_len: *mut usize,
) -> u32 {
    let message = shared(Shared::Dequeue, &[]).and_then(|process| {
        let mut process = process.lock();
        process.queue(queue).ok_or(NOT_FOUND)?.messages.pop_front().ok_or(EMPTY)
    });
    if message.is_ok() {
        with(|host| host.dequeued += 1);
    }
    unsafe { answer(message, value, value_len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_time_get(_: u32, _: u64, time: *mut u64) -> u16 {
    match shared(Shared::Clock, &[]) {
        Ok(process) => {
            unsafe { time.write(process.lock().now_ns) };
            0
        }
        // EINVAL of WASI.
        Err(_) => 28,
    }
}
