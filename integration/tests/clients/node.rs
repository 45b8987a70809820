//! Node's fetch, which speaks HTTP/1.1.

use std::process::Command;

use anyhow::Result;
use integration::artifacts::workspace;
use integration::tools::program;
use integration::traffic;

use crate::support::{REQUESTS, Transport, echoing, loses_nothing};

#[tokio::test]
async fn fetch_loses_nothing() -> Result<()> {
    loses_nothing(echoing(Transport::Tls), async |fleet| {
        let mut node = Command::new(program("node", "nodejs")?);
        node.arg(workspace().join("integration/clients/node/fetch.mjs"));
        node.args([&fleet.url(), &REQUESTS.to_string(), "4"]);
        node.env("NODE_EXTRA_CA_CERTS", fleet.authority());
        traffic::run(node).await
    })
    .await
}
