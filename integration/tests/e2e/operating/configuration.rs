//! What is configured wrongly, or too carefully. The filters come by ECDS, so that what the table says
//! is to be done can be done: then what was seen is over.

use anyhow::Result;
use integration::client::Pace;
use integration::envoy::Envoy;
use integration::fleet::{Discovery, Fleet, FleetSpec};
use serde_json::{Value, json};

use crate::support::{eventually, lb, mixed_clients, node};

const CLIENTS: usize = 12;

async fn announced(edge: &Envoy) -> Result<u64> {
    Ok(edge.stats().await?.sum_prefix("wasmcustom.spillway.lb.closes_announced."))
}

async fn rejected(envoy: &Envoy, filter: &str) -> Result<u64> {
    let name = format!("extension_config_discovery.http_filter.{filter}.update_rejected");
    Ok(envoy.stats().await?.counter(&name))
}

/// Waits until clients are told to close, as they are where all is well.
async fn clients_are_told(edge: &Envoy) -> Result<()> {
    let before = announced(edge).await?;
    eventually("clients are told", || async { Ok(announced(edge).await? >= before + 3) }).await;
    Ok(())
}

/// A counter that grows until this is delivered, and not any more then, while clients are told.
async fn is_over_with(
    counted: &Envoy,
    name: &str,
    edge: &Envoy,
    remedy: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let count = async || {
        let stats = counted.stats().await?;
        anyhow::Ok(stats.counter(&format!("wasmcustom.spillway.{name}")))
    };
    let before = count().await?;
    eventually(&format!("{name} grows"), || async { Ok(count().await? >= before + 3) }).await;
    remedy()?;
    clients_are_told(edge).await?;
    let after = count().await?;
    clients_are_told(edge).await?;
    assert_eq!(count().await?, after, "{name} goes on");
    Ok(())
}

fn node_configuration(fields: &Value) -> Value {
    let mut all = json!({
        "mode": "enforce",
        "close_rate": { "per_second": 6 },
        "min_connection_age": "0s",
        "share_window": "1s",
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    all
}

#[tokio::test]
async fn what_is_wrong_is_counted_and_over_once_it_is_set_right() -> Result<()> {
    // At first neither is what it should be.
    let nothing = json!({ "mode": "none" });
    let fleet = Fleet::start(FleetSpec {
        discovered: true,
        http: nothing.clone(),
        connection: json!({ "role": "none" }),
        node: nothing,
        ..FleetSpec::default()
    })
    .await?;
    let (edge, envoy) = (&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy);
    let (of_edge, of_node) = (fleet.filters_of("edge-1")?, fleet.filters_of("node-1")?);
    let at_node = |fields: &Value| of_node.deliver("spillway.node", &node_configuration(fields));
    let at_edge = |fields: &Value| of_edge.deliver("spillway.http", fields);
    let clients = mixed_clients(&fleet, CLIENTS, 2, Pace::PerSecond(10.0))?;

    refused(edge, envoy).await?;
    set_right(&of_edge, &at_node, edge, envoy).await?;

    // Nodes, and then edges, that observe only.
    at_node(&json!({ "mode": "observe" }))?;
    is_over_with(envoy, "node.closes_observed", edge, || at_node(&json!({}))).await?;
    at_edge(&json!({ "mode": "observe" }))?;
    is_over_with(edge, "lb.closes_observed", edge, || at_edge(&json!({}))).await?;

    // No connection is as old as it has to be.
    at_node(&json!({ "min_connection_age": "1h" }))?;
    is_over_with(envoy, "node.closes_lapsed", edge, || at_node(&json!({}))).await?;

    // Nodes ask for more than the edge admits.
    at_edge(&json!({ "max_closes_per_second": 1 }))?;
    let over_limit = "lb.closes_refused.over_limit";
    is_over_with(edge, over_limit, edge, || at_edge(&json!({ "max_closes_per_second": 100 })))
        .await?;

    let totals = clients.stop().await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    Ok(())
}

/// Both have refused what they got, and said why; requests pass, and have no stamp.
async fn refused(edge: &Envoy, envoy: &Envoy) -> Result<()> {
    for (of, filter, kind) in [(edge, "spillway.http", "lb"), (envoy, "spillway.node", "node")] {
        assert_eq!(rejected(of, filter).await?, 1, "{filter}");
        let said = format!("spillway {kind} filter refused to start: 1 mistake");
        let log = of.log_text();
        assert!(log.contains(&said) && log.contains("mode: \"none\": must be"), "{log}");
    }
    let passed = async || anyhow::Ok(edge.stats().await?.counter("http.public.downstream_rq_2xx"));
    eventually("requests pass", || async { Ok(passed().await? > 50) }).await;
    assert_eq!(lb(edge, "requests").await?, 0);
    assert_eq!(node(envoy, "requests_stamped").await?, 0);
    Ok(())
}

async fn set_right(
    of_edge: &Discovery,
    at_node: impl Fn(&Value) -> Result<()>,
    edge: &Envoy,
    envoy: &Envoy,
) -> Result<()> {
    at_node(&json!({}))?;
    eventually("what comes without a stamp is counted", || async {
        Ok(node(envoy, "requests_unstamped").await? > 10)
    })
    .await;
    of_edge.deliver("spillway.connection", &json!({}))?;
    of_edge.deliver("spillway.http", &json!({}))?;
    clients_are_told(edge).await?;
    let unstamped = node(envoy, "requests_unstamped").await?;
    clients_are_told(edge).await?;
    assert_eq!(node(envoy, "requests_unstamped").await?, unstamped, "all have a stamp");
    Ok(())
}
