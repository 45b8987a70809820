//! HTTP/1 by hand.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fleet::Fleet;
use crate::testing::PATIENCE;

/// A socket, for what no client does.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status line and headers, with names in lower case.
    pub head: String,
    /// The body.
    pub body: String,
    /// What follows the last chunk, likewise.
    pub trailers: String,
}

// === impl Socket ===

impl Socket {
    /// Connects to the first edge.
    pub async fn open(fleet: &Fleet) -> Result<Self> {
        Self::connect(fleet.edges()[0].address).await
    }

    /// Connects to this address.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends each byte by itself, so long after the one before.
    pub async fn trickle(&mut self, bytes: &[u8], pause: Duration) -> Result<()> {
        for byte in bytes {
            self.send(&[*byte]).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Asks for a path.
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

    /// A whole response, with a length or in chunks.
    pub async fn answer(&mut self) -> Result<Answer> {
        let head = self.until("\r\n\r\n").await?.to_ascii_lowercase();
        let (mut body, mut trailers) = (String::new(), String::new());
        if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            body = self.until_length(length.trim().parse()?).await?;
        } else if head.contains("transfer-encoding: chunked") {
            loop {
                let size = self.until("\r\n").await?;
                let size = usize::from_str_radix(size.trim_end(), 16)?;
                if size == 0 {
                    break;
                }
                body += &self.until_length(size).await?;
                self.until("\r\n").await?;
            }
            while !trailers.ends_with("\r\n\r\n") && trailers != "\r\n" {
                trailers += &self.until("\r\n").await?.to_ascii_lowercase();
            }
        }
        Ok(Answer { head, body, trailers })
    }

    /// So many bytes.
    pub async fn until_length(&mut self, length: usize) -> Result<String> {
        while self.read.len() < length {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            anyhow::ensure!(read.context("no more")?? > 0, "closed in the middle of a body");
        }
        let rest = self.read.split_off(length);
        let body = std::mem::replace(&mut self.read, rest);
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// What comes until the edge closes the connection, in order and not by a reset.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.read)).await;
        read.context("never closed")??;
        Ok(std::mem::take(&mut self.read))
    }

    /// Ends the connection by a reset.
    pub fn reset(self) -> Result<()> {
        Ok(self.stream.set_zero_linger()?)
    }
}

// === impl Answer ===

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether a header of this name, or a trailer, came.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let mut lines = self.head.lines().chain(self.trailers.lines());
        lines.any(|line| line.starts_with(&format!("{name}:")))
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::trim)
    }
}
