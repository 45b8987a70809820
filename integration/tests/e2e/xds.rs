//! Filters that come by ECDS are configured anew while traffic runs (`envoy-configs/xds/`).
//!
//! A good configuration takes effect on the connections that are there, without a restart. A bad one
//! is refused with its mistakes, and the one before stays in force.

use std::fs::rename;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::Result;
use integration::artifacts;
use integration::client::{ClientPool, Pace};
use integration::envoy::Envoy;
use integration::fleet::{Fleet, FleetSpec};
use integration::testing::{eventually, lb, mixed_clients, node, some_of_a_core};
use serde_json::{Value, json};

const HTTP: &str = "http_filter.spillway.http";
const CONNECTION: &str = "network_filter.spillway.connection";
const NODE: &str = "http_filter.spillway.node";
const CLIENTS: usize = 24;

/// One edge with two workers and one node, that closes a few connections a second.
fn fleet(http: Value) -> FleetSpec {
    FleetSpec {
        discovered: true,
        edge_workers: 2,
        http,
        node: json!({
            "close_rate": { "per_second": 4 },
            "min_connection_age": "0s",
            "share_window": "1s",
        }),
        ..FleetSpec::default()
    }
}

/// A counter of how a filter was discovered.
async fn discovery(envoy: &Envoy, filter: &str, name: &str) -> Result<u64> {
    Ok(envoy.stats().await?.counter(&format!("extension_config_discovery.{filter}.{name}")))
}

async fn announced(envoy: &Envoy) -> Result<u64> {
    Ok(envoy.stats().await?.sum_prefix("wasmcustom.spillway.lb.closes_announced."))
}

/// Waits until a counter of the edge's filter is so much more than it is now.
async fn grows(envoy: &Envoy, name: &str, by: u64) -> Result<()> {
    let before = lb(envoy, name).await?;
    eventually(&format!("{name} grows by {by}"), || async {
        Ok(lb(envoy, name).await? >= before + by)
    })
    .await;
    Ok(())
}

/// Closes go on, over both protocols, and clients are told.
async fn closes_go_on(edge: &Envoy, clients: &ClientPool) -> Result<()> {
    let before = clients.totals().closes_seen;
    for protocol in ["http1", "http2"] {
        grows(edge, &format!("closes_announced.{protocol}"), 1).await?;
    }
    clients.wait_until(Duration::from_secs(30), |totals| totals.closes_seen > before + 1).await?;
    Ok(())
}

/// What all of it must not cost.
async fn nothing_was_lost(fleet: &Fleet, clients: ClientPool) -> Result<()> {
    let totals = clients.stop().await;
    let edge = &fleet.edges()[0].envoy;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    for trouble in ["closes_not_done", "connections_without_http_role", "host_errors"] {
        assert_eq!(lb(edge, trouble).await?, 0, "{trouble}");
    }
    assert_eq!(lb(edge, "closes_announced.native_drain").await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_edge_is_configured_anew_under_traffic() -> Result<()> {
    let _core = some_of_a_core().await;
    let fleet = Fleet::start(fleet(json!({ "mode": "observe" }))).await?;
    let edge = &fleet.edges()[0].envoy;
    let filters = fleet.filters_of("edge-1")?;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;

    grows(edge, "closes_observed", 2).await?;
    assert_eq!((announced(edge).await?, clients.totals().closes_seen), (0, 0));

    filters.deliver("spillway.http", &json!({ "mode": "enforce" }))?;
    closes_go_on(edge, &clients).await?;
    let observed = lb(edge, "closes_observed").await?;

    // Neither a mistake in the configuration nor a file that is none ends what is in force.
    filters.deliver("spillway.http", &json!({ "mode": "enfroce", "weight": 0 }))?;
    eventually("the mistakes are refused", || async {
        Ok(discovery(edge, HTTP, "update_rejected").await? == 1)
    })
    .await;
    for reason in [
        "2 mistakes in the configuration",
        "mode: \"enfroce\": must be \"enforce\" or \"observe\"",
        "weight: 0: must be a number from 0.001 to 1000000",
        "Unable to create Wasm plugin spillway.http",
    ] {
        assert!(edge.log_text().contains(reason), "no {reason:?} in\n{}", edge.log_text());
    }
    closes_go_on(edge, &clients).await?;
    filters.deliver_text("spillway.http", "resources: [")?;
    eventually("what is no YAML is not taken", || async {
        Ok(discovery(edge, HTTP, "update_failure").await? >= 1)
    })
    .await;
    closes_go_on(edge, &clients).await?;
    assert_eq!(lb(edge, "closes_observed").await?, observed);

    // And back.
    filters.deliver("spillway.http", &json!({ "mode": "observe" }))?;
    grows(edge, "closes_observed", 2).await?;
    let told = announced(edge).await?;
    grows(edge, "closes_observed", 2).await?;
    assert_eq!(announced(edge).await?, told);
    nothing_was_lost(&fleet, clients).await
}

#[tokio::test]
async fn both_roles_keep_their_vm_and_what_it_knows() -> Result<()> {
    let _core = some_of_a_core().await;
    let fleet = Fleet::start(fleet(json!({}))).await?;
    let edge = &fleet.edges()[0].envoy;
    let filters = fleet.filters_of("edge-1")?;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;
    closes_go_on(edge, &clients).await?;
    let vms = edge.stats().await?.gauge("wasm.envoy.wasm.runtime.v8.active");
    let warnings = |log: &str| log.matches("[warning][wasm]").count();
    let warned = warnings(&edge.log_text());

    for (n, timeout) in ["4s", "3s", "2s"].into_iter().enumerate() {
        filters.deliver("spillway.connection", &json!({ "drain_timeout": timeout }))?;
        filters.deliver("spillway.http", &json!({ "drain_timeout": timeout }))?;
        for filter in [CONNECTION, HTTP] {
            eventually("the configuration is taken", || async {
                Ok(discovery(edge, filter, "config_reload").await? == n as u64 + 2)
            })
            .await;
        }
        closes_go_on(edge, &clients).await?;
    }
    eventually("the connections of old configurations are counted as all others", || async {
        Ok(edge.stats().await?.gauge("wasmcustom.spillway.lb.connections_open")
            == clients.totals().connections_open)
    })
    .await;
    assert_eq!(edge.stats().await?.gauge("wasm.envoy.wasm.runtime.v8.active"), vms);
    assert_eq!(warnings(&edge.log_text()), warned, "{}", edge.log_text());
    nothing_was_lost(&fleet, clients).await?;
    eventually("no connection is left", || async {
        Ok(edge.stats().await?.gauge("wasmcustom.spillway.lb.connections_open") == 0)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn the_node_is_configured_anew_under_traffic() -> Result<()> {
    let _core = some_of_a_core().await;
    let spec = fleet(json!({}));
    let enforce = spec.node.clone();
    let with = |field: &str, value: Value| {
        let mut configuration = enforce.clone();
        configuration[field] = value;
        configuration
    };
    let fleet = Fleet::start(FleetSpec { node: with("mode", json!("observe")), ..spec }).await?;
    let edge = &fleet.edges()[0].envoy;
    let envoy = &fleet.nodes()[0].envoy;
    let filters = fleet.filters_of("node-1")?;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;

    eventually("closes are observed", || async { Ok(node(envoy, "closes_observed").await? >= 2) })
        .await;
    assert_eq!(lb(edge, "close_requests").await?, 0);
    filters.deliver("spillway.node", &enforce)?;
    closes_go_on(edge, &clients).await?;

    filters.deliver("spillway.node", &with("close_rate", json!({ "per_minute": 4 })))?;
    eventually("the mistake is refused", || async {
        Ok(discovery(envoy, NODE, "update_rejected").await? == 1)
    })
    .await;
    assert!(envoy.log_text().contains("close_rate.per_minute: 4: is not a field here"));
    closes_go_on(edge, &clients).await?;

    // Back. The part of an old configuration in a gauge goes with it.
    filters.deliver("spillway.node", &with("mode", json!("observe")))?;
    let before = node(envoy, "closes_observed").await?;
    eventually("closes are observed again", || async {
        Ok(node(envoy, "closes_observed").await? >= before + 2)
    })
    .await;
    let asked = lb(edge, "close_requests").await?;
    let before = node(envoy, "closes_observed").await?;
    eventually("closes are only observed", || async {
        Ok(node(envoy, "closes_observed").await? >= before + 4)
    })
    .await;
    assert_eq!(lb(edge, "close_requests").await?, asked);
    let gauge = |name: &'static str| async move {
        let stats = envoy.stats().await?;
        anyhow::Ok(stats.gauge(&format!("wasmcustom.spillway.node.{name}")))
    };
    eventually("one configuration is in the gauges", || async {
        Ok((gauge("load_balancers").await?, gauge("close_rate_millis").await?.div_ceil(1000))
            == (1, 4))
    })
    .await;
    assert_eq!(node(envoy, "host_errors").await?, 0);
    nothing_was_lost(&fleet, clients).await
}

/// Configurations that the edge's filters must refuse, and what is said of them.
const BAD: [(&str, &str); 10] = [
    ("role: http", "role: http: is not JSON (expected value at line 1 column 1)"),
    (r#"{"role": "http""#, "is not JSON (EOF while parsing an object"),
    (r#"{"mod": "observe"}"#, "mod: \"observe\": is not a field here (did you mean mode?)"),
    (r#"{"mode": "observe", "mode": "enforce"}"#, "mode: \"enforce\": is there already"),
    (r#"{"mode": null}"#, "mode: null: must be \"enforce\" or \"observe\""),
    (r#"{"weight": NaN}"#, "{\"weight\": NaN}: is not JSON (expected value"),
    (r#"{"weight": -1, "id": ""}"#, "2 mistakes in the configuration"),
    (r#"{"max_closes_per_second": 1e99}"#, "must be a number from 0.001 to 100000"),
    (r#"{"drain_timeout": "5 parsecs"}"#, "must be a duration from 100ms to 1h"),
    (r#"[{"mode": "observe"}]"#, "[{\"mode\":\"observe\"}]: must be an object"),
];

#[tokio::test]
async fn what_is_bad_changes_nothing_whatever_is_wrong_with_it() -> Result<()> {
    let _core = some_of_a_core().await;
    let fleet = Fleet::start(fleet(json!({}))).await?;
    let edge = &fleet.edges()[0].envoy;
    let envoy = &fleet.nodes()[0].envoy;
    let filters = fleet.filters_of("edge-1")?;
    let node_filters = fleet.filters_of("node-1")?;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;
    closes_go_on(edge, &clients).await?;

    let enormous = format!(r#"{{"mode": "{}"}}"#, "e".repeat(10 << 20));
    let deep = "{\"id\":".repeat(5000) + "1" + &"}".repeat(5000);
    let made = [(&*enormous, "is longer than 65536 bytes"), (&*deep, "recursion limit exceeded")];
    for (filter, name) in [(HTTP, "spillway.http"), (CONNECTION, "spillway.connection")] {
        for (n, (configuration, said)) in BAD.into_iter().chain(made).enumerate() {
            filters.deliver_raw(name, configuration)?;
            eventually("it is refused", || async {
                Ok(discovery(edge, filter, "update_rejected").await? == n as u64 + 1)
            })
            .await;
            let log = edge.log_text();
            assert!(log.contains(said), "{name}: no {said:?} for {configuration:.100}");
        }
    }
    for (n, (configuration, said)) in [
        (r#"{"close_rate": {"per_secnd": 4}}"#, "(did you mean per_second?)"),
        (r#"{"lb_timeout": "2s", "share_window": "3s"}"#, "must not be shorter than share_window"),
        (&*enormous, "is longer than 65536 bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        node_filters.deliver_raw("spillway.node", configuration)?;
        eventually("the node refuses it", || async {
            Ok(discovery(envoy, NODE, "update_rejected").await? == n as u64 + 1)
        })
        .await;
        assert!(envoy.log_text().contains(said), "{said}");
    }
    closes_go_on(edge, &clients).await?;
    nothing_was_lost(&fleet, clients).await
}

#[tokio::test]
async fn without_a_configuration_at_the_start_traffic_passes_until_there_is_one() -> Result<()> {
    let spec = fleet(json!({ "mode": "none" }));
    let node = json!({ "mode": "none" });
    let connection = json!({ "role": "none" });
    let fleet = Fleet::start(FleetSpec { node, connection, ..spec }).await?;
    let edge = &fleet.edges()[0].envoy;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;
    clients.wait_until(Duration::from_secs(30), |totals| totals.requests > 100).await?;
    assert_eq!(discovery(edge, HTTP, "update_rejected").await?, 1);
    assert_eq!(discovery(edge, CONNECTION, "update_rejected").await?, 1);
    assert_eq!(lb(edge, "requests_stamped").await?, 0);

    let filters = fleet.filters_of("edge-1")?;
    filters.deliver("spillway.connection", &json!({}))?;
    filters.deliver("spillway.http", &json!({}))?;
    grows(edge, "requests_stamped", 100).await?;
    let totals = clients.stop().await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    Ok(())
}

/// As a `ConfigMap` of Kubernetes comes: files are links into a folder that is a link too, which is
/// renamed over the one before.
#[tokio::test]
async fn a_folder_that_is_exchanged_as_a_whole_is_noticed() -> Result<()> {
    let fleet = Fleet::start(fleet(json!({ "mode": "observe" }))).await?;
    let edge = &fleet.edges()[0].envoy;
    let filters = fleet.filters_of("edge-1")?;
    let folder = filters.folder().to_owned();
    let exchange = |version: &str, mode: &str| -> Result<()> {
        filters.within(version)?.deliver("spillway.http", &json!({ "mode": mode }))?;
        symlink(version, folder.join("..new"))?;
        Ok(rename(folder.join("..new"), folder.join("..data"))?)
    };
    exchange("..1", "observe")?;
    symlink("..data/spillway.http.yaml", folder.join("link"))?;
    rename(folder.join("link"), folder.join("spillway.http.yaml"))?;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;
    grows(edge, "closes_observed", 1).await?;
    assert_eq!(announced(edge).await?, 0);

    exchange("..2", "enforce")?;
    closes_go_on(edge, &clients).await?;
    nothing_was_lost(&fleet, clients).await
}

/// Another module is another VM, which knows nothing of the connections that are there.
#[tokio::test]
async fn another_version_of_the_module_takes_over_from_the_next_connection_on() -> Result<()> {
    let _core = some_of_a_core().await;
    let fleet = Fleet::start(fleet(json!({}))).await?;
    let edge = &fleet.edges()[0].envoy;
    let filters = fleet.filters_of("edge-1")?;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;
    closes_go_on(edge, &clients).await?;

    // A section that means nothing makes it another one.
    let modules = filters.folder().join("modules");
    std::fs::create_dir(&modules)?;
    let mut module = std::fs::read(artifacts::filters()?.directory.join("lb_filter.wasm"))?;
    module.extend([0, 2, 1, b'x']);
    std::fs::write(modules.join("lb_filter.wasm"), module)?;
    let filters = filters.of_modules(&modules);
    filters.deliver("spillway.connection", &json!({}))?;
    filters.deliver("spillway.http", &json!({}))?;
    for filter in [CONNECTION, HTTP] {
        eventually("the module is taken", || async {
            Ok(discovery(edge, filter, "config_reload").await? == 2)
        })
        .await;
    }
    let later = mixed_clients(&fleet, CLIENTS, 4, Pace::PerSecond(10.0))?;
    closes_go_on(edge, &later).await?;
    for totals in [later.stop().await, clients.stop().await] {
        assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    }
    assert_eq!(lb(edge, "connections_without_http_role").await?, 0);
    assert_eq!(lb(edge, "host_errors").await?, 0);
    Ok(())
}
