//! The access log says which response told its client to close, and how.

use anyhow::Result;
use integration::artifacts::workspace;
use integration::fleet::{Bootstrap, Fleet, FleetSpec, read_yaml};
use tokio::net::TcpStream;

use crate::support::{Http, curl, eventually, get_and_stay, puppet};

/// Lays the shipped fragment over the HTTP connection manager.
fn with_access_log(bootstrap: &mut Bootstrap) -> Result<()> {
    let fragment = read_yaml(&workspace().join("envoy-configs/access-log.yaml"))?;
    bootstrap.connection_manager(&fragment)
}

/// What the log says of the requests that curl made, as `PATH close`.
async fn logged(fleet: &Fleet, requests: usize) -> Vec<String> {
    let log = || fleet.edges()[0].envoy.log_text();
    let lines = |log: &str| log.lines().filter(|line| line.contains(" close=")).count();
    eventually("all is logged", || async { Ok(lines(&log()) >= requests) }).await;
    let log = log();
    log.lines()
        .filter_map(|line| {
            let path = line.split(' ').nth(2)?;
            Some(format!("{path} {}", line.split_once(" close=")?.1))
        })
        .collect()
}

fn logging(native_drain: bool, tls: bool) -> FleetSpec {
    FleetSpec {
        native_drain,
        tls,
        node_filter: false,
        application: puppet(),
        edge_changes: with_access_log,
        ..FleetSpec::default()
    }
}

async fn says(native_drain: bool, http: Http, way: &str) -> Result<()> {
    // curl 7.88 uses no connection twice that speaks HTTP/2 in plain text.
    let tls = http == Http::Two;
    let fleet = Fleet::start(logging(native_drain, tls)).await?;
    let paths = ["/one", "/own", "/two", "/other-edge"];
    let run = curl(&fleet, tls, http, &[], &paths).await?;
    assert_eq!(run.connections(), 2, "{}", run.verbose);
    let own = format!("/own {way}");
    assert_eq!(logged(&fleet, 4).await, ["/one -", &own, "/two -", "/other-edge -"]);
    Ok(())
}

#[tokio::test]
async fn over_http1() -> Result<()> {
    says(false, Http::One, "http1").await
}

#[tokio::test]
async fn to_a_client_that_was_told_over_http1_and_goes_on() -> Result<()> {
    let fleet = Fleet::start(logging(false, false)).await?;
    let mut stream = TcpStream::connect(fleet.edges()[0].address).await?;
    for (path, told) in [("/one", false), ("/own", true), ("/two", true), ("/three", true)] {
        let head = get_and_stay(&mut stream, path).await?;
        assert_eq!(head.contains("connection: close"), told, "{path}: {head}");
    }
    let expected = ["/one -", "/own http1", "/two http1_again", "/three http1_again"];
    assert_eq!(logged(&fleet, 4).await, expected);
    Ok(())
}

#[tokio::test]
async fn over_http2() -> Result<()> {
    says(false, Http::Two, "http2").await
}

#[tokio::test]
async fn where_envoy_drains() -> Result<()> {
    says(true, Http::One, "native_drain").await?;
    says(true, Http::Two, "native_drain").await
}
