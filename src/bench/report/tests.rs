use super::*;
use std::time::Duration;

fn report(rate: Option<u32>, server_cpu_s: Option<f64>, bench_cpu_s: f64) -> Report {
    let latency = SummaryUs { p50_us: 50, p95_us: 95, p99_us: 99, p999_us: 100, max_us: 101 };
    Report {
        transport: "ws".to_owned(),
        url: None,
        sizes: Sizes { subscribers: Some(100), batch: Some(1), rate, ..Sizes::default() },
        measured: Measured {
            elapsed: Duration::from_secs(10),
            server_cpu_s,
            bench_cpu_s: Some(bench_cpu_s),
            machine_busy_s: Some(19.5),
            server_rss_bytes: Some(2048),
        },
        figures: Figures::Fanout { deliveries: 4_000_000, latency: Some(latency), missing: 0 },
        faults: Vec::new(),
        processors: 2,
    }
}

#[test]
fn the_object_has_what_programs_look_for() {
    let object = report(None, Some(8.0), 3.0).json().unwrap();
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["deliveries_per_s"], 400_000.0);
    assert_eq!(object["server_cpu_s_per_million"], 2.0);
    assert_eq!(object["server_rss_bytes"], 2048);
    for (field, us) in
        [("p50_us", 50), ("p95_us", 95), ("p99_us", 99), ("p999_us", 100), ("max_us", 101)]
    {
        assert_eq!(object[field], us);
    }
    assert_eq!(object["workload"]["kind"], "fanout");
    assert_eq!(object["workload"]["subscribers"], 100);
    assert_eq!(object["workload"]["rate"], serde_json::Value::Null);
    assert_eq!(object["workload"].get("writers"), None);
}

#[test]
fn what_is_not_known_is_null() {
    let object = report(None, None, 3.0).json().unwrap();
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert!(object["server_cpu_s_per_million"].is_null());
    assert!(object["server_cpu_s"].is_null());
}

#[test]
fn a_schedule_changes_what_latency_means_and_both_forms_say_so() {
    let scheduled = report(Some(9), Some(5.0), 5.0);
    assert!(scheduled.json().unwrap().contains("coordinated omission"));
    assert!(scheduled.summary().contains("coordinated omission"));
    assert!(!report(None, Some(5.0), 5.0).summary().contains("coordinated omission"));
}
