//! The policy `rebalance`: close only what balance needs (design, section 5).
//!
//! # The law
//!
//! Let `s_i` be the part of the pool's requests that load balancer `i` of `L` gets now, and `t_i` the
//! part that it should get, by its weight. It misses `d_i = t_i - s_i`, or has too much where that
//! is negative. What is missing is to decay as `exp(-t / tau)`. Clients who are closed land on any load
//! balancer alike. So if load leaves the load balancers at the rate `x` in all, and `i` at the rate
//! `r_i`,
//!
//! ```text
//! ds_i/dt = x / L - r_i
//! ```
//!
//! From those that miss something nothing is taken: `r_i = 0`. For what is missed most, `m`, to decay
//! it takes `x / L = m / tau`. The others should come down as `ds_i/dt = d_i / tau`, which takes
//! `r_i = (m - d_i) / tau`. This is less than `x` in all by what those miss less that miss something
//! too, and is scaled up by so much, `f`, which is 1 where all of them miss alike:
//!
//! ```text
//! r_i = f (m - d_i) / tau       each connection at the hazard    h_i = f (m - d_i) / (s_i tau)
//! ```
//!
//! With weights that are all alike, and those below the mean alike too,
//! `h_i = (1 - l_min / l_i) / tau` in request rates `l`: what design, section 5, has for all cases.
//! There, that law closes more: on load balancers that miss something, but not most; and where
//! load balancers do not get what is closed at the rates that their weights ask for (for 1:2:4 it
//! was seen to take 104 to 116 s of 60).
//!
//! With `tau = settle_time / ln(1 / tolerance)`, and a margin, a new, empty load balancer has
//! `1 - tolerance` of its part after `settle_time`, without overshoot, whoever else is there, and at the
//! cost of `(1 - tolerance) N` closes for `N` connections, which is the least that clients who land
//! at random allow. It is not enough to go by the excess over the mean: when one joins a hundred,
//! nobody is more than 1 % over the mean.
//!
//! # Delay
//!
//! What is measured is late, and clients take their time. With a delay of `T` the equation is
//! `ds_i/dt = d_i(t - T) / tau`, whose solutions decay without a swing as long as `tau > e T`. Of `T`,
//! measuring takes two to three `share_window`s (the load is averaged over more, but connections are
//! known as of now, see [`Load::trend`]); the rest is for DNS and clients. So `settle_time`
//! should be at least 7 times the time to live of the DNS records. Nodes that hear from a
//! load balancer less than once in a `share_window` are late by the time in between.
//!
//! # Who is closed
//!
//! The connection whose response is in hand, so that one with `k` times the mean request rate is `k`
//! times as likely to be closed. A close then moves `kappa = E[r^2] / E[r]^2` times the mean load (see
//! [`heaviness`](crate::heaviness)), and deviations decay with `tau / kappa` to begin with, until the
//! heavy ones have moved: it settles sooner, and takes fewer closes. One client that sends a third of
//! all requests makes its load balancer the heaviest wherever it lands. There is no evening
//! that out, and the band takes it for luck: `kappa` is then a ninth of the number of connections.
//! A connection with so large a part of its load balancer's requests is left where it is
//! ([`MOST_OF_ALL`](crate::recent_connections::MOST_OF_ALL)), and the others are moved around it.
//!
//! # The band
//!
//! Loads are never quite even: requests are counted for a while only, and connections land by
//! luck. The relative error of a load balancer's rate joins both,
//! `sqrt(1 / requests counted + kappa / connections)`, where `kappa = E[r^2] / E[r]^2` over the
//! request rates of connections says how much a heavy few weigh. An episode of closing begins when
//! some load is out by more than luck would have it (in one of ten thousand pools that are even),
//! or low with fewer connections than luck would have it, and ends when all are within `tolerance`,
//! or as near as luck lets them be. In between and after, nothing is closed. Where requests are so
//! rare that counting errs by more than the tolerance, connections tell the loads
//! ([`few_requests`](crate::few_requests)).

use std::time::Duration;

use crate::close_rate::PerSecond;

/// An episode begins where luck alone would put one of the loads so far out with this chance.
const CHANCE_TO_BEGIN: f64 = 1e-4;

/// The same for luck in counting requests, of which there is some at each look.
const CHANCE_AT_A_LOOK: f64 = 1e-7;

/// An episode ends where luck alone would keep all loads within with about this chance.
const CHANCE_TO_END: f64 = 0.3;

/// An episode ends at this part of the tolerance, so that what is measured a little later, or a
/// little differently, is still within.
const MARGIN: f64 = 0.8;

/// Where weights differ much, a light load balancer would have to close connections nearly as fast
/// as they land on it. They stay for a time constant divided by this, or more.
const MOST_EXCESS: f64 = 2.0;

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
        let weights: f64 = loads.iter().map(|load| load.weight).sum();
        let rates: f64 = loads.iter().map(Load::now).sum();
        let part = |load: &Load| load.now() / rates;
        let missing = |load: &Load| load.weight / weights - part(load);
        let most_missing = loads.iter().map(missing).fold(0.0, f64::max);
        let excess = |load: &Load| match missing(load) {
            missing if missing < 0.0 => most_missing - missing,
            _ => 0.0,
        };
        let scale = most_missing * loads.len() as f64 / loads.iter().map(excess).sum::<f64>();
        let hazards = loads
            .iter()
            .map(|load| {
                let excess = match phase {
                    Phase::Even => 0.0,
                    Phase::Closing => finite(scale * excess(load) / part(load)).min(MOST_EXCESS),
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
            let deviation = per_weight(load) / mean - 1.0;
            let part = load.weight / weights;
            let few = load.connections / (connections * part) - 1.0;
            // What luck makes of the connections that would be its, were all even: of their number,
            // and of their load.
            let landed = ((1.0 - part) / (connections * part)).sqrt();
            let loaded = landed * kappa.sqrt();
            // And of the requests that would be counted then.
            let time = load.measured_over.as_secs_f64();
            let requests = mean * load.weight * time;
            let clock = CLOCK_ERROR / time;
            match phase {
                Phase::Even => {
                    let z = upper_quantile(CHANCE_TO_BEGIN / count);
                    // Connections landed once, but requests are counted anew at every look.
                    let chance = CHANCE_AT_A_LOOK / count;
                    let counted =
                        if deviation < 0.0 { counted_less } else { counted_more }(chance, requests)
                            .hypot(upper_quantile(chance) * clock);
                    // Numbers of connections are skewed: many at once are likelier than for a
                    // normal variable (the first term of Cornish and Fisher).
                    let skewed = z + (z * z - 1.0) / 6.0 * loaded;
                    deviation.abs() > (skewed * loaded).max(self.tolerance) + counted
                        // However much a few weigh: it has too few of all.
                        || (few < -z * landed && deviation < -self.tolerance - counted)
                }
                Phase::Closing => {
                    // The chance that all are within is the product of theirs, and has two sides.
                    let z = upper_quantile(-CHANCE_TO_END.ln() / (2.0 * count));
                    let end = self.tolerance * MARGIN;
                    deviation.abs() > (z * loaded).max(end)
                        || (few < -(z * landed).max(end) && deviation < -end)
                }
            }
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

    /// Its requests per second as of now.
    fn now(&self) -> f64 {
        self.rate.get() * self.trend
    }

    /// The same per weight.
    fn now_per_weight(&self) -> f64 {
        self.now() / self.weight
    }
}

/// `value`, or 0 where it is none.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// By how much fewer requests than the `mean` are counted with the chance `q`, relative to it.
fn counted_less(q: f64, mean: f64) -> f64 {
    upper_quantile(q) / mean.sqrt()
}

/// By how much more. Where few are counted, twice as many are no rarity: numbers of requests have
/// the tail of Poisson's distribution, which Bernstein's inequality bounds.
fn counted_more(q: f64, mean: f64) -> f64 {
    let third = -q.ln() / 3.0;
    (third + (third * third + 6.0 * third * mean).sqrt()) / mean
}

/// The value that a standard normal variable exceeds with the chance `q`, up to a half
/// (Abramowitz and Stegun, 26.2.23; off by less than 0.0005).
fn upper_quantile(q: f64) -> f64 {
    let t = (-2.0 * q.clamp(1e-300, 0.5).ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - numerator / denominator
}
