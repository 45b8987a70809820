//! A worker of an edge: one VM with both roles, a host that is none, and what clients see of it.

use std::sync::Arc;

use fuzz::host::{self, Host, Process, Shared, Stream, call};
use redistribution::wire::{CLOSE_HEADER, CloseRequest, NamedConnection, Position, Stamp};

use crate::orders::Baton;

pub const ID: &str = "edge-1";

/// A VM, on its own thread.
pub struct Vm {
    http: u32,
    connection: u32,
    next: u32,
}

/// A connection with a request on it, whose response may come.
pub struct Pending {
    connection: u32,
    request: u32,
    pub name: NamedConnection,
}

/// What a worker's VM does: first what nobody has to look at, then its work.
pub trait Work: Sync + 'static {
    type Prepared;

    /// Whether such a host call, with that key, can meet what another worker does.
    fn meets(what: Shared, key: &[u8]) -> bool;

    fn prepare(&self, worker: usize, vm: &mut Vm) -> Self::Prepared;
    fn work(&self, worker: usize, vm: &mut Vm, prepared: &mut Self::Prepared);
    /// Once all have done their work, unless this VM has trapped.
    fn after(&self, worker: usize, vm: &mut Vm, prepared: Self::Prepared);
}

/// Runs `work` with so many workers. A VM that traps is followed by another, which does the same work.
pub fn run<W: Work>(work: &W, workers: usize, baton: &Arc<Baton>, process: &Arc<Process>) {
    std::thread::scope(|scope| {
        for me in 0..workers {
            scope.spawn(move || {
                // No more than two VMs in all the scenarios.
                while !live(work, me, baton, process) {
                    baton.prepare_again(me);
                }
            });
        }
    });
}

/// One VM of the worker `me`; false if it has trapped.
fn live<W: Work>(work: &W, me: usize, baton: &Arc<Baton>, process: &Arc<Process>) -> bool {
    let life = || {
        let mut host = Host::new(fuzz::module!(lb_filter_native), Arc::clone(process));
        let points = Arc::clone(baton);
        let point = move |what, key: &[u8]| !W::meets(what, key) || points.point(me);
        host.on_shared = Some(Box::new(point));
        let host = host::run(host, || {
            let mut vm = Vm::start();
            let mut prepared = work.prepare(me, &mut vm);
            baton.begin(me);
            work.work(me, &mut vm, &mut prepared);
            if !host::with(|host| host.trapped) {
                baton.end(me);
                work.after(me, &mut vm, prepared);
            }
        });
        !host.trapped
    };
    std::thread::scope(|scope| scope.spawn(life).join().expect("it holds"))
}

// === impl Vm ===

impl Vm {
    fn start() -> Self {
        let mut vm = Self { http: 0, connection: 0, next: 0 };
        vm.connection = vm.root("connection");
        vm.http = vm.root("http");
        vm
    }

    fn root(&mut self, role: &str) -> u32 {
        let settings = r#""max_closes_per_second": 20, "mode": "enforce""#;
        let json = format!(r#"{{ "role": "{role}", "id": "{ID}", {settings} }}"#);
        let (context, size) = (self.context(), json.len());
        host::with(|host| host.configuration = json.into_bytes());
        call(context, |module| (module.context_create)(context, 0));
        assert!(call(context, |module| (module.configure)(context, size)));
        context
    }

    /// A client connects and sends a request.
    pub fn pending(&mut self, id: u64) -> Pending {
        let connection = self.stream(id, self.connection);
        call(connection, |module| (module.edge().new_connection)(connection));
        let (request, position) = self.request(id);
        Pending { connection, request, name: NamedConnection { id, vm: position.vm } }
    }

    /// A request comes on the connection `id`, and is stamped.
    pub fn request(&mut self, id: u64) -> (u32, Position) {
        let request = self.stream(id, self.http);
        call(request, |module| (module.request_headers)(request, 0, true));
        let stamp = host::with(|host| host.streams[&request].request[0].1.clone());
        let stamp = Stamp::parse(&stamp).expect("an edge's stamp");
        (request, stamp.position.expect("of a request"))
    }

    /// Its response comes, with a request to close these connections.
    pub fn respond(pending: &Pending, closes: &[NamedConnection]) {
        let close = CloseRequest { lb: ID.into(), connections: closes.to_vec() }.to_header();
        let mut response = vec![(b":status".into(), b"200".into())];
        if !closes.is_empty() {
            response.push((CLOSE_HEADER.into(), close.into_bytes()));
        }
        let request = pending.request;
        host::with(|host| host.streams.entry(request).or_default().response = response);
        call(request, |module| (module.response_headers)(request, 0, true));
    }

    /// The response goes to the client; true where that tells it to close.
    pub fn tells(pending: &Pending) -> bool {
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        let context = pending.connection;
        host::with(|host| host.streams.entry(context).or_default().upstream = head.to_vec());
        call(context, |module| (module.edge().upstream_data)(context, head.len(), false));
        host::with(|host| host.streams[&context].upstream.len() > head.len())
    }

    pub fn tick(&self) {
        call(self.http, |module| (module.tick)(self.http));
    }

    pub fn queue_ready(&self) {
        call(self.http, |module| (module.edge().queue_ready)(self.http, 0));
    }

    fn stream(&mut self, connection: u64, root: u32) -> u32 {
        let context = self.context();
        let stream = Stream {
            connection: connection.to_le_bytes().to_vec(),
            protocol: b"HTTP/1.1".into(),
            ..Stream::default()
        };
        host::with(|host| host.streams.insert(context, stream));
        call(context, |module| (module.context_create)(context, root));
        context
    }

    fn context(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}
