//! What a process costs: its CPU time and its memory, from `/proc` on this machine or from the
//! metrics of a server elsewhere.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Clock ticks per second in `/proc`: Linux reports in hundredths on every architecture that
/// this program is built for, whatever the kernel's own tick is.
const TICKS_PER_S: u64 = 100;
/// Longest answer of `/metrics` that is read.
const METRICS_BYTES_MAX: u64 = 4 * 1024 * 1024;
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes that a bench starts at most.
pub(crate) const NODES_MAX: usize = 7;

/// Where the usage of a process is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UsageSource {
    /// A process on this machine.
    Process(u32),
    /// Those of a cluster; 0 is none.
    Processes([u32; NODES_MAX]),
    /// The admin interface of a server.
    Metrics(SocketAddr),
    /// Nowhere.
    Unknown,
}

/// What a process has used so far. `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU seconds, user and system.
    pub(crate) cpu_s: Option<f64>,
    /// Resident bytes.
    pub(crate) rss_bytes: Option<u64>,
}

impl Usage {
    fn of_process(pid: u32) -> Self {
        Self {
            cpu_s: fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(cpu_s),
            rss_bytes: fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(rss),
        }
    }

    fn and(self, other: Self) -> Self {
        let cpu_s = self.cpu_s.zip(other.cpu_s).map(|(one, other)| one + other);
        let rss_bytes = self.rss_bytes.zip(other.rss_bytes).map(|(one, other)| one + other);
        Self { cpu_s, rss_bytes }
    }
}

impl UsageSource {
    /// All processes of a cluster.
    pub(crate) fn processes(pids: &[u32]) -> Self {
        let mut all = [0; NODES_MAX];
        for (place, pid) in all.iter_mut().zip(pids) {
            *place = *pid;
        }
        Self::Processes(all)
    }

    /// The CPU seconds of all threads so far, where that is known.
    pub(crate) fn thread_times(self) -> ThreadTimes {
        match self {
            Self::Process(pid) => thread_times(pid),
            Self::Processes(pids) => {
                pids.into_iter().filter(|pid| *pid > 0).flat_map(thread_times).collect()
            }
            Self::Metrics(_) | Self::Unknown => ThreadTimes::new(),
        }
    }

    /// This process.
    pub(crate) fn own() -> Self {
        Self::Process(std::process::id())
    }

    /// Reads the usage now.
    ///
    /// # Errors
    /// When metrics were asked for and do not come.
    pub(crate) async fn read(&self) -> Result<Usage, String> {
        match self {
            Self::Process(pid) => Ok(Usage::of_process(*pid)),
            Self::Processes(pids) => {
                let each = pids.iter().filter(|pid| **pid > 0).map(|pid| Usage::of_process(*pid));
                Ok(each.fold(Usage { cpu_s: Some(0.0), rss_bytes: Some(0) }, Usage::and))
            }
            Self::Metrics(address) => match timeout(METRICS_TIMEOUT, metrics(*address)).await {
                Ok(Ok(text)) => Ok(Usage {
                    cpu_s: metric(&text, "process_cpu_seconds_total"),
                    rss_bytes: metric(&text, "process_resident_memory_bytes").map(whole),
                }),
                Ok(Err(error)) => Err(format!("http://{address}/metrics: {error}")),
                Err(elapsed) => Err(format!("http://{address}/metrics: {elapsed}")),
            },
            Self::Unknown => Ok(Usage::default()),
        }
    }
}

/// The CPU seconds of a process's threads so far.
pub(crate) type ThreadTimes = HashMap<String, (String, f64)>;

/// A thread, and how much of a time it was busy: 1 is all of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BusyThread {
    pub(crate) name: String,
    pub(crate) share: f64,
}

/// The threads of a process on this machine, by their numbers. Empty when they are not known.
pub(crate) fn thread_times(pid: u32) -> ThreadTimes {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let read = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let number = thread.file_name().into_string().ok()?;
        Some((number, (name.trim_end().to_owned(), cpu_s(stat)?)))
    });
    read.collect()
}

/// Which thread was the busiest between two looks.
pub(crate) fn busiest(
    before: &ThreadTimes,
    after: &ThreadTimes,
    elapsed: Duration,
) -> Option<BusyThread> {
    let spent = after.iter().map(|(number, (name, cpu_s))| {
        let earlier = before.get(number).map_or(0.0, |(_, cpu_s)| *cpu_s);
        (name, cpu_s - earlier)
    });
    let (name, cpu_s) = spent.max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let share = (cpu_s / elapsed.as_secs_f64() * 100.0).round() / 100.0;
    Some(BusyThread { name: name.clone(), share })
}

/// CPU seconds that all processors of this machine have spent on anything but idling, if known.
pub(crate) fn machine_busy_s() -> Option<f64> {
    busy_s(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, in
/// ticks; then guest times, which are in user and nice already.
fn busy_s(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks = fields.take(8).map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = ticks.try_into().ok()?;
    let busy = user + nice + system + irq + softirq + steal;
    Some(Duration::from_millis(busy * 1000 / TICKS_PER_S).as_secs_f64())
}

/// Fields 14 and 15 of `/proc/PID/stat`: user and system time. The second field, the name, may
/// hold anything, so they are counted from the last parenthesis.
fn cpu_s(stat: String) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_S).as_secs_f64())
}

fn rss(status: String) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// HTTP 1.0, because its answer is the bytes up to the end: nothing to decode.
async fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(METRICS_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split_ascii_whitespace().nth(1) == Some("200") => {
            Ok(body.to_owned())
        }
        _ => {
            let first: String = answer.chars().take_while(|c| !c.is_control()).take(80).collect();
            Err(std::io::Error::other(format!("the answer is '{first}', not 200")))
        }
    }
}

/// The value of a metric without labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of memory: a float's cast saturates, and below 2^53 it is exact"
    )]
    let whole = value as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn cpu_time_is_read_behind_a_name_that_looks_like_fields() {
        let stat = "42 (a ) 1 (b) S 1 42 42 0 -1 4194560 1 0 0 0 150 75 0 0 20 0 4 0 9 1 2 3";
        assert_eq!(cpu_s(stat.to_owned()), Some(2.25));
        assert_eq!(cpu_s("nonsense".to_owned()), None);
    }

    #[test]
    fn a_machine_is_busy_with_all_but_idling_and_waiting() {
        let stat = "cpu  100 10 50 9000 700 5 15 20 40 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_s(stat), Some(2.0));
        assert_eq!(busy_s("intr 5\n"), None);
        assert!(machine_busy_s().unwrap() > 0.0);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  90 kB\nVmRSS:\t    64 kB\nThreads:\t4\n";
        assert_eq!(rss(status.to_owned()), Some(65_536));
        assert_eq!(rss("Name:\tkthread\n".to_owned()), None);
    }

    #[tokio::test]
    async fn this_process_uses_memory() {
        let usage = UsageSource::own().read().await.unwrap();
        assert!(usage.cpu_s.unwrap() >= 0.0);
        assert!(usage.rss_bytes.unwrap() > 100_000);
    }

    #[test]
    fn the_busiest_thread_is_the_one_that_used_most_since() {
        let times = |times: &[(&str, &str, f64)]| -> ThreadTimes {
            let named = |(number, name, cpu_s): &(&str, &str, f64)| {
                ((*number).to_owned(), ((*name).to_owned(), *cpu_s))
            };
            times.iter().map(named).collect()
        };
        let before = times(&[("1", "main", 50.0), ("2", "reader", 1.0)]);
        let after = times(&[("1", "main", 50.5), ("2", "reader", 9.0), ("3", "late", 2.0)]);
        let busy = busiest(&before, &after, Duration::from_secs(10)).unwrap();
        assert_eq!(busy, BusyThread { name: "reader".to_owned(), share: 0.8 });
        assert!(!thread_times(std::process::id()).is_empty());
        assert_eq!(busiest(&before, &ThreadTimes::new(), Duration::from_secs(1)), None);
    }

    async fn serve_once(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn usage_elsewhere_comes_from_the_metrics() {
        let address = serve_once(
            "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n# TYPE process_cpu_seconds_total \
             counter\nprocess_cpu_seconds_total_x 9\nprocess_cpu_seconds_total 12.5\n\
             process_resident_memory_bytes 1048576\n",
        )
        .await;
        let usage = UsageSource::Metrics(address).read().await.unwrap();
        assert_eq!(usage, Usage { cpu_s: Some(12.5), rss_bytes: Some(1_048_576) });
    }

    #[tokio::test]
    async fn metrics_that_are_refused_are_an_error_that_says_where() {
        let address = serve_once("HTTP/1.0 404 Not Found\r\n\r\n").await;
        let error = UsageSource::Metrics(address).read().await.unwrap_err();
        assert!(error.contains(&format!("http://{address}/metrics")), "{error}");
        assert!(error.contains("404 Not Found"), "{error}");
    }
}
