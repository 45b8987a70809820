//! Spillway as Istio and Envoy Gateway run it.
//!
//! Neither runs here. What is shown is that the manifests are what their kinds take, and that the
//! Envoy configuration that comes of them closes connections and loses nothing. How it comes of them
//! is rebuilt here from the sources of Istio 1.31 and Envoy Gateway 1.9: docs/istio.md and
//! docs/envoy-gateway.md say what is made of what.

mod docs;
mod envoy_gateway;
mod gateway_makes;
mod istio;
mod istio_makes;
mod manifests;
mod schemas;
mod support;
