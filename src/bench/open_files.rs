//! How many files, and so connections, a process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises this process's limit to the highest that it may have, and returns it. Processes that it
/// starts, the server among them, inherit it.
pub(crate) fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit).is_ok();
    // Without a number there is no limit.
    (if raised { limit.maximum } else { soft }).unwrap_or(u64::MAX)
}
