//! What is known of loads where too few requests come to measure them.
//!
//! A node that hears from each load balancer once in a minute cannot tell their loads apart by what
//! it counts: of two such counts one is easily ten times the other. But each stamp tells how many
//! connections there are. So where counting errs by more than the tolerance, a connection counts as
//! an average one, and loads are as even as connections are.

use std::time::Duration;

use crate::close_rate::PerSecond;
use crate::rebalance::Load;

/// `loads` as their connections tell them, where requests do not tell them within `tolerance`.
#[must_use]
pub fn by_connections(loads: &[Load], tolerance: f64) -> Option<Vec<Load>> {
    let counted = |load: &Load| load.rate.get() * load.measured_over.as_secs_f64();
    let mean = loads.iter().map(counted).sum::<f64>() / loads.len() as f64;
    if mean * tolerance * tolerance >= 1.0 {
        return None;
    }
    let rates: f64 = loads.iter().map(|load| load.rate.get()).sum();
    let connections: f64 = loads.iter().map(|load| load.connections).sum();
    if connections < 1.0 {
        return None;
    }
    let told = loads.iter().map(|load| {
        let rate = PerSecond::new(rates * load.connections / connections)?;
        Some(Load { rate, trend: 1.0, measured_over: Duration::MAX, ..*load })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    /// One counted in ten seconds, with so many connections.
    fn load(requests: f64, connections: f64) -> Load {
        let rate = PerSecond::new(requests / 10.0).unwrap();
        let measured_over = Duration::from_secs(10);
        Load { rate, measured_over, trend: 1.1, connections, weight: 1.0 }
    }

    #[test]
    fn a_few_requests_tell_nothing_and_connections_do() {
        let told = by_connections(&[load(9.0, 20.0), load(0.0, 40.0)], 0.1).unwrap();
        let rates: Vec<_> = told.iter().map(|load| load.rate.get()).collect();
        assert!((rates[0] - 0.3).abs() < 1e-9 && (rates[1] - 0.6).abs() < 1e-9, "{rates:?}");
    }

    #[test]
    fn a_hundred_for_each_tell_a_tenth() {
        assert!(by_connections(&[load(120.0, 20.0), load(90.0, 40.0)], 0.1).is_none());
        assert!(by_connections(&[load(120.0, 20.0), load(90.0, 40.0)], 0.05).is_some());
    }

    #[test]
    fn without_connections_there_is_nothing_to_tell_by() {
        assert!(by_connections(&[load(1.0, 0.0), load(2.0, 0.0)], 0.1).is_none());
        assert!(by_connections(&[], 0.1).is_none());
    }
}
