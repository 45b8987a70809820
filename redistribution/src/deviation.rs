//! How far the load of each load balancer is from the mean of its pool: what there is to see while a
//! pool settles. Nothing is decided by it.

use std::rc::Rc;
use std::time::Duration;

use litemap::LiteMap;

use crate::Timestamp;
use crate::load_balancer::LoadBalancer;
use crate::rebalance::Load;

/// What is known of a pool: the requests per second of its load balancers, and their weights.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    rate: f64,
    weight: f64,
}

/// Notes it for each of `load_balancers`; 0 for those whose load is not known, or no longer.
pub(crate) fn note(
    load_balancers: &mut LiteMap<Rc<str>, LoadBalancer>,
    stretch: Duration,
    now: Timestamp,
) {
    let load = |load_balancer: &LoadBalancer| {
        load_balancer.load(stretch).filter(|_| load_balancer.is_there(stretch, now))
    };
    let mut pools = LiteMap::<Rc<str>, Sum>::new_vec();
    for load_balancer in load_balancers.values() {
        if let Some(load) = load(load_balancer) {
            let mut sum = pools.get(&load_balancer.pool).copied().unwrap_or_default();
            sum.rate += load.rate.get();
            sum.weight += load.weight;
            pools.insert(Rc::clone(&load_balancer.pool), sum);
        }
    }
    for (_, load_balancer) in load_balancers {
        let sum = pools.get(&load_balancer.pool).copied().unwrap_or_default();
        load_balancer.deviation = load(load_balancer).map_or(0.0, |load| sum.deviation(&load));
    }
}

// === impl Sum ===

impl Sum {
    fn deviation(self, load: &Load) -> f64 {
        let deviation = load.per_weight() * self.weight / self.rate - 1.0;
        if deviation.is_finite() { deviation.abs() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use crate::Timestamp;
    use crate::config::NodeConfig;
    use crate::node::Node;

    /// What a node sees of load balancers that forward so many requests a second each for 20 s, all of
    /// them through it, and then fall silent for so many seconds.
    fn deviations(per_second: &[(u64, f64)], silent: u64) -> Vec<f64> {
        let mut node = Node::new(NodeConfig::default(), 0.5);
        let mut sent = vec![0; per_second.len()];
        for tick in 0..(20 + silent) * 10 {
            let now = Timestamp::from_nanos(tick * 100_000_000);
            for (lb, (rate, weight)) in per_second.iter().enumerate() {
                while tick < 200 && sent[lb] < rate * tick / 10 {
                    sent[lb] += 1;
                    let seq = sent[lb];
                    let stamp = format!(
                        "id=\"edge-{lb}\", vm=v{lb}, seq={seq}, conn=1, age=9, open=9, weight={weight:.1}"
                    );
                    node.on_request(Some(stamp.as_bytes()), now);
                }
            }
            node.on_tick(now);
        }
        node.seen().map(|seen| seen.deviation).collect()
    }

    fn assert_near(deviations: &[f64], expected: &[f64]) {
        let near = |(value, expected): (&f64, &f64)| (value - expected).abs() < 0.03;
        let all = deviations.len() == expected.len();
        assert!(all && deviations.iter().zip(expected).all(near), "{deviations:?}");
    }

    #[test]
    fn it_is_relative_to_the_mean_of_the_pool() {
        assert_near(&deviations(&[(150, 1.0), (100, 1.0), (50, 1.0)], 0), &[0.5, 0.0, 0.5]);
    }

    #[test]
    fn it_is_by_weight() {
        assert_near(&deviations(&[(100, 1.0), (200, 2.0)], 0), &[0.0, 0.0]);
        assert_near(&deviations(&[(150, 1.0), (150, 2.0)], 0), &[0.5, 0.25]);
    }

    #[test]
    fn what_is_gone_has_none() {
        assert_near(&deviations(&[(150, 1.0), (50, 1.0)], 8), &[0.0, 0.0]);
    }
}
