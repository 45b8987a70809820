//! The clients against Envoy as it closes connections by itself, without our filters.
//!
//! If this failed, no test of the filters could hold the promise.

use serde_json::{Value, json};

use super::*;
use crate::envoy::{self, Envoy, EnvoyOptions};

/// Answers by itself, and lets a connection go gracefully after 100 requests.
fn bootstrap(public: SocketAddr, admin: SocketAddr) -> Value {
    let socket = |address: SocketAddr| {
        json!({"socket_address": {
            "address": address.ip().to_string(), "port_value": address.port()}})
    };
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {"listeners": [{
            "address": socket(public),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                              http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "test",
                    "common_http_protocol_options": {"max_requests_per_connection": 100},
                    "route_config": {"virtual_hosts": [{
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{
                            "match": {"prefix": "/"},
                            "direct_response": {
                                "status": 200, "body": {"inline_string": "a body"}}
                        }]
                    }]},
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": "type.googleapis.com/\
                            envoy.extensions.filters.http.router.v3.Router"}
                    }]
                }
            }]}]
        }]}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_when_envoy_lets_connections_go() {
    let binary = envoy::locate().unwrap();
    let block = LoopbackBlock::claim().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let edge = block.address(1);
    let admin = SocketAddr::from((edge, block.free_port(edge).unwrap()));
    let bootstrap = bootstrap(block.public(1).into(), admin);
    let options = EnvoyOptions {
        workers: 2,
        ..EnvoyOptions::new(&binary, "edge", &bootstrap, directory.path())
    };
    let edge_envoy = Envoy::start(options).await.unwrap();
    let dns = DnsServer::start(block.address(9), NAME, vec![edge]).await.unwrap();
    let resolver = Resolver::new(dns.address(), NAME).unwrap();

    let protocols = [Protocol::Http1, HTTP2];
    let pool = ClientPool::start(
        8,
        |number| LongLivedClient::new(protocols[number % 2], Pace::Unpaced, NAME),
        &resolver,
        block.port(),
    )
    .unwrap();
    pool.wait_until(BOUND, |totals| totals.closes_seen >= 200).await.unwrap();
    let totals = pool.stop().await;
    assert_eq!(totals.failures, Vec::<String>::new(), "{totals:?}");
    assert_eq!((totals.failed, totals.connections_lost, totals.idle_closes), (0, 0, 0));

    // Envoy counts the same: no request was sent that these clients do not know of.
    let stats = edge_envoy.stats().await.unwrap();
    assert_eq!(stats.counter("http.test.downstream_rq_2xx"), totals.requests);
    assert_eq!(stats.counter("http.test.downstream_cx_total"), totals.connections_opened);
}
