//! The record of who did what.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where it is kept that somebody did, or tried, what only few may do.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// A file of JSON lines; absent: none.
    pub file: Option<PathBuf>,
    /// Whether it is published to the topic `$sys.audit`.
    pub topic: bool,
}
