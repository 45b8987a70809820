//! The filter as configured, in one role, one for each worker.

use std::rc::Rc;

use log::{error, info};
use proxy_host::{BufferType, get_buffer, get_property, is_news, set_tick_period};
use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::ContextType;
use redistribution::config::{LbConfig, Role};
use redistribution::connections::Patience;

use crate::connection_role::{ConnectionRole, close_drained};
use crate::edge::Edge;
use crate::http_role::{HttpRole, Place};
use crate::vm::Vm;

/// How often time is read, in milliseconds. Requests take the time of the last tick, which
/// spares each of them two host calls.
const TICK_MS: u32 = 100;

/// The root context.
pub(crate) struct Root {
    id: u32,
    configured: Option<Configured>,
}

struct Configured {
    vm: Rc<Vm>,
    config: LbConfig,
    /// In the HTTP role.
    edge: Option<Rc<Edge>>,
    /// Of the connection role.
    patience: Patience,
}

// === impl Root ===

impl Root {
    pub fn new(id: u32) -> Self {
        Self { id, configured: None }
    }

    fn configure(&mut self, size: usize) -> Result<(), String> {
        let bytes = match size {
            0 => Vec::new(),
            _ => get_buffer(BufferType::PluginConfiguration, 0, size)
                .map_err(|status| format!("the configuration cannot be read: {status}"))?,
        };
        let mut config = LbConfig::parse(&bytes).map_err(|mistakes| mistakes.to_string())?;
        let vm = Vm::get().map_err(|status| format!("the clock cannot be read: {status}"))?;
        set_tick_period(TICK_MS).map_err(|status| format!("ticks cannot be had: {status}"))?;
        let edge = match config.role {
            Role::Connection => None,
            Role::Http | Role::Responses => Some(Rc::new(Edge::new(Rc::clone(&vm), &config)?)),
        };
        if let Some(edge) = &edge {
            config.id = Some(edge.id().to_owned());
        }
        say_once(&format!("{config:?}"));
        let LbConfig { drain_timeout, max_drain, .. } = config;
        let patience = Patience { drain_timeout, max_drain };
        self.configured = Some(Configured { vm, config, edge, patience });
        Ok(())
    }
}

/// Every VM is configured, the first one before there are others: it says so for all.
fn say_once(config: &str) {
    let plugin = get_property(b"plugin_name").unwrap_or_default();
    let key = format!("spillway.configured.{}", String::from_utf8_lossy(&plugin));
    if is_news(&key, config) {
        info!("spillway lb filter: {config}");
    }
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        match self.configure(size) {
            Ok(()) => true,
            Err(reason) => {
                error!("spillway lb filter refused to start: {reason}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        let Some(Configured { vm, config, edge, patience }) = &self.configured else {
            return;
        };
        vm.on_tick();
        if let Some(edge) = edge {
            edge.on_tick();
        }
        if config.role == Role::Connection {
            close_drained(vm, *patience, self.id);
        }
    }

    fn on_queue_ready(&mut self, _: u32) {
        if let Some(Configured { edge: Some(edge), .. }) = &self.configured {
            edge.take_over_closes();
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let configured = self.configured.as_ref();
        let place = configured.map(|Configured { vm, config, edge, .. }| Place {
            vm: Rc::clone(vm),
            edge: edge.clone(),
            has_requests: config.role == Role::Http,
            drain_timeout: config.drain_timeout,
        });
        Some(Box::new(HttpRole::new(place)))
    }

    fn create_stream_context(&self, id: u32) -> Option<Box<dyn StreamContext>> {
        let vm = self.configured.as_ref().map(|configured| Rc::clone(&configured.vm));
        Some(Box::new(ConnectionRole::new(vm, id)))
    }

    fn get_type(&self) -> Option<ContextType> {
        match self.configured.as_ref().map(|configured| configured.config.role) {
            Some(Role::Connection) => Some(ContextType::StreamContext),
            _ => Some(ContextType::HttpContext),
        }
    }
}
