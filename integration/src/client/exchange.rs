//! One request, its response, and how that ended, exactly.
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

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest as Http1Sender;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use hyper::http::request::Builder;
use hyper::http::response::Parts;
use hyper::{Request, StatusCode, Version};
use ring::digest;
use tokio::sync::Mutex;

use super::http2::Http2Sender;
use super::parcel::{ID, Parcel};

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

/// A response whose body has ended as its framing says it must.
pub(super) struct WholeResponse {
    head: Parts,
    received: Received,
}

/// What a body was, without keeping it.
struct Received {
    length: u64,
    digest: digest::Context,
}

/// Why there is no whole response.
pub(super) enum NoResponse {
    Unsent,
    Broken(String),
}

fn broken(what: &str, error: &dyn std::error::Error) -> NoResponse {
    NoResponse::Broken(format!("{what}: {}", in_full(error)))
}

fn request(uri: &str, parcel: Option<&Parcel>) -> Builder {
    match parcel {
        None => Request::get(uri),
        Some(parcel) => Request::post(uri).header(ID, parcel.id()),
    }
}

/// The exchange over HTTP/1.
pub(super) async fn http1(
    sender: &Mutex<Http1Sender<Full<Bytes>>>,
    host: &str,
    path: &str,
    parcel: Option<&Parcel>,
) -> Result<WholeResponse, NoResponse> {
    let body = parcel.map_or_else(Bytes::new, Parcel::body);
    let request = request(path, parcel)
        .header("host", host)
        .body(Full::new(body))
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
    let mut received = Received::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken("the body was cut", &error))?;
        frame.data_ref().into_iter().for_each(|data| received.add(data));
    }
    Ok(WholeResponse { head, received })
}

/// The exchange over HTTP/2.
pub(super) async fn http2(
    sender: &Http2Sender,
    host: &str,
    path: &str,
    parcel: Option<&Parcel>,
) -> Result<WholeResponse, NoResponse> {
    let body = parcel.map(Parcel::body).filter(|body| !body.is_empty());
    let request = request(&format!("http://{host}{path}"), parcel)
        .version(Version::HTTP_2)
        .body(())
        .map_err(|error| broken("this is no request", &error))?;
    let Some((response, stream)) = sender.send(request, body.is_none()).await else {
        return Err(NoResponse::Unsent);
    };
    let sending = async {
        match body {
            None => Ok(()),
            Some(body) => send(stream, body).await,
        }
    };
    let receiving = async {
        let (head, mut body) = response.await?.into_parts();
        receive(&mut body).await.map(|received| WholeResponse { head, received })
    };
    // Both at once: an echo may begin before it has heard the end.
    let (sent, response) = tokio::join!(sending, receiving);
    let response = response.map_err(|error| broken("no whole response", &error))?;
    sent.map_err(|error| broken("the request was cut", &error))?;
    Ok(response)
}

async fn send(mut stream: SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(capacity) = poll_fn(|context| stream.poll_capacity(context)).await else {
            // The stream is over; the response says how.
            return Ok(());
        };
        let piece = body.split_to(capacity?.min(body.len()));
        stream.send_data(piece, body.is_empty())?;
    }
    Ok(())
}

async fn receive(body: &mut RecvStream) -> Result<Received, h2::Error> {
    let mut received = Received::default();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.add(&data);
    }
    body.trailers().await?;
    Ok(received)
}

// === impl Received ===

impl Default for Received {
    fn default() -> Self {
        Self { length: 0, digest: digest::Context::new(&digest::SHA256) }
    }
}

impl Received {
    fn add(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        self.digest.update(data);
    }
}

// === impl WholeResponse ===

impl WholeResponse {
    /// What it is: for a parcel the right one only if that came back, and nothing else.
    pub(super) fn judge(self, latency: Duration, parcel: Option<&Parcel>) -> Outcome {
        let told_to_close = match self.head.version {
            Version::HTTP_2 => false,
            Version::HTTP_10 => true,
            _ => says_close(&self.head.headers),
        };
        let announced = self.head.headers.get(CONTENT_LENGTH);
        let wrong = if self.head.status != StatusCode::OK {
            Some(format!("status {}", self.head.status))
        } else if announced
            .is_some_and(|length| length != self.received.length.to_string().as_str())
        {
            let length = self.received.length;
            Some(format!("a body of {length} bytes, announced were {announced:?}"))
        } else {
            let digest = self.received.digest.finish();
            parcel.and_then(|parcel| parcel.differs(&self.head.headers, digest.as_ref()))
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

/// An error with all that caused it; hyper's own text often says only "connection error".
pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
