//! `docker-compose.yml`: the files it is made of, and the fleet that it starts, with real Docker.
//!
//! Where there is no Docker the fleet is left out, which one line on standard error says. With
//! `SPILLWAY_REQUIRE_DOCKER` set, as `.ci/run` does, that is a failure.

mod edges;
mod files;
mod fleet;
mod nodes;
mod project;
mod tools;

use anyhow::{Result, ensure};
use integration::artifacts::workspace;
use integration::testing::all_cores;

use crate::fleet::{Fault, Fleet};

/// One fleet for all of it, one thing after the other: to start a fleet for each takes longer than
/// what is done to it. All that the README has its reader do is among it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_but_what_was_in_flight_on_what_goes() -> Result<()> {
    let Some(tools) = tools::found()? else { return Ok(()) };
    let _cores = all_cores().await;
    let fleet = Fleet::of_two_edges(&tools).await?;
    fleet.third_edge_joins().await?;
    for (fault, edge) in Fault::ALL.into_iter().zip(["edge-1", "edge-3", "edge-2", "edge-1"]) {
        fleet.edge_goes_and_comes_back(fault, edge).await?;
    }
    for (fault, node) in Fault::ALL.into_iter().zip(["node-1", "node-2", "node-3", "node-4"]) {
        fleet.node_goes_and_comes_back(fault, node).await?;
    }
    fleet.is_even_and_silent().await;
    fleet.ends()?;
    let done = fleet.project.commands();
    for command in of_the_readme()? {
        assert!(done.contains(&command), "nobody ran `{command}`: {done:#?}");
    }
    Ok(())
}

/// What the README has its reader ask of compose.
fn of_the_readme() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(workspace().join("README.md"))?;
    let commands = text.lines().filter(|line| line.starts_with("docker compose "));
    let commands: Vec<_> = commands.map(ToOwned::to_owned).collect();
    // To come, to look, to take an edge away, to let it come back, to go.
    ensure!(commands.len() == 5, "{commands:?}");
    Ok(commands)
}
