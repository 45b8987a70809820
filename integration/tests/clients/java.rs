//! Java's own HTTP client.

use std::process::Command;

use anyhow::Result;
use integration::artifacts::workspace;
use integration::fleet::Fleet;
use integration::tools::program;
use integration::traffic::{self, Said};

use crate::support::{REQUESTS, Transport, echoing, loses_nothing};

pub async fn run(fleet: &Fleet, version: &str) -> Result<Said> {
    let mut java = Command::new(program("java", "openjdk-17-jdk-headless")?);
    // A short life: what the compiler makes of it pays only later.
    java.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    java.arg(workspace().join("integration/clients/java/Client.java"));
    java.args([&fleet.url(), &REQUESTS.to_string(), "4", version]);
    if fleet.serves_tls() {
        java.arg(fleet.authority());
    }
    traffic::run(java).await
}

#[tokio::test]
async fn it_loses_nothing_over_http1() -> Result<()> {
    loses_nothing(echoing(Transport::Plain), async |fleet| run(fleet, "HTTP_1_1").await).await
}
