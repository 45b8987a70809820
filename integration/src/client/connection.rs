//! One connection of a client, and the exact end of every request on it.
//!
//! Where a request can end stands in `exchange.rs`. A connection that is told to
//! close finishes what is in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest as Http1Sender;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::exchange::{self, NoResponse, Outcome, in_full};
use super::http2::{self, Http2Sender};
use super::parcel::Parcel;
use crate::tls::TlsConfig;

const CONNECT_BOUND: Duration = Duration::from_secs(5);
/// A request without a response for so long has failed; longer than any test makes one wait.
const RESPONSE_BOUND: Duration = Duration::from_secs(30);
/// For the last frames of a connection that nobody uses any more.
const GOODBYE_BOUND: Duration = Duration::from_secs(1);

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request after the other.
    Http1,
    /// HTTP/2.
    Http2 {
        /// Requests that may be in flight at once; at least 1.
        concurrent_streams: u32,
    },
}

/// Why a connection is of no more use.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// `connection: close`, or GOAWAY with `NO_ERROR`.
    Told,
    /// HTTP/1: the peer closed it between two requests.
    ClosedIdle,
    /// Anything else.
    Lost(String),
}

pub(super) struct Connection {
    sender: Sender,
    /// What the task that drives the connection ended with; `None` while it runs.
    driver_end: watch::Receiver<Option<Result<(), String>>>,
    /// Dropping it lets the driver say goodbye and end.
    _release: oneshot::Sender<()>,
}

enum Sender {
    // One request at a time: the lock is never waited for.
    Http1(Mutex<Http1Sender<Full<Bytes>>>),
    Http2(Http2Sender),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

// === impl Connection ===

impl Connection {
    /// Connects and shakes hands.
    pub(super) async fn open(
        address: std::net::SocketAddrV4,
        protocol: Protocol,
        tls: Option<&TlsConfig>,
    ) -> Result<Self> {
        timeout(CONNECT_BOUND, Self::open_unbounded(address, protocol, tls))
            .await
            .with_context(|| format!("no connection to {address} in 5 s"))?
            .with_context(|| format!("cannot connect to {address}"))
    }

    async fn open_unbounded(
        address: std::net::SocketAddrV4,
        protocol: Protocol,
        tls: Option<&TlsConfig>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let io: Box<dyn Io> = match (tls, protocol) {
            (None, _) => Box::new(stream),
            (Some(tls), Protocol::Http1) => handshake(tls, tls.http1(), stream).await?,
            (Some(tls), Protocol::Http2 { .. }) => handshake(tls, tls.http2(), stream).await?,
        };
        let (end_sender, driver_end) = watch::channel(None);
        let (release, released) = oneshot::channel();
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
                tokio::spawn(drive(connection, released, end_sender));
                Sender::Http1(Mutex::new(sender))
            }
            Protocol::Http2 { .. } => {
                let (sender, driver) = http2::handshake(io).await?;
                tokio::spawn(drive(driver.run(), released, end_sender));
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender, driver_end, _release: release })
    }

    /// Sends one request, a GET or, with a parcel, a POST, and takes in its response.
    pub(super) async fn send(&self, host: &str, path: &str, parcel: Option<&Parcel>) -> Outcome {
        let start = Instant::now();
        let exchange = async {
            match &self.sender {
                Sender::Http1(sender) => exchange::http1(sender, host, path, parcel).await,
                Sender::Http2(sender) => exchange::http2(sender, host, path, parcel).await,
            }
        };
        match timeout(RESPONSE_BOUND, exchange).await {
            Ok(Ok(response)) => response.judge(start.elapsed(), parcel),
            Ok(Err(NoResponse::Unsent)) => Outcome::Unsent,
            Ok(Err(NoResponse::Broken(what))) => Outcome::Broken(what),
            Err(_) => Outcome::Broken("no whole response in 30 s".to_owned()),
        }
    }

    /// Waits until the connection has ended of itself.
    pub(super) async fn ended(&self) {
        let mut end = self.driver_end.clone();
        // Without a sender the driver is gone, which is the same.
        let _ = end.wait_for(Option::is_some).await;
    }

    /// Why it is of no more use; to be asked after a request was given back unsent, or after
    /// [`Self::ended`].
    pub(super) async fn end(&self) -> End {
        if let Sender::Http2(sender) = &self.sender {
            // The driver ends with Ok also on a plain EOF; only this error tells them apart.
            return match sender.error().await {
                Some(error) if is_graceful(&error) => End::Told,
                Some(error) => End::Lost(error.to_string()),
                None => End::Lost("of no use, though not closed".to_owned()),
            };
        }
        self.ended().await;
        match &*self.driver_end.borrow() {
            Some(Ok(())) => End::ClosedIdle,
            Some(Err(error)) => End::Lost(error.clone()),
            None => End::Lost("its task was ended".to_owned()),
        }
    }
}

fn is_graceful(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

async fn handshake(
    tls: &TlsConfig,
    config: Arc<ClientConfig>,
    stream: TcpStream,
) -> Result<Box<dyn Io>> {
    let offered = config.alpn_protocols.clone();
    let stream = TlsConnector::from(config)
        .connect(tls.server_name().clone(), stream)
        .await
        .context("the TLS handshake failed")?;
    let agreed = stream.get_ref().1.alpn_protocol();
    if agreed != offered.first().map(Vec::as_slice) {
        bail!(
            "the server took ALPN {:?}, offered was {:?}",
            agreed.map(String::from_utf8_lossy),
            offered.first().map(|name| String::from_utf8_lossy(name))
        );
    }
    Ok(Box::new(stream))
}

/// Moves the bytes of a connection until it ends, or shortly after nobody uses it any more.
async fn drive<C, E>(
    connection: C,
    released: oneshot::Receiver<()>,
    end: watch::Sender<Option<Result<(), String>>>,
) where
    C: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        _ = released => match timeout(GOODBYE_BOUND, connection).await {
            Ok(result) => result,
            Err(_) => Ok(()),
        },
    };
    end.send_replace(Some(result.map_err(|error| in_full(&error))));
}
