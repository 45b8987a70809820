//! hyper's client with its connection pool, as most programs in Rust use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use integration::fleet::Fleet;
use integration::traffic::Said;
use tokio::task::JoinSet;

use crate::support::{REQUESTS, Transport, echoing, loses_nothing};

const LANES: u64 = 4;
const SIZES: [usize; 6] = [0, 1, 100, 1_000, 10_000, 300_000];

/// What it speaks; over plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

type HyperClient = Client<HttpConnector, Full<Bytes>>;

/// Sends each request once: what the pool sends again by default is what it has not sent yet.
pub async fn run(fleet: &Fleet, http: Http) -> Result<Said> {
    let client: HyperClient =
        Client::builder(TokioExecutor::new()).http2_only(http == Http::Two).build_http();
    let (sent, url) = (Arc::new(AtomicU64::new(0)), fleet.url());
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        lanes.spawn(lane(client.clone(), url.clone(), Arc::clone(&sent)));
    }
    let failures: Vec<_> = lanes.join_all().await.into_iter().flatten().collect();
    Ok(Said { requests: REQUESTS, failed: failures.len() as u64, closes: 0, failures })
}

async fn lane(client: HyperClient, url: String, sent: Arc<AtomicU64>) -> Vec<String> {
    let mut failures = Vec::new();
    loop {
        let id = sent.fetch_add(1, Ordering::Relaxed);
        if id >= REQUESTS {
            return failures;
        }
        if let Err(error) = echo(&client, &url, id).await {
            failures.push(format!("{error:#}"));
        }
    }
}

async fn echo(client: &HyperClient, url: &str, id: u64) -> Result<()> {
    let mut body = vec![0; SIZES[usize::try_from(id)? % SIZES.len()]];
    fastrand::Rng::with_seed(id).fill(&mut body);
    let body = Bytes::from(body);
    let request = Request::post(format!("{url}/echo")).header("x-id", id);
    let response = client.request(request.body(Full::new(body.clone()))?).await?;
    anyhow::ensure!(response.status() == StatusCode::OK, "{response:?}");
    anyhow::ensure!(response.headers()["x-id"] == id.to_string().as_str(), "{response:?}");
    let received = response.into_body().collect().await?.to_bytes();
    anyhow::ensure!(received == body, "{} bytes for {}", received.len(), body.len());
    Ok(())
}

#[tokio::test]
async fn it_loses_nothing_over_http1() -> Result<()> {
    loses_nothing(echoing(Transport::Plain), async |fleet| run(fleet, Http::One).await).await
}

#[tokio::test]
async fn it_loses_nothing_over_http2() -> Result<()> {
    loses_nothing(echoing(Transport::Plain), async |fleet| run(fleet, Http::Two).await).await
}
