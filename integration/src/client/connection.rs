//! One connection of a client, and the exact end of every request on it.
//!
//! Where a request can end (hyper 1.12; HTTP/2 in `http2.rs`):
//!
//! - HTTP/1, `ready()` errs: the connection has ended, nothing was written.
//! - HTTP/1, `try_send_request` gives the request back: hyper saw the end of the
//!   connection before it wrote the head. Nothing was written.
//! - HTTP/2, the connection is going away when the request is handed over:
//!   nothing was written (`http2.rs`).
//! - All else was, or may have been, written: it ends in a complete response or
//!   it has failed. A stream beyond the last one of a GOAWAY counts as failed
//!   too, though RFC 9113 (section 6.8) would let a client retry it: a graceful
//!   close must not need that.
//!
//! A connection that is told to close finishes what is in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2::RecvStream;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest as Http1Sender;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use hyper::http::response::Parts;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::http2::{self, Http2Sender};
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

/// How one request ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// 200 and the whole body.
    Complete {
        latency: Duration,
        /// The response said `connection: close`.
        told_to_close: bool,
    },
    /// A whole response, but not the one it should be; the connection is as good as after
    /// [`Self::Complete`].
    Wrong { what: String, told_to_close: bool },
    /// It was, or may have been, written, and there was no whole response.
    Broken(String),
    /// Nothing of it was written; the connection is going away.
    Unsent,
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
    Http1(Mutex<Http1Sender<Empty<Bytes>>>),
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

    /// Sends one GET and takes in its response.
    pub(super) async fn get(&self, host: &str, path: &str) -> Outcome {
        let start = Instant::now();
        let exchange = async {
            match &self.sender {
                Sender::Http1(sender) => get_http1(sender, host, path).await,
                Sender::Http2(sender) => get_http2(sender, host, path).await,
            }
        };
        match timeout(RESPONSE_BOUND, exchange).await {
            Ok(Ok(response)) => response.judge(start.elapsed()),
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

/// An error with all that caused it; hyper's own text often says only "connection error".
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A response whose body has ended as its framing says it must.
struct WholeResponse {
    head: Parts,
    received: u64,
}

enum NoResponse {
    Unsent,
    Broken(String),
}

fn broken(what: &str, error: &dyn std::error::Error) -> NoResponse {
    NoResponse::Broken(format!("{what}: {}", in_full(error)))
}

async fn get_http1(
    sender: &Mutex<Http1Sender<Empty<Bytes>>>,
    host: &str,
    path: &str,
) -> Result<WholeResponse, NoResponse> {
    let request = Request::get(path)
        .header("host", host)
        .body(Empty::new())
        .map_err(|error| broken("this is no request", &error))?;
    let mut sender = sender.lock().await;
    if sender.ready().await.is_err() {
        return Err(NoResponse::Unsent);
    }
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(error) if error.message().is_some() => return Err(NoResponse::Unsent),
        Err(error) => return Err(broken("no response", error.error())),
    };
    let (head, mut body) = response.into_parts();
    let framed =
        [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
    if !framed {
        // Such a body ends with the connection: whole or cut look the same.
        return Err(NoResponse::Broken("a body without a length".to_owned()));
    }
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken("the body was cut", &error))?;
        received += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
    Ok(WholeResponse { head, received })
}

async fn get_http2(
    sender: &Http2Sender,
    host: &str,
    path: &str,
) -> Result<WholeResponse, NoResponse> {
    let request = Request::get(format!("http://{host}{path}"))
        .version(Version::HTTP_2)
        .body(())
        .map_err(|error| broken("this is no request", &error))?;
    let Some(response) = sender.send(request).await else {
        return Err(NoResponse::Unsent);
    };
    let (head, mut body) =
        response.await.map_err(|error| broken("no response", &error))?.into_parts();
    let received = receive(&mut body).await.map_err(|error| broken("the body was cut", &error))?;
    Ok(WholeResponse { head, received })
}

async fn receive(body: &mut RecvStream) -> Result<u64, h2::Error> {
    let mut received = 0;
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
        received += length as u64;
    }
    body.trailers().await?;
    Ok(received)
}

// === impl WholeResponse ===

impl WholeResponse {
    fn judge(&self, latency: Duration) -> Outcome {
        let told_to_close = match self.head.version {
            Version::HTTP_2 => false,
            Version::HTTP_10 => true,
            _ => says_close(&self.head.headers),
        };
        let announced = self.head.headers.get(CONTENT_LENGTH);
        let wrong = if self.head.status != StatusCode::OK {
            Some(format!("status {}", self.head.status))
        } else if announced.is_some_and(|length| length != self.received.to_string().as_str()) {
            Some(format!("a body of {} bytes, announced were {announced:?}", self.received))
        } else {
            None
        };
        match wrong {
            Some(what) => Outcome::Wrong { what, told_to_close },
            None => Outcome::Complete { latency, told_to_close },
        }
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("close"))
}
