//! Proxies in between: they are the edge's clients, and theirs must not notice.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use integration::client::{ClientPool, LongLivedClient, Pace, Protocol, Resolver};
use integration::dns::DnsServer;
use integration::envoy::{Envoy, EnvoyOptions, locate};
use integration::fleet::{Fleet, NAME};
use integration::loopback::LoopbackBlock;
use integration::process::ChildProcess;
use integration::tools::program;
use integration::traffic::Said;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{REQUESTS, Transport, echoing, loses_nothing};

const BOUND: Duration = Duration::from_mins(1);
const CLIENTS: usize = 4;

/// The harness's clients, which echo through the proxy at `address`.
async fn echoes_through(address: SocketAddr, block: &LoopbackBlock) -> Result<Said> {
    let SocketAddr::V4(proxy) = address else { anyhow::bail!("no IPv4") };
    let dns = DnsServer::start(block.address(9), NAME, vec![*proxy.ip()]).await?;
    let spec = |_| LongLivedClient {
        echoes: true,
        ..LongLivedClient::new(Protocol::Http1, Pace::Unpaced, NAME.trim_end_matches('.'))
    };
    let resolver = Resolver::new(dns.address(), NAME)?;
    let clients = ClientPool::start(CLIENTS, spec, &resolver, proxy.port())?;
    clients.wait_until(BOUND, |totals| totals.requests >= REQUESTS).await?;
    let totals = clients.stop().await;
    Ok(Said {
        requests: totals.requests,
        failed: totals.failed + totals.connections_lost,
        closes: totals.closes_seen,
        failures: totals.failures,
    })
}

/// nginx that keeps connections to the edge, and tries nothing twice.
fn nginx_configuration(directory: &Path, listen: SocketAddr, edge: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 2m;
    upstream edge {{ server {edge}; keepalive 8; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://edge;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_next_upstream off;
        }}
    }}
}}
"
    )
}

async fn through_nginx(fleet: &Fleet) -> Result<Said> {
    let directory = tempfile::tempdir()?;
    let block = LoopbackBlock::claim()?;
    let listen = SocketAddr::from(block.public(1));
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, nginx_configuration(directory.path(), listen, fleet.edges()[0].address))?;
    let mut nginx = Command::new(program("nginx", "nginx")?);
    nginx.arg("-e").arg("stderr").arg("-p").arg(directory.path()).arg("-c").arg(&file);
    let nginx = ChildProcess::spawn(nginx, "nginx", directory.path())?;
    let started = async {
        while TcpStream::connect(listen).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = started => {}
        status = nginx.exited() => anyhow::bail!("nginx: {status}\n{}", nginx.log_text()),
    }
    let said = echoes_through(listen, &block).await.with_context(|| nginx.log_text())?;
    nginx.terminate().await?;
    Ok(said)
}

/// An Envoy that forwards to the edge over HTTP/1.1 or HTTP/2, and tries nothing twice.
fn envoy_configuration(
    listen: SocketAddr,
    admin: SocketAddr,
    edge: SocketAddr,
    options: &Value,
) -> Value {
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip(), "port_value": address.port()}});
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [{
                "address": socket(listen),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                                  http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "proxy",
                        "route_config": {"virtual_hosts": [{
                            "name": "all",
                            "domains": ["*"],
                            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "edge"}}]
                        }]},
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": "type.googleapis.com/\
                                envoy.extensions.filters.http.router.v3.Router"}
                        }]
                    }
                }]}]
            }],
            "clusters": [{
                "name": "edge",
                "connect_timeout": "5s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": options
                    }
                },
                "load_assignment": {"cluster_name": "edge", "endpoints": [{
                    "lb_endpoints": [{"endpoint": {"address": socket(edge)}}]
                }]}
            }]
        }
    })
}

async fn through_envoy(fleet: &Fleet, options: &Value) -> Result<Said> {
    let directory = tempfile::tempdir()?;
    let block = LoopbackBlock::claim()?;
    let listen = SocketAddr::from(block.public(1));
    let admin = SocketAddr::from((listen.ip(), block.free_port(block.address(1))?));
    let bootstrap = envoy_configuration(listen, admin, fleet.edges()[0].address, options);
    let binary = locate()?;
    let options = EnvoyOptions::new(&binary, "proxy", &bootstrap, directory.path());
    let envoy = Envoy::start(options).await?;
    let said = echoes_through(listen, &block).await?;
    envoy.stop().await?;
    Ok(said)
}

#[tokio::test]
async fn nginx_loses_nothing() -> Result<()> {
    loses_nothing(echoing(Transport::Plain), async |fleet| through_nginx(fleet).await).await
}

#[tokio::test]
async fn another_envoy_loses_nothing_over_http1() -> Result<()> {
    let options = json!({ "http_protocol_options": {} });
    loses_nothing(echoing(Transport::Plain), async |fleet| through_envoy(fleet, &options).await)
        .await
}

#[tokio::test]
async fn another_envoy_loses_nothing_over_http2() -> Result<()> {
    let options = json!({ "http2_protocol_options": {} });
    loses_nothing(echoing(Transport::Plain), async |fleet| through_envoy(fleet, &options).await)
        .await
}
