//! What workers share, in every order of what they do to it, with VMs that trap in between.
//!
//! Each scenario says what holds, and, where a trap can cost something, how much.

mod budget;
mod handover;
mod orders;
mod total;
mod worker;
