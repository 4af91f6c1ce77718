//! Laws that hold for every frame, value, record, pattern and filter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where its expectation does"
)]

mod bodies;
mod frames;
mod generated;
mod names;
mod values;
