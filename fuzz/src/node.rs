//! A node: whatever edges stamp on requests, whatever the application answers, however time goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use redistribution::VmToken;
use redistribution::wire::{CLOSE_HEADER, CloseRequest, NamedConnection, STAMP_HEADER, Stamp};

use crate::host::{self, CONTINUE, Host, Module, Process, Stream, call};
use crate::stamp::stamp;

/// The clock at the start.
const STARTED_NS: u64 = 1_000_000_000;

/// The filter's context.
const ROOT: u32 = 1;

/// Closes per second of each load balancer at most, in all configurations.
const MOST_PER_SECOND: f64 = 20.0;

const CONFIGURATIONS: [&str; 5] = [
    "{}",
    r#"{ "close_rate": { "per_second": 20 }, "min_connection_age": "0s", "share_window": "1s" }"#,
    r#"{ "close_rate": { "per_second": 20 }, "min_connection_age": "0s", "share": { "nodes": 1 } }"#,
    r#"{ "close_rate": { "rebalance": { "settle_time": "20s", "max_per_second": 20 } },
        "share_window": "1s", "min_connection_age": "0s" }"#,
    r#"{ "mode": "observe", "close_rate": { "per_second": 20 }, "min_connection_age": "0s" }"#,
];

/// What applications say in the name of a node.
const FORGED: &[u8] = b"lb=\"e0\", conns=(1;vm=forged)";

/// A VM, and what its host knows of it.
struct Node<'d, 'a> {
    process: Arc<Process>,
    data: &'d mut Unstructured<'a>,
    next_context: u32,
    requests: Vec<u32>,
    stamped: BTreeSet<(String, NamedConnection)>,
    load_balancers: BTreeSet<String>,
    seq: [u64; 4],
    received: i64,
    /// Whether the clock only goes forward.
    steady: bool,
    limited: bool,
}

/// Takes `data` for what happens to the node whose filter is `module`.
///
/// # Panics
/// Where something does not hold.
pub fn check(module: Module, data: &[u8]) {
    let process = Arc::new(Process::default());
    process.lock().now_ns = STARTED_NS;
    host::run(Host::new(module, Arc::clone(&process)), || {
        let mut node = Node {
            process: Arc::clone(&process),
            data: &mut Unstructured::new(data),
            next_context: ROOT,
            requests: Vec::new(),
            stamped: BTreeSet::new(),
            load_balancers: BTreeSet::new(),
            seq: [0; 4],
            received: 0,
            steady: true,
            limited: true,
        };
        (module.initialize)();
        // Where the input ends, so does what happens.
        let _ = node.steps();
        node.end();
    });
    (module.forget)();
}

// === impl Node ===

impl Node<'_, '_> {
    fn steps(&mut self) -> Result<()> {
        let choice = self.data.arbitrary::<u8>()?;
        let configuration = CONFIGURATIONS[usize::from(choice) % CONFIGURATIONS.len()];
        self.limited = configuration.contains("20");
        let configuration = if choice < 250 {
            configuration.as_bytes().to_vec()
        } else {
            self.limited = false;
            self.bytes(64)?
        };
        let size = configuration.len();
        host::with(|host| host.configuration = configuration);
        call(ROOT, |module| (module.context_create)(ROOT, 0));
        let taken = call(ROOT, |module| (module.configure)(ROOT, size));
        assert!(taken || choice >= 250, "a good configuration is taken");
        // One that was refused leaves everything as if the filter were not there.
        host::with(|host| host.failed |= !taken);
        while !self.data.is_empty() {
            match self.data.arbitrary::<u8>()? % 16 {
                0..=6 => self.request()?,
                7..=11 => self.respond()?,
                12..=13 => self.tick()?,
                14 => self.wild()?,
                _ => self.fail()?,
            }
        }
        Ok(())
    }

    fn request(&mut self) -> Result<()> {
        let mut header = String::new();
        match self.data.arbitrary::<u8>()? % 8 {
            0 => {}
            1 => {
                let bytes = self.bytes(40)?;
                return self.receive(Some(&bytes));
            }
            2 => stamp(self.data)?.write(&mut header),
            _ => {
                let which = usize::from(self.data.arbitrary::<u8>()?) % self.seq.len();
                let how: u8 = self.data.arbitrary()?;
                let seq = &mut self.seq[which];
                *seq = seq.wrapping_add(u64::from(how & 15) * u64::from(how & 16));
                let seq = *seq + 1;
                let position = match how & 0xe0 {
                    0 => String::new(),
                    _ => format!(
                        ", vm={}, seq={seq}, total={}, conn={}, age={}, open={}",
                        VmToken::from_random(u64::from(how & 32)),
                        seq + u64::from(how),
                        self.data.arbitrary::<u8>()?,
                        self.data.arbitrary::<u8>()?,
                        self.data.arbitrary::<u8>()?,
                    ),
                };
                header = format!("id=\"e{which}\"{position}");
            }
        }
        self.receive((!header.is_empty()).then_some(header.as_bytes()))
    }

    fn receive(&mut self, header: Option<&[u8]>) -> Result<()> {
        if let Some(Ok(stamp)) = header.map(Stamp::parse) {
            self.load_balancers.insert(stamp.id.to_string());
            if let Some(position) = stamp.position {
                let named = NamedConnection { id: position.connection, vm: position.vm };
                self.stamped.insert((stamp.id.into_owned(), named));
            }
        }
        self.next_context += 1;
        let context = self.next_context;
        let request = header.map(|header| (STAMP_HEADER.into(), header.to_vec()));
        let stream = Stream { request: request.into_iter().collect(), ..Stream::default() };
        host::with(|host| host.streams.insert(context, stream));
        call(context, |module| (module.context_create)(context, ROOT));
        let action = call(context, |module| (module.request_headers)(context, 1, true));
        assert_eq!(action, CONTINUE, "a request is never held up");
        self.received += 1;
        self.requests.push(context);
        if self.data.arbitrary()? { self.respond_to(self.requests.len() - 1) } else { Ok(()) }
    }

    fn respond(&mut self) -> Result<()> {
        match self.requests.len() {
            0 => Ok(()),
            some => {
                let index = self.data.choose_index(some)?;
                self.respond_to(index)
            }
        }
    }

    fn respond_to(&mut self, index: usize) -> Result<()> {
        let context = self.requests.remove(index);
        let forged = self.data.arbitrary::<u8>()? % 3;
        let response = (0..forged).map(|_| (CLOSE_HEADER.into(), FORGED.to_vec())).collect();
        host::with(|host| host.streams.entry(context).or_default().response = response);
        let action = call(context, |module| (module.response_headers)(context, 1, false));
        assert_eq!(action, CONTINUE, "a response is never held up");
        call(context, |module| (module.delete)(context));
        let stream = host::with(|host| host.streams.remove(&context)).expect("it was there");
        // Edges look for it only where there was a stamp.
        if stream.request.is_empty() || host::with(|host| host.failed) {
            return Ok(());
        }
        let closes: Vec<_> = stream.response.iter().map(|(_, value)| value.as_slice()).collect();
        assert!(closes.len() <= 1 && !closes.contains(&FORGED), "the application's goes on");
        for close in closes {
            let close = CloseRequest::parse(close).expect("what a node writes can be read");
            for named in &close.connections {
                let known = (close.lb.to_string(), *named);
                assert!(self.stamped.contains(&known), "{named:?} was never heard of");
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        let time = self.data.choose(&[0, 100, 100, 100, 1_000, 1_000, 30_000, 3_600_000])?;
        let mut process = self.process.lock();
        process.now_ns = process.now_ns.saturating_add(time * 1_000_000);
        drop(process);
        call(ROOT, |module| (module.tick)(ROOT));
        Ok(())
    }

    /// Any callback for any context, or a clock that jumps.
    fn wild(&mut self) -> Result<()> {
        let context = u32::from(self.data.arbitrary::<u8>()?);
        let other = u32::from(self.data.arbitrary::<u8>()?);
        let which = self.data.arbitrary::<u8>()? % 8;
        // Whom it meets it does what nobody expects.
        host::with(|host| host.failed |= (1..5).contains(&which));
        let action = match which {
            0 => {
                self.steady = false;
                self.process.lock().now_ns = self.data.arbitrary()?;
                CONTINUE
            }
            1 => call(context, |module| (module.request_headers)(context, 0, true)),
            2 => call(context, |module| (module.response_headers)(context, 0, true)),
            3 => {
                call(context, |module| (module.context_create)(context, other));
                self.next_context = self.next_context.max(context);
                CONTINUE
            }
            4 => {
                call(context, |module| (module.delete)(context));
                CONTINUE
            }
            _ => {
                call(context, |module| (module.tick)(context));
                CONTINUE
            }
        };
        assert_eq!(action, CONTINUE, "nothing is held up");
        Ok(())
    }

    /// Host calls to come fail, some of them.
    fn fail(&mut self) -> Result<()> {
        let statuses = self.bytes(8)?;
        let statuses = statuses.into_iter().map(|status| status.saturating_sub(128));
        host::with(|host| host.statuses = statuses.collect());
        Ok(())
    }

    fn end(&mut self) {
        host::with(|host| host.statuses.clear());
        call(ROOT, |module| (module.tick)(ROOT));
        if !host::with(|host| host.failed) {
            self.check_metrics();
        }
        // Twice, because a request and the filter may have the same number where all is wild.
        for context in (0..=self.next_context).chain(0..=self.next_context) {
            call(context, |module| (module.delete)(context));
        }
        let left = host::with(|host| host.metric("spillway.node.close_rate_millis"));
        assert!(host::with(|host| host.failed) || left == 0, "a filter leaves its part in a gauge");
    }

    fn check_metrics(&self) {
        let of = |name: &str| host::with(|host| host.metric(&format!("spillway.node.{name}")));
        let counted: i64 = [
            "requests_stamped",
            "requests_unstamped",
            "announcements",
            "stamps_malformed",
            "stamps_over_limit",
        ]
        .into_iter()
        .map(of)
        .sum();
        assert!(counted == self.received || of("load_balancers") == 0, "{counted} requests");
        assert_eq!(of("host_errors"), 0);
        let rate = of("close_rate_millis");
        assert!(rate >= 0, "{rate}");
        if self.limited && self.steady {
            // Each VM of a load balancer says itself how much of the whole it is.
            let vms: BTreeSet<_> = self.stamped.iter().map(|(lb, named)| (lb, named.vm)).collect();
            let seconds = (self.process.lock().now_ns - STARTED_NS) as f64 / 1e9;
            let most = MOST_PER_SECOND * seconds * vms.len() as f64;
            let closes = of("closes_requested") + of("closes_observed");
            let load_balancers = self.load_balancers.len() as f64;
            assert!(closes as f64 <= most + load_balancers, "{closes} in {seconds} s");
        }
    }

    fn bytes(&mut self, most: usize) -> Result<Vec<u8>> {
        let len = self.data.int_in_range(0..=most)?.min(self.data.len());
        Ok(self.data.bytes(len)?.to_vec())
    }
}
