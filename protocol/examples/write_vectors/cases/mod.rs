//! Every golden vector: what it is called, the frame as Rust value and, written by hand from
//! PROTOCOL.md, as JSON. Both must lead to the same bytes.

mod cells;
mod connection;
mod consumers;
mod group;
mod names;
mod records;
mod tallies;
mod topics;
pub(crate) mod tree;

/// Why a vector cannot be written.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// One file of vectors.
pub(crate) struct File {
    /// Name inside `vectors/`.
    pub(crate) name: &'static str,
    /// Its whole text.
    pub(crate) text: String,
}

/// Every file, as it must stand in `vectors/`.
pub(crate) fn files() -> Result<Vec<File>, Failure> {
    Ok(vec![
        File { name: "connection.json", text: connection::group()?.finish()? },
        File { name: "topics.json", text: topics::group()?.finish()? },
        File { name: "cells.json", text: cells::group()?.finish()? },
        File { name: "tallies.json", text: tallies::group()?.finish()? },
        File { name: "groups.json", text: consumers::group()?.finish()? },
        File { name: "records.json", text: records::text()? },
        File { name: "names.json", text: names::text()? },
    ])
}
