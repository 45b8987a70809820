//! grpcio: all four kinds of call, and errors that are trailers only.

use anyhow::Result;
use integration::traffic;

use crate::python::client;
use crate::support::{Transport, echoing_grpc, loses_nothing};

#[tokio::test]
async fn it_loses_no_call_of_any_kind_over_plain_text() -> Result<()> {
    loses_nothing(echoing_grpc(Transport::Plain), async |fleet| {
        traffic::run(client(fleet, "grpc_client.py", 8).await?).await
    })
    .await
}

#[tokio::test]
async fn it_loses_no_call_of_any_kind_over_tls() -> Result<()> {
    loses_nothing(echoing_grpc(Transport::Tls), async |fleet| {
        traffic::run(client(fleet, "grpc_client.py", 8).await?).await
    })
    .await
}
