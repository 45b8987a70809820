//! An edge: whatever its clients, its nodes and its other workers do, in whatever order.
//!
//! The bytes of an input are what happens, step by step. In an *orderly* one that is what Envoy
//! makes happen, and much has to hold: bytes get where they are sent, nobody waits for ever, counters
//! add up. In any other the callbacks come in any order, with any context: it has to be lived
//! through. In both, host calls may fail.

mod bytes;
mod connections;
mod end;
mod requests;
mod wild;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use redistribution::VmToken;

use crate::host::{self, Host, Module, Process, call};
use connections::Connection;
use requests::Request;

/// The load balancer's id, which is Envoy's node id too.
const ID: &str = "edge-1";

/// Closes per second, where they are limited.
const LIMIT: f64 = 5.0;

/// VMs that follow one another at most, each in the place of one that has trapped.
const MAX_VMS: usize = 3;

/// Connections and requests at a time.
const MANY: usize = 40;

/// A VM, and what its host knows of it.
struct Edge<'d, 'a> {
    process: Arc<Process>,
    data: &'d mut Unstructured<'a>,
    orderly: bool,
    roots: Vec<Root>,
    connections: Vec<Connection>,
    requests: Vec<Request>,
    next_context: u32,
    next_connection: u64,
    /// As its stamps name it.
    token: Option<VmToken>,
    started_ns: u64,
    /// Whether closes are limited to [`LIMIT`] per second.
    limited: bool,
    /// Connections that somebody may have asked to close.
    named: BTreeSet<u64>,
}

/// A configured filter.
struct Root {
    context: u32,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Http,
    Responses,
    Connection,
}

/// How a VM ends.
#[derive(PartialEq, Eq)]
enum Ending {
    Traps,
    Ends,
}

/// Takes `data` for what happens to the edge whose filter is `module`.
///
/// # Panics
/// Where something does not hold.
pub fn check(module: Module, data: &[u8]) {
    let process = Arc::new(Process::default());
    process.lock().now_ns = 1_000_000_000;
    let mut data = Unstructured::new(data);
    let Ok(orderly) = data.arbitrary() else { return };
    for _ in 0..MAX_VMS {
        let ending = run(module, &process, &mut data, orderly);
        (module.forget)();
        if ending == Ending::Ends {
            break;
        }
    }
}

/// Runs one VM; its thread is this one.
fn run(
    module: Module,
    process: &Arc<Process>,
    data: &mut Unstructured<'_>,
    orderly: bool,
) -> Ending {
    let mut ending = Ending::Ends;
    let mut host = Host::new(module, Arc::clone(process));
    host.on_resumed = if orderly { bytes::codec_answers } else { wild::codec_answers };
    // Much does not hold then.
    host.failed = !orderly;
    host::run(host, || {
        let mut edge = Edge {
            process: Arc::clone(process),
            data,
            orderly,
            roots: Vec::new(),
            connections: Vec::new(),
            requests: Vec::new(),
            next_context: 1,
            next_connection: 0,
            token: None,
            started_ns: process.lock().now_ns,
            limited: true,
            named: BTreeSet::new(),
        };
        (module.initialize)();
        // Where the input ends, so does what happens.
        ending = edge.steps().unwrap_or(Ending::Ends);
        if ending == Ending::Ends && edge.orderly {
            edge.end();
        }
        edge.delete_all();
    });
    ending
}

// === impl Edge ===

impl Edge<'_, '_> {
    fn steps(&mut self) -> Result<Ending> {
        self.configure()?;
        loop {
            match self.data.arbitrary::<u8>()? % 24 {
                0..=1 => self.connect()?,
                2..=5 => self.request()?,
                6..=10 => self.respond()?,
                11..=12 => self.write_more()?,
                13..=15 => self.read()?,
                16 => self.end_request()?,
                17 => self.disconnect()?,
                18..=19 => self.tick()?,
                20 => self.hand_over()?,
                21 => self.fail()?,
                22 if self.orderly => self.configure()?,
                22 => self.wild()?,
                _ if self.data.ratio(1, 8)? => return Ok(Ending::Traps),
                _ if self.orderly => self.tick()?,
                _ => self.wild()?,
            }
            if self.data.is_empty() {
                return Ok(Ending::Ends);
            }
        }
    }

    /// A configuration comes: one or two filters, in their roles.
    fn configure(&mut self) -> Result<()> {
        if self.roots.len() >= 4 {
            return Ok(());
        }
        let choice: u8 = self.data.arbitrary()?;
        let mode = if choice & 8 == 0 { "enforce" } else { "observe" };
        let max_drain = if choice & 16 == 0 { "" } else { r#", "max_drain": "1m""# };
        let limit = if choice & 32 == 0 { 100_000.0 } else { LIMIT };
        self.limited &= choice & 32 != 0;
        let settings = format!(
            r#""id": "{ID}", "mode": "{mode}", "max_closes_per_second": {limit}{max_drain}"#
        );
        let roles: &[_] = match choice & 7 {
            0..=2 => &[("connection", Role::Connection), ("http", Role::Http)],
            3 => &[("http", Role::Http), ("connection", Role::Connection)],
            4 => &[("http", Role::Http)],
            5 => &[("connection", Role::Connection)],
            6 => &[("http", Role::Http), ("responses", Role::Responses)],
            _ => &[],
        };
        for (name, role) in roles {
            self.root(format!(r#"{{ "role": "{name}", {settings} }}"#).into_bytes(), *role);
        }
        if roles.is_empty() && !self.orderly {
            let bytes = self.bytes(64)?;
            self.root(bytes, Role::Http);
        }
        Ok(())
    }

    fn root(&mut self, configuration: Vec<u8>, role: Role) {
        let (context, size) = (self.context(), configuration.len());
        host::with(|host| host.configuration = configuration);
        call(context, |module| (module.context_create)(context, 0));
        let taken = call(context, |module| (module.configure)(context, size));
        if self.orderly && !taken {
            assert!(host::with(|host| host.failed), "a good configuration is taken");
            // Envoy does not take it either.
            call(context, |module| (module.delete)(context));
        } else {
            self.roots.push(Root { context, role });
        }
    }

    /// Time passes; one filter, or all of them, are told.
    fn tick(&mut self) -> Result<()> {
        let time = self.data.choose(&[0, 100, 100, 1_000, 6_000, 20_000, 61_000, 700_000])?;
        self.advance(Duration::from_millis(*time));
        if !self.orderly && self.data.ratio(1, 8)? {
            self.process.lock().now_ns = self.data.arbitrary()?;
        }
        self.tick_all();
        Ok(())
    }

    fn tick_all(&mut self) {
        for root in &self.roots {
            call(root.context, |module| (module.tick)(root.context));
        }
        self.see_closed();
    }

    fn pass(&mut self, time: Duration) {
        self.advance(time);
        self.tick_all();
    }

    fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).expect("a short time");
        let mut process = self.process.lock();
        process.now_ns = process.now_ns.saturating_add(nanos);
    }

    /// Another VM hands a close over.
    fn hand_over(&mut self) -> Result<()> {
        let Some(token) = self.token else { return Ok(()) };
        let named = self.named_connection()?;
        self.named.insert(named);
        let mut message = named.to_le_bytes().to_vec();
        message.extend_from_slice(if self.data.ratio(7, 8)? { ID } else { "edge-2" }.as_bytes());
        if !self.orderly && self.data.arbitrary()? {
            message = self.bytes(20)?;
        }
        let name = format!("spillway.closes.{token}");
        let queue = {
            let mut process = self.process.lock();
            let Some(number) = process.resolve(name.as_bytes()) else { return Ok(()) };
            if let Some(queue) = process.queue(number) {
                queue.messages.push_back(message);
            }
            number
        };
        for root in self.roots.iter().filter(|root| root.role != Role::Connection) {
            call(root.context, |module| (module.edge().queue_ready)(root.context, queue));
        }
        Ok(())
    }

    /// Host calls to come fail, some of them.
    fn fail(&mut self) -> Result<()> {
        let statuses = self.bytes(12)?;
        // Most go on.
        let statuses = statuses.into_iter().map(|status| status.saturating_sub(128));
        host::with(|host| host.statuses = statuses.collect());
        Ok(())
    }

    /// The host makes an end of it: first of the streams, then of the filters, which may have the same
    /// numbers where all is wild.
    fn delete_all(&mut self) {
        let wild = if self.orderly { 0 } else { wild::LAST_CONTEXT };
        let last = self.next_context.max(wild);
        for context in (0..=last).chain(0..=last) {
            call(context, |module| (module.delete)(context));
        }
    }

    fn context(&mut self) -> u32 {
        self.next_context += 1;
        self.next_context
    }

    fn bytes(&mut self, most: usize) -> Result<Vec<u8>> {
        let len = self.data.int_in_range(0..=most)?.min(self.data.len());
        Ok(self.data.bytes(len)?.to_vec())
    }

    /// A filter in that role; where there are several, any of them.
    fn root_of(&mut self, roles: &[Role]) -> Result<Option<(u32, Role)>> {
        let fitting: Vec<_> =
            self.roots.iter().filter(|root| roles.contains(&root.role) || !self.orderly).collect();
        if fitting.is_empty() {
            return Ok(None);
        }
        let root = self.data.choose(&fitting)?;
        Ok(Some((root.context, root.role)))
    }
}

/// Whether host calls have done all that they were asked so far.
fn all_well() -> bool {
    host::with(|host| !host.failed)
}
