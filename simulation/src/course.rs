//! What has happened in a run: loads once a second, and the closes.

/// How far from its part a load may be to count as even.
pub const TOLERANCE: f64 = 0.1;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Connections closed.
    pub closes: u64,
    /// Connections closed, by edge.
    pub closes_by_edge: Vec<u64>,
    /// The most that any client was closed.
    pub most_closed: u8,
    /// When an edge last joined, left or came back, in seconds.
    pub changed_at: f64,
    /// Seconds since the start, and every edge then.
    pub moments: Vec<(f64, Vec<Moment>)>,
    /// Closes until each of the moments.
    pub closes_until: Vec<u64>,
    clients: usize,
}

/// An edge at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Whether it is there.
    pub up: bool,
    /// Requests per second of the clients connected to it.
    pub rate: f64,
    /// Its weight.
    pub weight: f64,
    /// Its connections.
    pub connections: usize,
    /// Its pool.
    pub pool: usize,
}

// === impl Course ===

impl Course {
    pub(crate) fn new(clients: usize) -> Self {
        Self { clients, ..Self::default() }
    }

    pub(crate) fn changed(&mut self, now: f64) {
        self.changed_at = now;
    }

    pub(crate) fn close(&mut self, edge: usize, times: u8) {
        self.closes += 1;
        if self.closes_by_edge.len() <= edge {
            self.closes_by_edge.resize(edge + 1, 0);
        }
        self.closes_by_edge[edge] += 1;
        self.most_closed = self.most_closed.max(times);
    }

    pub(crate) fn observe(&mut self, now: f64, edges: Vec<Moment>) {
        self.moments.push((now, edges));
        self.closes_until.push(self.closes);
    }

    /// From when on, in seconds after `from`, all loads were within a tenth of their parts until
    /// the end; `None` where that is not so at the end.
    #[must_use]
    pub fn settled(&self, from: f64) -> Option<f64> {
        self.settled_within(from, TOLERANCE)
    }

    /// The same for another tolerance.
    #[must_use]
    pub fn settled_within(&self, from: f64, tolerance: f64) -> Option<f64> {
        let even = self.moments.iter().rev().take_while(|(at, edges)| {
            *at >= from && worst(edges).is_some_and(|worst| worst <= tolerance)
        });
        even.last().map(|(at, _)| at - from)
    }

    /// Closes from `from` to `to`, in seconds.
    #[must_use]
    pub fn closes_between(&self, from: f64, to: f64) -> u64 {
        let until = |time: f64| {
            let later = self.moments.partition_point(|(at, _)| *at <= time + 1e-9);
            later.checked_sub(1).map_or(0, |moment| self.closes_until[moment])
        };
        until(to) - until(from)
    }

    /// How far any load has gone beyond its part after it was on the other side of it at `from`,
    /// relative to it.
    #[must_use]
    pub fn overshoot(&self, from: f64) -> f64 {
        let mut later = self.moments.iter().filter(|(at, _)| *at > from + 1.5);
        let Some((_, first)) = later.next() else {
            return 0.0;
        };
        let before = deviations(first);
        later
            .flat_map(|(_, edges)| deviations(edges).into_iter().zip(&before))
            .filter_map(|(now, before)| Some((now?, (*before)?)))
            .map(|(now, before)| if now * before < 0.0 { now.abs() } else { 0.0 })
            .fold(0.0, f64::max)
    }

    /// Closes for each connection.
    #[must_use]
    pub fn closes_per_connection(&self) -> f64 {
        self.closes as f64 / self.clients as f64
    }
}

/// How far the load farthest from its part is from it.
#[must_use]
pub fn worst(edges: &[Moment]) -> Option<f64> {
    let all = deviations(edges).into_iter().flatten();
    all.map(f64::abs).max_by(f64::total_cmp)
}

/// Of each edge that is there, how far its load is from its part of its pool's.
fn deviations(edges: &[Moment]) -> Vec<Option<f64>> {
    let pools = edges.iter().map(|edge| edge.pool + 1).max().unwrap_or(0);
    let mut sums = vec![(0.0, 0.0); pools];
    for edge in edges.iter().filter(|edge| edge.up) {
        sums[edge.pool].0 += edge.rate;
        sums[edge.pool].1 += edge.weight;
    }
    let deviation = |edge: &Moment| {
        let (rate, weight) = sums[edge.pool];
        (edge.up && rate > 0.0).then(|| edge.rate / (rate * edge.weight / weight) - 1.0)
    };
    edges.iter().map(deviation).collect()
}
