//! Which edge a client finds by the public name of its pool.

use rand::Rng;
use rand_pcg::Pcg64;

use crate::edge::Edge;
use crate::scenario;

/// The zone, and the resolvers between clients and it.
#[derive(Debug)]
pub struct Names {
    /// For each pool its edges, each with the sum of weights up to its own.
    zone: Vec<Vec<(u32, f64)>>,
    ttl: f64,
    /// The address each resolver keeps for a pool, and until when (seconds); empty where clients
    /// ask anew.
    kept: Vec<Option<(u32, f64)>>,
}

// === impl Names ===

impl Names {
    pub fn new(dns: scenario::Dns, pools: usize) -> Self {
        let kept = vec![None; dns.resolvers.unwrap_or(0) * pools];
        Self { zone: vec![Vec::new(); pools], ttl: dns.ttl.as_secs_f64(), kept }
    }

    /// Enters the edges that are there and have a weight in DNS.
    pub fn enter(&mut self, edges: &[Edge]) {
        self.zone.iter_mut().for_each(Vec::clear);
        for (number, edge) in (0..).zip(edges) {
            if edge.up && edge.dns_weight > 0.0 {
                let names = &mut self.zone[edge.spec.pool];
                let before = names.last().map_or(0.0, |(_, sum)| *sum);
                names.push((number, before + edge.dns_weight));
            }
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

    fn answer(&self, pool: usize, random: &mut Pcg64) -> Option<u32> {
        let names = &self.zone[pool];
        let drawn = random.random::<f64>() * names.last()?.1;
        let place = names.partition_point(|(_, sum)| *sum <= drawn);
        names.get(place).map(|(edge, _)| *edge)
    }
}
