//! Clients that speak as if they were an edge or a node; clients that come and go, and slow ones.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use integration::by_hand::{
    Answer, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, RST_STREAM,
    Socket, get,
};
use integration::fleet::{Fleet, FleetSpec};
use integration::testing::{Http, curl, eventually, lb, node};
use serde_json::json;
use tokio::task::JoinSet;

use crate::mirror::{Seen, mirror};
use crate::support::{
    Http2, all_are_gone, ask_to_close, at_its_mercy, closes_add_up, counts, is_stamped_by_the_edge,
    position, rss_mib, stat,
};

const FORGED: &str = "id=\"forged\", vm=x, seq=999, conn=9";
const CLOSE: &str = "lb=\"edge-1\", conns=(0;vm=x 1;vm=x)";

/// All lets trailers pass that can: clients speak HTTP/2 or may send trailers over HTTP/1, and from
/// there on it is HTTP/2.
fn that_passes_trailers() -> FleetSpec {
    FleetSpec {
        application: mirror(),
        upstream_http2: true,
        application_http2: true,
        edge_manager: json!({ "http_protocol_options": { "enable_trailers": true } }),
        node: json!({ "close_rate": { "per_second": 0 } }),
        ..FleetSpec::default()
    }
}

/// Sends a request whose headers are written as they stand, on a connection of its own.
async fn send(fleet: &Fleet, headers: &[u8]) -> Result<Answer> {
    let mut socket = Socket::open(fleet).await?;
    socket.send(&[b"GET / HTTP/1.1\r\nhost: a\r\n", headers, b"\r\n\r\n"].concat()).await?;
    socket.answer().await
}

fn line(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    [name.as_bytes(), b": ", value.as_ref()].concat()
}

/// What may be said over HTTP/1, and whether Envoy lets the request pass.
fn over_http1() -> Vec<(&'static str, Vec<u8>, bool)> {
    let twice = [line("spillway-lb", FORGED), line("Spillway-LB", FORGED)].join(&b"\r\n"[..]);
    let nominated = "connection: keep-alive, spillway-lb";
    let nominated = [line("spillway-lb", FORGED), nominated.into()].join(&b"\r\n"[..]);
    vec![
        ("a stamp", line("spillway-lb", FORGED), true),
        ("in odd case", line("sPiLLwAY-lB", FORGED), true),
        ("twice", twice, true),
        ("empty", line("spillway-lb", ""), true),
        ("not UTF-8", line("spillway-lb", b"id=\"\xff\xfe\", vm=\xc3\x28"), true),
        ("with a tab", line("spillway-lb", b"id=\"a\tb\""), true),
        ("long", line("spillway-lb", vec![b'a'; 50 * 1024]), true),
        ("longer than Envoy allows", line("spillway-lb", vec![b'a'; 100 * 1024]), false),
        ("with NUL", line("spillway-lb", b"id=\"a\0b\""), false),
        ("with a control character", line("spillway-lb", b"id=\"a\x01b\""), false),
        ("with a blank before the colon", b"spillway-lb : id=\"forged\"".to_vec(), false),
        ("named as hop-by-hop", nominated, true),
        ("a close request", line("Spillway-Close", CLOSE), true),
        ("under another name", line("spillway_lb", FORGED), true),
    ]
}

async fn headers_over_http1(fleet: &Fleet) -> Result<u64> {
    let mut passed = 0;
    for (what, headers, passes) in over_http1() {
        let answer = send(fleet, &headers).await.map_err(|error| error.context(what))?;
        if passes {
            assert_eq!(answer.status(), "200", "{what}: {answer:?}");
            is_stamped_by_the_edge(&Seen::read(&answer.body)?).map_err(|e| e.context(what))?;
            passed += 1;
        } else {
            assert!(["400", "431"].contains(&answer.status()), "{what}: {answer:?}");
        }
        assert!(!answer.has("spillway-lb") && !answer.has("spillway-close"), "{what}: {answer:?}");
    }
    // The same from a client that others wrote.
    for http in [Http::One, Http::Two] {
        let forged = ["-H", "Spillway-LB: id=\"forged\"", "-H", "spillway-close: lb=\"edge-1\""];
        let curl = curl(fleet, false, http, &forged, &["/"]).await?;
        is_stamped_by_the_edge(&Seen::read(&curl.bodies)?)?;
        assert!(!curl.verbose.contains("< spillway"), "{}", curl.verbose);
        passed += 1;
    }
    Ok(passed)
}

/// A name and a value.
type Header<'a> = (&'a [u8], &'a [u8]);

/// What hyper would not send over HTTP/2.
async fn headers_over_http2(fleet: &Fleet) -> Result<u64> {
    let long = vec![b'a'; 50 * 1024];
    let too_long = vec![b'a'; 100 * 1024];
    let once: [Header<'_>; 1] = [(b"spillway-lb", FORGED.as_bytes())];
    let cases: [(&str, Vec<Header<'_>>, bool); 7] = [
        ("a stamp", once.to_vec(), true),
        ("a hundred", once.repeat(90), true),
        ("not UTF-8", vec![(b"spillway-lb", b"id=\"\xff\xfe\"")], true),
        ("long", vec![(b"spillway-lb", &long)], true),
        ("longer than Envoy allows", vec![(b"spillway-lb", &too_long)], false),
        ("in upper case", vec![(b"SPILLWAY-LB", FORGED.as_bytes())], false),
        ("with NUL and a line end", vec![(b"spillway-lb", b"a\0b\r\nspillway-close: c")], false),
    ];
    let mut passed = 0;
    for (what, headers, passes) in cases {
        let mut client = Frames::open(fleet).await?;
        client.send_bytes(&request(1, &get("/", &headers))).await?;
        if passes {
            client.until(|frame| frame.stream == 1 && frame.ends_stream()).await?;
            let seen = Seen::read(&client.body(1));
            is_stamped_by_the_edge(&seen.map_err(|error| error.context(what))?)?;
            passed += 1;
            continue;
        }
        // Refused with the stream or with the connection.
        while let Ok(Some(frame)) = client.next().await {
            if frame.ends_stream() || frame.kind == RST_STREAM {
                break;
            }
        }
        assert!(!client.body(1).contains("headers"), "{what}: {:?}", client.seen);
    }
    Ok(passed)
}

/// A request with this header block, in frames of the size that every peer takes.
fn request(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut kind = HEADERS;
    let mut bytes = Vec::new();
    let parts: Vec<_> = block.chunks(16_384).collect();
    for (number, part) in parts.iter().enumerate() {
        let last = if number + 1 == parts.len() { END_HEADERS } else { 0 };
        let flags = if kind == HEADERS { END_STREAM | last } else { last };
        bytes.extend(Frame::bytes(kind, flags, stream, part));
        kind = CONTINUATION;
    }
    bytes
}

/// Both headers as trailers, of requests and of responses.
async fn trailers(fleet: &Fleet) -> Result<u64> {
    let trailers = format!("spillway-lb: {FORGED}\r\nspillway-close: {CLOSE}\r\n");
    let mut socket = Socket::open(fleet).await?;
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
                   trailer: spillway-lb, spillway-close\r\n";
    let request = format!("{chunked}x-trailer: {CLOSE}\r\n\r\n4\r\nbody\r\n0\r\n{trailers}\r\n");
    socket.send(request.as_bytes()).await?;
    let answer = socket.answer().await?;
    check_trailers(&Seen::read(&answer.body)?)?;
    assert!(!answer.head.contains("spillway"), "{answer:?}");
    // The application's own trailers are its own affair: nobody acts on them.
    assert!(answer.trailers.contains("spillway-close: lb=\"edge-1\""), "{answer:?}");

    let mut map = HeaderMap::new();
    map.insert("spillway-lb", HeaderValue::from_static(FORGED));
    map.insert("spillway-close", HeaderValue::from_static(CLOSE));
    let says = HeaderMap::from_iter([("x-trailer".parse()?, HeaderValue::from_static(CLOSE))]);
    let mut client = Http2::open(fleet).await?;
    let (head, body, got) = client.post(&says, map).await?;
    check_trailers(&Seen::read(&body)?)?;
    assert!(!head.headers().contains_key("spillway-close"), "{head:?}");
    assert!(got.contains_key("spillway-close"), "{got:?}");
    client.ask(&[]).await?;
    assert!(client.is_open());
    Ok(3)
}

/// They came as what they are, and next to the edge's stamp.
fn check_trailers(seen: &Seen) -> Result<()> {
    is_stamped_by_the_edge(seen)?;
    anyhow::ensure!(seen.body == 4, "{seen:?}");
    anyhow::ensure!(seen.trailers.get("spillway-lb").is_some_and(|v| v == &[FORGED]), "{seen:?}");
    anyhow::ensure!(seen.trailers.contains_key("spillway-close"), "{seen:?}");
    anyhow::ensure!(seen.header("spillway-close").is_empty(), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn what_clients_say_as_stamps_and_close_requests_is_heard_by_nobody() -> Result<()> {
    let fleet = Fleet::start(that_passes_trailers()).await?;
    let passed = headers_over_http1(&fleet).await?
        + headers_over_http2(&fleet).await?
        + trailers(&fleet).await?;
    let (edge, behind) = (&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy);
    counts(edge, "requests_stamped", passed).await;
    eventually("the node has counted them", || async {
        Ok(node(behind, "requests_stamped").await? == passed)
    })
    .await;
    for name in ["stamps_malformed", "requests_unstamped", "stamps_over_limit", "host_errors"] {
        assert_eq!(node(behind, name).await?, 0, "{name}");
    }
    let stats = behind.stats().await?;
    let forged: Vec<_> = stats.iter().filter(|(name, _)| name.contains("forged")).collect();
    assert!(forged.is_empty(), "{forged:?}");
    assert_eq!(stat(behind, "wasmcustom.spillway.node.load_balancers").await?, 1);
    assert_eq!(lb(edge, "close_requests").await?, 0);
    assert_eq!(lb(edge, "host_errors").await?, 0);
    all_are_gone(edge).await;
    Ok(())
}

/// Of many requests few have a stamp: the others have none at all, whatever their client has sent. On
/// their responses edge and node look for no close request: what the application says there passes for a
/// header like any other, and closes nothing.
#[tokio::test]
async fn so_it_is_with_requests_that_the_edge_does_not_stamp() -> Result<()> {
    const REQUESTS: usize = 400;
    let spec = FleetSpec {
        http: json!({ "max_stamps_per_second": 1 }),
        application: mirror(),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    let says = format!("x-close: {CLOSE}");
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nspillway-lb: {FORGED}\r\n{says}\r\n\r\n");
    let (mut with, mut without) = (0, 0);
    // It knows after a tick or so how many there are.
    while without < REQUESTS {
        let mut socket = Socket::open(&fleet).await?;
        socket.send(request.repeat(50).as_bytes()).await?;
        for _ in 0..50 {
            let answer = socket.answer().await?;
            let seen = Seen::read(&answer.body)?;
            assert_eq!(answer.header("connection"), None, "{answer:?}");
            if seen.header("spillway-lb").is_empty() {
                assert!(answer.has("spillway-close"), "{answer:?}");
                without += 1;
            } else {
                is_stamped_by_the_edge(&seen)?;
                assert!(!answer.has("spillway-close"), "{answer:?}");
                with += 1;
            }
        }
    }
    assert!(with > 0);
    let behind = &fleet.nodes()[0].envoy;
    eventually("the node has counted them", || async {
        Ok(node(behind, "requests_unstamped").await? >= REQUESTS as u64)
    })
    .await;
    assert_eq!(stat(behind, "wasmcustom.spillway.node.load_balancers").await?, 1);
    assert_eq!(lb(&fleet.edges()[0].envoy, "close_requests").await?, 0);
    Ok(())
}

/// Where HTTP/1 trailers are not asked for, as shipped, Envoy drops them.
#[tokio::test]
async fn as_shipped_trailers_over_http1_end_at_the_edge() -> Result<()> {
    let fleet = Fleet::start(FleetSpec { application: mirror(), ..FleetSpec::default() }).await?;
    let mut socket = Socket::open(&fleet).await?;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nte: trailers\r\n";
    let body = format!("4\r\nbody\r\n0\r\nspillway-lb: {FORGED}\r\n\r\n");
    socket.send(format!("{head}x-trailer: {CLOSE}\r\n\r\n{body}").as_bytes()).await?;
    let answer = socket.answer().await?;
    let seen = Seen::read(&answer.body)?;
    is_stamped_by_the_edge(&seen)?;
    assert!(seen.trailers.is_empty(), "{seen:?}");
    assert!(!answer.has("spillway-close"), "{answer:?}");
    Ok(())
}

/// Connections that are opened and dropped at once.
const AT_ONCE: usize = 100;
const ROUNDS: usize = 12;

/// One of several ways to come and go, with a close asked for in some.
async fn come_and_go(edge: SocketAddr, number: usize) -> Result<()> {
    let mut socket = Socket::connect(edge).await?;
    match number % 7 {
        0 => return Ok(()),
        1 => return socket.reset(),
        2 => return socket.send(b"GET / HT").await,
        3 => return socket.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await,
        // Gone before its response.
        4 => return socket.get("/").await,
        _ => {}
    }
    let close = "x-close: lb=\"edge-1\", conns=({own})";
    socket.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{close}\r\n\r\n").as_bytes()).await?;
    // Told to close, and gone at once; or gone in the middle of its next request.
    assert_eq!(socket.answer().await?.header("connection"), Some("close"));
    if number % 7 == 6 {
        socket.send(b"POST / HTTP/1.1\r\nhost: a\r\nconten").await
    } else {
        Ok(())
    }
}

async fn round(fleet: &Fleet) -> Result<()> {
    for _ in 0..ROUNDS {
        let mut all: JoinSet<_> =
            (0..AT_ONCE).map(|number| come_and_go(fleet.edges()[0].address, number)).collect();
        while let Some(ended) = all.join_next().await {
            ended??;
        }
    }
    all_are_gone(&fleet.edges()[0].envoy).await;
    Ok(())
}

#[tokio::test]
async fn thousands_of_connections_that_come_and_go_leave_nothing_behind() -> Result<()> {
    let spec = FleetSpec {
        edge_workers: 2,
        http: json!({ "max_closes_per_second": 100_000 }),
        ..at_its_mercy()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    // Until tables and buffers have their size.
    round(&fleet).await?;
    let before = rss_mib(edge)?;
    round(&fleet).await?;
    round(&fleet).await?;
    let after = rss_mib(edge)?;
    // 2,400 connections: a few KiB kept of each would show.
    assert!(after <= before + 6, "{before} MiB, then {after}");
    let opened = (3 * ROUNDS * AT_ONCE) as u64;
    counts(edge, "connections_opened", opened).await;
    closes_add_up(edge).await
}

#[tokio::test]
async fn slow_requests_on_connections_about_to_close_are_served() -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(4);
    let spec = FleetSpec {
        connection: json!({ "drain_timeout": "200ms" }),
        edge_manager: json!({ "request_headers_timeout": "2s" }),
        ..at_its_mercy()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;

    // HTTP/1: the close is pending while head and body come byte by byte, longer than drain_timeout.
    let mut slow = Socket::open(&fleet).await?;
    slow.get("/").await?;
    let place = position(&slow.answer().await?.body)?;
    ask_to_close(&fleet, &place).await?;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\n\r\n";
    for _ in 0..2 {
        // The second time it was told already, and goes on nevertheless.
        slow.trickle(head, PAUSE).await?;
        slow.trickle(&[b'x'; 60], PAUSE).await?;
        let answer = slow.answer().await?;
        assert_eq!((answer.status(), answer.header("connection")), ("200", Some("close")));
        assert_eq!(Seen::read(&answer.body)?.body, 60);
    }
    assert_eq!(slow.rest().await?, b"");

    // One that never comes to the end of its head is ended by Envoy's own timeout.
    let mut never = Socket::open(&fleet).await?;
    never.get("/").await?;
    let place = position(&never.answer().await?.body)?;
    ask_to_close(&fleet, &place).await?;
    never.send(&head[..20]).await?;
    assert!(String::from_utf8_lossy(&never.rest().await?).starts_with("HTTP/1.1 408"));

    // HTTP/2: each frame of the request comes in pieces, and the header block in frames of a byte.
    let mut slow = Frames::open(&fleet).await?;
    slow.get(1, "/").await?;
    slow.until(|frame| frame.stream == 1 && frame.ends_stream()).await?;
    ask_to_close(&fleet, &position(&slow.body(1))?).await?;
    for stream in [3, 5] {
        let mut kind = HEADERS;
        let block = get("/", &[(b"x-slow", b"1")]);
        for (number, byte) in block.iter().enumerate() {
            let ends = if number + 1 == block.len() { END_HEADERS } else { 0 };
            for piece in Frame::bytes(kind, ends, stream, &[*byte]).chunks(7) {
                slow.send_bytes(piece).await?;
            }
            kind = CONTINUATION;
        }
        for number in 0..40 {
            let ends = if number == 39 { END_STREAM } else { 0 };
            slow.send(DATA, ends, stream, b"x").await?;
            tokio::time::sleep(PAUSE).await;
        }
        slow.until(|frame| frame.stream == stream && frame.ends_stream()).await?;
        assert_eq!(Seen::read(&slow.body(stream))?.body, 40);
    }
    while slow.next().await?.is_some() {}
    assert_eq!(slow.goaways().first(), Some(&(0x7fff_ffff, 0)));
    all_are_gone(edge).await;
    assert_eq!(lb(edge, "closes_lapsed").await?, 1, "that which never came to a response");
    closes_add_up(edge).await
}
