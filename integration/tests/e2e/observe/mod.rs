//! What is to be seen of Spillway: metrics, access logs and log lines of real Envoys, and what a
//! real Prometheus makes of them.

mod access_log;
mod dashboard;
mod log_lines;
mod metrics;
mod rules;
mod scraping;
