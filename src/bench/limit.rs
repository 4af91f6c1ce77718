//! What kept a run from being faster.

use serde::{Deserialize, Serialize};

use super::phase::Measured;
use super::process::BusyThread;

/// Of all processors together, or of one thread: busier than this, they were the limit.
const BUSY: f64 = 0.9;

/// What kept the figures from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// The rate that was asked for.
    Rate,
    /// The processors were busy, and the server used more of them.
    ProcessorsServer,
    /// The processors were busy, and the bench used more of them.
    ProcessorsBench,
    /// The processors were busy, most of all with other programs: measure again without those.
    ProcessorsOthers,
    /// The processors had time left, but a thread of the server had not.
    ThreadServer,
    /// The processors had time left, but a thread of the bench had not.
    ThreadBench,
    /// The processors had time left: waiting for each other.
    Waiting,
    /// The usage is not known.
    Unknown,
}

impl Limit {
    /// Which side was the limit of a run on so many processors, as far as CPU times can tell.
    /// `own_server`: the server runs on this machine too.
    pub(crate) fn of(
        measured: &Measured,
        processors: usize,
        rate: Option<u32>,
        own_server: bool,
    ) -> Self {
        let Measured { elapsed, server_cpu_s, bench_cpu_s, machine_busy_s, .. } = measured;
        let (Some(bench), Some(machine)) = (*bench_cpu_s, *machine_busy_s) else {
            return Self::Unknown;
        };
        let server = server_cpu_s.filter(|_| own_server).unwrap_or(0.0);
        let processors = u32::try_from(processors).map_or(f64::INFINITY, f64::from);
        if machine < BUSY * processors * elapsed.as_secs_f64() {
            return if rate.is_some() { Self::Rate } else { Self::of_threads(measured) };
        }
        let others = machine - bench - server;
        if others > bench.max(server) {
            Self::ProcessorsOthers
        } else if bench > server {
            Self::ProcessorsBench
        } else {
            Self::ProcessorsServer
        }
    }

    fn of_threads(measured: &Measured) -> Self {
        let share = |thread: &Option<BusyThread>| thread.as_ref().map_or(0.0, |busy| busy.share);
        let (server, bench) = (share(&measured.server_thread), share(&measured.bench_thread));
        if server.max(bench) < BUSY {
            Self::Waiting
        } else if server >= bench {
            Self::ThreadServer
        } else {
            Self::ThreadBench
        }
    }

    /// For people.
    pub(crate) fn explain(self, processors: usize) -> String {
        match self {
            Self::Rate => "the rate that was asked for".to_owned(),
            Self::ProcessorsServer => {
                format!("all {processors} processors were busy, more with the server")
            }
            Self::ProcessorsBench => format!(
                "all {processors} processors were busy, more with this bench than with the server"
            ),
            Self::ProcessorsOthers => format!(
                "all {processors} processors were busy, most with other programs: run this alone"
            ),
            Self::ThreadServer => "one thread of the server was busy all the time".to_owned(),
            Self::ThreadBench => "one thread of this bench was busy all the time".to_owned(),
            Self::Waiting => "processors had time left: waiting for each other".to_owned(),
            Self::Unknown => "not known without CPU times".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limit(server_cpu_s: Option<f64>, bench_cpu_s: f64, machine_busy_s: Option<f64>) -> Limit {
        let measured = Measured {
            elapsed: Duration::from_secs(10),
            server_cpu_s,
            bench_cpu_s: Some(bench_cpu_s),
            machine_busy_s,
            ..Measured::default()
        };
        Limit::of(&measured, 2, None, true)
    }

    #[test]
    fn the_limit_is_who_used_most_of_busy_processors() {
        assert_eq!(limit(Some(12.0), 7.0, Some(19.5)), Limit::ProcessorsServer);
        assert_eq!(limit(Some(7.0), 12.0, Some(19.5)), Limit::ProcessorsBench);
        assert_eq!(limit(Some(5.0), 5.0, Some(19.5)), Limit::ProcessorsOthers);
    }

    #[test]
    fn idle_processors_are_not_the_limit() {
        assert_eq!(limit(Some(5.0), 5.0, Some(11.0)), Limit::Waiting);
        assert_eq!(limit(Some(5.0), 5.0, None), Limit::Unknown);
    }

    #[test]
    fn a_busy_thread_is_the_limit_where_processors_are_not() {
        let busy = |share| Some(BusyThread { name: "t".to_owned(), share });
        let limit = |server, bench| {
            Limit::of_threads(&Measured {
                server_thread: busy(server),
                bench_thread: busy(bench),
                ..Measured::default()
            })
        };
        assert_eq!(limit(0.97, 0.95), Limit::ThreadServer);
        assert_eq!(limit(0.5, 0.95), Limit::ThreadBench);
        assert_eq!(limit(0.5, 0.8), Limit::Waiting);
    }

    #[test]
    fn a_server_elsewhere_does_not_use_these_processors() {
        let measured = Measured {
            elapsed: Duration::from_secs(10),
            server_cpu_s: Some(18.0),
            bench_cpu_s: Some(2.0),
            machine_busy_s: Some(3.0),
            ..Measured::default()
        };
        assert_eq!(Limit::of(&measured, 2, Some(9), false), Limit::Rate);
    }
}
