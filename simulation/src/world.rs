//! A fleet that runs.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use redistribution::Timestamp;
use redistribution::close_rate::PerSecond;
use redistribution::node::Node;
use redistribution::stamper::Origin;
use redistribution::wire::CloseRequest;

use crate::clients::{Clients, NOWHERE};
use crate::course::{Course, Moment};
use crate::dns::Names;
use crate::edge::{Edge, poisson};
use crate::nodes::{VirtualNode, choose};
use crate::scenario::{EdgeSpec, Scenario};

/// A step of time, in seconds: that of the filters' ticks.
const STEP: f64 = 0.1;

/// Steps from one observation to the next.
const OBSERVE_EVERY: u64 = 10;

/// Where responses are sampled: so many of them for each close, since the connection of only one
/// in six is old enough for it. Of very many clients fewer will do: then close requests name more of
/// the oldest at once.
const STAMPS_PER_CLOSE: (f64, f64) = (8.0, 3.0);
const VERY_MANY: usize = 1_000_000;

/// Clients at the start have had their connections for up to so long, in seconds.
const OLDEST: f32 = 3600.0;

/// See the module's documentation.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    random: Pcg64,
    step: u64,
    clients: Clients,
    edges: Vec<Edge>,
    names: Names,
    nodes: Vec<VirtualNode>,
    /// Clients on their way to a new connection, and when they connect.
    reconnecting: VecDeque<(f64, u32)>,
    course: Course,
    /// Buffers, kept between requests.
    header: String,
    drawn: Vec<u32>,
}

// === impl World ===

impl World {
    /// A fleet whose clients are connected as DNS has it.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let mut random = Pcg64::seed_from_u64(scenario.seed);
        let clients = Clients::new(scenario.clients, scenario.pace, &mut random);
        let names = Names::new(scenario.dns, scenario.order, scenario.pools());
        let nodes = (0..scenario.modelled_nodes()).map(|number| VirtualNode {
            node: Node::new(scenario.node.clone(), random.random()),
            up: true,
            start: random.random_range(0..20),
            of: scenario.own_nodes.then_some(number % scenario.edges.len()),
        });
        let nodes = nodes.collect();
        let specs = scenario.edges.clone();
        let mut world = Self {
            course: Course::new(clients.len()),
            scenario,
            random,
            step: 0,
            clients,
            edges: Vec::new(),
            names,
            nodes,
            reconnecting: VecDeque::new(),
            header: String::new(),
            drawn: Vec::new(),
        };
        for spec in specs {
            world.add_edge(spec);
        }
        for client in 0..world.clients.len() {
            #[allow(clippy::cast_possible_truncation, reason = "fewer clients than that")]
            let client = client as u32;
            let age = world.random.random_range(0.0..OLDEST);
            world.connect(client);
            world.clients[client].opened = -age;
        }
        world
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a short time")]
        let steps = (time.as_secs_f64() / STEP).round() as u64;
        for _ in 0..steps {
            self.step();
        }
    }

    /// One more edge, in DNS at once.
    pub fn add_edge(&mut self, spec: EdgeSpec) {
        let limit = self.limit();
        self.edges.push(Edge::new(self.edges.len(), spec, limit, &mut self.random));
        self.names.enter(&self.edges);
        self.course.changed(self.now());
    }

    /// Ends an edge at once; its clients connect anew.
    pub fn kill_edge(&mut self, edge: usize) {
        self.edges[edge].up = false;
        self.names.enter(&self.edges);
        for client in self.edges[edge].seats.drain() {
            self.clients[client].at = NOWHERE;
            self.come_back(client);
        }
        self.course.changed(self.now());
    }

    /// Brings an edge back that was killed: empty, with a new VM.
    pub fn restart_edge(&mut self, edge: usize) {
        self.edges[edge].restart(&mut self.random);
        self.names.enter(&self.edges);
        self.course.changed(self.now());
    }

    /// How often DNS names an edge relative to the others; with 0 not at all.
    pub fn set_dns_weight(&mut self, edge: usize, weight: f64) {
        self.edges[edge].dns_weight = weight;
        self.names.enter(&self.edges);
    }

    /// Makes all resolvers forget what they kept, and keep answers for so long from now on.
    pub fn set_dns_ttl(&mut self, ttl: Duration) {
        self.names.set_ttl(ttl.as_secs_f64());
    }

    /// So many of an edge's clients leave by themselves and connect anew.
    pub fn leave(&mut self, edge: usize, clients: usize) {
        for _ in 0..clients {
            if let Some(client) = self.edges[edge].seats.draw(&self.clients, &mut self.random) {
                self.disconnect(client);
                self.come_back(client);
            }
        }
    }

    /// Starts or ends a node; requests go to those that are up.
    pub fn set_node_up(&mut self, node: usize, up: bool) {
        if up && !self.nodes[node].up {
            let fraction = self.random.random();
            self.nodes[node].node = Node::new(self.scenario.node.clone(), fraction);
            self.nodes[node].start = self.step;
        }
        self.nodes[node].up = up;
    }

    /// What has happened so far.
    #[must_use]
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// What the fleet was at the start.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Seconds since the start.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.step as f64 * STEP
    }

    /// The modelled nodes, to be asked what they know.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.up).map(|node| &node.node)
    }

    /// Every edge as it is now.
    #[must_use]
    pub fn edges_now(&self) -> Vec<Moment> {
        let edges = self.edges.iter().map(|edge| Moment {
            up: edge.up,
            rate: edge.seats.rate,
            weight: edge.spec.weight,
            connections: edge.seats.count,
            pool: edge.spec.pool,
        });
        edges.collect()
    }

    /// How often each client was closed.
    #[must_use]
    pub fn closes_per_client(&self) -> &[u8] {
        &self.clients.closed
    }

    fn limit(&self) -> PerSecond {
        PerSecond::new(self.scenario.max_closes_per_second).unwrap_or(PerSecond::MAX)
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanos(self.step * 100_000_000)
    }

    fn step(&mut self) {
        self.step += 1;
        let now = self.timestamp();
        for node in self.nodes.iter_mut().filter(|node| node.up && self.step >= node.start) {
            node.node.on_tick(now);
        }
        self.reconnect();
        if let Some(lifetime) = self.scenario.lifetime {
            self.churn(STEP / lifetime.as_secs_f64());
        }
        for edge in 0..self.edges.len() {
            if self.edges[edge].up {
                self.announce(edge, now);
                self.requests(edge, now);
            }
        }
        if self.step.is_multiple_of(OBSERVE_EVERY) {
            self.course.observe(self.now(), self.edges_now());
        }
    }

    /// The health checks of an edge, each node's in its turn.
    fn announce(&mut self, edge: usize, now: Timestamp) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a short time")]
        let every = ((self.scenario.announce.as_secs_f64() / STEP).round() as u64).max(1);
        let Self { edges, nodes, step, .. } = self;
        for (number, node) in (0_u64..).zip(nodes) {
            let turn = (*step + number + edge as u64 * 3).is_multiple_of(every);
            if turn && node.serves(edge) {
                node.node.on_request(Some(edges[edge].announcement.as_bytes()), now);
            }
        }
    }

    /// The requests of one step at an edge, as far as they are stamped.
    fn requests(&mut self, edge: usize, now: Timestamp) {
        let Self { edges, random, .. } = self;
        let at = &mut edges[edge];
        let requests = poisson(at.seats.rate * STEP, random) + at.unstamped;
        at.closing *= 0.9;
        let (some, few) = STAMPS_PER_CLOSE;
        let per_close = if self.scenario.clients > VERY_MANY { few } else { some };
        let stamps = match self.scenario.model.stamps {
            None => requests,
            Some(most) => {
                at.stamps_due += most * STEP + at.closing * 0.1 * per_close;
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "never negative"
                )]
                let due = at.stamps_due as u64;
                at.stamps_due = at.stamps_due.fract();
                due.min(requests)
            }
        };
        at.unstamped = if stamps == 0 { requests } else { 0 };
        // All at once, since each costs a look at memory that is in no cache: processors do many
        // such looks at a time.
        let mut drawn = std::mem::take(&mut self.drawn);
        drawn.clear();
        drawn.extend((0..stamps).filter_map(|_| at.seats.draw(&self.clients, random)));
        for (stamp, client) in (0..).zip(&drawn) {
            // The first stamps stand for one more where the division leaves a rest.
            let stands_for = requests / stamps + u64::from(stamp < requests % stamps);
            self.request(edge, *client, stands_for, now);
        }
        self.drawn = drawn;
    }

    /// A request of a client that was drawn. Where one drawn before it was closed with it, another
    /// client sends it.
    fn request(&mut self, edge: usize, drawn: u32, stands_for: u64, now: Timestamp) {
        let seconds = self.now();
        let Self { scenario, edges, clients, random, nodes, header, .. } = self;
        let at = &mut edges[edge];
        let here = (clients[drawn].at as usize == edge).then_some(drawn);
        let Some(client) = here.or_else(|| at.seats.draw(clients, random)) else {
            return;
        };
        let age = seconds - f64::from(clients[client].opened);
        let origin = Origin {
            connection: clients.connection(client),
            age: Duration::from_secs_f64(age.max(0.0)),
            open: at.seats.count as u64,
        };
        at.stamper.count(stands_for);
        let stamp = at.stamper.stamp(origin);
        let Some(node) = choose(nodes, edge, random) else {
            return;
        };
        // What is aggregated goes from one to the other as it is, all else as headers.
        let aggregated = scenario.model.stamps.is_some();
        let request = if aggregated {
            node.on_stamp(&stamp, now)
        } else {
            header.clear();
            stamp.write(header);
            node.on_request(Some(header.as_bytes()), now)
        };
        let Some(request) = request else { return };
        let Some(close) = node.on_response(&request, now) else { return };
        if aggregated {
            self.close(edge, &close, now);
        } else if let Ok(close) = CloseRequest::parse(close.to_header().as_bytes()) {
            self.close(edge, &close, now);
        }
    }

    /// What the edge does with a close request.
    fn close(&mut self, edge: usize, request: &CloseRequest<'_>, now: Timestamp) {
        let limit = self.limit();
        for named in &request.connections {
            let at = &mut self.edges[edge];
            let client = self.clients.of_connection(named.id);
            let client = client.filter(|client| self.clients[*client].at as usize == edge);
            let (Some(client), true) = (client, named.vm == at.vm) else {
                continue;
            };
            let Some(left) = at.budget.take(limit, now) else {
                continue;
            };
            at.budget = left;
            at.closing += 1.0;
            let closed = &mut self.clients.closed[client as usize];
            *closed = closed.saturating_add(1);
            self.course.close(edge, *closed);
            self.disconnect(client);
            self.come_back(client);
        }
    }

    /// Clients leave by themselves, each with this chance.
    fn churn(&mut self, chance: f64) {
        for _ in 0..poisson(chance * self.clients.len() as f64, &mut self.random) {
            #[allow(clippy::cast_possible_truncation, reason = "fewer clients than that")]
            let client = self.random.random_range(0..self.clients.len()) as u32;
            if self.clients[client].at != NOWHERE {
                self.disconnect(client);
                self.come_back(client);
            }
        }
    }

    fn disconnect(&mut self, client: u32) {
        let edge = self.clients[client].at as usize;
        self.edges[edge].seats.unseat(client, &mut self.clients);
        self.clients[client].at = NOWHERE;
    }

    fn come_back(&mut self, client: u32) {
        let at = self.now() + self.scenario.reconnect.as_secs_f64();
        self.reconnecting.push_back((at, client));
    }

    fn reconnect(&mut self) {
        let now = self.now();
        while let Some((at, client)) = self.reconnecting.front().copied()
            && at <= now + 1e-9
        {
            self.reconnecting.pop_front();
            self.connect(client);
        }
    }

    /// Connects a client to where its name leads; where it leads nowhere, the client tries again.
    fn connect(&mut self, client: u32) {
        let pool = client as usize % self.scenario.pools();
        let now = self.now();
        let Self { names, edges, random, clients, .. } = self;
        match names.resolve(client, pool, edges, now, random) {
            None => self.come_back(client),
            Some(edge) => {
                clients[client].at = edge;
                clients[client].connections += 1;
                #[allow(clippy::cast_possible_truncation, reason = "exact to a millisecond")]
                let opened = now as f32;
                clients[client].opened = opened;
                edges[edge as usize].seats.seat(client, clients);
            }
        }
    }
}
