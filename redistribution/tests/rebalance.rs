//! The law of `rebalance`, on pools of simulated clients that land by chance.
//!
//! Every client has one connection and its own request rate. Time goes in steps; closes are drawn
//! by request, so that the busiest move first; who is closed lands on any load balancer of DNS
//! alike, a little later. What the policy sees are request rates over a sliding window.
#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers that are not negative"
)]

use std::collections::VecDeque;
use std::time::Duration;

use redistribution::close_rate::PerSecond;
use redistribution::rebalance::{Load, Phase, Rebalance};

const STEP: f64 = 0.5;

/// A fixed sequence of random numbers for each seed (splitmix64).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.uniform() * bound as f64) as usize).min(bound - 1)
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            let normal = (-2.0 * self.uniform().max(1e-300).ln()).sqrt()
                * (std::f64::consts::TAU * self.uniform()).cos();
            return (mean + mean.sqrt() * normal).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }
}

struct Sim {
    random: Random,
    settings: Rebalance,
    /// Where each client is, and how many requests a second it sends.
    clients: Vec<(usize, f64)>,
    /// When each client's connection opened.
    opened: Vec<f64>,
    closed: Vec<u32>,
    lbs: usize,
    weights: Vec<f64>,
    window: usize,
    counts: Vec<VecDeque<u64>>,
    phase: Phase,
    kappa: f64,
    closes: u64,
    time: f64,
}

impl Sim {
    fn new(seed: u64, clients: usize, lbs: usize, rate: impl Fn(&mut Random) -> f64) -> Self {
        let mut random = Random(seed);
        let clients: Vec<_> =
            (0..clients).map(|_| (random.below(lbs), rate(&mut random))).collect();
        let rates = || clients.iter().map(|(_, rate)| *rate);
        let mean = rates().sum::<f64>() / clients.len() as f64;
        let square = rates().map(|rate| rate * rate).sum::<f64>() / clients.len() as f64;
        Self {
            settings: Rebalance {
                settle_time: Duration::from_mins(1),
                tolerance: 0.1,
                max_per_second: PerSecond::new(1e6).unwrap(),
                floor: None,
            },
            opened: (0..clients.len()).map(|_| -1e4 * random.uniform()).collect(),
            closed: vec![0; clients.len()],
            clients,
            lbs,
            weights: vec![1.0; lbs],
            window: (10.0 / STEP) as usize,
            counts: vec![VecDeque::new(); lbs],
            phase: Phase::Even,
            kappa: square / (mean * mean),
            closes: 0,
            time: 0.0,
            random,
        }
    }

    fn add_lbs(&mut self, count: usize) {
        self.lbs += count;
        self.weights.resize(self.lbs, 1.0);
        let measured = self.counts.first().map_or(0, VecDeque::len);
        self.counts.resize(self.lbs, std::iter::repeat_n(0, measured).collect());
    }

    fn true_loads(&self) -> Vec<f64> {
        let mut loads = vec![0.0; self.lbs];
        for (lb, rate) in &self.clients {
            loads[*lb] += rate;
        }
        loads.iter().zip(&self.weights).map(|(load, weight)| load / weight).collect()
    }

    fn worst(&self) -> f64 {
        let loads = self.true_loads();
        let rates: f64 = self.clients.iter().map(|(_, rate)| rate).sum();
        let mean = rates / self.weights.iter().sum::<f64>();
        loads.iter().map(|load| (load / mean - 1.0).abs()).fold(0.0, f64::max)
    }

    fn step(&mut self) {
        self.time += STEP;
        let mut rates = vec![0.0; self.lbs];
        let mut connections = vec![0.0; self.lbs];
        for (lb, rate) in &self.clients {
            rates[*lb] += rate;
            connections[*lb] += 1.0;
        }
        for (lb, counts) in self.counts.iter_mut().enumerate() {
            counts.push_back(self.random.poisson(rates[lb] * STEP));
            if counts.len() > self.window {
                counts.pop_front();
            }
        }
        let measured: Vec<_> = (0..self.lbs)
            .map(|lb| {
                let counted = self.counts[lb].iter().sum::<u64>() as f64;
                let time = self.counts[lb].len() as f64 * STEP;
                Load {
                    rate: PerSecond::new(counted / time).unwrap(),
                    measured_over: Duration::from_secs_f64(time),
                    connections: connections[lb],
                    weight: self.weights[lb],
                }
            })
            .collect();
        let (phase, hazards) = self.settings.hazards(self.phase, &measured, self.kappa);
        self.phase = phase;
        for lb in 0..self.lbs {
            let closes = self.random.poisson(hazards[lb] * connections[lb] * STEP);
            if closes > 0 {
                let median = self.median_opened(lb);
                (0..closes).for_each(|_| self.close_one(lb, median));
            }
        }
    }

    fn median_opened(&self, lb: usize) -> f64 {
        let here = self.clients.iter().zip(&self.opened).filter(|((at, _), _)| *at == lb);
        median(here.map(|(_, opened)| *opened).collect())
    }

    /// Closes the connection of a random request on `lb` if it is of the older half: it lands
    /// anywhere.
    fn close_one(&mut self, lb: usize, median: f64) {
        for _ in 0..1_000_000 {
            let client = self.random.below(self.clients.len());
            let (at, rate) = self.clients[client];
            if at == lb
                && self.opened[client] <= median
                && self.random.uniform() * self.heaviest() < rate
            {
                self.clients[client].0 = self.random.below(self.lbs);
                self.opened[client] = self.time;
                self.closed[client] += 1;
                self.closes += 1;
                return;
            }
        }
    }

    fn heaviest(&self) -> f64 {
        // Equal rates need no rejection; others a bound that is rarely exceeded.
        if self.kappa < 1.001 { self.clients[0].1 } else { 8.0 }
    }

    fn run(&mut self, seconds: f64) -> Option<f64> {
        let (start, mut settled) = (self.time, None);
        while self.time - start < seconds {
            self.step();
            if self.worst() <= 0.1 {
                settled.get_or_insert(self.time - start);
            } else {
                settled = None;
            }
        }
        settled
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn new_ones_get_their_part_in_time_at_the_least_cost() {
    for (before, new, clients) in [(2, 1, 6_000), (3, 2, 10_000), (10, 1, 22_000)] {
        let runs: Vec<_> = (0..8)
            .map(|seed| {
                let mut sim = Sim::new(seed, clients, before, |_| 1.0);
                sim.run(20.0);
                assert_eq!(sim.closes, 0, "an even pool is left alone");
                sim.add_lbs(new);
                let settled = sim.run(120.0);
                let after = sim.closes;
                sim.run(300.0);
                let most = sim.closed.iter().max().copied().unwrap_or(0);
                (settled, after as f64, sim.closes - after, most)
            })
            .collect();
        let closes = median(runs.iter().map(|run| run.1).collect()) / (0.9 * clients as f64);
        println!("{before}+{new}: closes/floor {closes:.3}, runs {runs:?}");
        assert!(closes <= 1.08, "{before}+{new}: {closes} of the least");
        for (settled, _, later, most) in runs {
            assert!(most <= 3, "{before}+{new}: a client was closed {most} times");
            assert!(settled.is_some_and(|settled| settled <= 60.0), "{before}+{new}: {settled:?}");
            assert_eq!(later, 0, "{before}+{new}: silent once settled");
        }
    }
}

#[test]
fn an_even_pool_is_left_alone() {
    for (lbs, clients) in [(2, 40), (10, 200), (10, 5_000), (3, 60)] {
        let closes: Vec<_> = (0..20)
            .map(|seed| {
                let mut sim = Sim::new(seed, clients, lbs, |_| 1.0);
                sim.run(600.0);
                sim.closes
            })
            .collect();
        println!("{lbs} with {clients}: {closes:?}");
        let allowed = clients as f64 * 0.01 * 20.0;
        assert!((closes.iter().sum::<u64>() as f64) <= allowed, "{lbs}, {clients}: {closes:?}");
    }
}
