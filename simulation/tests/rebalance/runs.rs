//! Runs of many seeds, side by side.

use std::sync::Mutex;
use std::time::Duration;

use redistribution::config::NodeConfig;
use simulation::{EdgeSpec, Model, Scenario};

/// The settle time of the runs, in seconds.
pub const SETTLE_TIME: f64 = 60.0;

/// From the start of a fleet until it has looked around.
pub const WARM_UP: Duration = Duration::from_secs(20);

/// A node's configuration.
pub fn node(json: &str) -> NodeConfig {
    NodeConfig::parse(json.as_bytes()).expect("a configuration")
}

/// `rebalance` with the defaults, but for a bound that is out of the way of large edges.
pub fn rebalancing() -> NodeConfig {
    node(r#"{"close_rate": {"rebalance": {"settle_time": "60s", "max_per_second": 10000}}}"#)
}

/// A pool of so many even edges, with requests sampled: `tests/aggregation.rs` shows that this
/// makes no difference.
pub fn pool(edges: usize, clients: usize) -> Scenario {
    Scenario {
        edges: vec![EdgeSpec::default(); edges],
        clients,
        node: rebalancing(),
        model: Model { nodes: None, stamps: Some(20.0) },
        ..Scenario::default()
    }
}

/// What `run` gives for each of so many seeds, in their order.
pub fn each_seed<T: Send>(seeds: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = Mutex::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = {
                        let mut next = next.lock().expect("no run has panicked");
                        *next += 1;
                        *next
                    };
                    if seed > seeds {
                        break;
                    }
                    let result = run(seed);
                    done.lock().expect("no run has panicked").push((seed, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no run has panicked");
    done.sort_by_key(|(seed, _)| *seed);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The largest one.
pub fn most(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, f64::max)
}
