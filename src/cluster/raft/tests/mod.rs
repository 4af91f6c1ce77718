//! The logs of groups under openraft's own tests, and under openraft itself.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

mod alone;
mod machine;
mod meta;
mod slow;
mod suite;
mod throughput;

use std::path::Path;

use crate::journal::tests::open_as;
use crate::journal::{Opened, OpenedGroup, Storage};

/// The groups of a node in this directory, and what runs below them.
fn groups(directory: &Path) -> (Vec<OpenedGroup>, Storage) {
    let Opened { groups, storage, .. } = open_as(directory, "n", true).unwrap();
    (groups, storage)
}
