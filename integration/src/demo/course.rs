//! The course of a run: clients connect, a third edge joins, the load spreads, and it ends once
//! the load has been even long enough (or is not in time).

use anyhow::{Context, Result};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::interrupt::unless_key;
use super::sampler::Sampler;
use super::scenario::{self, SAMPLE_INTERVAL, SETTLE_BOUND, SETTLED_FOR, TOLERANCE, WARM_UP};
use crate::client::{ClientPool, ClientTotals};
use crate::fleet::Fleet;
use crate::live::View;
use crate::report::{EdgeName, Event, Timeline};

/// A run that goes on.
pub(super) struct Course<'a> {
    fleet: &'a mut Fleet,
    view: &'a mut dyn View,
    clients: ClientPool,
    sampler: Sampler,
    ticks: Interval,
    timeline: Timeline,
}

/// What a run has left.
#[derive(Debug)]
pub(super) struct Record {
    /// Its course.
    pub timeline: Timeline,
    /// When the third edge joined, in seconds since the start.
    pub joined_s: f64,
    /// What the clients saw, until the last of them had ended.
    pub clients: ClientTotals,
}

/// Plays the whole scenario on a fleet that runs.
///
/// # Errors
///
/// The user has ended it ([`Interrupted`](super::Interrupted)), the third edge does not start,
/// an Envoy no longer answers, or the view cannot be written to.
pub(super) async fn run(fleet: &mut Fleet, view: &mut dyn View) -> Result<Record> {
    let mut course = Course::start(fleet, view)?;
    while course.sampler.now_s() < WARM_UP.as_secs_f64() {
        course.sample().await?;
    }
    let joined_s = course.join().await?;
    while !course.is_over(joined_s) {
        course.sample().await?;
    }
    let Course { clients, timeline, view, .. } = course;
    let clients = unless_key(view, clients.stop()).await?;
    Ok(Record { timeline, joined_s, clients })
}

// === impl Course ===

impl<'a> Course<'a> {
    /// Starts the clients and the clock.
    fn start(fleet: &'a mut Fleet, view: &'a mut dyn View) -> Result<Self> {
        let clients = ClientPool::start(
            scenario::CLIENTS,
            scenario::client,
            &fleet.resolver()?,
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
            title: "Spillway demo".to_owned(),
            envoy_version: fleet.envoy_version(),
            policy: scenario::policy_in_words(),
            edges,
            tolerance: TOLERANCE,
            ..Timeline::default()
        };
        let mut course = Self { fleet, view, clients, sampler: Sampler::start(), ticks, timeline };
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
    fn is_over(&self, joined_s: f64) -> bool {
        let now_s = self.timeline.samples.last().map_or(0.0, |sample| sample.at_s);
        let settled_s = self.timeline.settled_at(joined_s);
        settled_s.is_some_and(|settled_s| now_s - settled_s >= SETTLED_FOR.as_secs_f64())
            || now_s - joined_s >= SETTLE_BOUND.as_secs_f64()
    }
}
