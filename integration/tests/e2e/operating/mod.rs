//! The table of docs/operating.md is true: what an operator sees is there once the cause is, on real
//! Envoys, and is over once what is to be done was done, where that can be done while they run.
//!
//! A row that no test plays fails [`table`], which says where the others are played.

mod changed_on_the_way;
mod clients_that_stay;
mod configuration;
mod loads;
mod out_of_the_chain;
mod table;
