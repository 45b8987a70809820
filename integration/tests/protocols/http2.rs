//! HTTP/2: streams go on after a GOAWAY, and the connection ends when there are none.

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, client};
use hyper::Request;
use integration::by_hand::{Frame, Frames, PING};
use integration::fleet::Fleet;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::puppet::{BIG, gate};
use crate::support::{
    Http, PATIENCE, at_its_mercy, curl, eventually, has_closed, has_told, host, lb, nghttp,
    outlast_drain,
};

const LARGEST: u32 = 0x7fff_ffff;

/// The `h2` crate on a connection to the first edge, and how that ends.
async fn h2(
    fleet: &Fleet,
    window: u32,
) -> Result<(SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>)> {
    let stream = TcpStream::connect(fleet.edges()[0].address).await?;
    let (sender, connection) = client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(1 << 20)
        .handshake(stream)
        .await?;
    Ok((sender, tokio::spawn(connection)))
}

async fn get(sender: &mut SendRequest<Bytes>, path: &str) -> Result<RecvStream> {
    let request = Request::get(format!("http://{}{path}", host())).body(())?;
    let (response, _) = sender.send_request(request, true)?;
    let response = timeout(PATIENCE, response).await.context("no response")??;
    anyhow::ensure!(response.status() == 200, "{response:?}");
    Ok(response.into_body())
}

/// The body to its end, taken in steps, and the trailer `x-end`.
async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<String>)> {
    let mut bytes = Vec::new();
    while let Some(part) = timeout(PATIENCE, body.data()).await.context("no more data")? {
        let part = part?;
        bytes.extend(&part);
        tokio::task::yield_now().await;
        body.flow_control().release_capacity(part.len())?;
    }
    let trailers = body.trailers().await?;
    let end = trailers.and_then(|map| Some(map.get("x-end")?.to_str().ok()?.to_owned()));
    Ok((bytes, end))
}

#[tokio::test]
async fn many_streams_at_once_come_to_their_end() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let slow: Vec<_> = (0..60).map(|n| format!("/slow/{n}")).collect();
    let mut paths: Vec<_> = slow.iter().map(String::as_str).collect();
    paths.insert(30, "/close/now");
    let text = nghttp(&fleet, &["--null-out"], &paths).await?;
    assert_eq!(text.matches(":status: 200").count(), 61, "{text}");
    let ended = text.matches("; END_STREAM").count();
    assert!(ended >= 2 * 61, "of requests and responses: {ended}\n{text}");
    let goaway = "last_stream_id=2147483647, error_code=NO_ERROR";
    assert!(text.contains(goaway), "{text}");
    assert!(!text.contains("RST_STREAM"), "{text}");
    has_told(&fleet.edges()[0].envoy, "http2", 1).await
}

#[tokio::test]
async fn slow_readers_and_trailers_get_all_of_it() -> Result<()> {
    let mut spec = at_its_mercy();
    spec.upstream_http2 = true;
    spec.node_changes = |node| {
        node.upstream_protocol(&json!({ "http_protocol_options": { "enable_trailers": true } }))
    };
    let fleet = Fleet::start(spec).await?;
    // The window that a stream begins with, and that is never full for long.
    let (mut sender, over) = h2(&fleet, 65_535).await?;
    let big = get(&mut sender, "/big").await?;
    let trailers = get(&mut sender, "/trailers").await?;
    let told = get(&mut sender, "/close/now").await?;
    assert_eq!(read(told).await?.0, b"</close/now>");
    has_told(&fleet.edges()[0].envoy, "http2", 1).await?;
    assert_eq!(read(trailers).await?, (b"abc".to_vec(), Some("here".to_owned())));
    let (big, _) = read(big).await?;
    assert!(big.len() == BIG && big.iter().all(|byte| *byte == b'b'));
    // It leaves by itself when all is done.
    drop(sender);
    timeout(PATIENCE, over).await.context("the client stays")???;
    assert_eq!(lb(&fleet.edges()[0].envoy, "connections_closed").await?, 0);
    Ok(())
}

#[tokio::test]
async fn large_header_blocks_are_not_torn() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    // Both blocks take several frames: HEADERS and CONTINUATION.
    let large = format!("x-large: {}", "r".repeat(30_000));
    let curl = curl(&fleet, false, Http::Two, &["-H", &large], &["/close/headers"]).await?;
    assert_eq!(curl.bodies, "</close/headers>");
    assert_eq!(curl.headers("x-large"), ["h".repeat(40_000)]);
    assert_eq!(curl.goaways(), 1, "{}", curl.verbose);
    has_told(&fleet.edges()[0].envoy, "http2", 1).await
}

#[tokio::test]
async fn a_stream_that_lives_long_is_left_alone() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut client = Frames::open(&fleet).await?;
    client.get(1, "/hold/long").await?;
    client.get(3, "/close/now").await?;
    client.until(|frame| frame.stream == 3 && frame.ends_stream()).await?;
    has_told(edge, "http2", 1).await?;
    for _ in 0..3 {
        outlast_drain(&fleet).await?;
    }
    gate("long").notify_one();
    client.until(|frame| frame.stream == 1 && frame.ends_stream()).await?;
    assert_eq!(client.body(1), "begun-ended");
    while client.next().await?.is_some() {}
    has_closed(edge, 4).await;
    assert_eq!(lb(edge, "connections_cut").await?, 0);
    Ok(())
}

#[tokio::test]
async fn max_drain_cuts_a_stream_that_lives_longer() -> Result<()> {
    let mut spec = at_its_mercy();
    spec.connection = json!({ "drain_timeout": "100ms", "max_drain": "1s" });
    let fleet = Fleet::start(spec).await?;
    let (mut sender, _) = h2(&fleet, 65_535).await?;
    let body = get(&mut sender, "/close/hold/never-2").await?;
    assert!(read(body).await.is_err());
    let edge = &fleet.edges()[0].envoy;
    eventually("it is counted", || async { Ok(lb(edge, "connections_cut").await? == 1) }).await;
    Ok(())
}

#[tokio::test]
async fn streams_after_the_first_goaway_are_served_and_the_last_goaway_names_the_last() -> Result<()>
{
    let fleet = Fleet::start(at_its_mercy()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut client = Frames::open(&fleet).await?;
    client.get(1, "/1").await?;
    client.get(3, "/close/3").await?;
    client.until(|frame| frame.goaway() == Some((LARGEST, 0))).await?;
    // By hand: no library opens a stream now.
    for stream in [5, 7, 9] {
        client.get(stream, "/slow").await?;
    }
    for _ in 0..3 {
        client.until(|frame| frame.stream >= 5 && frame.ends_stream()).await?;
    }
    while client.next().await?.is_some() {}
    for stream in [5, 7, 9] {
        assert_eq!(client.body(stream), "slow".repeat(20), "{stream}");
    }
    assert_eq!(client.body(3), "</close/3>");
    assert_eq!(client.goaways(), [(LARGEST, 0), (9, 0)]);
    assert!(client.seen.last().is_some_and(|frame| frame.goaway().is_some()));
    has_closed(edge, 1).await;
    assert_eq!(lb(edge, "farewells").await?, 1);
    has_told(edge, "http2", 1).await
}

#[tokio::test]
async fn a_client_that_stays_and_pings_is_closed() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut client = Frames::open(&fleet).await?;
    client.get(1, "/close/hold/pings").await?;
    let mut pings = 0;
    // Each answer is followed by the next PING, as long as there is a connection.
    client.ping().await?;
    // It may be in the middle of sending one when the connection ends.
    while let Ok(Some(frame)) = client.next().await {
        if frame.kind == PING && frame.payload == b"bytes..8" {
            pings += 1;
            assert!(pings < 400, "kept open for twenty seconds by nothing but PINGs");
            if pings == 20 {
                gate("pings").notify_one();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            if client.ping().await.is_err() {
                break;
            }
        }
    }
    assert!(pings >= 20);
    assert_eq!(client.body(1), "begun-ended");
    assert_eq!(client.goaways().first(), Some(&(LARGEST, 0)));
    assert!(client.seen.iter().any(Frame::ends_stream));
    has_closed(edge, 1).await;
    Ok(())
}
