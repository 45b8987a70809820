//! The clients against a hyper server that closes gracefully, again and again.
//!
//! What they must not do is proven here without Envoy, so that a failure in an
//! end-to-end test is Envoy's or ours and not the client's.

mod with_envoy;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::dns::DnsServer;
use crate::loopback::LoopbackBlock;
use crate::tls::{TestCertificates, TlsConfig};

const NAME: &str = "edge.spillway.test";
const BOUND: Duration = Duration::from_mins(1);

/// Closes every connection gracefully after `requests_per_connection`, in the middle of traffic.
struct ClosingServer {
    address: SocketAddr,
    closes: Arc<watch::Sender<u64>>,
    requests: Arc<AtomicU64>,
}

impl ClosingServer {
    async fn start(
        address: Ipv4Addr,
        protocol: Protocol,
        requests_per_connection: u64,
        acceptor: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            closes: Arc::new(watch::Sender::new(0)),
            requests: Arc::default(),
        };
        let (closes, requests) = (Arc::clone(&server.closes), Arc::clone(&server.requests));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (closes, requests) = (Arc::clone(&closes), Arc::clone(&requests));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => {
                            serve(stream, protocol, requests_per_connection, closes, requests)
                                .await;
                        }
                        Some(acceptor) => {
                            let stream = acceptor.accept(stream).await.unwrap();
                            serve(stream, protocol, requests_per_connection, closes, requests)
                                .await;
                        }
                    }
                });
            }
        });
        server
    }

    /// Waits until so many connections were told to close.
    async fn closed(&self, count: u64) {
        let mut closes = self.closes.subscribe();
        timeout(BOUND, closes.wait_for(|closes| *closes >= count))
            .await
            .expect("the clients do not come back")
            .unwrap();
    }
}

async fn serve<S>(
    stream: S,
    protocol: Protocol,
    requests_per_connection: u64,
    closes: Arc<watch::Sender<u64>>,
    requests: Arc<AtomicU64>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let served = Arc::new(watch::Sender::new(0));
    let mut enough = served.subscribe();
    let told = Arc::clone(&closes);
    let service = service_fn(move |_: Request<_>| {
        requests.fetch_add(1, Ordering::Relaxed);
        served.send_modify(|served| *served += 1);
        let mut response = Response::new(Full::<Bytes>::from("a body of some length"));
        // HTTP/1 only lets a server say so in a response. hyper's `graceful_shutdown` would
        // also close a connection that is idle, into the face of the next request.
        if protocol == Protocol::Http1 && *served.borrow() == requests_per_connection {
            let headers = response.headers_mut();
            headers.insert("connection", HeaderValue::from_static("close"));
            told.send_modify(|closes| *closes += 1);
        }
        async { Ok::<_, Infallible>(response) }
    });
    let io = TokioIo::new(stream);
    if protocol == Protocol::Http1 {
        let _ = http1::Builder::new().serve_connection(io, service).await;
        return;
    }
    let builder = http2::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        result = connection.as_mut() => return result.unwrap_or_default(),
        _ = enough.wait_for(|served| *served >= requests_per_connection) => {}
    }
    closes.send_modify(|closes| *closes += 1);
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

fn acceptor(certificates: &TestCertificates, alpn: &str) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificates.certificate_path()).unwrap()],
            PrivateKeyDer::from_pem_file(certificates.key_path()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

const HTTP2: Protocol = Protocol::Http2 { concurrent_streams: 8 };

/// Nothing fails over `closes` graceful closes at full rate.
async fn survives(protocol: Protocol, closes: u64, tls: bool) {
    let block = LoopbackBlock::claim().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let certificates = TestCertificates::new(&[NAME], directory.path()).unwrap();
    let alpn = if protocol == Protocol::Http1 { "http/1.1" } else { "h2" };
    let acceptor = tls.then(|| acceptor(&certificates, alpn));
    let server = ClosingServer::start(block.address(1), protocol, 40, acceptor).await;
    let dns = DnsServer::start(block.address(9), NAME, vec![block.address(1)]).await.unwrap();
    let resolver = Resolver::new(dns.address(), NAME).unwrap();
    let mut client = LongLivedClient::new(protocol, Pace::Unpaced, NAME);
    client.tls = tls.then(|| TlsConfig::new(&certificates, NAME).unwrap());

    let pool = ClientPool::start(4, |_| client.clone(), &resolver, server.address.port()).unwrap();
    server.closed(closes).await;
    let totals = pool.stop().await;

    assert_eq!(totals.failures, Vec::<String>::new(), "{totals:?}");
    assert_eq!((totals.failed, totals.connections_lost), (0, 0));
    assert_eq!(totals.connections_open, 0);
    assert!(totals.closes_seen + 4 >= closes, "{totals:?}");
    assert_eq!(totals.responses_ok, totals.requests);
    // What the server has seen is what the clients have counted: nothing was sent twice.
    assert_eq!(server.requests.load(Ordering::Relaxed), totals.requests);
    assert_eq!(dns.queries(), totals.connections_opened);
    assert!(totals.latency_p99_us >= totals.latency_p50_us);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_survives_200_graceful_closes_at_full_rate() {
    survives(Protocol::Http1, 200, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_survives_200_graceful_closes_at_full_rate() {
    survives(HTTP2, 200, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_over_tls_survives_graceful_closes() {
    survives(Protocol::Http1, 50, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_over_tls_survives_graceful_closes() {
    survives(HTTP2, 50, true).await;
}

/// Starts one client on a server that does with each connection what `script` says.
async fn against<F>(
    protocol: Protocol,
    pace: Pace,
    script: impl Fn(TcpStream) -> F + Send + 'static,
    until: impl Fn(&ClientTotals) -> bool,
) -> ClientTotals
where
    F: Future<Output = ()> + Send,
{
    let block = LoopbackBlock::claim().unwrap();
    let listener = TcpListener::bind((block.address(1), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dns = DnsServer::start(block.address(9), NAME, vec![block.address(1)]).await.unwrap();
    let resolver = Resolver::new(dns.address(), NAME).unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            script(stream).await;
        }
    });
    let client = LongLivedClient::new(protocol, pace, NAME);
    let pool = ClientPool::start(1, |_| client.clone(), &resolver, port).unwrap();
    let totals = pool.wait_until(BOUND, until).await.unwrap();
    server.abort();
    totals
}

async fn answer(mut stream: TcpStream, response: &str) -> TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await;
    stream.write_all(response.as_bytes()).await.unwrap();
    stream
}

/// Each way to break the promise must be seen as such.
#[tokio::test]
async fn broken_http1_responses_are_failures() {
    let cases = [
        ("", "no response"),
        ("HTTP/1.1 200 OK\r\nconte", "no response"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut", "was cut"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ncut\r\n", "was cut"),
        ("HTTP/1.1 200 OK\r\n\r\nendless", "without a length"),
        ("HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n", "status 503"),
    ];
    for (response, expected) in cases {
        let totals = against(
            Protocol::Http1,
            Pace::Unpaced,
            move |stream| async move { drop(answer(stream, response).await) },
            |totals| totals.failed >= 2,
        )
        .await;
        assert!(totals.failures[0].contains(expected), "{response:?}: {totals:?}");
        assert_eq!(totals.responses_ok, 0);
        assert_eq!(totals.requests, totals.failed);
    }
}

#[tokio::test]
async fn connection_close_and_a_silent_idle_close_are_told_apart() {
    let with_close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let totals = against(
        Protocol::Http1,
        Pace::PerSecond(200.0),
        move |stream| async move { drop(answer(stream, with_close).await) },
        |totals| totals.closes_seen >= 3,
    )
    .await;
    assert_eq!((totals.failed, totals.idle_closes), (0, 0), "{totals:?}");

    let silent = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let totals = against(
        Protocol::Http1,
        // The next request is far off, so the close finds the connection idle.
        Pace::PerSecond(0.5),
        move |stream| async move { drop(answer(stream, silent).await) },
        |totals| totals.idle_closes >= 1,
    )
    .await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{totals:?}");
}

#[tokio::test]
async fn an_http2_connection_that_ends_without_goaway_is_lost() {
    let totals = against(
        HTTP2,
        Pace::PerSecond(100.0),
        |stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_response(Response::new(()), true).unwrap();
            let _ = timeout(Duration::from_millis(20), connection.accept()).await;
        },
        |totals| totals.connections_lost >= 2,
    )
    .await;
    assert_eq!(totals.closes_seen, 0, "{totals:?}");
}

#[tokio::test]
async fn a_refused_stream_and_a_goaway_that_leaves_streams_behind_are_failures() {
    for abrupt in [false, true] {
        let totals = against(
            HTTP2,
            Pace::Unpaced,
            move |stream| async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let (_, mut respond) = connection.accept().await.unwrap().unwrap();
                if abrupt {
                    connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                } else {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
                let _ = timeout(Duration::from_millis(100), connection.accept()).await;
            },
            |totals| totals.failed >= 1,
        )
        .await;
        assert_eq!(totals.responses_ok, 0, "{totals:?}");
    }
}

#[tokio::test]
async fn clients_leave_by_themselves_as_often_as_they_are_told() {
    let block = LoopbackBlock::claim().unwrap();
    let application = crate::application::Application::start(block.address(1)).await.unwrap();
    let dns = DnsServer::start(block.address(9), NAME, vec![block.address(1)]).await.unwrap();
    let resolver = Resolver::new(dns.address(), NAME).unwrap();
    let spec = |number| {
        let protocol = [Protocol::Http1, HTTP2][number % 2];
        let leaves_after = Some(Duration::from_millis(500));
        let client = LongLivedClient::new(protocol, Pace::PerSecond(20.0), NAME);
        LongLivedClient { leaves_after, ..client }
    };
    let start = std::time::Instant::now();
    let pool = ClientPool::start(20, spec, &resolver, application.address().port()).unwrap();
    pool.wait_until(BOUND, |totals| totals.connections_opened >= 200).await.unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    let totals = pool.stop().await;
    // Forty a second, but for luck; later on a busy machine.
    assert!((3.0..20.0).contains(&elapsed), "200 connections took {elapsed} s");
    assert_eq!((totals.failed, totals.closes_seen, totals.connections_lost), (0, 0, 0));
    assert_eq!(totals.failures, Vec::<String>::new());
    application.finish().await;
}

#[tokio::test]
async fn the_pace_is_kept_and_connect_errors_are_counted() {
    let block = LoopbackBlock::claim().unwrap();
    let application = crate::application::Application::start(block.address(1)).await.unwrap();
    // The second address has no server: half of the attempts to connect must fail.
    let dns = DnsServer::start(block.address(9), NAME, vec![block.address(2), block.address(1)])
        .await
        .unwrap();
    let resolver = Resolver::new(dns.address(), NAME).unwrap();
    let protocols = [Protocol::Http1, HTTP2];
    let start = std::time::Instant::now();
    let pool = ClientPool::start(
        10,
        |number| LongLivedClient::new(protocols[number % 2], Pace::PerSecond(20.0), NAME),
        &resolver,
        application.address().port(),
    )
    .unwrap();
    pool.wait_until(BOUND, |totals| totals.requests >= 400).await.unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    let totals = pool.stop().await;
    // 200 a second once all have started, which takes up to a second.
    assert!(elapsed > 1.5, "400 requests took only {elapsed} s");
    assert_eq!(totals.failed, 0, "{totals:?}");
    assert!(totals.connect_errors >= 1);
    assert_eq!(totals.connections_opened, 10);
    assert_eq!(totals.edges[&block.address(1)].requests, totals.requests);
    application.finish().await;
}
