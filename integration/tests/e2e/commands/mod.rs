//! The commands of the README, as a user runs them, in a short form.

mod compare;
mod demo;
mod matrix;
mod soak;
