//! What these tests share.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration::envoy::Envoy;
use integration::fleet::{Fleet, FleetSpec};
use integration::testing::{eventually, lb};
use redistribution::wire::{Position, Stamp};
use tokio::net::TcpStream;

use crate::mirror::{Seen, mirror};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// An edge at the mercy of what is behind a node without the filter: of its client, that is.
pub fn at_its_mercy() -> FleetSpec {
    FleetSpec { node_filter: false, application: mirror(), ..FleetSpec::default() }
}

/// hyper over HTTP/2, on one connection to the first edge.
pub struct Http2(SendRequest<Body>);

// === impl Http2 ===

impl Http2 {
    pub async fn open(fleet: &Fleet) -> Result<Self> {
        let io = TokioIo::new(TcpStream::connect(fleet.edges()[0].address).await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(async { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Posts a small body with these headers and trailers; the response, its body and its trailers.
    pub async fn post(
        &mut self,
        headers: &HeaderMap,
        trailers: HeaderMap,
    ) -> Result<(Response<()>, String, HeaderMap)> {
        let mut request = Request::post("http://a/").body(())?;
        request.headers_mut().extend(headers.clone());
        let request = request.map(|()| {
            Full::new(Bytes::from("body"))
                .with_trailers(async { Some(Ok(trailers)) })
                .boxed_unsync()
        });
        let (head, body) = self.0.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let text = String::from_utf8(body.to_bytes().to_vec())?;
        Ok((Response::from_parts(head, ()), text, trailers))
    }

    /// Asks with these headers.
    pub async fn ask(&mut self, headers: &[(&str, &[u8])]) -> Result<(Response<()>, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = hyper::header::HeaderValue::from_bytes(value)?;
            map.append(hyper::header::HeaderName::from_bytes(name.as_bytes())?, value);
        }
        let (head, body, _) = self.post(&map, HeaderMap::new()).await?;
        Ok((head, body))
    }

    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }
}

/// What came to the application has the stamp of the edge, once, and no other.
pub fn is_stamped_by_the_edge(seen: &Seen) -> Result<()> {
    let [stamp] = seen.header("spillway-lb") else { anyhow::bail!("not one stamp: {seen:?}") };
    let stamp = Stamp::parse(stamp.as_bytes())?;
    anyhow::ensure!(stamp.id == "edge-1" && stamp.position.is_some(), "{stamp:?}");
    Ok(())
}

/// A gauge or counter of this name, whatever it belongs to.
pub async fn stat(envoy: &Envoy, name: &str) -> Result<u64> {
    let stats = envoy.stats().await?;
    Ok(stats.counter(name).max(stats.gauge(name)))
}

/// Waits until the edge knows of no connection any more.
pub async fn all_are_gone(edge: &Envoy) {
    eventually("no connection is left", || async {
        let open = stat(edge, "wasmcustom.spillway.lb.connections_open").await?;
        let draining = stat(edge, "wasmcustom.spillway.lb.connections_draining").await?;
        let here = stat(edge, "http.public.downstream_cx_active").await?;
        anyhow::ensure!((open, draining, here) == (0, 0, 0), "{open}, {draining}, {here}");
        Ok(true)
    })
    .await;
}

/// What every close came to: what nodes have asked for is all accounted for.
pub async fn closes_add_up(edge: &Envoy) -> Result<()> {
    let stats = edge.stats().await?;
    let refused = stats.sum_prefix("wasmcustom.spillway.lb.closes_refused.");
    let of = |name: &str| stats.counter(&format!("wasmcustom.spillway.lb.{name}"));
    let judged = refused + of("closes_admitted") + of("closes_observed");
    anyhow::ensure!(of("closes_requested") == judged, "{stats:#?}");
    anyhow::ensure!(of("host_errors") == 0, "{stats:#?}");
    Ok(())
}

/// The edge has counted so many.
pub async fn counts(edge: &Envoy, name: &str, count: u64) {
    eventually(&format!("{name} is {count}"), || async {
        let now = lb(edge, name).await?;
        anyhow::ensure!(now == count, "{now}");
        Ok(true)
    })
    .await;
}

/// Resident memory in MiB, rounded up.
pub fn rss_mib(envoy: &Envoy) -> Result<u64> {
    Ok(envoy.rss_kib().context("no memory to be read")?.div_ceil(1024))
}

/// Asks by another connection to close the one at `position`, and waits until that is admitted.
pub async fn ask_to_close(fleet: &Fleet, position: &Position) -> Result<()> {
    let edge = &fleet.edges()[0].envoy;
    let before = lb(edge, "closes_admitted").await?;
    let close = format!("lb=\"edge-1\", conns=({};vm={})", position.connection, position.vm);
    Http2::open(fleet).await?.ask(&[("x-close", close.as_bytes())]).await?;
    counts(edge, "closes_admitted", before + 1).await;
    Ok(())
}

/// Where the edge says that a connection is.
pub fn position(answer: &str) -> Result<Position> {
    let seen = Seen::read(answer)?;
    let stamp = seen.header("spillway-lb").first().cloned().unwrap_or_default();
    let stamp = Stamp::parse(stamp.as_bytes())?;
    stamp.position.with_context(|| format!("no position in {answer}"))
}
