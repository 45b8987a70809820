//! Edges that are broken, or somebody who plays one: what a node is told as stamps.

use anyhow::Result;
use integration::by_hand::Socket;
use integration::fleet::{Fleet, FleetSpec};
use integration::testing::{eventually, node};
use serde_json::json;

use crate::support::{rss_mib, stat};

const REQUESTS: u64 = 4_000;

/// Stamps of which each is absurd in its own way.
fn absurd(number: u64) -> String {
    const MOST: u64 = 999_999_999_999_999;
    match number % 8 {
        // Backwards, then stuck.
        0 => format!("id=\"back\", vm=a, seq={}, conn=1, age=9, open=1", MOST - number),
        1 => "id=\"stuck\", vm=a, seq=7, total=7, conn=1, age=9, open=1".into(),
        // Jumping to the end and around.
        2 => format!("id=\"wraps\", vm=a, seq={}, conn=1, age=9", (number % 16) * (MOST / 16)),
        3 => format!(
            "id=\"less\", vm=a, seq={MOST}, total={number}, conn={MOST}, age={MOST}, open={MOST}"
        ),
        4 => format!(
            "id=\"many\", vm=a, seq={number}, conn=1, sample={MOST}, weight=0.001, open={MOST}"
        ),
        // Ever new VMs, load balancers and pools.
        5 => format!("id=\"vms\", vm=v{number}, seq={number}, conn={number}, age=9, open=1"),
        6 => format!("id=\"new-{number}\", vm=a, seq=1, conn=1, age=9, open={MOST}"),
        _ => format!("id=\"new-{number}\", pool=\"p{number}\", weight=999999999999.999"),
    }
}

#[tokio::test]
async fn absurd_stamps_leave_a_node_with_numbers_and_its_memory() -> Result<()> {
    let spec = FleetSpec {
        node: json!({ "min_connection_age": "0s", "share_window": "1s",
            "close_rate": { "rebalance": { "settle_time": "20s" } } }),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    let behind = &fleet.nodes()[0].envoy;
    let mut before = 0;
    let mut socket = Socket::connect(fleet.nodes()[0].address).await?;
    for half in 0..2 {
        for batch in (half * REQUESTS..(half + 1) * REQUESTS).step_by(50) {
            let requests = (batch..batch + 50).map(|number| {
                format!("GET / HTTP/1.1\r\nhost: a\r\nspillway-lb: {}\r\n\r\n", absurd(number))
            });
            socket.send(requests.collect::<String>().as_bytes()).await?;
            for _ in 0..50 {
                assert_eq!(socket.answer().await?.status(), "200");
            }
        }
        eventually("all are counted", || async {
            let mut all = 0;
            for name in ["requests_stamped", "announcements", "stamps_over_limit"] {
                all += node(behind, name).await?;
            }
            // The edge announces itself also.
            Ok(all >= (half + 1) * REQUESTS)
        })
        .await;
        if half == 0 {
            before = rss_mib(behind)?;
        }
    }
    let after = rss_mib(behind)?;
    assert!(after <= before + 6, "{before} MiB, then {after}");
    assert!(node(behind, "stamps_over_limit").await? > 0);
    assert_eq!(node(behind, "stamps_malformed").await?, 0);
    assert_eq!(node(behind, "host_errors").await?, 0);
    let load_balancers = stat(behind, "wasmcustom.spillway.node.load_balancers").await?;
    assert_eq!(load_balancers, 1024);
    // Rates and deviations are numbers, and only so many load balancers have metrics of their own.
    let stats = behind.stats().await?;
    let own = "wasmcustom.spillway.node.load_balancer_close_rate_millis.";
    assert!(stats.iter().filter(|(name, _)| name.starts_with(own)).count() <= 64);
    let most = u64::try_from(i64::MAX)?;
    for (name, value) in stats.iter().filter(|(name, _)| name.contains("spillway.node")) {
        assert!(value < most, "{name}: {value}");
    }
    Ok(())
}
