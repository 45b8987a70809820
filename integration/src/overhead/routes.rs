//! What requests get: the same from every contender.
//!
//! Small bodies come from the listener itself, so that only filters are left to cost anything;
//! large ones come in pieces, from a backend. Where connections are to be closed, some responses to
//! requests with a stamp say so: some forty a second. They have to name the connection and the VM: the
//! first Envoy knows, the second the client says as the host it asks for.

use redistribution::wire::STAMP_HEADER;
use serde_json::{Value, json};

/// Of so many responses one asks for a close, where every request has a stamp: 20,000 a second and more.
pub(super) const ONE_IN: u32 = 500;
/// And where a sample has one: 1,000 a second, more or less.
pub(super) const ONE_IN_SAMPLED: u32 = 25;
/// Bytes of a large body.
pub(super) const LARGE: usize = 1 << 20;
/// Answers with the stamp that the request had behind the filters.
pub(super) const STAMP_PATH: &str = "/stamp";
/// The response header in which it does.
pub(super) const STAMP_ECHO: &str = "stamp";

/// The route configuration of a contender that asks for a close on one response in `one_in`.
pub(super) fn routes(one_in: u32) -> Value {
    let close =
        header("spillway-close", "lb=\"edge-1\", conns=(%CONNECTION_ID%;vm=%REQ(:authority)%)");
    let echo = header(STAMP_ECHO, "%REQ(spillway-lb)%");
    let small = json!({ "direct_response": { "status": 200, "body": { "inline_string": "ok" } } });
    let large = json!({ "route": { "cluster": "nodes" } });
    let route = |matched: Value, answer: &Value, headers: Option<&Value>| {
        let mut route = answer.clone();
        route["match"] = matched;
        if let Some(header) = headers {
            route["response_headers_to_add"] = json!([header]);
        }
        route
    };
    let now_and_then = json!({
        "default_value": { "numerator": 1_000_000 / one_in, "denominator": "MILLION" },
        "runtime_key": "spillway.overhead.closes",
    });
    let mut all = vec![route(json!({ "path": STAMP_PATH }), &small, Some(&echo))];
    for (path, answer) in [("/small", &small), ("/large", &large)] {
        let closing = format!("{path}/closing");
        all.push(route(
            json!({
                "path": closing,
                "headers": [{ "name": STAMP_HEADER, "present_match": true }],
                "runtime_fraction": now_and_then,
            }),
            answer,
            Some(&close),
        ));
        all.push(route(json!({ "prefix": path }), answer, None));
    }
    json!({
        "name": "overhead",
        "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": all }],
    })
}

/// The Envoy that has the large bodies.
pub(super) fn backend(traffic: std::net::SocketAddr, admin: std::net::SocketAddr) -> Value {
    let socket = |address: std::net::SocketAddr| json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } });
    json!({
        "admin": { "address": socket(admin) },
        "static_resources": { "listeners": [{
            "address": socket(traffic),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "backend",
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                        },
                    }],
                    "route_config": {
                        "max_direct_response_body_size_bytes": LARGE,
                        "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{
                            "match": { "prefix": "/" },
                            "direct_response": {
                                "status": 200, "body": { "inline_string": "x".repeat(LARGE) },
                            },
                        }] }],
                    },
                },
            }] }],
        }] },
    })
}

fn header(name: &str, value: &str) -> Value {
    json!({
        "header": { "key": name, "value": value },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    })
}
