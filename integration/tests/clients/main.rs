//! Clients that nobody here wrote, on real Envoys that close their connections: none loses a request.
//!
//! For each: closes happened, connections were opened again, every response was whole and right,
//! and the edge has seen each request once, so nothing was hidden by sending it again. What each
//! of them does when it is told to close stands in `docs/clients.md`. A client that is missing fails
//! its test, with a line that says what to install.

mod command_line;
mod grpcio;
mod hyper;
mod java;
mod node;
mod own_faults;
mod proxies;
mod python;
mod support;
