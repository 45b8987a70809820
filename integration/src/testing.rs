//! What the end-to-end tests share: waiting for a condition, a node that asks for closes by the
//! word of the client, connections used by hand, and curl.
#![allow(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    reason = "what goes wrong here fails the test, whatever it is"
)]

use std::future::Future;
use std::time::Duration;

use crate::application::{Application, Body};
use crate::client::{ClientPool, LongLivedClient, Pace, Protocol};
use crate::envoy::Envoy;
use crate::fleet::{Fleet, FleetSpec, NAME, StartApplication};
use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderValue;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use redistribution::wire::{Position, Stamp};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

/// How long a condition may take to come true; machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Conditions are often asked of Envoy, whose answer costs some milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The time in which a [`rebalancing`] fleet is to be even.
pub const SETTLE_TIME: Duration = Duration::from_secs(20);

/// Waits until `condition` holds, and fails where it does not within [`PATIENCE`].
pub async fn eventually<F: Future<Output = Result<bool>>>(
    what: &str,
    condition: impl FnMut() -> F,
) {
    eventually_within(PATIENCE, what, condition).await;
}

/// Waits until `condition` holds, and fails where it does not within `time`.
pub async fn eventually_within<F: Future<Output = Result<bool>>>(
    time: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let start = Instant::now();
    loop {
        let holds = condition().await;
        if matches!(holds, Ok(true)) {
            return;
        }
        assert!(start.elapsed() < time, "in {time:?} never: {what} ({holds:?})");
        sleep(LOOK_INTERVAL).await;
    }
}

/// Of the two cores that the tests are made for, what a test has for itself, in thirds.
static CORES: Semaphore = Semaphore::const_new(6);

/// Tests that load both cores run one at a time.
///
/// # Panics
///
/// Never: the cores are not closed.
pub async fn all_cores() -> SemaphorePermit<'static> {
    CORES.acquire_many(6).await.expect("never closed")
}

/// Tests that load one of them run two at a time.
///
/// # Panics
///
/// Never, likewise.
pub async fn one_core() -> SemaphorePermit<'static> {
    CORES.acquire_many(3).await.expect("never closed")
}

/// Tests that wait most of the time, with traffic all along, run three at a time.
///
/// # Panics
///
/// Never, likewise.
pub async fn some_of_a_core() -> SemaphorePermit<'static> {
    CORES.acquire_many(2).await.expect("never closed")
}

/// A counter of the edge's filter.
pub async fn lb(envoy: &Envoy, name: &str) -> Result<u64> {
    Ok(envoy.stats().await?.counter(&format!("wasmcustom.spillway.lb.{name}")))
}

/// A counter of the node's filter.
pub async fn node(envoy: &Envoy, name: &str) -> Result<u64> {
    Ok(envoy.stats().await?.counter(&format!("wasmcustom.spillway.node.{name}")))
}

/// A gauge of the nodes' filters, by node.
pub async fn gauge(fleet: &Fleet, name: &str) -> Result<Vec<u64>> {
    let mut values = Vec::new();
    for node in fleet.nodes() {
        let stats = node.envoy.stats().await?;
        values.push(stats.gauge(&format!("wasmcustom.spillway.node.{name}")));
    }
    Ok(values)
}

/// A fleet that settles in [`SETTLE_TIME`].
pub fn rebalancing(edges: usize) -> FleetSpec {
    FleetSpec {
        edges,
        node_weights: vec![1, 1],
        node: json!({
            "close_rate": { "rebalance": { "settle_time": format!("{}s", SETTLE_TIME.as_secs()) } },
            "min_connection_age": "1s",
            "share_window": "1s",
        }),
        ..FleetSpec::default()
    }
}

/// Sends a little traffic until all nodes ask for closes.
pub async fn warm_up(fleet: &Fleet) -> Result<()> {
    let pace = Pace::PerSecond(20.0);
    let spec = |_| LongLivedClient::new(Protocol::Http1, pace, NAME.trim_end_matches('.'));
    let _clients = ClientPool::start(2, spec, &fleet.resolver()?, fleet.port())?;
    eventually("the nodes ask for closes", || async {
        for node in fleet.nodes() {
            if self::node(&node.envoy, "closes_requested").await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await;
    Ok(())
}

/// Stands behind a node without the filter and asks for closes by the word of the client:
/// `/stamp` answers with the stamp, `/own` asks to close the connection of the request,
/// `/other-edge` asks it of another load balancer, and `/close/VM/ID` names a connection. `/never` gets
/// no answer.
pub fn puppet() -> StartApplication {
    StartApplication(|address| Box::pin(Application::serve(address, answer_as_puppet)))
}

async fn answer_as_puppet(request: Request<Incoming>) -> Response<Body> {
    let header = request.headers().get("spillway-lb").map(|value| value.as_bytes().to_vec());
    let header = header.unwrap_or_default();
    let stamp = Stamp::parse(&header).ok().and_then(|stamp| stamp.position);
    let own = stamp.map(|at| format!("{};vm={}", at.connection, at.vm));
    let path: Vec<_> = request.uri().path().split('/').skip(1).collect();
    if path == ["never"] {
        std::future::pending::<()>().await;
    }
    let close = match (path.as_slice(), own) {
        (["own"], Some(own)) => Some(format!("lb=\"edge-1\", conns=({own})")),
        (["other-edge"], Some(own)) => Some(format!("lb=\"edge-2\", conns=({own})")),
        (["close", vm, id], _) => Some(format!("lb=\"edge-1\", conns=({id};vm={vm})")),
        _ => None,
    };
    let mut response = Response::new(Body::from(header));
    if let Some(close) = close.and_then(|close| HeaderValue::from_str(&close).ok()) {
        response.headers_mut().insert("spillway-close", close);
    }
    response
}

/// A connection to the first edge that is used by hand, one request after the other.
pub struct Session {
    sender: Sender,
    over: tokio::task::JoinHandle<()>,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Session {
    /// Connects.
    pub async fn open(fleet: &Fleet, http: Http) -> Result<Self> {
        let stream = TcpStream::connect(fleet.edges()[0].address).await?;
        let io = TokioIo::new(stream);
        match http {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await?;
                let over = tokio::spawn(async { drop(connection.await) });
                Ok(Self { sender: Sender::One(sender), over })
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                let over = tokio::spawn(async { drop(connection.await) });
                Ok(Self { sender: Sender::Two(sender), over })
            }
        }
    }

    /// Sends a request and reads its whole response; the body, and the `connection` header.
    pub async fn get(&mut self, path: &str) -> Result<(String, Option<String>)> {
        let uri = format!("http://{}{path}", NAME.trim_end_matches('.'));
        let request = Request::get(uri).header("host", NAME.trim_end_matches('.'));
        let request = request.body(Body::default())?;
        let response = match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await?,
            Sender::Two(sender) => sender.send_request(request).await?,
        };
        anyhow::ensure!(response.status() == 200, "{response:?}");
        let connection = response.headers().get("connection");
        let connection = connection.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let body = response.into_body().collect().await?.to_bytes();
        Ok((String::from_utf8(body.to_vec())?, connection))
    }

    /// Where the edge says it is.
    pub async fn position(&mut self) -> Result<Position> {
        let (stamp, _) = self.get("/stamp").await?;
        Stamp::parse(stamp.as_bytes())?.position.context("no position")
    }

    /// Whether the connection is still there, and takes requests.
    pub fn is_open(&self) -> bool {
        let closed = match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        };
        !closed && !self.over.is_finished()
    }
}

/// Sends a request by hand, as a client does that takes no notice of `connection: close`, and
/// returns the head of the response.
pub async fn get_and_stay(stream: &mut TcpStream, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    loop {
        anyhow::ensure!(stream.read_buf(&mut response).await? > 0, "closed before the response");
        let text = String::from_utf8_lossy(&response).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.context("no length")?.parse::<usize>()? {
                return Ok(head.to_owned());
            }
        }
    }
}

/// Starts `count` clients at this pace, every other one over HTTP/2 with so many streams.
pub fn mixed_clients(fleet: &Fleet, count: usize, streams: u32, pace: Pace) -> Result<ClientPool> {
    ClientPool::start(count, mixed(streams, pace), &fleet.resolver()?, fleet.port())
}

/// The client of each number: every other one over HTTP/2 with so many streams.
pub fn mixed(streams: u32, pace: Pace) -> impl Fn(usize) -> LongLivedClient {
    move |number| {
        let protocol = match number % 2 {
            0 => Protocol::Http1,
            _ => Protocol::Http2 { concurrent_streams: streams },
        };
        LongLivedClient::new(protocol, pace, NAME.trim_end_matches('.'))
    }
}

/// What curl is to speak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// A run of curl.
#[derive(Debug)]
pub struct Curl {
    /// All response bodies, one after the other.
    pub bodies: String,
    /// What `--verbose` says: `*` curl, `>` sent headers, `<` received headers.
    pub verbose: String,
}

/// Asks the first edge for `paths`, one after the other, on one connection as far as that lasts.
pub async fn curl(
    fleet: &Fleet,
    tls: bool,
    http: Http,
    args: &[&str],
    paths: &[&str],
) -> Result<Curl> {
    let edge = &fleet.edges()[0];
    let name = NAME.trim_end_matches('.');
    let scheme = if tls { "https" } else { "http" };
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--verbose", "--fail", "--max-time", "20"]);
    command.arg(match (http, tls) {
        (Http::One, _) => "--http1.1",
        (Http::Two, true) => "--http2",
        (Http::Two, false) => "--http2-prior-knowledge",
    });
    if tls {
        command.arg("--cacert").arg(fleet.authority());
    }
    command.arg("--resolve").arg(format!("{name}:{}:{}", fleet.port(), edge.address.ip()));
    command.args(args);
    for path in paths {
        command.arg(format!("{scheme}://{name}:{}{path}", fleet.port()));
    }
    let output = command.output().await.context("cannot run curl")?;
    let curl = Curl {
        bodies: String::from_utf8_lossy(&output.stdout).into_owned(),
        verbose: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    anyhow::ensure!(output.status.success(), "curl failed: {}\n{}", output.status, curl.verbose);
    Ok(curl)
}

impl Curl {
    /// Connections it opened.
    pub fn connections(&self) -> usize {
        self.verbose.lines().filter(|line| line.starts_with("* Connected to ")).count()
    }

    /// GOAWAY frames with `NO_ERROR` that it got.
    pub fn goaways(&self) -> usize {
        self.verbose.lines().filter(|line| line.contains("GOAWAY, error=0,")).count()
    }

    /// Values of the response header `name`.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let prefix = format!("< {name}: ");
        self.verbose.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::trim).collect()
    }
}
