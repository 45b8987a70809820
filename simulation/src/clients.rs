//! All clients, as columns: ten million of them are to fit.

use rand::Rng;
use rand_distr::{Distribution, Exp, Pareto};
use rand_pcg::Pcg64;

use crate::scenario::Pace;

/// Stands for no edge.
pub const NOWHERE: u32 = u32::MAX;

/// See the module's documentation.
#[derive(Debug)]
pub struct Clients {
    /// Requests per second.
    pub rate: Vec<f32>,
    /// The edge each is connected to.
    pub at: Vec<u32>,
    /// Its place among those of that edge.
    pub slot: Vec<u32>,
    /// When its connection opened, in seconds.
    pub opened: Vec<f32>,
    /// Connections it has had; the connection's id is made of it.
    pub connections: Vec<u32>,
    /// How often it was closed.
    pub closed: Vec<u8>,
}

// === impl Clients ===

impl Clients {
    pub fn new(count: usize, pace: Pace, random: &mut Pcg64) -> Self {
        Self {
            rate: (0..count).map(|client| rate(pace, client, count, random)).collect(),
            at: vec![NOWHERE; count],
            slot: vec![0; count],
            opened: vec![0.0; count],
            connections: vec![0; count],
            closed: vec![0; count],
        }
    }

    pub fn len(&self) -> usize {
        self.rate.len()
    }

    /// The id of the connection that `client` has now.
    pub fn connection(&self, client: u32) -> u64 {
        u64::from(self.connections[client as usize]) << 32 | u64::from(client)
    }

    /// The client whose present connection this is.
    pub fn of_connection(&self, id: u64) -> Option<u32> {
        let client = u32::try_from(id & u64::from(u32::MAX)).ok()?;
        let known = (client as usize) < self.len() && self.at[client as usize] != NOWHERE;
        (known && self.connection(client) == id).then_some(client)
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
    rate.max(1e-4) as f32
}
