//! Edges with nodes of their own: a node hears of one load balancer only. The rates are what they
//! are anywhere else; to compare loads is not possible, and then nothing is closed but the floor.

use std::time::Duration;

use anyhow::Result;
use integration::client::{ClientPool, Pace};
use integration::fleet::{Fleet, FleetSpec};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::support::{PATIENCE, eventually, eventually_within, gauge, lb, mixed_clients, one_core};

const CLIENTS: usize = 240;
const PACE: f64 = 2.0;
const MEASURED: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// What was seen of an edge over a time.
#[derive(Debug)]
struct Seen {
    closes_per_second: f64,
    /// The mean number of its connections.
    open: f64,
}

/// Two edges with two nodes each, and clients that land on them as `dns_weights` say.
async fn start(close_rate: &Value, dns_weights: [u32; 2]) -> Result<(Fleet, ClientPool)> {
    let fleet = Fleet::start(FleetSpec {
        edges: 2,
        node_weights: vec![1; 4],
        nodes_per_edge: Some(2),
        node: json!({
            "close_rate": close_rate,
            "share_window": "1s",
            "min_connection_age": "1s",
        }),
        ..FleetSpec::default()
    })
    .await?;
    fleet.set_dns_weights(&dns_weights);
    let clients = mixed_clients(&fleet, CLIENTS, 2, Pace::PerSecond(PACE))?;
    eventually("all are connected", || async {
        Ok(clients.totals().connections_open == CLIENTS as u64)
    })
    .await;
    // The nodes know the load, and what they owe.
    let known = clients.totals().responses_ok as f64 + 8.0 * PACE * CLIENTS as f64;
    eventually("requests are counted", || async {
        Ok(clients.totals().responses_ok as f64 >= known)
    })
    .await;
    for node in fleet.nodes() {
        let stats = node.envoy.stats().await?;
        let heard_of = stats.gauge("wasmcustom.spillway.node.load_balancers");
        assert_eq!(heard_of, 1, "{} hears of its own edge only", node.name);
    }
    Ok((fleet, clients))
}

async fn told(fleet: &Fleet) -> Result<Vec<u64>> {
    let mut closes = Vec::new();
    for edge in fleet.edges() {
        closes.push(lb(&edge.envoy, "closes_requested").await?);
    }
    Ok(closes)
}

/// Looks on for [`MEASURED`].
async fn look(fleet: &Fleet, clients: &ClientPool) -> Result<Vec<Seen>> {
    let (from, start) = (told(fleet).await?, Instant::now());
    let mut open = vec![0.0; fleet.edges().len()];
    let looks = MEASURED.as_secs();
    for look in 1..=looks {
        sleep_until(start + SECOND.mul_f64(look as f64)).await;
        let totals = clients.totals();
        for (open, edge) in open.iter_mut().zip(fleet.edges()) {
            *open += totals.edges[&edge.ip()].open as f64 / looks as f64;
        }
    }
    let (to, seconds) = (told(fleet).await?, start.elapsed().as_secs_f64());
    let rates = from.iter().zip(&to).map(|(from, to)| (to - from) as f64 / seconds);
    let seen: Vec<_> =
        rates.zip(open).map(|(closes_per_second, open)| Seen { closes_per_second, open }).collect();
    eprintln!("{seen:.2?}");
    Ok(seen)
}

/// Each edge closes as `wanted` says, within 10 %, and nothing fails.
async fn assert_rates(
    fleet: Fleet,
    clients: ClientPool,
    wanted: impl Fn(&Seen) -> f64,
) -> Result<()> {
    for (edge, seen) in look(&fleet, &clients).await?.iter().enumerate() {
        let wanted = wanted(seen);
        let deviation = (seen.closes_per_second - wanted).abs();
        assert!(deviation <= 0.1 * wanted, "edge {edge}: {seen:?}, not {wanted} within 10 %");
    }
    let totals = clients.stop().await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    Ok(())
}

/// Three in four clients are with the first edge.
fn assert_uneven(fleet: &Fleet, clients: &ClientPool) {
    let totals = clients.totals();
    let open: Vec<_> = fleet.edges().iter().map(|edge| totals.edges[&edge.ip()].open).collect();
    assert!(open[0] >= 5 * open[1] / 2, "{open:?}");
}

/// All nodes say that there is nobody to compare with: the metric at all times, the log once. They
/// give others half a minute to be heard of first.
async fn assert_said(fleet: &Fleet) -> Result<()> {
    eventually_within(2 * PATIENCE, "they say that they hear of one only", || async {
        Ok(gauge(fleet, "pools_alone").await? == [1; 4])
    })
    .await;
    for node in fleet.nodes() {
        let log = node.envoy.log_text();
        let lines = log.lines().filter(|line| line.contains("is the only load balancer heard of"));
        assert_eq!(lines.count(), 1, "{}: {log}", node.name);
    }
    Ok(())
}

#[tokio::test]
async fn each_edge_closes_at_the_rate_of_the_policy() -> Result<()> {
    let _core = one_core().await;
    let per_second = async {
        let (fleet, clients) = start(&json!({ "per_second": 5 }), [1, 1]).await?;
        assert_rates(fleet, clients, |_| 5.0).await
    };
    let mean_connection_age = async {
        let (fleet, clients) = start(&json!({ "mean_connection_age": "24s" }), [1, 1]).await?;
        assert_rates(fleet, clients, |seen| seen.open / 24.0).await
    };
    // Most of it is waiting.
    tokio::try_join!(per_second, mean_connection_age)?;
    Ok(())
}

#[tokio::test]
async fn rebalance_has_nobody_to_compare_with_and_closes_the_floor_only() -> Result<()> {
    let _core = one_core().await;
    let nothing = async {
        let close_rate = json!({ "rebalance": { "settle_time": "20s" } });
        let (fleet, clients) = start(&close_rate, [3, 1]).await?;
        assert_uneven(&fleet, &clients);
        assert_said(&fleet).await?;
        assert_rates(fleet, clients, |_| 0.0).await
    };
    let floor = async {
        let floor = json!({ "mean_connection_age": "30s" });
        let close_rate = json!({ "rebalance": { "settle_time": "20s", "floor": floor } });
        let (fleet, clients) = start(&close_rate, [3, 1]).await?;
        assert_uneven(&fleet, &clients);
        assert_said(&fleet).await?;
        assert_rates(fleet, clients, |seen| seen.open / 30.0).await
    };
    tokio::try_join!(nothing, floor)?;
    Ok(())
}
