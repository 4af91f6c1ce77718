//! Tells the cluster how much this node has to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use crate::cluster::NodeLoad;
use crate::telemetry::{cpu_seconds, resident_bytes};

/// How often it is measured.
const LOOK: Duration = Duration::from_secs(1);

/// Measures until the server ends; not at all without a cluster.
pub(super) async fn tell(shared: Arc<Shared>) {
    let Some(cluster) = &shared.cluster else { return };
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = cpu_seconds().map(|seconds| (Instant::now(), seconds));
    loop {
        looks.tick().await;
        let now = cpu_seconds().map(|seconds| (Instant::now(), seconds));
        let cpu = before.zip(now).and_then(|((from, had), (to, has))| {
            millicores(has - had, to.saturating_duration_since(from))
        });
        before = now;
        cluster.set_load(NodeLoad {
            connections: shared.figures.connections(),
            cpu_millicores: cpu,
            memory_bytes: resident_bytes().unwrap_or(0),
        });
    }
}

/// Seconds of CPU time in so long, in thousandths of a core; nothing of no time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is within its bounds then"
)]
fn millicores(cpu_s: f64, elapsed: Duration) -> Option<u32> {
    let share = cpu_s / elapsed.as_secs_f64() * 1_000.0;
    share.is_finite().then(|| share.clamp(0.0, 1_000_000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_has_a_thousand_thousandths() {
        assert_eq!(millicores(0.5, Duration::from_secs(1)), Some(500));
        assert_eq!(millicores(-1.0, Duration::from_secs(1)), Some(0));
        assert_eq!(millicores(0.0, Duration::ZERO), None);
    }
}
