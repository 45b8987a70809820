//! What happens to a filter, and what it calls then.
//!
//! Each case is met often, in a VM that has run for a while, and has to cost the same every time.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::host::{Host, REQUEST_HEADERS, RESPONSE_HEADERS};
use crate::vm::{Exchange, Vm};

/// Calls by name: imports that the module calls, and exports that the host does.
pub type Counts = BTreeMap<String, u64>;

/// What was counted in each case.
#[derive(Default)]
pub struct Tally(BTreeMap<&'static str, BTreeSet<Counts>>);

const SMALL_REQUEST: [(&str, &str); 4] =
    [(":method", "GET"), (":path", "/"), (":authority", "www.example.com"), ("accept", "*/*")];
const UPLOAD: [(&str, &str); 3] =
    [(":method", "POST"), (":path", "/"), (":authority", "www.example.com")];
const RESPONSE: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/plain")];
const HTTP1_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

// === impl Tally ===

impl Tally {
    /// What every occurrence of each case called.
    ///
    /// # Errors
    /// They differ.
    pub fn counts(self) -> Result<BTreeMap<&'static str, Counts>> {
        let one = |(case, variants): (_, BTreeSet<Counts>)| {
            ensure!(variants.len() == 1, "{case}: not always the same: {variants:#?}");
            Ok((case, variants.into_iter().next().context("never")?))
        };
        self.0.into_iter().map(one).collect()
    }

    fn met(&mut self, case: &'static str, counts: Counts) {
        self.0.entry(case).or_default().insert(counts);
    }
}

/// Does something in the VM, and gives back what was called.
fn counted(vm: &mut Vm, act: impl FnOnce(&mut Vm) -> Result<()>) -> Result<Counts> {
    vm.host().calls.clear();
    act(vm)?;
    Ok(vm.host().calls.iter().map(|(name, times)| ((*name).to_owned(), *times)).collect())
}

/// `node-filter`: requests with stamps and without, closes, and ticks.
pub fn node(tally: &mut Tally) -> Result<()> {
    let (mut vm, root) = node_vm()?;
    let mut closes = 0;
    for seq in 1..=2_000 {
        let counts = counted(&mut vm, |vm| stamped(vm, root, seq))?;
        let asks = vm.host().header(RESPONSE_HEADERS, "spillway-close").is_some();
        closes += i64::from(asks);
        let case = if asks {
            "node-filter: response with a close request"
        } else {
            "node-filter: request with a stamp"
        };
        tally.met(case, counts);
        if seq % 10 == 0 {
            vm.tick()?;
        }
    }
    let exchange = plain(&[]);
    for _ in 0..100 {
        let counts = counted(&mut vm, |vm| vm.exchange(root, &exchange))?;
        tally.met("node-filter: request without a stamp", counts);
    }
    vm.tick()?;
    ensure!(vm.host().metric("spillway.node.requests_stamped") == 2_000);
    ensure!(vm.host().metric("spillway.node.requests_unstamped") == 100);
    ensure!(vm.host().metric("spillway.node.close_requests") == closes && closes > 0);
    no_host_errors(vm.host(), "spillway.node")?;
    idle_ticks(&mut vm, tally, "node-filter: tick without traffic")
}

/// A node's VM that closes now and then.
pub fn node_vm() -> Result<(Vm, u32)> {
    let mut vm = Vm::start("node_filter.wasm")?;
    let root = vm.configure(
        r#"{ "close_rate": { "per_second": 5 }, "min_connection_age": "0s", "share_window": "1s" }"#,
    )?;
    Ok((vm, root))
}

/// A request with the stamp of its number passes the node.
pub fn stamped(vm: &mut Vm, root: u32, seq: u64) -> Result<()> {
    let stamp = format!(
        "id=\"edge-1\", vm=v0123456789abcdef, seq={seq}, conn={}, age=60, open=50",
        seq % 50
    );
    let mut request = SMALL_REQUEST.to_vec();
    request.push(("spillway-lb", stamp.as_str()));
    vm.exchange(root, &Exchange { request: &request, ..plain(&[]) })
}

/// The HTTP role of `lb-filter` beside a connection role, and that role.
pub fn both_roles(tally: &mut Tally) -> Result<()> {
    let mut vm = edge_vm()?;
    let connection_role = vm.configure(r#"{ "role": "connection" }"#)?;
    let http_role = vm.configure(r#"{ "role": "http" }"#)?;
    first_close(&mut vm, http_role)?;
    for id in 0..100 {
        on_connection(vm.host(), id);
        let mut connection = 0;
        let counts = counted(&mut vm, |vm| {
            connection = vm.connect(connection_role)?;
            Ok(())
        })?;
        tally.met("connection role: connection opened", counts);
        for _ in 0..5 {
            let counts = counted(&mut vm, |vm| vm.read(connection, b"GET / HTTP/1.1\r\n\r\n"))?;
            tally.met("connection role: read, no close pending", counts);
            request(
                &mut vm,
                http_role,
                tally,
                ["HTTP role: request with a stamp", "HTTP role: request without a stamp"],
            )?;
            let counts = counted(&mut vm, |vm| vm.write(connection, HTTP1_HEAD).map(drop))?;
            tally.met("connection role: write, no close pending", counts);
        }
        vm.tick()?;
        closed(&mut vm, http_role, tally, "HTTP role: response with a close request")?;
        let counts = counted(&mut vm, |vm| {
            let written = String::from_utf8(vm.write(connection, HTTP1_HEAD)?)?;
            ensure!(written.contains("connection: close"), "the client is not told: {written}");
            Ok(())
        })?;
        tally.met("connection role: write that tells an HTTP/1 client", counts);
        let counts = counted(&mut vm, |vm| vm.disconnect(connection))?;
        tally.met("connection role: connection ended", counts);
        vm.tick()?;
    }
    ensure!(vm.host().metric("spillway.lb.closes_announced.http1") == 100);
    no_host_errors(vm.host(), "spillway.lb")?;
    idle_ticks(&mut vm, tally, "both roles: tick without traffic")
}

/// The HTTP role alone, which has Envoy drain connections.
pub fn http_role_alone(tally: &mut Tally) -> Result<()> {
    let mut vm = edge_vm()?;
    let root = vm.configure(r#"{ "role": "http" }"#)?;
    first_close(&mut vm, root)?;
    for id in 0..100 {
        on_connection(vm.host(), id);
        request(
            &mut vm,
            root,
            tally,
            ["HTTP role: request with a stamp", "HTTP role: request without a stamp"],
        )?;
        vm.tick()?;
        closed(&mut vm, root, tally, "HTTP role, native drain: response with a close request")?;
        ensure!(vm.host().properties.remove(&b"spillway_close"[..]).is_some(), "no filter state");
        vm.tick()?;
    }
    ensure!(vm.host().metric("spillway.lb.closes_announced.native_drain") == 101);
    no_host_errors(vm.host(), "spillway.lb")
}

/// As many requests as a busy worker has, some with bodies.
pub fn busy(tally: &mut Tally) -> Result<()> {
    let mut vm = edge_vm()?;
    let root = vm.configure(r#"{ "role": "http" }"#)?;
    for number in 0..10_000 {
        on_connection(vm.host(), number % 50);
        let cases = ["HTTP role: request with a stamp", "HTTP role: request without a stamp"];
        let with_body = ["HTTP role: upload with a stamp", "HTTP role: upload without a stamp"];
        if number % 10 == 0 {
            let upload = Exchange { request: &UPLOAD, request_body: &[16_384; 4], ..plain(&[]) };
            exchange(&mut vm, root, tally, &upload, with_body)?;
        } else {
            request(&mut vm, root, tally, cases)?;
        }
        // 5,000 requests a second.
        if number % 500 == 499 {
            vm.tick()?;
        }
    }
    no_host_errors(vm.host(), "spillway.lb")
}

/// As many, while a connection that has no request is to be closed.
pub fn busy_while_a_close_is_under_way(tally: &mut Tally) -> Result<()> {
    let mut vm = edge_vm()?;
    let connection_role = vm.configure(r#"{ "role": "connection" }"#)?;
    let http_role = vm.configure(r#"{ "role": "http", "max_stamps_per_second": 10 }"#)?;
    for id in [1, 2] {
        on_connection(vm.host(), id);
        vm.connect(connection_role)?;
    }
    let mut token = None;
    for number in 0..5_000 {
        vm.exchange(http_role, &plain(&[2]))?;
        token = token.or_else(|| stamped_with(&mut vm, "vm"));
        if number % 100 == 99 {
            vm.tick()?;
        }
    }
    let close = format!("lb=\"edge-1\", conns=(1;vm={})", token.context("no stamp")?);
    let mut response = RESPONSE.to_vec();
    response.push(("spillway-close", close.as_str()));
    // One of these has a stamp.
    for _ in 0..1_000 {
        vm.exchange(http_role, &Exchange { response: &response, ..plain(&[2]) })?;
    }
    for _ in 0..100 {
        let under_way = "HTTP role: request without a stamp, while a close is under way";
        request(&mut vm, http_role, tally, ["HTTP role: request with a stamp", under_way])?;
    }
    no_host_errors(vm.host(), "spillway.lb")
}

/// An edge's VM in which no role is configured yet.
pub fn edge_vm() -> Result<Vm> {
    Ok(at_an_edge(Vm::start("lb_filter.wasm")?))
}

/// The same VM with what an edge's Envoy tells it.
pub fn at_an_edge(mut vm: Vm) -> Vm {
    let properties = &mut vm.host().properties;
    properties.insert(b"xds\0node\0id".to_vec(), b"edge-1".to_vec());
    properties.insert(b"plugin_vm_id".to_vec(), b"spillway.lb".to_vec());
    properties.insert(b"request\0protocol".to_vec(), b"HTTP/1.1".to_vec());
    vm
}

/// What follows happens on the connection `id`.
pub fn on_connection(host: &mut Host, id: u64) {
    host.properties.insert(b"connection\0id".to_vec(), id.to_le_bytes().to_vec());
}

/// A small request with a small response.
pub fn plain(response_body: &[usize]) -> Exchange<'_> {
    Exchange { request: &SMALL_REQUEST, request_body: &[], response: &RESPONSE, response_body }
}

/// A small request; `cases` are with a stamp and without.
fn request(vm: &mut Vm, root: u32, tally: &mut Tally, cases: [&'static str; 2]) -> Result<()> {
    exchange(vm, root, tally, &plain(&[2]), cases)
}

fn exchange(
    vm: &mut Vm,
    root: u32,
    tally: &mut Tally,
    exchange: &Exchange<'_>,
    cases: [&'static str; 2],
) -> Result<()> {
    let counts = counted(vm, |vm| vm.exchange(root, exchange))?;
    let stamped = vm.host().header(REQUEST_HEADERS, "spillway-lb").is_some();
    tally.met(cases[usize::from(!stamped)], counts);
    Ok(())
}

/// The first close of a process finds no limit in the shared data, which costs less than all others.
fn first_close(vm: &mut Vm, root: u32) -> Result<()> {
    on_connection(vm.host(), 1_000_000);
    closed(vm, root, &mut Tally::default(), "first")?;
    vm.host().properties.remove(&b"spillway_close"[..]);
    Ok(())
}

/// A request whose response asks to close its connection.
fn closed(vm: &mut Vm, root: u32, tally: &mut Tally, case: &'static str) -> Result<()> {
    vm.exchange(root, &plain(&[2]))?;
    let mut field = |name| stamped_with(vm, name).context("no such field");
    let close = format!("lb=\"edge-1\", conns=({};vm={})", field("conn")?, field("vm")?);
    let mut response = RESPONSE.to_vec();
    response.push(("spillway-close", close.as_str()));
    let exchange = Exchange { response: &response, ..plain(&[2]) };
    let counts = counted(vm, |vm| vm.exchange(root, &exchange))?;
    let left = vm.host().header(RESPONSE_HEADERS, "spillway-close");
    ensure!(left.is_none(), "a close request goes on to the client");
    tally.met(case, counts);
    Ok(())
}

/// What the stamp on the last request says as `name`.
fn stamped_with(vm: &mut Vm, name: &str) -> Option<String> {
    let stamp =
        String::from_utf8(vm.host().header(REQUEST_HEADERS, "spillway-lb")?.to_vec()).ok()?;
    let after = stamp.split(&format!("{name}=")).nth(1)?;
    Some(after.split(',').next()?.to_owned())
}

fn idle_ticks(vm: &mut Vm, tally: &mut Tally, case: &'static str) -> Result<()> {
    // What there was to tell is told, and what there was to forget is forgotten.
    for _ in 0..1_000 {
        vm.tick()?;
    }
    for _ in 0..100 {
        let counts = counted(vm, Vm::tick)?;
        tally.met(case, counts);
    }
    Ok(())
}

fn no_host_errors(host: &Host, prefix: &str) -> Result<()> {
    let errors = host.metric(&format!("{prefix}.host_errors"));
    ensure!(errors == 0, "{errors} host calls failed: this host is not as the filter expects it");
    Ok(())
}
