//! The application behind a node's Envoy.
//!
//! An HTTP server (HTTP/1 and h2c) whose behaviour is a closure, so that a test
//! says in one place what the application does: set a header, echo those it
//! got, be slow. A panic in the closure, such as a failed assertion, must not
//! get lost as a 500 that somebody might take for part of the test: it is kept,
//! and ends the test when the application is dropped or finished.

use std::any::Any;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long [`Application::finish`] waits for requests in flight.
const FINISH_BOUND: Duration = Duration::from_secs(10);

/// What most handlers answer with.
pub type Body = Full<Bytes>;

/// What a handler has answered, of whatever kind.
type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// A running application; stops accepting when dropped, and panics then if its handler did.
#[derive(Debug)]
pub struct Application {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping it tells the server to stop.
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: AtomicU64,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// === impl Application ===

impl Application {
    /// Answers every request with 200 and a small body.
    ///
    /// # Errors
    ///
    /// `address` is not local.
    pub async fn start(address: Ipv4Addr) -> Result<Self> {
        Self::serve(address, |_| async {
            Response::new(Body::from("Hello from the application.\n"))
        })
        .await
    }

    /// Answers every request with its own headers, as a JSON object of names to lists of values.
    ///
    /// # Errors
    ///
    /// `address` is not local.
    pub async fn echo_headers(address: Ipv4Addr) -> Result<Self> {
        Self::serve(address, |request| async move {
            let mut headers = BTreeMap::<&str, Vec<_>>::new();
            for (name, value) in request.headers() {
                let value = String::from_utf8_lossy(value.as_bytes());
                headers.entry(name.as_str()).or_default().push(value);
            }
            let body = serde_json::json!(headers).to_string();
            Response::new(Body::from(body))
        })
        .await
    }

    /// Answers as `handler` does, at a port that the kernel picks.
    ///
    /// # Errors
    ///
    /// `address` is not local.
    pub async fn serve<H, F, B>(address: Ipv4Addr, handler: H) -> Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let handler = move |request| {
            let response = handler(request);
            async move { response.await.map(BodyExt::boxed_unsync) }
        };
        let listener = TcpListener::bind((address, 0))
            .await
            .with_context(|| format!("cannot bind an address for the application: {address}"))?;
        let address = listener.local_addr().context("no local address")?;
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let server =
            tokio::spawn(accept(listener, Arc::new(handler), Arc::clone(&shared), stopped));
        Ok(Self { address, shared, stop: Some(stop), server })
    }

    /// Hands each connection to `handler`, for what no HTTP server can be made to do.
    ///
    /// # Errors
    ///
    /// `address` is not local.
    pub async fn serve_raw<F>(address: Ipv4Addr, handler: fn(TcpStream) -> F) -> Result<Self>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((address, 0))
            .await
            .with_context(|| format!("cannot bind an address for the application: {address}"))?;
        let address = listener.local_addr().context("no local address")?;
        let (stop, mut stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            while let Some(Ok((stream, _))) = tokio::select! {
                accepted = listener.accept() => Some(accepted),
                _ = &mut stopped => None,
            } {
                tokio::spawn(handler(stream));
            }
        });
        Ok(Self { address, shared: Arc::default(), stop: Some(stop), server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that reached it so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Stops accepting and waits until the requests in flight have their responses.
    ///
    /// # Panics
    ///
    /// With the panic of the handler, if there was one.
    pub async fn finish(mut self) {
        self.stop.take();
        // Past the bound the connections are cut by the drop that follows.
        let _ = tokio::time::timeout(FINISH_BOUND, &mut self.server).await;
        self.raise_panic();
    }

    fn raise_panic(&self) {
        let panic = self.shared.lock_panic().take();
        if let Some(panic) = panic
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.take();
        self.raise_panic();
    }
}

async fn accept<H, F>(
    listener: TcpListener,
    handler: Arc<H>,
    shared: Arc<Shared>,
    mut stopped: oneshot::Receiver<()>,
) where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    stream
                } else {
                    // The peer gave up, or descriptors ran short: both pass.
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            _ = &mut stopped => break,
        };
        serve_connection(stream, &handler, &shared, &graceful);
    }
    drop(listener);
    graceful.shutdown().await;
}

fn serve_connection<H, F>(
    stream: TcpStream,
    handler: &Arc<H>,
    shared: &Arc<Shared>,
    graceful: &GracefulShutdown,
) where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    // Small answers must not wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let (handler, shared) = (Arc::clone(handler), Arc::clone(shared));
    let service = service_fn(move |request| {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let (handler, shared) = (Arc::clone(&handler), Arc::clone(&shared));
        async move { Ok::<_, Infallible>(shared.guard(async { handler(request).await }).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // A peer that goes away in mid-request is no fault of the application.
        let _ = connection.await;
    });
}

// === impl Shared ===

impl Shared {
    /// Runs a handler; where it panics, keeps the panic and answers 500.
    async fn guard(&self, handler: impl Future<Output = Response<AnyBody>>) -> Response<AnyBody> {
        let mut handler = pin!(handler);
        let outcome = poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(response)) => Poll::Ready(Ok(response)),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await;
        outcome.unwrap_or_else(|panic| {
            self.lock_panic().get_or_insert(panic);
            let text = Body::from("The application's handler panicked.\n");
            let mut response = Response::new(text.boxed_unsync());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }

    fn lock_panic(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Empty};

    async fn get(address: SocketAddr) -> Response<String> {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/")
            .header("host", "test")
            .header("x-mark", "1")
            .header("x-mark", "2")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn headers_are_echoed_and_requests_counted() {
        let application = Application::echo_headers(Ipv4Addr::LOCALHOST).await.unwrap();
        let response = get(application.address()).await;
        let headers: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        assert_eq!(headers["x-mark"], serde_json::json!(["1", "2"]));
        assert_eq!(application.requests(), 1);
        let address = application.address();
        application.finish().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    #[should_panic(expected = "this panic is part of the test")]
    async fn a_panic_in_the_handler_fails_the_test() {
        let application = Application::serve(Ipv4Addr::LOCALHOST, |request| async move {
            let path = request.uri().path();
            assert_eq!(path, "/none", "this panic is part of the test");
            Response::new(Body::default())
        })
        .await
        .unwrap();
        assert_eq!(get(application.address()).await.status(), 500);
        drop(application);
    }
}
