//! What is kept on disk, and how.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::INTEGER_MAX;

/// The smallest reserve: what is under way when it is reached has to find room in it, and so has what
/// the database moves about afterwards (seen: 155 MB for 100 MB of records).
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// Storage of the names whose policy has durability "disk".
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// The key that voters are hashed with; none: beside the data directory, made if need be.
    pub master_key_file: Option<PathBuf>,
    /// Free space on the disk below which what has to be on it is refused.
    #[schemars(range(min = FREE_BYTES_MIN, max = INTEGER_MAX))]
    pub free_bytes_min: u64,
    /// How long the journal may take to open.
    #[schemars(range(min = 1_000, max = 86_400_000))]
    pub open_timeout_ms: u64,
    /// What a shard logs at least before its state is saved and the log before that can go.
    #[schemars(range(min = 65_536, max = 1_u64 << 40))]
    pub checkpoint_bytes: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            master_key_file: None,
            free_bytes_min: 1024 * 1024 * 1024,
            open_timeout_ms: 300_000,
            checkpoint_bytes: 64 * 1024 * 1024,
        }
    }
}
