//! HTTP/1: whatever a response looks like, it is whole, and the client is told.

use anyhow::Result;
use integration::fleet::Fleet;
use serde_json::json;

use crate::puppet::{BIG, gate};
use crate::support::{Http, Socket, at_its_mercy, curl, has_closed, has_told};

/// curl asks for `path`, and for another on the connection if that were left open.
async fn one_close(path: &str, args: &[&str]) -> Result<(String, String)> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let close = format!("/close{path}");
    let curl = curl(&fleet, false, Http::One, args, &[&close, "/next"]).await?;
    assert_eq!(curl.headers("connection"), ["close"], "{}", curl.verbose);
    assert_eq!(curl.connections(), 2, "{}", curl.verbose);
    has_told(&fleet.edges()[0].envoy, "http1", 1).await?;
    let whole = curl.bodies.strip_suffix("</next>").map(ToOwned::to_owned);
    Ok((whole.unwrap_or(curl.bodies), curl.verbose))
}

#[tokio::test]
async fn keep_alive_lasts_until_a_close_is_asked_for() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let paths = ["/1", "/2", "/close/3", "/4"];
    let curl = curl(&fleet, false, Http::One, &[], &paths).await?;
    assert_eq!(curl.bodies, "</1></2></close/3></4>");
    assert_eq!((curl.connections(), curl.headers("connection")), (2, vec!["close"]));
    has_told(&fleet.edges()[0].envoy, "http1", 1).await
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_close() -> Result<()> {
    assert_eq!(one_close("/204", &[]).await?.0, "");
    assert_eq!(one_close("/304", &["-H", "if-none-match: \"a\""]).await?.0, "");
    let (_, verbose) = one_close("/head", &["--head"]).await?;
    assert!(verbose.contains("< content-length: 1000"), "{verbose}");
    Ok(())
}

#[tokio::test]
async fn chunks_and_trailers_arrive_whole() -> Result<()> {
    assert_eq!(one_close("/trailers", &[]).await?.0, "abc");
    assert_eq!(one_close("/slow", &[]).await?.0, "slow".repeat(20));
    Ok(())
}

#[tokio::test]
async fn interim_responses_pass_in_front_of_the_one_that_closes() -> Result<()> {
    // Envoy takes early hints off; the response behind them has to be found all the same.
    assert_eq!(one_close("/hints", &[]).await?.0, "</close/hints>");
    let upload = "x".repeat(2_000);
    let args = ["-H", "expect: 100-continue", "--data-binary", &upload];
    let (body, verbose) = one_close("/upload", &args).await?;
    assert!(body.starts_with("2000"), "{body}");
    assert!(verbose.contains("< HTTP/1.1 100 Continue"), "{verbose}");
    Ok(())
}

#[tokio::test]
async fn large_and_slow_bodies_are_whole_in_both_directions() -> Result<()> {
    let (body, _) = one_close("/big", &["--limit-rate", "4M"]).await?;
    assert_eq!(body.len(), BIG);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), vec![b'u'; 3_000_000])?;
    let data = format!("@{}", file.path().display());
    let args = ["--limit-rate", "2M", "--data-binary", &data, "-H", "expect:"];
    assert!(one_close("/upload", &args).await?.0.starts_with("3000000"));
    Ok(())
}

#[tokio::test]
async fn a_large_head_is_left_whole_and_told() -> Result<()> {
    assert_eq!(one_close("/headers", &[]).await?.0, "</close/headers>");
    Ok(())
}

#[tokio::test]
async fn http_1_0_keep_alive_ends_with_a_close() -> Result<()> {
    let mut spec = at_its_mercy();
    spec.edge_manager = json!({ "http_protocol_options": {
        "accept_http_10": true, "default_host_for_http_10": "a" } });
    let fleet = Fleet::start(spec).await?;
    let mut socket = Socket::open(&fleet).await?;
    let request = |path| format!("GET {path} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    socket.send(request("/1").as_bytes()).await?;
    let first = socket.until("</1>").await?.to_lowercase();
    assert!(first.contains("connection: keep-alive"), "{first}");
    socket.send(request("/close/2").as_bytes()).await?;
    let second = socket.until("</close/2>").await?;
    assert!(second.contains("connection: close"), "{second}");
    assert!(!second.to_lowercase().contains("keep-alive"), "{second}");
    has_told(&fleet.edges()[0].envoy, "http1", 1).await?;
    // It stays, and is closed.
    assert_eq!(socket.rest().await?, b"");
    Ok(())
}

#[tokio::test]
async fn pipelined_requests_are_all_answered_in_their_order() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let mut socket = Socket::open(&fleet).await?;
    let paths = ["/1", "/close/slow", "/close/3", "/4"];
    let request = |path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    socket.send(paths.map(request).concat().as_bytes()).await?;
    let rest = String::from_utf8(socket.rest().await?)?;
    let heads: Vec<_> = rest.split("HTTP/1.1 200 OK").skip(1).collect();
    assert_eq!(heads.len(), 4, "{rest}");
    for (n, (head, mark)) in heads.iter().zip(["</1>", "slow", "</close/3>", "</4>"]).enumerate() {
        assert!(head.contains(mark), "{head}");
        // Who was told and goes on is told with each response.
        assert_eq!(head.contains("connection: close"), n > 0, "{head}");
    }
    has_told(&fleet.edges()[0].envoy, "http1", 1).await?;
    has_closed(&fleet.edges()[0].envoy, 1).await;
    Ok(())
}

#[tokio::test]
async fn a_client_that_ignores_the_close_is_served_and_then_closed() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let mut socket = Socket::open(&fleet).await?;
    for path in ["/close/1", "/2", "/slow"] {
        socket.get(path).await?;
        let end = if path == "/slow" { "\r\n0\r\n\r\n" } else { ">" };
        assert!(socket.until(end).await?.contains("connection: close"), "{path}");
    }
    assert_eq!(socket.rest().await?, b"");
    has_told(&fleet.edges()[0].envoy, "http1", 1).await?;
    has_closed(&fleet.edges()[0].envoy, 1).await;
    Ok(())
}

#[tokio::test]
async fn a_client_that_stays_silent_is_closed() -> Result<()> {
    let fleet = Fleet::start(at_its_mercy()).await?;
    let mut socket = Socket::open(&fleet).await?;
    socket.get("/close/1").await?;
    assert!(socket.until("</close/1>").await?.contains("connection: close"));
    assert_eq!(socket.rest().await?, b"", "in order, not reset");
    has_closed(&fleet.edges()[0].envoy, 1).await;
    Ok(())
}

#[tokio::test]
async fn what_takes_longer_than_max_drain_is_cut_only_where_that_is_set() -> Result<()> {
    let mut spec = at_its_mercy();
    spec.connection = json!({ "drain_timeout": "100ms", "max_drain": "1s" });
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut socket = Socket::open(&fleet).await?;
    socket.get("/close/hold/never").await?;
    assert!(socket.until("begun-").await?.contains("connection: close"));
    assert!(!String::from_utf8(socket.rest().await?)?.contains("ended"));
    crate::support::eventually("it is counted", || async {
        Ok(crate::support::lb(edge, "connections_cut").await? == 1)
    })
    .await;
    gate("never").notify_one();
    Ok(())
}
