//! Something between edge and node takes their headers off, or changes them: here routes of the
//! edge, which are the last to see a request and the first to see a response.

use anyhow::{Context, Result};
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use serde_json::{Value, json};

use crate::support::{Http, curl, eventually, lb, node, warm_up};

const MANAGER: &str = "envoy.filters.network.http_connection_manager";
const ROUTES: &str = "/typed_config/route_config/virtual_hosts/0/routes";

fn set(header: &str) -> Value {
    json!([{
        "header": { "key": header, "value": "?" },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }])
}

/// Paths that begin so go by a route of their own, which changes something.
fn changes(edge: &mut Bootstrap) -> Result<()> {
    let routes = edge.filter(MANAGER)?.pointer_mut(ROUTES).and_then(Value::as_array_mut);
    let routes = routes.context("no routes")?;
    for (prefix, field, change) in [
        ("/stamp-changed", "request_headers_to_add", set("spillway-lb")),
        ("/close-changed", "response_headers_to_add", set("spillway-close")),
        ("/close-off", "response_headers_to_remove", json!(["spillway-close"])),
    ] {
        let mut route = routes.last().context("no route")?.clone();
        route["match"]["prefix"] = json!(prefix);
        route[field] = change;
        routes.insert(0, route);
    }
    Ok(())
}

/// Waits until edge and node have counted all requests so far.
async fn all_are_counted(fleet: &Fleet, malformed: u64) {
    eventually("all are counted", || async {
        let seen = node(&fleet.nodes()[0].envoy, "requests_stamped").await? + malformed;
        Ok(lb(&fleet.edges()[0].envoy, "requests_stamped").await? == seen)
    })
    .await;
}

#[tokio::test]
async fn stamps_and_close_requests_that_are_changed_or_gone_are_counted_where_they_come()
-> Result<()> {
    const COUNT: usize = 5;
    const REQUESTS: u64 = COUNT as u64;
    let spec = FleetSpec { edge_changes: changes, ..FleetSpec::default().closing_everything() };
    let fleet = Fleet::start(spec).await?;
    let (edge, envoy) = (&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy);
    let ask =
        async |path: &str| curl(&fleet, false, Http::One, &[], &[path; COUNT]).await.map(drop);
    // As it should be: the edge sees what the node asks for.
    warm_up(&fleet).await?;
    eventually("the edge sees it", || async { Ok(lb(edge, "close_requests").await? > 0) }).await;
    for malformed in ["stamps_malformed", "requests_unstamped"] {
        assert_eq!(node(envoy, malformed).await?, 0, "{malformed}");
    }
    assert_eq!(lb(edge, "close_requests_malformed").await?, 0);

    ask("/stamp-changed").await?;
    eventually("the node counts stamps that are none", || async {
        Ok(node(envoy, "stamps_malformed").await? == REQUESTS)
    })
    .await;

    all_are_counted(&fleet, REQUESTS).await;
    let (asked, seen) = (node(envoy, "closes_requested").await?, lb(edge, "close_requests").await?);
    eventually("the node asks for closes", || async {
        ask("/close-off").await?;
        Ok(node(envoy, "closes_requested").await? >= asked + REQUESTS)
    })
    .await;
    all_are_counted(&fleet, REQUESTS).await;
    assert_eq!(lb(edge, "close_requests").await?, seen, "they do not come to the edge");

    eventually("the edge counts close requests that are none", || async {
        ask("/close-changed").await?;
        Ok(lb(edge, "close_requests_malformed").await? >= REQUESTS)
    })
    .await;
    Ok(())
}
