//! Nodes that ask for what is not theirs to ask, or for too much: the edge does what its guard admits,
//! and says in its metrics why not the rest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Response};
use integration::application::{Application, Body};
use integration::by_hand::Socket;
use integration::client::Pace;
use integration::fleet::{Fleet, FleetSpec, StartApplication};
use integration::testing::{eventually, lb, mixed_clients, one_core};
use redistribution::wire::{MAX_CONNECTIONS, NamedConnection, Stamp};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::mirror::Seen;
use crate::support::{
    Http2, all_are_gone, ask_to_close, at_its_mercy, closes_add_up, counts, position,
};

const MALFORMED: &str = "close_requests_malformed";
const UNKNOWN: &str = "closes_refused.unknown_connection";
const OTHER: &str = "closes_refused.other_load_balancer";

/// What a node says on a response, and what it comes to: a counter, and how much it grows.
fn cases() -> Vec<(Vec<u8>, &'static str, u64)> {
    let many = |count: u64, vm: &str| {
        let all: Vec<_> = (0..count).map(|id| format!("{};vm={vm}", 900_000 + id)).collect();
        format!("lb=\"edge-1\", conns=({})", all.join(" ")).into_bytes()
    };
    let most = MAX_CONNECTIONS as u64;
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (text("lb=\"edge-2\", conns=({own})"), OTHER, 1),
        (text("lb=\"edge-1 \", conns=({own})"), OTHER, 1),
        (text("lb=\"edge-1\", conns=(999999;vm={vm})"), UNKNOWN, 1),
        (text("lb=\"edge-1\", conns=(999999999999999;vm={vm})"), UNKNOWN, 1),
        (text("lb=\"edge-1\", conns=(0;vm=v0123456789abcdef 1;vm=x)"), UNKNOWN, 2),
        // A longer list is read so far.
        (many(100, "{vm}"), UNKNOWN, most),
        (many(300, "nobody"), UNKNOWN, most),
        (text(""), MALFORMED, 1),
        (text("close everything"), MALFORMED, 1),
        (text("lb=\"edge-1\""), MALFORMED, 1),
        (text("conns=({own})"), MALFORMED, 1),
        (text("lb=\"edge-1\", conns=()"), MALFORMED, 1),
        (text("lb=edge-1, conns=({own})"), MALFORMED, 1),
        (text("lb=\"edge-1\", conns=({own} 1)"), MALFORMED, 1),
        (text("lb=\"edge-1\", conns=(-1;vm={vm})"), MALFORMED, 1),
        (text("lb=\"edge-1\", conns=(1.0;vm={vm})"), MALFORMED, 1),
        (text("lb=\"edge-1\", conns=(9999999999999999;vm={vm})"), MALFORMED, 1),
        (text("lb=\"edge-1\", conns=(1;vm=\"{vm}\")"), MALFORMED, 1),
        (text("lb=\"edge-1\", conns=({own}"), MALFORMED, 1),
        (b"lb=\"edge-1\xff\", conns=(1;vm=x)".to_vec(), MALFORMED, 1),
        // Longer than what is parsed at all.
        (many(2000, "x"), MALFORMED, 1),
        (vec![b'('; 8000], MALFORMED, 1),
    ]
}

#[tokio::test]
async fn what_a_node_should_not_say_closes_nothing_and_is_counted() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut http1 = Socket::open(&fleet).await?;
    let mut http2 = Http2::open(&fleet).await?;
    let (mut malformed, mut unknown, mut other, mut requests) = (0, 0, 0, 0);
    for (close, counter, by) in cases() {
        let shown = String::from_utf8_lossy(&close).chars().take(80).collect::<String>();
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nx-close: ";
        http1.send(&[head, close.as_slice(), b"\r\n\r\n"].concat()).await?;
        let answer = http1.answer().await?;
        assert_eq!(answer.status(), "200", "{shown}: {answer:?}");
        assert!(!answer.has("spillway-close") && !answer.has("connection"), "{shown}: {answer:?}");
        let (head, _) = http2.ask(&[("x-close", &close)]).await?;
        assert_eq!(head.status(), 200, "{shown}");
        assert!(!head.headers().contains_key("spillway-close"), "{shown}: {head:?}");
        requests += 2;
        *match counter {
            MALFORMED => &mut malformed,
            UNKNOWN => &mut unknown,
            _ => &mut other,
        } += 2 * by;
    }
    // Several at once: the first is read, and none of them goes on to the client.
    let several: [(&str, &[u8]); 3] =
        [("x-close", b"nonsense"), ("x-close", b"b"), ("x-close", b"c")];
    let (head, _) = http2.ask(&several).await?;
    assert!(!head.headers().contains_key("spillway-close"), "{head:?}");
    malformed += 1;
    requests += 1;
    // So long that no filter sees it: the response is refused by Envoy as it would be without Spillway.
    let (head, _) = http2.ask(&[("x-close-bytes", b"100000")]).await?;
    assert!(head.status().is_server_error(), "{head:?}");
    assert!(http2.is_open());
    // Both connections have outlived all of it.
    http1.get("/").await?;
    assert_eq!(http1.answer().await?.header("connection"), None);
    counts(edge, MALFORMED, malformed).await;
    counts(edge, UNKNOWN, unknown).await;
    counts(edge, OTHER, other).await;
    counts(edge, "close_requests", requests).await;
    assert_eq!(lb(edge, "closes_admitted").await?, 0);
    closes_add_up(edge).await
}

#[tokio::test]
async fn a_close_request_that_is_replayed_closes_once() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut named = Socket::open(&fleet).await?;
    named.get("/").await?;
    let place = position(&named.answer().await?.body)?;
    ask_to_close(&fleet, &place).await?;
    let replayed = format!("lb=\"edge-1\", conns=({};vm={})", place.connection, place.vm);
    let mut client = Http2::open(&fleet).await?;
    for _ in 0..50 {
        client.ask(&[("x-close", replayed.as_bytes())]).await?;
    }
    counts(edge, "closes_refused.already_closing", 50).await;
    named.get("/").await?;
    let told = named.answer().await?;
    assert_eq!(told.header("connection"), Some("close"));
    Seen::read(&told.body)?;
    drop(named);
    counts(edge, "connections_open", 1).await;
    // The id is used only once in a process: whoever comes later is somebody else.
    for _ in 0..50 {
        client.ask(&[("x-close", replayed.as_bytes())]).await?;
    }
    counts(edge, UNKNOWN, 50).await;
    assert_eq!(lb(edge, "closes_announced.http1").await?, 1);
    assert!(client.is_open());
    closes_add_up(edge).await
}

/// Connections that a node remembers to ask for again.
type Remembered = Arc<Mutex<VecDeque<NamedConnection>>>;

/// On every response, one node asks to close all that it has seen lately, again and again; the other
/// contradicts it in whatever way there is.
fn two_that_disagree() -> StartApplication {
    StartApplication(|address| {
        Box::pin(async move {
            let greedy = address.octets()[3] % 2 == 1;
            let remembered = Remembered::default();
            Application::serve(address, move |request| {
                let headers = request.headers().clone();
                let remembered = Arc::clone(&remembered);
                async move {
                    let close = if greedy { everything(&headers, &remembered) } else { nonsense() };
                    let mut response = Response::new(Body::from("here"));
                    response.headers_mut().extend(close.map(|close| {
                        (hyper::header::HeaderName::from_static("spillway-close"), close)
                    }));
                    response
                }
            })
            .await
        })
    })
}

fn everything(headers: &HeaderMap, remembered: &Remembered) -> Option<HeaderValue> {
    let stamp = Stamp::parse(headers.get("spillway-lb")?.as_bytes()).ok()?;
    let at = stamp.position?;
    let mut all = remembered.lock().unwrap_or_else(PoisonError::into_inner);
    all.push_front(NamedConnection { id: at.connection, vm: at.vm });
    all.truncate(MAX_CONNECTIONS);
    let connections = all.iter().map(|named| format!("{};vm={}", named.id, named.vm));
    let connections: Vec<_> = connections.collect();
    HeaderValue::from_str(&format!("lb=\"edge-1\", conns=({})", connections.join(" "))).ok()
}

fn nonsense() -> Option<HeaderValue> {
    let said = match fastrand::u8(0..4) {
        0 => "lb=\"edge-2\", conns=(1;vm=x 2;vm=x)".to_owned(),
        1 => format!("lb=\"edge-1\", conns=({};vm=nobody)", fastrand::u32(..)),
        2 => "lb=\"edge-1\"; conns".to_owned(),
        _ => "x".repeat(fastrand::usize(1..50_000)),
    };
    HeaderValue::from_str(&said).ok()
}

#[tokio::test]
async fn whatever_nodes_ask_for_the_limit_holds_and_no_request_is_lost() -> Result<()> {
    const LIMIT: f64 = 5.0;
    const MEASURED: Duration = Duration::from_secs(5);
    let _core = one_core().await;
    let spec = FleetSpec {
        edge_workers: 2,
        node_weights: vec![1, 1],
        node_filter: false,
        http: json!({ "max_closes_per_second": LIMIT }),
        application: two_that_disagree(),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let clients = mixed_clients(&fleet, 20, 4, Pace::PerSecond(20.0))?;
    eventually("each kind is refused", || async {
        for why in ["other_load_balancer", "unknown_connection", "already_closing", "over_limit"] {
            if lb(edge, &format!("closes_refused.{why}")).await? == 0 {
                return Ok(false);
            }
        }
        Ok(lb(edge, MALFORMED).await? > 0 && lb(edge, "closes_handed_over").await? > 0)
    })
    .await;
    // Counters arrive with the edge's ticks: a tick more or less at either end.
    let (start, before) = (Instant::now(), lb(edge, "closes_admitted").await?);
    sleep_until(start + MEASURED).await;
    let closed = lb(edge, "closes_admitted").await? - before;
    let seconds = start.elapsed().as_secs_f64();
    let totals = clients.stop().await;
    let most = LIMIT * (seconds + 0.5) + 1.0;
    assert!(closed as f64 <= most, "{closed} closes in {seconds} s, not {most} at most");
    assert!(closed > 0, "nothing is closed any more");
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    all_are_gone(edge).await;
    eventually("all that was asked for is accounted for", || async {
        Ok(closes_add_up(edge).await.is_ok())
    })
    .await;
    closes_add_up(edge).await
}
