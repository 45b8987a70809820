//! An edge goes while traffic runs, and comes back.

use std::time::Instant;

use anyhow::Result;
use integration::load::Line;

use crate::fleet::{Fault, Fleet, healthy, most_closes};

impl Fleet {
    /// Clients lose what they had in flight on this edge, and nothing else; nothing with a pause or a
    /// cut that is over before they lose patience, for the bytes are only late.
    pub async fn edge_goes_and_comes_back(&self, fault: Fault, edge: &str) -> Result<()> {
        let address = self.public(edge)?;
        let (before, since, start) = (self.line(), self.lines_so_far(), Instant::now());
        let closes = self.closes_requested().await?;
        fault.happen(&self.project, edge, "public")?;
        if fault.ends_connections() {
            self.lines_come("its clients are elsewhere", |lines| {
                lines.last().is_some_and(|line| line.edges[&address].open == 0)
            })
            .await;
            self.all_are_connected().await;
        } else {
            // Seen over three seconds.
            self.lines_come("it gets nothing, and the others go on", |lines| {
                let last = lines.len().saturating_sub(4);
                lines[last..].windows(2).all(|pair| {
                    pair[0].edges[&address].requests == pair[1].edges[&address].requests
                        && pair[0].requests < pair[1].requests
                })
            })
            .await;
        }
        let gone = self.line();

        fault.end(&self.project, edge, "public", &["edge.spillway", edge])?;
        healthy(&self.project, &[edge]).await;
        let back = self.public(edge)?;
        self.has_its_part(back).await;
        self.all_are_connected().await;
        self.requests_go_on().await;

        let after = self.line();
        let elsewhere = |line: &Line| line.failed - line.edges[&address].failed;
        let lost = after.edges[&address].failed - before.edges[&address].failed;
        // As the clients have counted, in the second before and until they were elsewhere.
        let most = self.most_in_flight(address, since);
        let closes = self.closes_requested().await? - closes;
        let time = start.elapsed();
        eprintln!("{edge} was {fault}: {lost} of {most} lost, {closes} closes in {time:?}");
        assert_eq!(elsewhere(&after), elsewhere(&before), "not on {edge}: {after:?}");
        assert!(lost <= most, "{after:?}");
        if fault.ends_connections() || back == address {
            assert_eq!(after.failed, gone.failed, "{edge} lost requests as it came back");
        }
        if !fault.ends_connections() && back == address {
            assert_eq!(lost, 0, "{after:?}");
        }
        assert!(closes as f64 <= most_closes(time), "{closes} closes in {time:?}");
        Ok(())
    }
}
