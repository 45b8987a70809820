//! HTTP/3: edges close by Envoy's own drain, and aioquic, a client nobody here wrote, loses nothing.

use anyhow::{Context, Result};
use integration::echo;
use integration::fleet::{Fleet, FleetSpec, StartApplication};
use integration::tools::Python;
use integration::traffic::{self, Said};

const REQUESTS: u64 = 400;

fn closing() -> FleetSpec {
    FleetSpec {
        http3: true,
        application: StartApplication(|address| Box::pin(echo::start(address))),
        ..FleetSpec::default().closing_often()
    }
}

/// Runs the client, with so many requests at once, until it has sent them all.
async fn echoes(fleet: &Fleet, parallel: u32) -> Result<Said> {
    let mut client = Python::locate()?.client("http3.py");
    client.args(["--url", &fleet.url(), "--requests", &REQUESTS.to_string()]);
    client.args(["--parallel", &parallel.to_string()]).arg("--ca").arg(fleet.authority());
    traffic::run(client).await
}

async fn loses_nothing(parallel: u32) -> Result<()> {
    let fleet = Fleet::start(closing()).await?;
    traffic::warm_up(&fleet).await?;
    let client = async || echoes(&fleet, parallel).await;
    let (said, counted) = traffic::among_closes(&fleet, client).await?;
    eprintln!("{parallel} at once: {said:?}, {counted:?}");
    said.lost_nothing(counted)?;
    assert!(said.closes > 0, "no GOAWAY was seen: {said:?}");
    let stats = fleet.edges()[0].envoy.stats().await?;
    assert!(stats.counter("http.public.downstream_cx_http3_total") > 1);
    assert_eq!(stats.counter("wasmcustom.spillway.lb.host_errors"), 0);
    Ok(())
}

#[tokio::test]
async fn a_client_sees_goaway_connects_again_and_loses_nothing() -> Result<()> {
    loses_nothing(1).await
}

#[tokio::test]
async fn a_client_with_requests_in_flight_finishes_them_and_connects_again() -> Result<()> {
    loses_nothing(8).await
}

#[tokio::test]
async fn without_spillway_the_connection_stays() -> Result<()> {
    let spec = FleetSpec { edge_filters: false, node_filter: false, ..closing() };
    let fleet = Fleet::start(spec).await?;
    let (said, counted) = traffic::counting(&fleet, echoes(&fleet, 8)).await?;
    assert_eq!((said.requests, said.failed, said.closes), (REQUESTS, 0, 0), "{said:?}");
    assert_eq!((counted.connections, counted.closes), (1, 0));
    Ok(())
}

#[tokio::test]
async fn its_other_listener_serves_the_older_versions_and_tells_of_http3() -> Result<()> {
    let fleet = Fleet::start(closing()).await?;
    for (version, seen) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--include", version, "--cacert"]).arg(fleet.authority());
        curl.arg(format!("{}/bytes/3", fleet.url()));
        let text = traffic::output(curl).await?;
        assert!(text.starts_with(seen) && text.ends_with("\r\n\r\n012"), "{text}");
        let alternative = text.lines().find_map(|line| line.strip_prefix("alt-svc: "));
        assert!(alternative.context("no alt-svc")?.starts_with("h3="), "{text}");
    }
    Ok(())
}
