//! The policy `rebalance`: close only what balance needs (design, section 5).
//!
//! # The law
//!
//! With `l_i` the request rate of load balancer `i` per weight, `n_i` its connections, and
//! `tau = settle_time / ln(1 / tolerance)`, each of its connections is closed at the hazard
//!
//! ```text
//! h_i = (1 - l_min / l_i) / tau
//! ```
//!
//! Let clients be alike and land on any of the `L` load balancers alike. Then `l_i` goes as
//! `n_i`, and `i` closes `h_i n_i = (n_i - n_min) / tau` a second. All together close
//! `(N - L n_min) / tau`, of which each gets the `L`-th part, `(n - n_min) / tau` with `n = N / L`.
//! So
//!
//! ```text
//! dn_i/dt = (n - n_min) / tau - (n_i - n_min) / tau = (n - n_i) / tau
//! ```
//!
//! and every deviation decays as `exp(-t / tau)`, without overshoot, for any number of load
//! balancers. A new, empty one has `1 - tolerance` of its part after `settle_time`, at the cost of
//! `(1 - tolerance) N` closes in all, which is the least that clients who land at random allow. It is
//! not enough to go by the excess over the mean: when one joins a hundred, nobody is more than
//! 1 % over the mean.
//!
//! # The band
//!
//! Loads are never quite even: requests are counted for a while only, and connections land by
//! luck. The relative error of a load balancer's rate joins both,
//! `sqrt(1 / requests counted + kappa / connections)`, where `kappa = E[r^2] / E[r]^2` over the
//! request rates of connections says how much a heavy few weigh. An episode of closing begins when
//! some load is out by more than luck would have it (once in ten thousand looks at an even pool),
//! and ends when all are within `tolerance`, or as near as luck lets them be. In between and after,
//! nothing is closed.

use std::time::Duration;

use crate::close_rate::PerSecond;

/// An episode begins where luck alone would put one of the loads so far out with this chance.
const CHANCE_TO_BEGIN: f64 = 1e-4;

/// An episode ends where luck alone would keep all loads within with about this chance.
const CHANCE_TO_END: f64 = 0.3;

/// An episode ends at this part of the tolerance, so that what is measured a little later, or a
/// little differently, is still within.
const MARGIN: f64 = 0.85;

/// Time is read in ticks of a tenth of a second: by how much the ends of a measurement
/// are off.
const CLOCK_ERROR: f64 = 0.05;

/// What the policy is to reach, and its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebalance {
    /// The time in which an empty load balancer gets its part.
    pub settle_time: Duration,
    /// How far from the mean a load may be, relative to it; between 0 and 1.
    pub tolerance: f64,
    /// Closes per second of one load balancer at most.
    pub max_per_second: PerSecond,
    /// Every connection is renewed once in this time, also where the load is even.
    pub floor: Option<Duration>,
}

/// What is known of one load balancer of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Its requests per second.
    pub rate: PerSecond,
    /// The time that was measured over.
    pub measured_over: Duration,
    /// How many times as much it is now, by the connections it has now.
    pub trend: f64,
    /// Its downstream connections.
    pub connections: f64,
    /// Its capacity relative to the others; more than 0.
    pub weight: f64,
}

/// Whether a pool is being brought into balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// As even as can be: nothing is closed beyond the floor.
    #[default]
    Even,
    /// Some load is out, and connections are being closed.
    Closing,
}

// === impl Rebalance ===

impl Default for Rebalance {
    /// Settles in a minute to 10 %, at 50 closes a second at most, without a floor.
    fn default() -> Self {
        Self {
            settle_time: Duration::from_mins(1),
            tolerance: 0.1,
            max_per_second: PerSecond::new(50.0).unwrap_or_default(),
            floor: None,
        }
    }
}

impl Rebalance {
    /// The time constant of the decay: that with which an empty one is so far in `settle_time` that
    /// an episode ends.
    #[must_use]
    pub fn tau(&self) -> Duration {
        let end = self.tolerance * MARGIN;
        self.settle_time.div_f64((1.0 / end).ln().max(f64::MIN_POSITIVE))
    }

    /// The hazard, per second, that renews every connection as the floor has it.
    #[must_use]
    pub fn floor_hazard(&self) -> f64 {
        self.floor.map_or(0.0, |age| finite(1.0 / age.as_secs_f64()))
    }

    /// The hazards, per second, at which each of `loads` is to close its connections, and the
    /// phase that follows on `phase`. `kappa`, at least 1, is that of the connections' request
    /// rates.
    #[must_use]
    pub fn hazards(&self, phase: Phase, loads: &[Load], kappa: f64) -> (Phase, Vec<f64>) {
        let phase = self.next_phase(phase, loads, kappa);
        let least = loads.iter().map(Load::now_per_weight).fold(f64::INFINITY, f64::min);
        let hazards = loads
            .iter()
            .map(|load| {
                let excess = match phase {
                    Phase::Even => 0.0,
                    Phase::Closing => (1.0 - least / load.now_per_weight()).max(0.0),
                };
                let wanted = finite(excess / self.tau().as_secs_f64());
                let most = finite(self.max_per_second.get() / load.connections);
                wanted.max(self.floor_hazard()).min(most)
            })
            .collect();
        (phase, hazards)
    }

    fn next_phase(&self, phase: Phase, loads: &[Load], kappa: f64) -> Phase {
        if loads.len() < 2 {
            return Phase::Even;
        }
        // To begin takes what was measured; where to end is foreseen.
        let per_weight = match phase {
            Phase::Even => Load::per_weight,
            Phase::Closing => Load::now_per_weight,
        };
        let sum = |of: &dyn Fn(&Load) -> f64| loads.iter().map(of).sum::<f64>();
        let weights = sum(&|load| load.weight);
        let mean = sum(&|load| per_weight(load) * load.weight) / weights;
        let connections = sum(&|load| load.connections);
        if mean <= 0.0 || connections <= 0.0 {
            return Phase::Even;
        }
        let count = loads.len() as f64;
        let out = loads.iter().any(|load| {
            let deviation = (per_weight(load) / mean - 1.0).abs();
            let part = load.weight / weights;
            // What luck makes of the connections that would be its, were all even.
            let landed = (kappa * (1.0 - part) / (connections * part)).sqrt();
            // And of the requests that would be counted then.
            let time = load.measured_over.as_secs_f64();
            let requests = mean * load.weight * time;
            let counted = (1.0 / requests.max(1.0) + (CLOCK_ERROR / time).powi(2)).sqrt();
            let most = match phase {
                Phase::Even => {
                    let z = upper_quantile(CHANCE_TO_BEGIN / count);
                    // Numbers of connections are skewed: many at once are likelier than for a
                    // normal variable (the first term of Cornish and Fisher).
                    let skewed = z + (z * z - 1.0) / 6.0 * landed;
                    // Connections landed once, but requests are counted anew at every look: the two
                    // do not join as independent errors of one look would.
                    (skewed * landed).max(self.tolerance) + z * counted
                }
                Phase::Closing => {
                    // The chance that all are within is the product of theirs, and has two sides.
                    let z = upper_quantile(-CHANCE_TO_END.ln() / (2.0 * count));
                    (z * landed).max(self.tolerance * MARGIN)
                }
            };
            deviation > most
        });
        if out { Phase::Closing } else { Phase::Even }
    }
}

// === impl Load ===

impl Load {
    /// Its requests per second, per weight.
    pub(crate) fn per_weight(&self) -> f64 {
        self.rate.get() / self.weight
    }

    /// The same as it is now.
    fn now_per_weight(&self) -> f64 {
        self.per_weight() * self.trend
    }
}

/// `value`, or 0 where it is none.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// The value that a standard normal variable exceeds with the chance `q`, up to a half
/// (Abramowitz and Stegun, 26.2.23; off by less than 0.0005).
fn upper_quantile(q: f64) -> f64 {
    let t = (-2.0 * q.clamp(1e-300, 0.5).ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - numerator / denominator
}
