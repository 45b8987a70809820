//! A client is told to close in its own protocol, and gets its whole response.

use anyhow::Result;
use hyper::Response;
use integration::application::{Application, Body};
use integration::fleet::{Fleet, FleetSpec, StartApplication};
use integration::traffic;
use tokio::time::Instant;

use crate::support::{Http, PATIENCE, curl, eventually, lb};

/// Longer than one frame and one write.
const BODY: usize = 200_000;

fn big_body() -> StartApplication {
    StartApplication(|address| {
        Box::pin(Application::serve(address, |_| async {
            Response::new(Body::from("x".repeat(BODY)))
        }))
    })
}

async fn closes(native_drain: bool, tls: bool) -> Result<()> {
    let spec = FleetSpec { native_drain, tls, application: big_body(), ..FleetSpec::default() };
    let fleet = Fleet::start(spec.closing_everything()).await?;
    // They keep the nodes asking, however slowly curl gets its turns.
    let clients = traffic::steady_clients(&fleet)?;
    // Without TLS, curl 7.88 cannot use an HTTP/2 connection a second time.
    let paths: [&[&str]; 2] = [&["/1", "/2"], if tls { &["/1", "/2"] } else { &["/1"] }];
    for (http, paths) in [Http::One, Http::Two].into_iter().zip(paths) {
        // The first ones may go by before the node has measured anything.
        let start = Instant::now();
        let curl = loop {
            let curl = curl(&fleet, tls, http, &[], paths).await?;
            let told = curl.goaways() + curl.headers("connection").len();
            if told == paths.len() {
                break curl;
            }
            assert!(start.elapsed() < PATIENCE, "{http:?}: never told to close: {}", curl.verbose);
        };
        assert_eq!(curl.connections(), paths.len(), "{http:?}: {}", curl.verbose);
        assert_eq!(curl.bodies.len(), paths.len() * BODY, "{http:?}: {}", curl.verbose);
        match http {
            Http::One => assert_eq!(curl.headers("connection"), ["close", "close"]),
            Http::Two => assert!(curl.headers("connection").is_empty(), "{}", curl.verbose),
        }
    }
    clients.stop().await;
    let way = if native_drain { "native_drain" } else { "http2" };
    let edge = &fleet.edges()[0].envoy;
    eventually("the edge has counted how it told clients", || async {
        Ok(lb(edge, &format!("closes_announced.{way}")).await? > 0)
    })
    .await;
    assert_eq!(lb(edge, "host_errors").await?, 0);
    Ok(())
}

#[tokio::test]
async fn by_the_connection_role_over_plain_text() -> Result<()> {
    closes(false, false).await
}

#[tokio::test]
async fn by_the_connection_role_over_tls() -> Result<()> {
    closes(false, true).await
}

#[tokio::test]
async fn by_native_drain_over_plain_text() -> Result<()> {
    closes(true, false).await
}

#[tokio::test]
async fn by_native_drain_over_tls() -> Result<()> {
    closes(true, true).await
}

#[tokio::test]
async fn without_the_filters_connections_stay_open() -> Result<()> {
    let filters_out = FleetSpec { edge_filters: false, node_filter: false, ..FleetSpec::default() };
    let fleet = Fleet::start(FleetSpec { tls: true, ..filters_out }).await?;
    let paths = ["/"; 50];
    for http in [Http::One, Http::Two] {
        let curl = curl(&fleet, true, http, &[], &paths).await?;
        assert_eq!((curl.connections(), curl.goaways()), (1, 0), "{}", curl.verbose);
        assert!(curl.headers("connection").is_empty(), "{}", curl.verbose);
    }
    Ok(())
}
