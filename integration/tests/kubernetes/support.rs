//! What both have in common: JSON, and what is to be true of a fleet that closes.

use anyhow::Result;
use hyper::Response;
use integration::application::{Application, Body};
use integration::client::Pace;
use integration::fleet::{Fleet, StartApplication};
use integration::testing::{Http, PATIENCE, curl, eventually, lb, mixed_clients};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Lays `overlay` over the fields of `base`; what is `null` there is taken out.
pub fn set(base: &mut Value, overlay: &Value) {
    for (name, value) in overlay.as_object().into_iter().flatten() {
        match base.as_object_mut() {
            Some(base) if value.is_null() => drop(base.remove(name)),
            _ => base[name] = value.clone(),
        }
    }
}

/// Merges as protobuf does: messages field by field, lists one after the other.
pub fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(patch)) => base.extend(patch.iter().cloned()),
        (base, patch) => *base = patch.clone(),
    }
}

/// For the edge: no limit that a test of closing everything would meet.
pub fn unlimited() -> Value {
    json!({ "max_closes_per_second": 100_000 })
}

/// For the node: asks to close all that it sees, as soon as it has measured its share.
pub fn closing_everything() -> Value {
    json!({
        "close_rate": { "per_second": 10_000 },
        "min_connection_age": "0s",
        "share_window": "1s",
    })
}

/// Answers with the stamp of the request.
pub fn stamps() -> StartApplication {
    StartApplication(|address| {
        Box::pin(Application::serve(address, |request| async move {
            let stamp = request.headers().get("spillway-lb").map(|stamp| stamp.as_bytes().to_vec());
            Response::new(Body::from(stamp.unwrap_or_default()))
        }))
    })
}

/// curl is told to close over HTTP/1.1 and HTTP/2, with a stamp of `id` on its way.
pub async fn curl_is_told(fleet: &Fleet, id: &str) -> Result<()> {
    for http in [Http::One, Http::Two] {
        // The first ones may go by before the node has measured anything.
        let start = Instant::now();
        let told = loop {
            let curl = curl(fleet, false, http, &[], &["/"]).await?;
            if curl.goaways() + curl.headers("connection").len() == 1 {
                break curl;
            }
            assert!(start.elapsed() < PATIENCE, "{http:?}: never told: {}", curl.verbose);
        };
        assert_eq!(told.connections(), 1, "{}", told.verbose);
        assert!(told.bodies.contains(&format!("id=\"{id}\"")), "{}", told.bodies);
        assert!(told.headers("spillway-close").is_empty(), "{}", told.verbose);
    }
    Ok(())
}

/// Clients that are told again and again lose nothing, and what tells them is `ways`, all of them
/// and no others.
pub async fn clients_lose_nothing(fleet: &Fleet, ways: &[&str]) -> Result<()> {
    let clients = mixed_clients(fleet, 16, 4, Pace::PerSecond(10.0))?;
    clients.wait_until(PATIENCE, |totals| totals.closes_seen > 50).await?;
    let totals = clients.stop().await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    let edge = &fleet.edges()[0].envoy;
    for way in ["http1", "http2", "native_drain"] {
        let told = lb(edge, &format!("closes_announced.{way}")).await?;
        assert_eq!(told > 0, ways.contains(&way), "{way}: {told}");
    }
    eventually("the last metrics are there", || async {
        Ok(edge.stats().await?.gauge("wasmcustom.spillway.lb.connections_open") == 0
            || ways.contains(&"native_drain"))
    })
    .await;
    for trouble in ["closes_not_done", "connections_without_http_role", "host_errors"] {
        assert_eq!(lb(edge, trouble).await?, 0, "{trouble}");
    }
    Ok(())
}
