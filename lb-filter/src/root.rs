//! The filter as configured, in one role, one for each worker.

use std::rc::Rc;

use log::{error, info};
use proxy_host::{BufferType, Plugin, Streams, get_buffer, get_property, is_news, set_tick_period};
use redistribution::config::{LbConfig, MAX_BYTES, Role};
use redistribution::connections::Patience;

use crate::connection_role::{ConnectionRole, close_drained};
use crate::edge::Edge;
use crate::http_role::{HttpRole, Place};
use crate::stream::Stream;
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
    place: Rc<Place>,
    role: Role,
    /// Of the connection role.
    patience: Patience,
}

// === impl Root ===

impl Root {
    fn configure(&mut self, size: usize) -> Result<(), String> {
        let bytes = match size {
            0 => Vec::new(),
            // What is too long is refused without having all of it in memory.
            _ => get_buffer(BufferType::PluginConfiguration, 0, size.min(MAX_BYTES + 1))
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
        say_once(&config.to_string());
        let LbConfig { role, drain_timeout, max_drain, .. } = config;
        let patience = Patience { drain_timeout, max_drain };
        let has_requests = role == Role::Http;
        let place = Rc::new(Place { vm, edge, has_requests, drain_timeout });
        self.configured = Some(Configured { place, role, patience });
        Ok(())
    }

    pub fn on_queue_ready(&self) {
        if let Some(edge) =
            self.configured.as_ref().and_then(|configured| configured.place.edge.as_ref())
        {
            edge.take_over_closes();
        }
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

impl Plugin for Root {
    type Stream = Stream;

    fn new(id: u32) -> Self {
        Self { id, configured: None }
    }

    fn on_configure(&mut self, size: usize) -> bool {
        match self.configure(size) {
            Ok(()) => true,
            Err(reason) => {
                error!("spillway lb filter refused to start: {reason}");
                false
            }
        }
    }

    fn on_tick(&mut self, streams: &Streams<Stream>) {
        let Some(Configured { place, role, patience }) = &self.configured else {
            return;
        };
        place.vm.on_tick();
        if let Some(edge) = &place.edge {
            edge.on_tick();
        }
        if *role == Role::Connection {
            close_drained(&place.vm, *patience, self.id, streams);
        }
    }

    fn stream(&self, id: u32) -> Stream {
        match &self.configured {
            Some(Configured { place, role: Role::Connection, .. }) => {
                Stream::Connection(ConnectionRole::new(Rc::clone(&place.vm), id))
            }
            configured => Stream::Http(HttpRole::new(
                configured.as_ref().map(|configured| Rc::clone(&configured.place)),
            )),
        }
    }
}
