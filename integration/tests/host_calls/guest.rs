//! The module's memory, from within a host call.

use wasmi::{Caller, Error, Extern, Memory};

use crate::host::{Host, OK};

fn memory(host: &Caller<'_, Host>) -> Result<Memory, Error> {
    let memory = host.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| Error::new("the module exports no memory"))
}

/// What stands there.
pub fn bytes(host: &Caller<'_, Host>, at: u32, len: u32) -> Result<Vec<u8>, Error> {
    let mut read = vec![0; len as usize];
    memory(host)?.read(host, at as usize, &mut read)?;
    Ok(read)
}

/// Puts bytes there.
pub fn put(host: &mut Caller<'_, Host>, at: u32, value: &[u8]) -> Result<u32, Error> {
    memory(host)?.write(host, at as usize, value)?;
    Ok(OK)
}

pub fn put_u32(host: &mut Caller<'_, Host>, at: u32, value: u32) -> Result<u32, Error> {
    put(host, at, &value.to_le_bytes())
}

pub fn put_u64(host: &mut Caller<'_, Host>, at: u32, value: u64) -> Result<u32, Error> {
    put(host, at, &value.to_le_bytes())
}

/// Puts a value into memory that the module is asked for, and says where.
pub fn give(host: &mut Caller<'_, Host>, value: &[u8], at: u32, len_at: u32) -> Result<u32, Error> {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    let mut place = 0;
    if len > 0 {
        const ALLOCATE: &str = "proxy_on_memory_allocate";
        host.data_mut().count(ALLOCATE);
        let allocate = host.get_export(ALLOCATE).and_then(Extern::into_func);
        let allocate = allocate.ok_or_else(|| Error::new("the module gives no memory"))?;
        place = allocate.typed::<u32, u32>(&mut *host)?.call(&mut *host, len)?;
        put(host, place, value)?;
    }
    put_u32(host, at, place)?;
    put_u32(host, len_at, len)
}
