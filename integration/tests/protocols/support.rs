//! A fleet at the puppet's mercy, clients by hand, and what is to be true after a close.

use anyhow::{Context, Result};
use integration::envoy::Envoy;
use integration::fleet::{Fleet, FleetSpec, NAME};
use integration::tools::program;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

pub use integration::testing::{Http, PATIENCE, curl, eventually, lb};

use crate::puppet::puppet;

pub fn at_its_mercy() -> FleetSpec {
    FleetSpec {
        node_filter: false,
        application: puppet(),
        connection: json!({ "drain_timeout": "500ms" }),
        ..FleetSpec::default()
    }
}

/// The edge has told so many clients, and nothing went wrong with the host.
pub async fn has_told(edge: &Envoy, way: &str, count: u64) -> Result<()> {
    let name = format!("closes_announced.{way}");
    eventually(&format!("{count} are told by {way}"), || async {
        Ok(lb(edge, &name).await? == count)
    })
    .await;
    assert_eq!(lb(edge, "host_errors").await?, 0);
    Ok(())
}

/// The edge has closed so many connections itself.
pub async fn has_closed(edge: &Envoy, count: u64) {
    eventually("the edge closes the connection", || async {
        let closed = lb(edge, "connections_closed").await?;
        anyhow::ensure!(closed == count, "{closed}");
        Ok(true)
    })
    .await;
}

/// Lasts longer than `drain_timeout`: until a client over HTTP/1 that was told is closed.
pub async fn outlast_drain(fleet: &Fleet) -> Result<()> {
    let mut other = Socket::open(fleet).await?;
    other.get("/close/now").await?;
    other.rest().await?;
    Ok(())
}

/// A socket to the first edge, for what no client does.
pub struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Socket {
    pub async fn open(fleet: &Fleet) -> Result<Self> {
        let stream = TcpStream::connect(fleet.edges()[0].address).await?;
        Ok(Self { stream, read: Vec::new() })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    pub async fn get(&mut self, path: &str) -> Result<()> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await
    }

    /// All up to and with `mark`.
    pub async fn until(&mut self, mark: &str) -> Result<String> {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some(place) = text.find(mark) {
                let (taken, rest) = text.split_at(place + mark.len());
                self.read = rest.as_bytes().to_vec();
                return Ok(taken.to_owned());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            anyhow::ensure!(read.context(text.clone())?? > 0, "closed after {text:?}");
        }
    }

    /// So many bytes.
    pub async fn until_length(&mut self, length: usize) -> Result<String> {
        while self.read.len() < length {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            anyhow::ensure!(read.context("too little")?? > 0, "closed");
        }
        let rest = self.read.split_off(length);
        Ok(String::from_utf8(std::mem::replace(&mut self.read, rest))?)
    }

    /// What comes until the edge closes the connection, in order and not by a reset.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.read)).await;
        read.context("never closed")??;
        Ok(std::mem::take(&mut self.read))
    }
}

/// nghttp, which asks for all `paths` at once on one connection.
pub async fn nghttp(fleet: &Fleet, args: &[&str], paths: &[&str]) -> Result<String> {
    let base = format!("http://{}", fleet.edges()[0].address);
    let mut command = Command::new(program("nghttp", "nghttp2-client")?);
    command.args(["--verbose", "--timeout", "20", "--no-dep"]).args(args);
    command.args(paths.iter().map(|path| format!("{base}{path}")));
    let output = command.output().await.context("cannot run nghttp")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{}\n{text}", output.status);
    Ok(text)
}

/// The host that requests by hand name.
pub fn host() -> &'static str {
    NAME.trim_end_matches('.')
}
