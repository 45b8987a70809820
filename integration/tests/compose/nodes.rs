//! A node goes while traffic runs, and comes back.

use std::time::Instant;

use anyhow::{Result, ensure};
use integration::envoy::Admin;
use integration::testing::eventually;

use crate::fleet::{CLIENTS, EDGES, Fault, Fleet, NODES, healthy};

const HEALTHY: &str = "cluster.nodes.membership_healthy";
const IN_FLIGHT: &str = "cluster.nodes.upstream_rq_active";
/// Connections that the node's end cut while they carried a request: one each, with HTTP/1.
const CUT: &str = "cluster.nodes.upstream_cx_destroy_remote_with_active_rq";
const STAMPED: &str = "wasmcustom.spillway.node.requests_stamped";

impl Fleet {
    /// What is lost was in flight on it, as the edges have counted: on connections that broke, or
    /// still waiting when the edges had found out. All else they have sent to other nodes.
    pub async fn node_goes_and_comes_back(&self, fault: Fault, node: &str) -> Result<()> {
        let (before, start) = (self.line(), Instant::now());
        let (cut, announced) = (self.sum(CUT).await?, self.announced().await?);

        fault.happen(&self.project, node, "inside")?;
        self.edges_have(NODES.len() as u64 - 1).await?;
        let missed = start.elapsed();
        let in_flight = if fault.ends_connections() {
            self.sum(CUT).await? - cut
        } else {
            self.sum(IN_FLIGHT).await?
        };
        self.lines_come("requests go on", |lines| {
            lines.last().is_some_and(|line| line.requests > before.requests + CLIENTS)
        })
        .await;

        fault.end(&self.project, node, "inside", &[node])?;
        healthy(&self.project, &[node]).await;
        self.edges_have(NODES.len() as u64).await?;
        let admin = self.project.admin(node)?;
        let stamped = admin.stats().await?.counter(STAMPED);
        eventually("the node gets requests again", || async {
            Ok(admin.stats().await?.counter(STAMPED) >= stamped + CLIENTS)
        })
        .await;
        let admins = self.admins()?;
        eventually("nothing waits any more", || async {
            let waiting = sum(&admins, IN_FLIGHT).await?;
            ensure!(waiting < CLIENTS / 10, "{waiting} wait: {:?}", self.line());
            Ok(true)
        })
        .await;
        self.requests_go_on().await;

        let after = self.line();
        let lost = after.failed - before.failed;
        let closes = self.announced().await? - announced;
        eprintln!(
            "{node} was {fault}: {lost} of {in_flight} lost, {closes} closes in {:?}, missed after \
             {missed:?}",
            start.elapsed()
        );
        assert!(lost <= in_flight, "{in_flight} were in flight: {after:?}");
        // The edges' loads are as they were, but for luck.
        assert!(closes <= CLIENTS / 4, "{closes} closes");
        assert_eq!(after.connections_lost, before.connections_lost, "{after:?}");
        Ok(())
    }

    /// Waits until every edge has so many nodes that it finds healthy.
    async fn edges_have(&self, count: u64) -> Result<()> {
        let admins = self.admins()?;
        eventually("the edges know which nodes there are", || async {
            for (admin, edge) in admins.iter().zip(EDGES) {
                let found = admin.stats().await?.gauge(HEALTHY);
                ensure!(found == count, "{edge} has {found}");
            }
            Ok(true)
        })
        .await;
        Ok(())
    }

    /// The edges' admin interfaces: nothing is done to edges here, so they stay where they are.
    fn admins(&self) -> Result<Vec<Admin>> {
        EDGES.into_iter().map(|edge| self.project.admin(edge)).collect()
    }

    /// Clients that edges have told to close.
    async fn announced(&self) -> Result<u64> {
        let mut closes = 0;
        for admin in self.admins()? {
            let stats = admin.stats().await?;
            closes += stats.sum_prefix("wasmcustom.spillway.lb.closes_announced.");
        }
        Ok(closes)
    }

    async fn sum(&self, name: &str) -> Result<u64> {
        sum(&self.admins()?, name).await
    }
}

async fn sum(admins: &[Admin], name: &str) -> Result<u64> {
    let mut sum = 0;
    for admin in admins {
        sum += admin.stats().await?.counter(name);
    }
    Ok(sum)
}
