//! A VM with a filter in it, called as Envoy calls it: each callback that the module exports, in
//! Envoy's order, and none that it does not.

use anyhow::{Context, Result, bail};
use integration::artifacts::filters;
use wasmi::{Engine, Instance, Linker, Module, Store, Val};

use crate::host::{Host, PLUGIN_CONFIGURATION, REQUEST_HEADERS, RESPONSE_HEADERS, imports, refuse};

/// See the module's documentation.
pub struct Vm {
    store: Store<Host>,
    instance: Instance,
    roots: Vec<u32>,
    contexts: u32,
}

/// A request with its response.
pub struct Exchange<'a> {
    pub request: &'a [(&'a str, &'a str)],
    pub request_body: &'a [usize],
    pub response: &'a [(&'a str, &'a str)],
    pub response_body: &'a [usize],
}

/// The file of a module.
pub fn wasm(module: &str) -> Result<Vec<u8>> {
    let path = filters()?.directory.join(module);
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

// === impl Vm ===

impl Vm {
    /// Loads a module and starts it.
    pub fn start(module: &str) -> Result<Self> {
        Self::start_without(module, None)
    }

    /// The same, in a host that refuses one of the calls, as Envoy does those that are not allowed.
    pub fn start_without(module: &str, call: Option<&str>) -> Result<Self> {
        let engine = Engine::default();
        let loaded = Module::new(&engine, wasm(module)?)?;
        let mut linker = Linker::new(&engine);
        imports(&mut linker, &loaded)?;
        if let Some(call) = call {
            refuse(&mut linker, &loaded, call)?;
        }
        // Not at 0: a clock of a machine that runs.
        let host = Host { now_ns: 1_000_000_000_000, ..Host::default() };
        let mut store = Store::new(&engine, host);
        let instance = linker.instantiate_and_start(&mut store, &loaded)?;
        let mut vm = Self { store, instance, roots: Vec::new(), contexts: 0 };
        if vm.call("_initialize", &[])?.is_none() {
            vm.call("_start", &[])?;
        }
        Ok(vm)
    }

    /// Makes a root context: a filter with this configuration.
    pub fn configure(&mut self, configuration: &str) -> Result<u32> {
        self.configure_by(configuration.as_bytes())
    }

    /// Makes a root context with these bytes as its configuration.
    ///
    /// # Errors
    /// The filter refuses it.
    pub fn configure_by(&mut self, configuration: &[u8]) -> Result<u32> {
        let root = self.new_context(0)?;
        let size = i32::try_from(configuration.len())?;
        self.host().buffers.insert(PLUGIN_CONFIGURATION, configuration.into());
        for (callback, size) in [("proxy_on_vm_start", 0), ("proxy_on_configure", size)] {
            let taken = self.call(callback, &[Val::I32(number(root)), Val::I32(size)])?;
            if taken == Some(0) {
                bail!("{callback} refused: {:?}", self.host().log);
            }
        }
        self.roots.push(root);
        Ok(root)
    }

    /// Lets time pass from one tick to the next.
    pub fn tick(&mut self) -> Result<()> {
        self.host().now_ns += u64::from(self.host().ticks_every_ms) * 1_000_000;
        for root in self.roots.clone() {
            self.call("proxy_on_tick", &[Val::I32(number(root))])?;
        }
        Ok(())
    }

    /// A request and its response pass the HTTP filter `root`.
    pub fn exchange(&mut self, root: u32, exchange: &Exchange<'_>) -> Result<()> {
        let stream = self.new_context(root)?;
        self.half(stream, "request", REQUEST_HEADERS, exchange.request, exchange.request_body)?;
        self.half(stream, "response", RESPONSE_HEADERS, exchange.response, exchange.response_body)?;
        self.end(stream)
    }

    fn half(
        &mut self,
        stream: u32,
        which: &str,
        map: u32,
        headers: &[(&str, &str)],
        body: &[usize],
    ) -> Result<()> {
        self.host().set_headers(map, headers);
        let (headers_callback, body_callback) = match which {
            "request" => ("proxy_on_request_headers", "proxy_on_request_body"),
            _ => ("proxy_on_response_headers", "proxy_on_response_body"),
        };
        let ends = i32::from(body.is_empty());
        let count = i32::try_from(headers.len())?;
        self.goes_on(headers_callback, stream, count, ends)?;
        for (n, chunk) in body.iter().enumerate() {
            let ends = i32::from(n + 1 == body.len());
            self.goes_on(body_callback, stream, i32::try_from(*chunk)?, ends)?;
        }
        Ok(())
    }

    /// A callback that must not hold up anything.
    fn goes_on(
        &mut self,
        callback: &'static str,
        context: u32,
        size: i32,
        ends: i32,
    ) -> Result<()> {
        let arguments = [Val::I32(number(context)), Val::I32(size), Val::I32(ends)];
        match self.call(callback, &arguments)? {
            None | Some(0) => Ok(()),
            Some(action) => bail!("{callback} answers {action}, not to continue"),
        }
    }

    /// A connection is accepted; its context.
    pub fn connect(&mut self, root: u32) -> Result<u32> {
        let connection = self.new_context(root)?;
        self.call("proxy_on_new_connection", &[Val::I32(number(connection))])?;
        Ok(connection)
    }

    /// Bytes come from the client.
    pub fn read(&mut self, connection: u32, bytes: &[u8]) -> Result<()> {
        self.pass("proxy_on_downstream_data", crate::host::DOWNSTREAM_DATA, connection, bytes)?;
        Ok(())
    }

    /// Bytes leave for the client; what leaves in the end.
    pub fn write(&mut self, connection: u32, bytes: &[u8]) -> Result<Vec<u8>> {
        self.pass("proxy_on_upstream_data", crate::host::UPSTREAM_DATA, connection, bytes)
    }

    fn pass(
        &mut self,
        callback: &'static str,
        buffer: u32,
        connection: u32,
        bytes: &[u8],
    ) -> Result<Vec<u8>> {
        self.host().buffers.insert(buffer, bytes.to_vec());
        self.goes_on(callback, connection, i32::try_from(bytes.len())?, 0)?;
        Ok(self.host().buffers.remove(&buffer).unwrap_or_default())
    }

    /// The connection ends.
    pub fn disconnect(&mut self, connection: u32) -> Result<()> {
        let by_the_client = Val::I32(2);
        let arguments = [Val::I32(number(connection)), by_the_client];
        self.call("proxy_on_downstream_connection_close", &arguments)?;
        self.end(connection)
    }

    pub fn host(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    /// The module's memory in bytes.
    pub fn memory_bytes(&self) -> Result<usize> {
        let memory = self.instance.get_memory(&self.store, "memory").context("no memory")?;
        Ok(memory.data_size(&self.store))
    }

    fn new_context(&mut self, root: u32) -> Result<u32> {
        self.contexts += 1;
        let context = self.contexts;
        let arguments = [Val::I32(number(context)), Val::I32(number(root))];
        self.call("proxy_on_context_create", &arguments)?;
        Ok(context)
    }

    fn end(&mut self, context: u32) -> Result<()> {
        for callback in ["proxy_on_log", "proxy_on_done", "proxy_on_delete"] {
            self.call(callback, &[Val::I32(number(context))])?;
        }
        Ok(())
    }

    /// Calls an export, where there is one, and counts it.
    fn call(&mut self, name: &'static str, arguments: &[Val]) -> Result<Option<i32>> {
        let Some(function) = self.instance.get_func(&self.store, name) else {
            return Ok(None);
        };
        self.host().count(name);
        let mut results: Vec<_> =
            function.ty(&self.store).results().iter().map(|_| Val::I32(0)).collect();
        function
            .call(&mut self.store, arguments, &mut results)
            .with_context(|| format!("{name} traps"))?;
        Ok(Some(results.first().and_then(Val::i32).unwrap_or(0)))
    }
}

/// A context's id, as wasm has numbers.
fn number(context: u32) -> i32 {
    context.cast_signed()
}
