//! The course of a run: clients connect, a third edge joins, the load spreads. It is judged once
//! the load has been even long enough (or is not in time), and goes on for a while where that is
//! to be seen too.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::interrupt::unless_key;
use super::sampler::{ClosesOf, Sampler};
use super::{SAMPLE_INTERVAL, TOLERANCE};
use crate::client::{ClientPool, ClientTotals, LongLivedClient};
use crate::fleet::Fleet;
use crate::live::View;
use crate::report::{EdgeName, Event, Timeline};

/// What is to be played.
pub(crate) struct Plan {
    /// For the head of a report.
    pub title: String,
    /// What closes connections, in words.
    pub policy: String,
    /// How many clients.
    pub clients: usize,
    /// What each of them does, by its number from 0.
    pub client: fn(usize) -> LongLivedClient,
    /// The clients start within this time.
    pub start_spread: Duration,
    /// From the first client to the start of the third edge.
    pub warm_up: Duration,
    /// "Stays so": the load has to be even for so long to have settled.
    pub settled_for: Duration,
    /// After so long from the join the load is judged, settled or not.
    pub settle_bound: Duration,
    /// How long it goes on after that.
    pub after: Duration,
    /// Whose count of closes goes into the samples.
    pub closes_of: ClosesOf,
}

/// A run that goes on.
struct Course<'a> {
    plan: &'a Plan,
    fleet: &'a mut Fleet,
    view: &'a mut dyn View,
    clients: ClientPool,
    sampler: Sampler,
    ticks: Interval,
    timeline: Timeline,
}

/// What a run has left.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its course.
    pub timeline: Timeline,
    /// When the third edge joined, in seconds since the start.
    pub joined_s: f64,
    /// From when on the load was even until it was judged, in seconds since the start.
    pub settled_s: Option<f64>,
    /// When it was judged: it had been even long enough, or had its time. In seconds since the start.
    pub judged_s: f64,
    /// What the clients saw, until the last of them had ended.
    pub clients: ClientTotals,
}

/// Plays the whole scenario on a fleet that runs.
///
/// # Errors
///
/// The user has ended it ([`Interrupted`](super::Interrupted)), the third edge does not start,
/// an Envoy no longer answers, or the view cannot be written to.
pub(crate) async fn run(plan: &Plan, fleet: &mut Fleet, view: &mut dyn View) -> Result<Record> {
    let mut course = Course::start(plan, fleet, view)?;
    while course.sampler.now_s() < plan.warm_up.as_secs_f64() {
        course.sample().await?;
    }
    let joined_s = course.join().await?;
    while !course.can_be_judged(joined_s) {
        course.sample().await?;
    }
    let settled_s = course.timeline.settled_at(joined_s);
    let judged_s = course.last_sample_s();
    if !plan.after.is_zero() {
        let verdict = if settled_s.is_some() { "settled" } else { "not settled in time" };
        course.event(judged_s, verdict);
    }
    while course.last_sample_s() - judged_s < plan.after.as_secs_f64() {
        course.sample().await?;
    }
    let Course { clients, timeline, view, .. } = course;
    let clients = unless_key(view, clients.stop()).await?;
    Ok(Record { timeline, joined_s, settled_s, judged_s, clients })
}

// === impl Course ===

impl<'a> Course<'a> {
    /// Starts the clients and the clock.
    fn start(plan: &'a Plan, fleet: &'a mut Fleet, view: &'a mut dyn View) -> Result<Self> {
        let clients = ClientPool::start_over(
            plan.start_spread,
            plan.clients,
            plan.client,
            &[fleet.resolver()?],
            fleet.port(),
        )?;
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut edges: Vec<_> = fleet
            .edges()
            .iter()
            .map(|edge| EdgeName { name: edge.name.clone(), address: edge.address.to_string() })
            .collect();
        // Fleets number their edges; this one has its place on the screen before it is there.
        edges.push(EdgeName { name: format!("edge-{}", edges.len() + 1), address: String::new() });
        let timeline = Timeline {
            title: plan.title.clone(),
            envoy_version: fleet.envoy_version(),
            policy: plan.policy.clone(),
            edges,
            tolerance: TOLERANCE,
            ..Timeline::default()
        };
        let sampler = Sampler::start(plan.closes_of);
        let mut course = Self { plan, fleet, view, clients, sampler, ticks, timeline };
        course.event(0.0, "clients connect");
        Ok(course)
    }

    /// Waits for its time, then takes a sample and shows it.
    async fn sample(&mut self) -> Result<()> {
        unless_key(self.view, self.ticks.tick()).await?;
        self.measure().await
    }

    async fn measure(&mut self) -> Result<()> {
        let edges = self.timeline.edges.len();
        let measured = self.sampler.sample(self.fleet, &self.clients, edges);
        let sample = unless_key(self.view, measured).await??;
        self.timeline.samples.push(sample);
        self.view.sample(&self.timeline)
    }

    /// Starts one more edge, and gives back when it was entered in DNS, in seconds.
    async fn join(&mut self) -> Result<f64> {
        let edge = unless_key(self.view, self.fleet.add_edge()).await??;
        let joined_s = self.sampler.now_s();
        let name = self.timeline.edges.last_mut().context("a run without edges")?;
        *name = EdgeName { name: edge.name.clone(), address: edge.address.to_string() };
        let text = format!("{} joins", name.name);
        self.event(joined_s, &text);
        self.ticks.reset();
        self.measure().await?;
        Ok(joined_s)
    }

    fn event(&mut self, at_s: f64, text: &str) {
        self.timeline.events.push(Event { at_s, text: text.to_owned() });
        self.view.event(at_s, text);
    }

    /// Whether the load has settled, or has had its time.
    fn can_be_judged(&self, joined_s: f64) -> bool {
        let now_s = self.last_sample_s();
        let settled_s = self.timeline.settled_at(joined_s);
        settled_s.is_some_and(|settled_s| now_s - settled_s >= self.plan.settled_for.as_secs_f64())
            || now_s - joined_s >= self.plan.settle_bound.as_secs_f64()
    }

    fn last_sample_s(&self) -> f64 {
        self.timeline.samples.last().map_or(0.0, |sample| sample.at_s)
    }
}
