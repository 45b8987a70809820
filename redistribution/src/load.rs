//! The load of a load balancer, as one VM of a node knows it from stamps.

use std::time::Duration;

use crate::close_rate::PerSecond;
use crate::request_share::Stretch;

/// Rates are averaged over about so many stretches, weighted by how recent they are.
const STRETCHES: f64 = 2.5;

/// By how much connections may make a load greater or smaller than it was on average.
const MOST_TREND: f64 = 1.25;

/// Averages of what stamps have told lately.
#[derive(Clone, Debug, Default)]
pub struct LoadAverage {
    /// Seconds, and the requests of them.
    seconds: f64,
    requests: f64,
    /// As `seconds`, but with the weight of each squared.
    squares: f64,
    /// Connections open, times the seconds of each stretch.
    connections: f64,
    /// Announced while no request came.
    idle: bool,
}

// === impl LoadAverage ===

impl LoadAverage {
    /// Lets what was told before fade, as `elapsed` has passed at `stretch` a stretch.
    pub fn fade(&mut self, elapsed: Duration, stretch: Duration) {
        let left = (-elapsed.as_secs_f64() / (STRETCHES * stretch.as_secs_f64())).exp();
        self.seconds *= left;
        self.requests *= left;
        self.squares *= left * left;
        self.connections *= left;
    }

    /// Takes in a stretch of one of its VMs, with the connections it had in all at the end.
    pub fn add(&mut self, stretch: &Stretch, connections: f64) {
        self.idle = false;
        self.seconds += stretch.time.as_secs_f64();
        self.squares += stretch.time.as_secs_f64();
        self.connections += connections * stretch.time.as_secs_f64();
        self.requests += stretch.of_load_balancer as f64;
    }

    /// Takes in that the load balancer is there and forwards nothing.
    pub fn set_idle(&mut self) {
        *self = Self { idle: true, ..Self::default() };
    }

    /// Whether it is there and forwards nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Its requests per second; `None` as long as nothing is known.
    #[must_use]
    pub fn rate(&self) -> Option<PerSecond> {
        if self.idle {
            return Some(PerSecond::ZERO);
        }
        PerSecond::new(self.requests / self.seconds)
    }

    /// How many times more connections it has now, with `connections`, than it had on average.
    ///
    /// Connections are known as they are now, while the rate is an average over some seconds: the
    /// product of both tells the load of now. It is bounded, since connections may be idle ones.
    #[must_use]
    pub fn trend(&self, connections: f64) -> f64 {
        let trend = connections * self.seconds / self.connections;
        if trend.is_finite() { trend.clamp(1.0 / MOST_TREND, MOST_TREND) } else { 1.0 }
    }

    /// The time of a plain average that is as exact, where stretches of so many VMs were taken in
    /// side by side.
    #[must_use]
    pub fn measured_over(&self, vms: usize) -> Duration {
        let time = self.seconds * self.seconds / self.squares / vms.max(1) as f64;
        Duration::try_from_secs_f64(time).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const STRETCH: Duration = Duration::from_secs(2);

    fn average(stretches: impl IntoIterator<Item = u64>) -> LoadAverage {
        let mut load = LoadAverage::default();
        for requests in stretches {
            load.fade(STRETCH, STRETCH);
            load.add(&Stretch { time: STRETCH, own: 1, of_vm: 1, of_load_balancer: requests }, 1.0);
        }
        load
    }

    fn rate(load: &LoadAverage) -> f64 {
        load.rate().unwrap().get()
    }

    #[test]
    fn it_is_the_mean_of_what_came_lately() {
        assert!((rate(&average([200; 20])) - 100.0).abs() < 1e-9);
        let risen = rate(&average([200; 20].into_iter().chain([400; 3])));
        assert!((150.0..190.0).contains(&risen), "{risen}");
        assert!((rate(&average([200; 20].into_iter().chain([400; 30]))) - 200.0).abs() < 1.0);
    }

    #[test]
    fn it_is_as_exact_as_it_is_long() {
        let time = |stretches| average(vec![200; stretches]).measured_over(1).as_secs_f64();
        assert!((time(1) - 2.0).abs() < 1e-9, "{}", time(1));
        assert!((time(30) - 2.0 * 5.0).abs() < 0.5, "{}", time(30));
    }

    #[test]
    fn silence_alone_changes_nothing() {
        let mut load = average([200; 20]);
        load.fade(20 * STRETCH, STRETCH);
        assert!((rate(&load) - 100.0).abs() < 1e-6);
    }

    #[test]
    fn announced_and_idle_is_a_rate_of_none() {
        let mut load = average([200; 20]);
        assert_eq!(LoadAverage::default().rate(), None);
        load.set_idle();
        assert_eq!(load.rate(), Some(PerSecond::ZERO));
        load.fade(STRETCH, STRETCH);
        load.add(&Stretch { time: STRETCH, own: 1, of_vm: 2, of_load_balancer: 10 }, 1.0);
        assert!((rate(&load) - 5.0).abs() < 1e-9);
    }
}
