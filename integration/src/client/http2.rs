//! HTTP/2 for clients that must know whether a request was written.
//!
//! `h2` queues a new stream and opens it later, when its connection is polled.
//! A GOAWAY that is read in between does not stop it: `h2` 0.4 first answers the
//! PING that a graceful server sends along, and opens the stream after that. To
//! the server this is a stream behind the last one it announced, to be dropped;
//! to the client it is a request that failed in a graceful close. RFC 9113
//! (section 6.8) forbids the client to open it at all.
//!
//! So requests are handed to `h2` by the very task that polls the connection,
//! and directly afterwards the connection is polled with its reading side shut:
//! the stream is opened and its HEADERS are written before any GOAWAY can be
//! seen. A request that comes after the GOAWAY is refused with nothing written.
//! (While the socket takes no more bytes a stream still waits. Small GETs do not
//! fill it; clients that send large bodies can. The streams of a client stay below
//! the 100 that servers allow.)

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Connection, ResponseFuture, SendRequest};
use hyper::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Hands requests to the task that drives the connection. Clones use the same connection.
#[derive(Clone)]
pub(super) struct Http2Sender {
    orders: mpsc::UnboundedSender<Order>,
    h2: SendRequest<Bytes>,
}

struct Order {
    request: Request<()>,
    /// Whether it has no body.
    ends: bool,
    reply: oneshot::Sender<Result<Opened, h2::Error>>,
}

/// A request whose head was written: its response, and where its body goes.
pub(super) type Opened = (ResponseFuture, SendStream<Bytes>);

/// The task's part of the connection; it does nothing until it is run.
pub(super) struct Http2Driver<T> {
    connection: Connection<ReadGate<T>, Bytes>,
    orders: mpsc::UnboundedReceiver<Order>,
    h2: Option<SendRequest<Bytes>>,
    gate: Arc<AtomicBool>,
}

/// While shut, nothing can be read.
struct ReadGate<T> {
    io: T,
    open: Arc<AtomicBool>,
}

/// Begins HTTP/2 on `io`.
pub(super) async fn handshake<T>(io: T) -> Result<(Http2Sender, Http2Driver<T>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let gate = Arc::new(AtomicBool::new(true));
    let io = ReadGate { io, open: Arc::clone(&gate) };
    let (h2, connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(io)
        .await?;
    let (orders, received) = mpsc::unbounded_channel();
    let sender = Http2Sender { orders, h2: h2.clone() };
    let driver = Http2Driver { connection, orders: received, h2: Some(h2), gate };
    Ok((sender, driver))
}

// === impl Http2Sender ===

impl Http2Sender {
    /// Writes the head of a request, which may be all of it. `None`: the connection is of no
    /// more use, and nothing was written.
    pub(super) async fn send(&self, request: Request<()>, ends: bool) -> Option<Opened> {
        let (reply, mut answer) = oneshot::channel();
        self.orders.send(Order { request, ends, reply }).ok()?;
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer.ok(),
            // An order that meets the end of the driver can stay in the queue for ever: tokio
            // empties the queue when the receiver goes, and this one came a moment later. An
            // order that was taken has its answer by now.
            () = self.orders.closed() => answer.try_recv().ok(),
        };
        answer?.ok()
    }

    /// Why the connection is of no more use; `None` where it is not.
    pub(super) async fn error(&self) -> Option<h2::Error> {
        self.h2.clone().ready().await.err()
    }
}

// === impl Http2Driver ===

impl<T: AsyncRead + AsyncWrite + Unpin> Http2Driver<T> {
    /// Moves the bytes until the connection ends, or all senders are gone and it has said goodbye.
    pub(super) async fn run(mut self) -> Result<(), h2::Error> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            self.gate.store(true, Ordering::Relaxed);
            if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(context) {
                return Poll::Ready(result);
            }
            if !self.take_orders(context) {
                return Poll::Pending;
            }
            self.gate.store(false, Ordering::Relaxed);
            if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(context) {
                return Poll::Ready(result);
            }
            // Once more with the gate open, so that bytes that come in wake this task.
        }
    }

    /// Whether there is a reason to poll the connection again.
    fn take_orders(&mut self, context: &mut Context<'_>) -> bool {
        let mut handed = false;
        while let Some(h2) = &self.h2 {
            match self.orders.poll_recv(context) {
                Poll::Ready(Some(Order { request, ends, reply })) => {
                    let sent = h2.clone().send_request(request, ends);
                    handed |= sent.is_ok();
                    // Where the client waits no more, the dropped future resets the stream.
                    let _ = reply.send(sent);
                }
                Poll::Ready(None) => {
                    // Without this handle `h2` ends the connection when it is idle.
                    self.h2 = None;
                    return true;
                }
                Poll::Pending => break,
            }
        }
        handed
    }
}

// === impl ReadGate ===

impl<T: AsyncRead + Unpin> AsyncRead for ReadGate<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.open.load(Ordering::Relaxed) {
            Pin::new(&mut self.io).poll_read(context, buffer)
        } else {
            // The driver polls again at once with the gate open.
            Poll::Pending
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadGate<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
