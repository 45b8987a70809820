//! One run: the fleet stands, it changes, and what follows is measured.

use std::time::{Duration, Instant};

use simulation::{Course, EdgeSpec, World, closes_floor};

use super::aggregation::Aggregated;
use super::options::{Change, Plan};
use super::result::{Later, Run};

/// How long a load balancer that is killed stays away: less than nodes take to forget it.
const AWAY: Duration = Duration::from_secs(10);

const SECOND: Duration = Duration::from_secs(1);

/// What a run has left.
#[derive(Debug)]
pub(super) struct Record {
    /// Its numbers.
    pub run: Run,
    /// Its course, second by second.
    pub course: Course,
    /// Closes per second that the nodes owed, all together, at each moment of the course.
    pub wanted: Vec<f64>,
    /// What happened, and when, in seconds.
    pub events: Vec<(f64, String)>,
}

/// A world that is watched.
struct Watched {
    world: World,
    wanted: Vec<f64>,
    events: Vec<(f64, String)>,
}

/// Plays a plan with one seed.
pub(super) fn play(plan: &Plan, seed: u64) -> Record {
    let began = Instant::now();
    let mut scenario = plan.scenario.clone();
    scenario.seed = seed;
    let (edges, clients) = (scenario.edges.len(), scenario.clients);
    let mut watched =
        Watched { world: World::new(scenario), wanted: Vec::new(), events: Vec::new() };
    watched.run(plan.warm_up);
    match plan.change {
        Change::Join(0) => {}
        Change::Join(joining) => {
            for _ in 0..joining {
                watched.world.add_edge(EdgeSpec::default());
            }
            watched.event(joins(edges, joining));
        }
        Change::Restart => {
            watched.world.kill_edge(0);
            watched.event("edge-1 is killed".to_owned());
            watched.run(AWAY);
            watched.world.restart_edge(0);
            watched.event("edge-1 is back, empty".to_owned());
        }
    }
    let changed_s = watched.world.now();
    let floor = least_closes(&watched.world, plan);
    let before = watched.world.course().closes;
    let most_before = watched.world.closes_per_client().to_vec();
    watched.run(plan.after);

    let Watched { world, wanted, events } = watched;
    let course = world.course();
    let closes = course.closes - before;
    let settle_s = course.settled_within(changed_s, plan.tolerance);
    let later = |from_s: f64| course.closes_between(changed_s + from_s, f64::INFINITY);
    let most = world.closes_per_client().iter().zip(most_before).map(|(all, old)| all - old).max();
    let settle_time_s = plan.settle_time.map(|time| time.as_secs_f64());
    let run = Run {
        lbs: course.moments.last().map_or(edges, |(_, edges)| edges.len()),
        nodes: plan.scenario.nodes,
        connections: clients,
        settle_s,
        closes: closes as f64,
        closes_before: before as f64,
        closes_floor: floor,
        closes_per_floor: (floor >= 1.0).then(|| closes as f64 / floor),
        most_closes_of_a_client: f64::from(most.unwrap_or(0)),
        overshoot: course.overshoot(changed_s),
        closes_later: Later {
            after_settled: settle_s.map(|settle_s| later(settle_s) as f64),
            after_twice_settle_time: settle_time_s.map(|time| later(2.0 * time) as f64),
        },
        seed,
        settle_time_s,
        aggregated: Aggregated::of(plan.scenario.model, course),
        wall_s: began.elapsed().as_secs_f64(),
        peak_rss_mib: super::result::peak_rss_mib(),
    };
    Record { run, course: course.clone(), wanted, events }
}

/// The least closes that bring the fleet as it is now to balance, less what random landing does.
fn least_closes(world: &World, plan: &Plan) -> f64 {
    let edges = world.edges_now();
    let connections: Vec<_> = edges.iter().map(|edge| edge.connections as f64).collect();
    let weights: Vec<_> = edges.iter().map(|edge| edge.weight).collect();
    closes_floor(&connections, &weights, plan.tolerance)
}

fn joins(before: usize, joining: usize) -> String {
    match joining {
        1 => format!("edge-{} joins", before + 1),
        _ => format!("edge-{} to edge-{} join", before + 1, before + joining),
    }
}

// === impl Watched ===

impl Watched {
    fn run(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(SECOND);
            self.world.run(step);
            left -= step;
            // One value for each moment of the course, however long the steps were.
            let wanted = self.world.nodes().map(|node| node.close_rate().get()).sum();
            self.wanted.resize(self.world.course().moments.len(), wanted);
        }
    }

    fn event(&mut self, text: String) {
        self.events.push((self.world.now(), text));
    }
}
