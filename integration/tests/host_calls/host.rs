//! The host as the filters see it, in memory: what they read is put here, what they do is counted.
//!
//! It answers as Envoy does, with the status numbers of the ABI. An import that is not here traps
//! when it is called: the SDK imports more than the filters use.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;
use wasmi::{Caller, Error, ExternType, Linker, Module, Val};

use crate::guest::{bytes, give, put_u32, put_u64};

pub const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const EMPTY: u32 = 7;
const CAS_MISMATCH: u32 = 8;

pub const REQUEST_HEADERS: u32 = 0;
pub const RESPONSE_HEADERS: u32 = 2;
pub const DOWNSTREAM_DATA: u32 = 2;
pub const UPSTREAM_DATA: u32 = 3;
pub const PLUGIN_CONFIGURATION: u32 = 7;

type Key = Vec<u8>;
type Status = Result<u32, Error>;
type In<'a> = Caller<'a, Host>;

/// See the module's documentation.
#[derive(Default)]
pub struct Host {
    /// How often each import was called, and each export.
    pub calls: BTreeMap<&'static str, u64>,
    /// The monotonic clock.
    pub now_ns: u64,
    pub properties: BTreeMap<Key, Vec<u8>>,
    pub headers: BTreeMap<u32, Vec<(Key, Vec<u8>)>>,
    pub buffers: BTreeMap<u32, Vec<u8>>,
    pub ticks_every_ms: u32,
    pub log: Vec<String>,
    pub metrics: Vec<(String, i64)>,
    pub shared: BTreeMap<Key, (Vec<u8>, u32)>,
    pub queues: Vec<(Key, VecDeque<Vec<u8>>)>,
    pub random: u64,
}

// === impl Host ===

impl Host {
    pub fn count(&mut self, call: &'static str) {
        *self.calls.entry(call).or_default() += 1;
    }

    pub fn header(&self, map: u32, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.get(&map)?.iter();
        headers.find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    pub fn set_headers(&mut self, map: u32, headers: &[(&str, &str)]) {
        let owned =
            headers.iter().map(|(name, value)| (name.bytes().collect(), value.bytes().collect()));
        self.headers.insert(map, owned.collect());
    }

    /// What a metric stands at; 0 where there is none.
    pub fn metric(&self, name: &str) -> i64 {
        self.metrics.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }
}

/// All that the filters call.
pub fn imports(linker: &mut Linker<Host>, module: &Module) -> Result<(), Error> {
    for import in module.imports() {
        if let ExternType::Func(signature) = import.ty() {
            let text = format!("{}.{} is not called", import.module(), import.name());
            linker.func_new(
                import.module(),
                import.name(),
                signature.clone(),
                move |_, _, _| Err(Error::new(text.clone())),
            )?;
        }
    }
    linker.allow_shadowing(true);
    streams(linker)?;
    process(linker)?;
    shared(linker)?;
    wasi(linker)
}

/// Has this import fail as one does that Envoy is not allowed to give the module.
pub fn refuse(linker: &mut Linker<Host>, module: &Module, call: &str) -> Result<(), Error> {
    // What proxy-wasm and WASI call these statuses.
    const INTERNAL_FAILURE: i32 = 10;
    const NOT_CAPABLE: i32 = 76;
    let status = if call.starts_with("proxy_") { INTERNAL_FAILURE } else { NOT_CAPABLE };
    for import in module.imports().filter(|import| import.name() == call) {
        if let ExternType::Func(signature) = import.ty() {
            linker.func_new(import.module(), call, signature.clone(), move |_, _, results| {
                if let Some(result) = results.first_mut() {
                    *result = Val::I32(status);
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// The request, response or connection in hand.
fn streams(linker: &mut Linker<Host>) -> Result<(), Error> {
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut host: In, path: u32, len: u32, value: u32, value_len: u32| {
            host.data_mut().count("proxy_get_property");
            let path = bytes(&host, path, len)?;
            let found = host.data().properties.get(&path).cloned();
            answer(&mut host, found, value, value_len)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |mut host: In, path: u32, len: u32, value: u32, value_len: u32| -> Status {
            host.data_mut().count("proxy_set_property");
            let (path, value) = (bytes(&host, path, len)?, bytes(&host, value, value_len)?);
            host.data_mut().properties.insert(path, value);
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut host: In, map: u32, key: u32, len: u32, value: u32, value_len: u32| {
            host.data_mut().count("proxy_get_header_map_value");
            let key = bytes(&host, key, len)?;
            let headers = host.data().headers.get(&map);
            let found = headers.and_then(|headers| headers.iter().find(|(name, _)| *name == key));
            let found = found.map(|(_, value)| value.clone());
            answer(&mut host, found, value, value_len)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |mut host: In, map: u32, key: u32, len: u32, value: u32, value_len: u32| -> Status {
            host.data_mut().count("proxy_replace_header_map_value");
            let (key, value) = (bytes(&host, key, len)?, bytes(&host, value, value_len)?);
            let headers = host.data_mut().headers.entry(map).or_default();
            match headers.iter_mut().find(|(name, _)| *name == key) {
                Some((_, old)) => *old = value,
                None => headers.push((key, value)),
            }
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut host: In, map: u32, key: u32, len: u32| -> Status {
            host.data_mut().count("proxy_remove_header_map_value");
            let key = bytes(&host, key, len)?;
            host.data_mut().headers.entry(map).or_default().retain(|(name, _)| *name != key);
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut host: In, buffer: u32, start: u32, max: u32, value: u32, value_len: u32| {
            host.data_mut().count("proxy_get_buffer_bytes");
            let all = host.data().buffers.get(&buffer).cloned();
            let part = all.map(|all| {
                let rest = all.get(start as usize..).unwrap_or_default();
                rest.get(..max as usize).unwrap_or(rest).to_vec()
            });
            answer(&mut host, part, value, value_len)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |mut host: In, buffer: u32, start: u32, len: u32, value: u32, value_len: u32| -> Status {
            host.data_mut().count("proxy_set_buffer_bytes");
            let value = bytes(&host, value, value_len)?;
            let all = host.data_mut().buffers.entry(buffer).or_default();
            let start = all.len().min(start as usize);
            let end = all.len().min(start.saturating_add(len as usize));
            all.splice(start..end, value);
            Ok(OK)
        },
    )?;
    counted(linker, "proxy_close_stream")?;
    counted(linker, "proxy_continue_stream")?;
    counted(linker, "proxy_set_effective_context")
}

/// Ticks, log and metrics.
fn process(linker: &mut Linker<Host>) -> Result<(), Error> {
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |mut host: In, period: u32| {
            host.data_mut().count("proxy_set_tick_period_milliseconds");
            host.data_mut().ticks_every_ms = period;
            OK
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut host: In, _: u32, text: u32, len: u32| -> Status {
            host.data_mut().count("proxy_log");
            let text = String::from_utf8_lossy(&bytes(&host, text, len)?).into_owned();
            host.data_mut().log.push(text);
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut host: In, _: u32, name: u32, len: u32, id: u32| -> Status {
            host.data_mut().count("proxy_define_metric");
            let name = String::from_utf8_lossy(&bytes(&host, name, len)?).into_owned();
            let metrics = &mut host.data_mut().metrics;
            let known = metrics.iter().position(|(known, _)| *known == name);
            let index = known.unwrap_or_else(|| {
                metrics.push((name, 0));
                metrics.len() - 1
            });
            put_u32(&mut host, id, u32::try_from(index).unwrap_or(u32::MAX))
        },
    )?;
    linker.func_wrap("env", "proxy_increment_metric", |mut host: In, id: u32, by: i64| {
        host.data_mut().count("proxy_increment_metric");
        let metric = host.data_mut().metrics.get_mut(id as usize);
        metric.map_or(NOT_FOUND, |(_, value)| {
            *value += by;
            OK
        })
    })?;
    Ok(())
}

/// What the VMs of a process share.
fn shared(linker: &mut Linker<Host>) -> Result<(), Error> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut host: In, key: u32, len: u32, value: u32, value_len: u32, cas_at: u32| {
            host.data_mut().count("proxy_get_shared_data");
            let key = bytes(&host, key, len)?;
            let found = host.data().shared.get(&key).cloned();
            put_u32(&mut host, cas_at, found.as_ref().map_or(0, |(_, cas)| *cas))?;
            answer(&mut host, found.map(|(found, _)| found), value, value_len)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |mut host: In, key: u32, len: u32, value: u32, value_len: u32, cas: u32| -> Status {
            host.data_mut().count("proxy_set_shared_data");
            let (key, value) = (bytes(&host, key, len)?, bytes(&host, value, value_len)?);
            let before = host.data().shared.get(&key).map_or(0, |(_, cas)| *cas);
            if cas != 0 && cas != before {
                return Ok(CAS_MISMATCH);
            }
            host.data_mut().shared.insert(key, (value, before + 1));
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_register_shared_queue",
        |mut host: In, name: u32, len: u32, queue: u32| -> Status {
            host.data_mut().count("proxy_register_shared_queue");
            let name = bytes(&host, name, len)?;
            host.data_mut().queues.push((name, VecDeque::new()));
            let index = host.data().queues.len() - 1;
            put_u32(&mut host, queue, u32::try_from(index).unwrap_or(u32::MAX))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_resolve_shared_queue",
        |mut host: In, _: u32, _: u32, name: u32, len: u32, queue: u32| -> Status {
            host.data_mut().count("proxy_resolve_shared_queue");
            let name = bytes(&host, name, len)?;
            match host.data().queues.iter().position(|(known, _)| *known == name) {
                Some(index) => put_u32(&mut host, queue, u32::try_from(index).unwrap_or(u32::MAX)),
                None => Ok(NOT_FOUND),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_enqueue_shared_queue",
        |mut host: In, queue: u32, value: u32, len: u32| -> Status {
            host.data_mut().count("proxy_enqueue_shared_queue");
            let value = bytes(&host, value, len)?;
            let queue = host.data_mut().queues.get_mut(queue as usize);
            Ok(queue.map_or(NOT_FOUND, |(_, waiting)| {
                waiting.push_back(value);
                OK
            }))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_dequeue_shared_queue",
        |mut host: In, queue: u32, value: u32, value_len: u32| -> Status {
            host.data_mut().count("proxy_dequeue_shared_queue");
            let queue = host.data_mut().queues.get_mut(queue as usize);
            match queue.map(|(_, waiting)| waiting.pop_front()) {
                Some(Some(found)) => answer(&mut host, Some(found), value, value_len),
                Some(None) => Ok(EMPTY),
                None => Ok(NOT_FOUND),
            }
        },
    )?;
    Ok(())
}

/// The clock and randomness; the rest is what Rust's library wants at its start.
fn wasi(linker: &mut Linker<Host>) -> Result<(), Error> {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap(WASI, "clock_time_get", |mut host: In, _: u32, _: u64, time: u32| {
        host.data_mut().count("clock_time_get");
        let now_ns = host.data().now_ns;
        put_u64(&mut host, time, now_ns)
    })?;
    linker.func_wrap(WASI, "random_get", |mut host: In, place: u32, len: u32| -> Status {
        host.data_mut().count("random_get");
        for at in place..place + len {
            // Any numbers do, the same in every run.
            let random = host.data().random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            host.data_mut().random = random;
            crate::guest::put(&mut host, at, &random.to_be_bytes()[..1])?;
        }
        Ok(OK)
    })?;
    linker.func_wrap(WASI, "environ_sizes_get", |mut host: In, count: u32, size: u32| {
        host.data_mut().count("environ_sizes_get");
        put_u32(&mut host, count, 0)?;
        put_u32(&mut host, size, 0)
    })?;
    linker.func_wrap(WASI, "environ_get", |mut host: In, _: u32, _: u32| {
        host.data_mut().count("environ_get");
        OK
    })?;
    linker.func_wrap(WASI, "fd_write", |mut host: In, _: u32, _: u32, _: u32, _: u32| {
        host.data_mut().count("fd_write");
        OK
    })?;
    linker.func_wrap(WASI, "proc_exit", |_: In, code: u32| -> Result<(), Error> {
        Err(Error::new(format!("the module exits with {code}")))
    })?;
    Ok(())
}

/// An import of one number that is counted, and does nothing.
fn counted(linker: &mut Linker<Host>, name: &'static str) -> Result<(), Error> {
    linker.func_wrap("env", name, move |mut host: In, _: u32| {
        host.data_mut().count(name);
        OK
    })?;
    Ok(())
}

/// Hands a value to the module, as the ABI has it.
fn answer(host: &mut In, found: Option<Vec<u8>>, value: u32, value_len: u32) -> Status {
    let Some(found) = found else { return Ok(NOT_FOUND) };
    give(host, &found, value, value_len)
}
