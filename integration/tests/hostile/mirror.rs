//! The application: it sends back what came to it, and says what the client wants it to say.
//!
//! | header of the request | what the response gets |
//! |---|---|
//! | `x-close` | its value as `spillway-close`, with the connection of the request for `{own}` and its load balancer's VM for `{vm}`; each, where there are several |
//! | `x-close-bytes` | a `spillway-close` of so many bytes |
//! | `x-trailer` | its value as trailers `spillway-close` and `spillway-lb` |

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, Response};
use integration::application::Application;
use integration::fleet::StartApplication;
use redistribution::wire::Stamp;
use serde::Deserialize;
use serde_json::json;

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// What came to the application.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub headers: BTreeMap<String, Vec<String>>,
    pub trailers: BTreeMap<String, Vec<String>>,
    /// Bytes of the body.
    pub body: usize,
}

// === impl Seen ===

impl Seen {
    pub fn read(body: &str) -> anyhow::Result<Self> {
        Ok(serde_json::from_str(body)?)
    }

    /// Values of a header.
    pub fn header(&self, name: &str) -> &[String] {
        self.headers.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

pub fn mirror() -> StartApplication {
    StartApplication(|address| Box::pin(Application::serve(address, reflect)))
}

async fn reflect(request: Request<Incoming>) -> Response<AnyBody> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Bytes::new());
    let stamp = head.headers.get("spillway-lb").and_then(|stamp| stamp.to_str().ok());
    for close in head.headers.get_all("x-close") {
        if let Some(close) = spoken(close.as_bytes(), stamp) {
            response.headers_mut().append("spillway-close", close);
        }
    }
    let length = head.headers.get("x-close-bytes").and_then(|length| length.to_str().ok());
    if let Some(close) =
        length.and_then(|length| HeaderValue::from_bytes(&vec![b'a'; length.parse().ok()?]).ok())
    {
        response.headers_mut().insert("spillway-close", close);
    }
    let trailer = head.headers.get("x-trailer").cloned();
    // A request that was cut has no trailers, and nobody waits for its response.
    let (body, trailers) = match body.collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned().unwrap_or_default();
            (body.to_bytes(), trailers)
        }
        Err(_) => (Bytes::new(), HeaderMap::new()),
    };
    let seen = json!({
        "headers": listed(&head.headers),
        "trailers": listed(&trailers),
        "body": body.len(),
    });
    response.map(|_| {
        let body = Full::new(Bytes::from(seen.to_string()));
        match trailer {
            None => body.boxed_unsync(),
            Some(value) => {
                let names = ["spillway-close", "spillway-lb"];
                let trailers = names.map(|name| (name.parse().expect("a name"), value.clone()));
                let trailers = HeaderMap::from_iter(trailers);
                // Of no length that is known before: over HTTP/1 only chunks can have trailers.
                let body = body.map_frame(|frame| frame);
                body.with_trailers(async { Some(Ok(trailers)) }).boxed_unsync()
            }
        }
    })
}

/// A close request with the places in it filled in.
fn spoken(close: &[u8], stamp: Option<&str>) -> Option<HeaderValue> {
    let Ok(text) = std::str::from_utf8(close) else { return HeaderValue::from_bytes(close).ok() };
    let position = stamp.and_then(|stamp| Stamp::parse(stamp.as_bytes()).ok()?.position);
    let text = match position {
        Some(at) => text
            .replace("{own}", &format!("{};vm={}", at.connection, at.vm))
            .replace("{vm}", at.vm.as_str()),
        None => text.to_owned(),
    };
    HeaderValue::from_str(&text).ok()
}

fn listed(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut listed = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        listed.entry(name.as_str()).or_default().push(value);
    }
    listed
}
