//! `rebalance` as a node does it, from the stamps of load balancers with many connections.
#![cfg(not(target_family = "wasm"))]

use redistribution::Timestamp;
use redistribution::config::NodeConfig;
use redistribution::node::Node;

/// A pool of load balancers that forward to four nodes in turn, of which this is one.
struct Pool {
    node: Node,
    millis: u64,
    seqs: Vec<u64>,
    owed: Vec<u64>,
}

impl Pool {
    fn new(load_balancers: usize, config: &str) -> Self {
        let config = NodeConfig::parse(config.as_bytes()).expect("a configuration");
        let (seqs, owed) = (vec![0; load_balancers], vec![0; load_balancers]);
        Self { node: Node::new(config, 0.5), millis: 0, seqs, owed }
    }

    /// Lets so many seconds pass in which each load balancer forwards so many requests a second,
    /// from ten connections for each; those without any announce themselves where `announced`.
    fn run(&mut self, seconds: u64, per_second: &[u64], announced: bool) {
        for _ in 0..seconds * 1000 {
            let now = Timestamp::from_nanos(self.millis * 1_000_000);
            if self.millis.is_multiple_of(100) {
                self.node.on_tick(now);
            }
            for (lb, rate) in per_second.iter().enumerate() {
                if *rate == 0 && announced && self.millis.is_multiple_of(1000) {
                    self.node.on_request(Some(format!("id=\"edge-{lb}\"").as_bytes()), now);
                }
                self.owed[lb] += rate;
                while self.owed[lb] >= 1000 {
                    self.owed[lb] -= 1000;
                    self.seqs[lb] += 1;
                    if self.seqs[lb].is_multiple_of(4) {
                        self.request(lb, *rate, now);
                    }
                }
            }
            self.millis += 1;
        }
    }

    fn request(&mut self, lb: usize, rate: u64, now: Timestamp) {
        let (seq, open) = (self.seqs[lb], rate * 10);
        let (connection, age) = (seq / 4 % open, 100 + self.millis / 1000);
        let stamp = format!(
            "id=\"edge-{lb}\", vm=v{lb}, seq={seq}, conn={connection}, age={age}, open={open}"
        );
        if let Some(request) = self.node.on_request(Some(stamp.as_bytes()), now) {
            self.node.on_response(&request, now);
        }
    }

    fn closes(&self) -> u64 {
        self.node.counters().closes_requested
    }
}

const UNBOUNDED: &str =
    r#"{"close_rate": {"rebalance": {"settle_time": "60s", "max_per_second": 10000}}}"#;

#[test]
fn an_even_pool_is_left_alone_and_an_uneven_one_closed_as_the_law_says() {
    let mut pool = Pool::new(3, UNBOUNDED);
    pool.run(60, &[400, 400, 400], true);
    assert_eq!(pool.closes(), 0);
    pool.run(10, &[400, 400, 400], true);
    // 600 + 600 + 0: each of 6000 + 6000 connections has a hazard of 1 / 26 s, and this node a
    // quarter of the closes.
    let before = pool.closes();
    pool.run(40, &[600, 600, 0], true);
    let settled_in = pool.closes();
    assert!(settled_in > before, "it does not act");
    let mut steady = Pool::new(3, UNBOUNDED);
    steady.run(20, &[600, 600, 0], true);
    let start = steady.closes();
    steady.run(10, &[600, 600, 0], true);
    let expected = 12_000.0 / (60.0 / 10_f64.ln()) * 10.0 / 4.0;
    let closes = (steady.closes() - start) as f64;
    assert!(closes / expected < 1.05 && closes / expected > 0.45, "{closes}, not {expected}");
}

#[test]
fn a_load_balancer_that_is_killed_leaves_no_close_storm() {
    let mut pool = Pool::new(3, UNBOUNDED);
    pool.run(60, &[400, 400, 400], true);
    // Its clients are with the others at once, and nobody announces it.
    pool.run(40, &[600, 600, 0], false);
    assert_eq!(pool.closes(), 0);
}

#[test]
fn a_node_that_sees_one_load_balancer_only_closes_the_floor_and_no_more() {
    let mut alone = Pool::new(1, UNBOUNDED);
    alone.run(60, &[400], true);
    assert_eq!(alone.closes(), 0);
    let floor = r#"{"close_rate": {"rebalance": {"floor": {"mean_connection_age": "100s"}}}}"#;
    let mut alone = Pool::new(1, floor);
    alone.run(100, &[400], true);
    // 4000 connections in 100 s, a quarter of them this node's: but for what is still to come.
    assert!((930..=1000).contains(&alone.closes()), "{}", alone.closes());
}

#[test]
fn max_per_second_holds_for_the_load_balancer_as_a_whole() {
    let bounded = r#"{"close_rate": {"rebalance": {"max_per_second": 8}}}"#;
    let mut pool = Pool::new(2, bounded);
    pool.run(20, &[400, 0], true);
    let start = pool.closes();
    pool.run(10, &[400, 0], true);
    let closes = pool.closes() - start;
    assert!((9..=21).contains(&closes), "{closes}, not 8 a second, of which a quarter");
}
