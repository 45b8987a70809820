//! What peers can do who mean harm, or are broken: clients, nodes, edges. Nothing that they send is
//! taken for more than it is, what there is of it stays bounded, and others lose no request.
//!
//! Clients are curl, hyper and `h2` where these can be made to do it, and bytes by hand elsewhere.

mod broken_nodes;
mod clients;
mod floods;
mod forged_stamps;
mod mirror;
mod privileges;
mod support;
