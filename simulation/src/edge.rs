//! An edge: who is connected to it, and what it stamps.

use rand::Rng;
use rand_distr::{Distribution, Poisson};
use rand_pcg::Pcg64;
use redistribution::close_budget::CloseBudget;
use redistribution::close_rate::PerSecond;
use redistribution::sampler::Sampler;
use redistribution::stamper::Stamper;
use redistribution::{Timestamp, VmToken};

use crate::clients::Clients;
use crate::scenario::EdgeSpec;

/// Rates are classed by powers of two from 2^-16 on.
const LEAST_EXPONENT: i32 = -16;
const CLASSES: u16 = 48;

/// See the module's documentation.
#[derive(Debug)]
pub struct Edge {
    pub spec: EdgeSpec,
    pub id: String,
    /// Whether it is there at all.
    pub up: bool,
    /// Whether DNS names it, and how often relative to others.
    pub dns_weight: f64,
    pub vm: VmToken,
    pub stamper: Stamper,
    /// What its health checks say of it.
    pub announcement: String,
    pub budget: CloseBudget,
    pub seats: Seats,
    /// Requests since the last stamp, where not all are stamped.
    pub unstamped: u64,
    /// Stamps that are due, likewise.
    pub stamps_due: f64,
    /// Closes of the last steps, fading.
    pub closing: f64,
}

/// The clients connected to an edge, to be drawn by their request rates.
#[derive(Debug, Default)]
pub struct Seats {
    classes: Vec<Class>,
    pub count: usize,
    /// Requests per second of all of them.
    pub rate: f64,
}

/// Clients with rates within a factor of two.
#[derive(Clone, Debug, Default)]
struct Class {
    members: Vec<u32>,
    rate: f64,
    most: f32,
}

// === impl Edge ===

impl Edge {
    pub fn new(number: usize, spec: EdgeSpec, limit: PerSecond, random: &mut Pcg64) -> Self {
        let id = format!("edge-{}", number + 1);
        let vm = VmToken::from_random(random.random());
        let (pool, weight) = (spec.pool, spec.weight);
        Self {
            stamper: stamper(&id, &spec, vm),
            announcement: format!("id=\"{id}\", pool=\"pool-{pool}\", weight={weight:.3}"),
            up: true,
            dns_weight: 1.0,
            vm,
            budget: CloseBudget::full(limit, Timestamp::default()),
            seats: Seats::default(),
            unstamped: 0,
            stamps_due: random.random(),
            closing: 0.0,
            spec,
            id,
        }
    }

    /// Starts again, with a new VM and nobody connected.
    pub fn restart(&mut self, random: &mut Pcg64) {
        self.vm = VmToken::from_random(random.random());
        self.stamper = stamper(&self.id, &self.spec, self.vm);
        self.up = true;
    }
}

fn stamper(id: &str, spec: &EdgeSpec, vm: VmToken) -> Stamper {
    // Which requests are stamped is the model's to say.
    let sampler = Sampler::new(PerSecond::MAX, 0);
    Stamper::new(id.to_owned(), format!("pool-{}", spec.pool), spec.weight, vm, sampler)
}

// === impl Seats ===

impl Seats {
    pub fn seat(&mut self, client: u32, clients: &mut Clients) {
        if self.classes.is_empty() {
            self.classes.resize(usize::from(CLASSES), Class::default());
        }
        let rate = clients[client].rate;
        let class = &mut self.classes[class_of(rate)];
        #[allow(clippy::cast_possible_truncation, reason = "there are fewer clients than that")]
        let slot = class.members.len() as u32;
        clients[client].slot = slot;
        class.members.push(client);
        class.rate += f64::from(rate);
        class.most = class.most.max(rate);
        self.rate += f64::from(rate);
        self.count += 1;
    }

    pub fn unseat(&mut self, client: u32, clients: &mut Clients) {
        let rate = clients[client].rate;
        let class = &mut self.classes[class_of(rate)];
        let slot = clients[client].slot as usize;
        class.members.swap_remove(slot);
        if let Some(moved) = class.members.get(slot) {
            clients[*moved].slot = clients[client].slot;
        }
        class.rate = if class.members.is_empty() { 0.0 } else { class.rate - f64::from(rate) };
        self.count -= 1;
        self.rate = if self.count == 0 { 0.0 } else { self.rate - f64::from(rate) };
    }

    /// Everybody, who is no longer here then.
    pub fn drain(&mut self) -> Vec<u32> {
        let all = self.classes.iter_mut().flat_map(|class| std::mem::take(class).members).collect();
        (self.count, self.rate) = (0, 0.0);
        all
    }

    /// The client of a random request.
    pub fn draw(&self, clients: &Clients, random: &mut Pcg64) -> Option<u32> {
        let mut left = random.random::<f64>() * self.rate;
        let mut chosen = None;
        for class in self.classes.iter().filter(|class| !class.members.is_empty()) {
            chosen = Some(class);
            left -= class.rate;
            if left < 0.0 {
                break;
            }
        }
        let class = chosen?;
        loop {
            let client = class.members[random.random_range(0..class.members.len())];
            let rate = clients[client].rate;
            if rate >= class.most || random.random::<f32>() * class.most < rate {
                return Some(client);
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn class_of(rate: f32) -> usize {
    (rate.log2().floor() as i32 - LEAST_EXPONENT).clamp(0, i32::from(CLASSES) - 1) as usize
}

/// How often something happens that happens `mean` times on average.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers")]
pub fn poisson(mean: f64, random: &mut Pcg64) -> u64 {
    if mean <= 0.0 {
        return 0;
    }
    Poisson::new(mean).map_or(0, |poisson| poisson.sample(random) as u64)
}
