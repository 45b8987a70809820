//! Which edge a client finds by the public name of its pool.

use rand::Rng;
use rand_pcg::Pcg64;

use crate::edge::Edge;
use crate::scenario::{self, Order};

/// The zone, and the resolvers between clients and it.
#[derive(Debug)]
pub struct Names {
    /// For each pool its edges.
    zone: Vec<Vec<Entry>>,
    /// For each pool the weights of its edges, each added to those before it.
    sums: Vec<Vec<f64>>,
    order: Order,
    ttl: f64,
    /// The address each resolver keeps for a pool, and until when (seconds); empty where clients
    /// ask anew.
    kept: Vec<Option<(u32, f64)>>,
}

/// An edge in the zone.
#[derive(Clone, Copy, Debug)]
struct Entry {
    edge: u32,
    weight: f64,
    /// How far it is behind its part of the answers, in answers times all weights.
    behind: f64,
}

// === impl Names ===

impl Names {
    pub fn new(dns: scenario::Dns, order: Order, pools: usize) -> Self {
        let kept = vec![None; dns.resolvers.unwrap_or(0) * pools];
        Self {
            zone: vec![Vec::new(); pools],
            sums: vec![Vec::new(); pools],
            order,
            ttl: dns.ttl.as_secs_f64(),
            kept,
        }
    }

    /// Enters the edges that are there and have a weight in DNS.
    pub fn enter(&mut self, edges: &[Edge]) {
        self.zone.iter_mut().for_each(Vec::clear);
        for (number, edge) in (0..).zip(edges) {
            if edge.up && edge.dns_weight > 0.0 {
                let entry = Entry { edge: number, weight: edge.dns_weight, behind: 0.0 };
                self.zone[edge.spec.pool].push(entry);
            }
        }
        for (zone, sums) in self.zone.iter().zip(&mut self.sums) {
            let mut sum = 0.0;
            let so_far = zone.iter().map(|entry| {
                sum += entry.weight;
                sum
            });
            *sums = so_far.collect();
        }
    }

    /// Makes all resolvers forget, and keep what comes for so long, in seconds.
    pub fn set_ttl(&mut self, ttl: f64) {
        self.ttl = ttl;
        self.kept.fill(None);
    }

    /// An edge of the pool for `client` to connect to; `None` where DNS names none.
    pub fn resolve(
        &mut self,
        client: u32,
        pool: usize,
        edges: &[Edge],
        now: f64,
        random: &mut Pcg64,
    ) -> Option<u32> {
        if self.kept.is_empty() {
            return self.answer(pool, random);
        }
        let pools = self.zone.len();
        let resolver = client as usize / pools % (self.kept.len() / pools) * pools + pool;
        // What is gone no client stays with, whatever its resolver says.
        if let Some((edge, until)) = self.kept[resolver]
            && now < until
            && edges[edge as usize].up
        {
            return Some(edge);
        }
        let edge = self.answer(pool, random)?;
        self.kept[resolver] = Some((edge, now + self.ttl));
        Some(edge)
    }

    fn answer(&mut self, pool: usize, random: &mut Pcg64) -> Option<u32> {
        let names = &mut self.zone[pool];
        let sums = &self.sums[pool];
        let all = *sums.last()?;
        match self.order {
            Order::Random => {
                let drawn = random.random::<f64>() * all;
                let found = sums.partition_point(|sum| *sum <= drawn);
                Some(names[found.min(names.len() - 1)].edge)
            }
            Order::Rotating => {
                for entry in names.iter_mut() {
                    entry.behind += entry.weight;
                }
                let first = names.iter_mut().max_by(|a, b| a.behind.total_cmp(&b.behind))?;
                first.behind -= all;
                Some(first.edge)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use redistribution::close_rate::PerSecond;

    use super::*;
    use crate::scenario::EdgeSpec;

    /// How often each of the edges with these weights is named in 400 answers.
    fn named(order: Order, weights: &[f64]) -> Vec<usize> {
        let mut random = Pcg64::seed_from_u64(1);
        let edge = |(number, weight): (usize, &f64)| {
            let mut random = Pcg64::seed_from_u64(2);
            let edge = Edge::new(number, EdgeSpec::default(), PerSecond::MAX, &mut random);
            Edge { dns_weight: *weight, ..edge }
        };
        let edges: Vec<_> = weights.iter().enumerate().map(edge).collect();
        let dns = scenario::Dns { ttl: Duration::ZERO, resolvers: None };
        let mut names = Names::new(dns, order, 1);
        names.enter(&edges);
        let mut times = vec![0; weights.len()];
        for client in 0..400 {
            let edge = names.resolve(client, 0, &edges, 0.0, &mut random).unwrap();
            times[edge as usize] += 1;
        }
        times
    }

    #[test]
    fn answers_in_rotation_are_exact() {
        assert_eq!(named(Order::Rotating, &[1.0, 1.0]), [200, 200]);
        assert_eq!(named(Order::Rotating, &[1.0, 0.0, 3.0]), [100, 0, 300]);
    }

    #[test]
    fn answers_by_chance_are_about_as_often() {
        let times = named(Order::Random, &[1.0, 0.0, 3.0]);
        assert!((75..125).contains(&times[0]) && times[1] == 0, "{times:?}");
    }
}
