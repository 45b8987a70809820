//! All clients: ten million of them are to fit.
//!
//! Which of so many sends next is random, so that nothing of it is in any cache. What a request
//! needs to know of its client lies side by side for that reason, within one line of memory.

use std::ops::{Index, IndexMut};

use rand::Rng;
use rand_distr::{Distribution, Exp, Pareto};
use rand_pcg::Pcg64;

use crate::scenario::Pace;

/// Stands for no edge.
pub const NOWHERE: u32 = u32::MAX;

/// See the module's documentation.
#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
    /// How often each was closed.
    pub closed: Vec<u8>,
}

/// A client with its one connection.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub struct Client {
    /// Requests per second.
    pub rate: f32,
    /// The edge it is connected to.
    pub at: u32,
    /// Its place among those of that edge.
    pub slot: u32,
    /// When its connection opened, in seconds.
    pub opened: f32,
    /// Connections it has had; the connection's id is made of it.
    pub connections: u32,
}

// === impl Clients ===

impl Clients {
    pub fn new(count: usize, pace: Pace, random: &mut Pcg64) -> Self {
        let client = |number| Client {
            rate: rate(pace, number, count, random),
            at: NOWHERE,
            slot: 0,
            opened: 0.0,
            connections: 0,
        };
        Self { all: (0..count).map(client).collect(), closed: vec![0; count] }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The id of the connection that `client` has now.
    pub fn connection(&self, client: u32) -> u64 {
        u64::from(self[client].connections) << 32 | u64::from(client)
    }

    /// The client whose present connection this is.
    pub fn of_connection(&self, id: u64) -> Option<u32> {
        let client = u32::try_from(id & u64::from(u32::MAX)).ok()?;
        let known = (client as usize) < self.len() && self[client].at != NOWHERE;
        (known && self.connection(client) == id).then_some(client)
    }
}

impl Index<u32> for Clients {
    type Output = Client;

    fn index(&self, client: u32) -> &Client {
        &self.all[client as usize]
    }
}

impl IndexMut<u32> for Clients {
    fn index_mut(&mut self, client: u32) -> &mut Client {
        &mut self.all[client as usize]
    }
}

#[allow(clippy::cast_possible_truncation, reason = "rates need no more than a single float")]
fn rate(pace: Pace, client: usize, count: usize, random: &mut Pcg64) -> f32 {
    let rate = match pace {
        Pace::OneHeavy(rate, part) if client == 0 => {
            rate * (count - 1) as f64 * part / (1.0 - part)
        }
        Pace::Equal(rate) | Pace::OneHeavy(rate, _) => rate,
        Pace::Between(least, most) => random.random_range(least..=most),
        Pace::Exponential(mean) => {
            Exp::new(1.0 / mean).map_or(mean, |exponential| exponential.sample(random))
        }
        Pace::Pareto(mean, shape) => Pareto::new(mean * (shape - 1.0) / shape, shape)
            .map_or(mean, |pareto| pareto.sample(random)),
    };
    // Nobody is silent for ever.
    rate.max(1e-9) as f32
}
