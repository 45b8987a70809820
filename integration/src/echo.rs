//! An application that proves what became of a request: it sends back what it got.
//!
//! Over HTTP the response to a request with a body is that body, with the request's
//! [`ID`]; a GET of `/bytes/N` gets [`pattern`]. Over gRPC (`/spillway.Echo/...`, messages are
//! bytes) there is a method for each of the four kinds of call, and one for an error:
//!
//! | method | request | response |
//! |---|---|---|
//! | `Unary` | one message | the same |
//! | `Repeat` | one message | the same, [`REPEATS`] times |
//! | `Collect` | any number | one message, all of them together |
//! | `Chat` | any number | each of them, as it comes |
//! | `Refuse` | one message | an error without a message: head and trailers are one |

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::application::Application;
use crate::client::ID;

/// How often `Repeat` sends its message.
pub const REPEATS: usize = 5;

/// gRPC's `FAILED_PRECONDITION`.
const REFUSED: u16 = 9;

const GRPC: &str = "/spillway.Echo/";
const BYTES: &str = "/bytes/";
/// Before each message: whether it is compressed, and its length.
const MESSAGE_HEAD: usize = 5;

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is sent piece by piece. http-body-util's `Channel` (0.1.5) loses the last frame,
/// trailers that is, where it is sent and its sender dropped while the body is being polled.
struct Frames(Receiver<Frame<Bytes>>);

// === impl Frames ===

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// Starts it.
///
/// # Errors
///
/// `address` is not local.
pub async fn start(address: Ipv4Addr) -> Result<Application> {
    Application::serve(address, answer).await
}

/// What `/bytes/N` is answered with.
#[must_use]
pub fn pattern(length: usize) -> Bytes {
    b"0123456789abcdef".iter().copied().cycle().take(length).collect()
}

async fn answer(request: Request<Incoming>) -> Response<AnyBody> {
    let path = request.uri().path().to_owned();
    if let Some(method) = path.strip_prefix(GRPC) {
        return grpc(method, request);
    }
    let id = request.headers().get(ID).cloned();
    let body = match path.strip_prefix(BYTES).and_then(|length| length.parse().ok()) {
        Some(length) => pattern(length),
        None => match request.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            // The request was cut, and whoever waits for the response knows.
            Err(_) => return failed(StatusCode::BAD_REQUEST),
        },
    };
    let mut response = Response::new(Full::new(body).boxed_unsync());
    if let Some(id) = id {
        response.headers_mut().insert(ID, id);
    }
    response
}

fn failed(status: StatusCode) -> Response<AnyBody> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

fn grpc(method: &str, request: Request<Incoming>) -> Response<AnyBody> {
    let (sender, frames) = channel(1);
    let request = request.into_body();
    let mut response = Response::new(Frames(frames).boxed_unsync());
    match method {
        // What is one message or many is the same in bytes.
        "Unary" | "Chat" => drop(tokio::spawn(chat(request, sender))),
        "Repeat" => drop(tokio::spawn(repeat(request, sender))),
        "Collect" => drop(tokio::spawn(collect(request, sender))),
        "Refuse" => {
            *response.body_mut() = Empty::new().boxed_unsync();
            response.headers_mut().insert("grpc-status", REFUSED.into());
        }
        _ => return failed(StatusCode::NOT_FOUND),
    }
    let grpc = hyper::header::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, grpc);
    response
}

/// `None` where either side was cut: then nobody is told that it went well.
async fn chat(mut request: Incoming, sender: Sender<Frame<Bytes>>) -> Option<()> {
    while let Some(frame) = request.frame().await {
        // Envoy takes empty frames one after the other for an attack.
        if let Ok(data) = frame.ok()?.into_data()
            && !data.is_empty()
        {
            sender.send(Frame::data(data)).await.ok()?;
        }
    }
    end(sender).await
}

async fn repeat(request: Incoming, sender: Sender<Frame<Bytes>>) -> Option<()> {
    let message = request.collect().await.ok()?.to_bytes();
    for _ in 0..REPEATS {
        sender.send(Frame::data(message.clone())).await.ok()?;
    }
    end(sender).await
}

async fn collect(request: Incoming, sender: Sender<Frame<Bytes>>) -> Option<()> {
    let mut messages = request.collect().await.ok()?.to_bytes();
    let mut all = BytesMut::new();
    while messages.len() >= MESSAGE_HEAD {
        messages.advance(1);
        let length = messages.get_u32() as usize;
        all.extend_from_slice(&messages.split_to(length.min(messages.len())));
    }
    let mut response = BytesMut::new();
    response.put_u8(0);
    response.put_u32(u32::try_from(all.len()).ok()?);
    response.extend_from_slice(&all);
    sender.send(Frame::data(response.freeze())).await.ok()?;
    end(sender).await
}

async fn end(sender: Sender<Frame<Bytes>>) -> Option<()> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    sender.send(Frame::trailers(trailers)).await.ok()
}
