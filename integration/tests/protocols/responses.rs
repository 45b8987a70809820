//! What Envoy itself does with requests and responses loses nothing to a close, nor the close.

use anyhow::{Context, Result};
use integration::by_hand::Frames;
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use redistribution::wire::Stamp;
use serde_json::{Value, json};

use crate::puppet::{CACHED, gate};
use crate::support::{
    Http, Socket, at_its_mercy, curl, eventually, has_closed, has_told, lb, outlast_drain,
};

/// The edge's routes: all requests go to the nodes in this way, but for `/local`.
fn route(edge: &mut Bootstrap, action: &Value) -> Result<()> {
    let mut forward = json!({ "cluster": "nodes", "timeout": "0s" });
    for (name, value) in action.as_object().context("no fields")? {
        forward[name] = value.clone();
    }
    edge.connection_manager(&json!({
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "include_request_attempt_count": true,
            "routes": [
                { "match": { "path": "/local" },
                  "direct_response": { "status": 200, "body": { "inline_string": "<local>" } } },
                { "match": { "prefix": "/" }, "route": forward },
            ],
        }] },
    }))
}

fn http_filter(edge: &mut Bootstrap, place: usize, kind: &str, mut config: Value) -> Result<()> {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    let filter = json!({ "name": kind, "typed_config": config });
    edge.http_filters()?.insert(place, filter);
    Ok(())
}

/// All is answered as it should be, over both protocols; the last path of each is on a connection
/// of its own, since the one before closes.
async fn answers(
    edge_changes: fn(&mut Bootstrap) -> Result<()>,
    args: &[&str],
    path: &str,
    expected: &str,
) -> Result<Fleet> {
    let fleet = Fleet::start(FleetSpec { edge_changes, ..at_its_mercy() }).await?;
    let edge = &fleet.edges()[0].envoy;
    let one = curl(&fleet, false, Http::One, args, &[path, "/next"]).await?;
    let body = if one.bodies.ends_with("</next>") { "</next>" } else { "0" };
    assert_eq!(one.bodies, format!("{expected}{body}"));
    assert_eq!((one.connections(), one.headers("connection")), (2, vec!["close"]));
    let two = curl(&fleet, false, Http::Two, args, &[path]).await?;
    assert_eq!((two.bodies.as_str(), two.goaways()), (expected, 1), "{}", two.verbose);
    has_told(edge, "http1", 1).await?;
    has_told(edge, "http2", 1).await?;
    assert_eq!(lb(edge, "closes_requested").await?, 2);
    Ok(fleet)
}

#[tokio::test]
async fn local_replies_tell_the_client_too() -> Result<()> {
    let spec = FleetSpec { edge_changes: |edge| route(edge, &json!({})), ..at_its_mercy() };
    let fleet = Fleet::start(spec).await?;
    let mut client = Socket::open(&fleet).await?;
    client.get("/stamp").await?;
    let stamp = client.until("seq").await? + &client.until("age").await?;
    let stamp = stamp.split("\r\n\r\n").nth(1).context("no body")?;
    let at = Stamp::parse(stamp.rsplit_once(',').context("no stamp")?.0.as_bytes())?;
    let at = at.position.context("no position")?;
    let mut other = Socket::open(&fleet).await?;
    other.get(&format!("/name/{}/{}", at.vm, at.connection)).await?;
    other.until("\r\n\r\n").await?;
    client.get("/local").await?;
    let reply = client.until("<local>").await?;
    assert!(reply.contains("connection: close"), "{reply}");
    assert_eq!(client.rest().await?, b"");
    has_told(&fleet.edges()[0].envoy, "http1", 1).await
}

#[tokio::test]
async fn a_request_that_is_tried_again_closes_once() -> Result<()> {
    let retry = |edge: &mut Bootstrap| {
        route(edge, &json!({ "retry_policy": { "retry_on": "5xx", "num_retries": 2 } }))
    };
    let fleet = answers(retry, &[], "/close/retry", "</close/retry>").await?;
    let stats = fleet.edges()[0].envoy.stats().await?;
    assert_eq!(stats.counter("cluster.nodes.upstream_rq_retry"), 2);
    Ok(())
}

#[tokio::test]
async fn a_hedged_request_closes_once() -> Result<()> {
    let hedge = |edge: &mut Bootstrap| {
        let retries = json!({ "retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.3s" });
        let hedging = json!({ "hedge_on_per_try_timeout": true });
        route(edge, &json!({ "retry_policy": retries, "hedge_policy": hedging }))
    };
    let fleet = answers(hedge, &[], "/close/hedge/late", "</close/hedge/late>").await?;
    gate("late").notify_waiters();
    let stats = fleet.edges()[0].envoy.stats().await?;
    assert_eq!(stats.counter("cluster.nodes.upstream_rq_retry"), 2);
    Ok(())
}

#[tokio::test]
async fn after_an_internal_redirect_the_connection_can_be_closed() -> Result<()> {
    let redirect = |edge: &mut Bootstrap| {
        let policy = json!({ "max_internal_redirects": 1, "allow_cross_scheme_redirect": true });
        route(edge, &json!({ "internal_redirect_policy": policy }))
    };
    answers(redirect, &[], "/redirect", "</close/landed>").await?;
    Ok(())
}

#[tokio::test]
async fn compressed_responses_and_buffered_requests_are_whole() -> Result<()> {
    let changes = |edge: &mut Bootstrap| {
        let library = "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip";
        let library = json!({ "name": "gzip", "typed_config": { "@type": library } });
        let compressor = json!({ "compressor_library": library });
        http_filter(edge, 1, "compressor.v3.Compressor", compressor)?;
        http_filter(edge, 1, "buffer.v3.Buffer", json!({ "max_request_bytes": 1_000_000 }))
    };
    let text = "word ".repeat(10_000);
    let fleet = answers(changes, &["--compressed"], "/close/text", &text).await?;
    let stats = fleet.edges()[0].envoy.stats().await?;
    let compressed = stats.iter().find(|(name, _)| name.ends_with("gzip.compressed"));
    assert!(compressed.is_some_and(|(_, count)| count >= 2), "{compressed:?}");
    drop(fleet);
    let upload = "x".repeat(10_000);
    answers(changes, &["--data-binary", &upload], "/close/upload", "10000").await?;
    Ok(())
}

/// As README has it: the cache behind the HTTP role, and the role `responses` at the cluster.
fn with_a_cache(edge: &mut Bootstrap) -> Result<()> {
    let store = "type.googleapis.com/envoy.extensions.http.cache.simple_http_cache.v3.\
                 SimpleHttpCacheConfig";
    http_filter(edge, 1, "cache.v3.CacheConfig", json!({ "typed_config": { "@type": store } }))?;
    let mut responses = edge.filter("spillway.http")?.clone();
    responses["name"] = json!("spillway.responses");
    let config = &mut responses["typed_config"]["config"];
    config["name"] = json!("spillway.responses");
    config["root_id"] = json!("spillway.responses");
    config["configuration"]["value"] = json!(r#"{ "role": "responses" }"#);
    let codec = "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
    let codec = json!({ "name": "codec", "typed_config": { "@type": codec } });
    edge.upstream_protocol(&json!({ "http_protocol_options": {} }))?;
    let options = edge.at("/static_resources/clusters/0/typed_extension_protocol_options")?;
    options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["http_filters"] =
        json!([responses, codec]);
    Ok(())
}

#[tokio::test]
async fn a_close_request_is_taken_off_before_a_cache_can_store_it() -> Result<()> {
    let fleet = Fleet::start(FleetSpec { edge_changes: with_a_cache, ..at_its_mercy() }).await?;
    let edge = &fleet.edges()[0].envoy;
    let paths = ["/close/cached", "/close/cached", "/close/cached"];
    let curl = curl(&fleet, false, Http::One, &[], &paths).await?;
    assert_eq!(curl.bodies.len(), 3 * CACHED);
    assert_eq!(curl.headers("age").len(), 2, "from the cache: {}", curl.verbose);
    assert!(curl.headers("spillway-close").is_empty(), "{}", curl.verbose);
    // The first is told by its own response; what comes from the cache has no close request.
    assert_eq!((curl.connections(), curl.headers("connection")), (2, vec!["close"]));
    has_told(edge, "http1", 1).await?;
    assert_eq!(lb(edge, "close_requests").await?, 1);
    // One who was told and reads an answer from the cache slowly is not cut.
    let mut first = Socket::open(&fleet).await?;
    first.send(b"GET /cached HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    first.rest().await?;
    let mut client = Socket::open(&fleet).await?;
    client.get("/close/1").await?;
    client.until("</close/1>").await?;
    client.get("/cached").await?;
    outlast_drain(&fleet).await?;
    outlast_drain(&fleet).await?;
    let rest = client.rest().await?;
    let head = rest.windows(4).position(|end| end == b"\r\n\r\n").context("no head")?;
    assert_eq!(rest.len() - head - 4, CACHED);
    let text = String::from_utf8_lossy(&rest[..head]).into_owned();
    assert!(text.contains("connection: close") && text.contains("age: "), "{text}");
    has_closed(edge, 3).await;
    Ok(())
}

#[tokio::test]
async fn a_request_that_its_client_resets_leaves_the_others_whole() -> Result<()> {
    const RST_STREAM: u8 = 3;
    let fleet = Fleet::start(at_its_mercy()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut client = Frames::open(&fleet).await?;
    client.get(1, "/slow").await?;
    client.get(3, "/close/hold/reset").await?;
    client.until(|frame| frame.stream == 3 && frame.payload == b"begun-").await?;
    client.send(RST_STREAM, 0, 3, &8_u32.to_be_bytes()).await?;
    client.until(|frame| frame.stream == 1 && frame.ends_stream()).await?;
    assert_eq!(client.body(1), "slow".repeat(20));
    while client.next().await?.is_some() {}
    has_closed(edge, 1).await;
    has_told(edge, "http2", 1).await?;
    // Over HTTP/1 the connection goes with the request: nothing is left of it.
    let mut socket = Socket::open(&fleet).await?;
    socket.get("/close/hold/reset-too").await?;
    socket.until("begun-").await?;
    drop(socket);
    eventually("it is gone", || async { Ok(lb(edge, "connections_open").await? == 0) }).await;
    gate("reset").notify_one();
    gate("reset-too").notify_one();
    Ok(())
}

#[tokio::test]
async fn a_response_that_its_upstream_breaks_off_leaves_the_others_whole() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut client = Frames::open(&fleet).await?;
    client.get(1, "/slow").await?;
    client.get(3, "/close/break").await?;
    let broken = client.until(|frame| frame.stream == 3 && frame.kind == 3).await?;
    assert_eq!(client.body(3), "half", "{broken:?}");
    client.until(|frame| frame.stream == 1 && frame.ends_stream()).await?;
    assert_eq!(client.body(1), "slow".repeat(20));
    while client.next().await?.is_some() {}
    has_closed(edge, 1).await;
    let mut socket = Socket::open(&fleet).await?;
    socket.get("/close/break").await?;
    assert!(socket.until("half").await?.contains("connection: close"));
    assert!(!String::from_utf8(socket.rest().await?)?.contains("\r\n0\r\n"), "not as if whole");
    has_told(edge, "http1", 1).await
}
