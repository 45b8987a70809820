//! The filter as configured, one for each worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use log::{error, info};
use proxy_host::{
    BufferType, Plugin, Streams, get_buffer, get_property, is_news, monotonic_now, set_tick_period,
};
use redistribution::Timestamp;
use redistribution::config::{MAX_BYTES, NodeConfig};
use redistribution::node::Node;

use crate::http::Http;
use crate::metrics::Metrics;

/// How often time is read, in milliseconds. Requests take the time of the last tick: that is
/// exact enough for rates, and spares each of them two host calls.
const TICK_MS: u32 = 100;

/// The root context: nothing before it is configured.
#[derive(Default)]
pub(crate) struct Root {
    filter: Option<Rc<Filter>>,
    metrics: Option<Metrics>,
    /// The configuration in words.
    config: String,
}

/// What the contexts of all requests share.
pub(crate) struct Filter {
    pub node: RefCell<Node>,
    pub now: Cell<Timestamp>,
    pub host_errors: Cell<u64>,
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
        let config = NodeConfig::parse(&bytes).map_err(|mistakes| mistakes.to_string())?;
        let now =
            monotonic_now().map_err(|status| format!("the clock cannot be read: {status}"))?;
        set_tick_period(TICK_MS).map_err(|status| format!("ticks cannot be had: {status}"))?;
        // Random only to keep nodes out of step: without it, the clock will do.
        let random = getrandom::u64().unwrap_or(now);
        let fraction = random as f64 / u64::MAX as f64;
        self.config = config.to_string();
        self.say_once("configured", &self.config);
        self.metrics = Some(Metrics::define());
        self.filter = Some(Rc::new(Filter {
            node: RefCell::new(Node::new(config, fraction)),
            now: Cell::new(Timestamp::from_nanos(now)),
            host_errors: Cell::new(0),
        }));
        Ok(())
    }

    /// Every VM comes to say it: the first one says it for all, unless another has said something
    /// else of the same `subject` meanwhile, or the filter has been configured anew.
    fn say_once(&self, subject: &str, what: &str) {
        let plugin = get_property(b"plugin_name").unwrap_or_default();
        let key = format!("spillway.said.{}.{subject}", String::from_utf8_lossy(&plugin));
        if is_news(&key, &format!("{what} {}", self.config)) {
            info!("spillway node filter: {what}");
        }
    }
}

impl Plugin for Root {
    type Stream = Http;

    fn new(_: u32) -> Self {
        Self::default()
    }

    fn on_configure(&mut self, size: usize) -> bool {
        match self.configure(size) {
            Ok(()) => true,
            Err(reason) => {
                error!("spillway node filter refused to start: {reason}");
                false
            }
        }
    }

    fn on_tick(&mut self, _: &Streams<Http>) {
        let (Some(filter), Some(metrics)) = (&self.filter, &mut self.metrics) else {
            return;
        };
        match monotonic_now() {
            Ok(now) => filter.now.set(Timestamp::from_nanos(now)),
            Err(_) => filter.count_host_error(),
        }
        let mut node = filter.node.borrow_mut();
        node.on_tick(filter.now.get());
        metrics.update(&node, filter.host_errors.get());
        for change in node.take_changes() {
            self.say_once(&change.pool, &change.to_string());
        }
    }

    fn stream(&self, _: u32) -> Http {
        Http::new(self.filter.clone())
    }
}

// === impl Filter ===

impl Filter {
    /// Counts a host call that did not do what it should.
    pub fn count_host_error(&self) {
        self.host_errors.set(self.host_errors.get().saturating_add(1));
    }
}
