//! Where few requests have a stamp, the edge does not know which connection the others are on. They are
//! told and left alone all the same.

use anyhow::{Context, Result};
use integration::client::{ClientPool, LongLivedClient, Pace, Protocol};
use integration::envoy::Envoy;
use integration::fleet::{Fleet, FleetSpec, NAME};
use redistribution::wire::{Position, Stamp};
use serde_json::json;

use crate::puppet::gate;
use crate::support::{Socket, at_its_mercy, eventually, has_closed, has_told, lb};
use integration::by_hand::Frames;

/// A fleet that stamps one request a second at most, more or less.
fn seldom_stamping() -> FleetSpec {
    FleetSpec { http: json!({ "max_stamps_per_second": 1 }), ..at_its_mercy() }
}

/// So many requests that, of a few others, none has a stamp.
async fn many_requests(fleet: &Fleet) -> Result<ClientPool> {
    let host = NAME.trim_end_matches('.');
    let spec = |_| LongLivedClient::new(Protocol::Http1, Pace::PerSecond(100.0), host);
    let clients = ClientPool::start(8, spec, &fleet.resolver()?, fleet.port())?;
    let edge = &fleet.edges()[0].envoy;
    let counts =
        || async { anyhow::Ok([lb(edge, "requests").await?, lb(edge, "requests_stamped").await?]) };
    let before = std::cell::Cell::new([0; 2]);
    eventually("few requests have a stamp", || async {
        let now = counts().await?;
        let [requests, stamped] = [0, 1].map(|which| now[which] - before.get()[which]);
        if requests < 200 {
            return Ok(false);
        }
        before.set(now);
        Ok(stamped * 100 < requests)
    })
    .await;
    Ok(clients)
}

async fn ends_well(clients: ClientPool, edge: &Envoy) -> Result<()> {
    let totals = clients.stop().await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:?}", totals.failures);
    assert_eq!((totals.closes_seen, totals.connections_opened), (0, 8), "others are closed");
    assert_eq!(lb(edge, "host_errors").await?, 0);
    Ok(())
}

/// Where a connection is, by a request that has a stamp since there are few yet.
async fn position(socket: &mut Socket) -> Result<Position> {
    socket.get("/stamp").await?;
    let head = socket.until("\r\n\r\n").await?;
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.context("no length")?.parse()?;
    let stamp = socket.until_length(length).await?;
    Stamp::parse(stamp.as_bytes())?.position.context("no stamp")
}

/// Has the edge asked to close the connection at `position`: by a response to one of many requests, since
/// it looks for that only where it has put a stamp.
async fn ask(fleet: &Fleet, position: Position, admitted: u64) -> Result<()> {
    let edge = &fleet.edges()[0].envoy;
    let path = format!("/name/{}/{}", position.vm, position.connection);
    let other = tokio::sync::Mutex::new(Socket::open(fleet).await?);
    eventually("it is admitted", || async {
        let mut other = other.lock().await;
        for _ in 0..100 {
            other.get(&path).await?;
            other.until("\r\n\r\n").await?;
        }
        Ok(lb(edge, "closes_admitted").await? == admitted)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn the_next_response_tells_and_so_does_one_to_a_request_in_flight() -> Result<()> {
    let fleet = Fleet::start(seldom_stamping()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut sockets = [Socket::open(&fleet).await?, Socket::open(&fleet).await?];
    let mut positions = Vec::new();
    for socket in &mut sockets {
        positions.push(position(socket).await?);
    }
    let clients = many_requests(&fleet).await?;
    let [next, in_flight] = &mut sockets;
    in_flight.get("/wait/sampled-response").await?;
    next.get("/1").await?;
    assert!(!next.until("</1>").await?.contains("connection: close"));
    ask(&fleet, positions[0], 1).await?;
    ask(&fleet, positions[1], 2).await?;
    next.get("/2").await?;
    assert!(next.until("</2>").await?.contains("connection: close"));
    gate("sampled-response").notify_one();
    let told = in_flight.until("</wait/sampled-response>").await?;
    assert!(told.contains("connection: close"), "{told}");
    has_told(edge, "http1", 2).await?;
    ends_well(clients, edge).await
}

#[tokio::test]
async fn one_that_could_become_a_tunnel_leaves_it_to_the_next_response() -> Result<()> {
    let fleet = Fleet::start(seldom_stamping()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut socket = Socket::open(&fleet).await?;
    let position = position(&mut socket).await?;
    let clients = many_requests(&fleet).await?;
    let head = "POST /wait/sampled-upload HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    socket.send(head.as_bytes()).await?;
    // The application has it.
    let mut other = Socket::open(&fleet).await?;
    other.get("/1").await?;
    other.until("</1>").await?;
    ask(&fleet, position, 1).await?;
    gate("sampled-upload").notify_one();
    let untold = socket.until("</wait/sampled-upload>").await?;
    assert!(!untold.contains("connection: close"), "{untold}");
    // Of one that begins now more is known.
    socket.send(head.replace("/wait/sampled-upload", "/2").as_bytes()).await?;
    assert!(socket.until("</2>").await?.contains("connection: close"));
    has_told(edge, "http1", 1).await?;
    assert_eq!(lb(edge, "announcements_deferred").await?, 1);
    ends_well(clients, edge).await
}

#[tokio::test]
async fn a_stream_that_lives_long_is_not_cut() -> Result<()> {
    let fleet = Fleet::start(seldom_stamping()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut client = Frames::open(&fleet).await?;
    client.get(1, "/stamp").await?;
    client.until(|frame| frame.stream == 1 && frame.ends_stream()).await?;
    let of_client = Stamp::parse(client.body(1).as_bytes())?.position.context("no stamp")?;
    let mut silent = Socket::open(&fleet).await?;
    let of_silent = position(&mut silent).await?;
    let clients = many_requests(&fleet).await?;

    client.get(3, "/hold/sampled-stream").await?;
    client.until(|frame| frame.stream == 3 && !frame.payload.is_empty()).await?;
    while client.body(3) != "begun-" {
        client.next().await?;
    }
    ask(&fleet, of_client, 1).await?;
    client.get(5, "/1").await?;
    client.until(|frame| frame.goaway().is_some()).await?;
    // Another is told later, stays, and is closed: time enough for the first to be.
    ask(&fleet, of_silent, 2).await?;
    silent.get("/2").await?;
    silent.rest().await?;
    has_closed(edge, 1).await;

    gate("sampled-stream").notify_one();
    client.until(|frame| frame.stream == 3 && frame.ends_stream()).await?;
    assert_eq!(client.body(3), "begun-ended");
    while client.next().await?.is_some() {}
    has_closed(edge, 2).await;
    assert_eq!(lb(edge, "connections_cut").await?, 0);
    ends_well(clients, edge).await
}
