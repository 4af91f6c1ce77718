use super::*;
use crate::bench::args::TargetArgs;
use crate::bench::phase::Sample;
use crate::demo::latency::Latencies;
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: crate::bench::BenchArgs,
}

pub(super) fn sizes(args: &str) -> Sizes {
    let args = format!("bench {args}");
    Sizes::of(&Cli::try_parse_from(args.split_whitespace()).unwrap().bench.workload)
}

fn target_args() -> TargetArgs {
    let args = "bench fanout --url ws://127.0.0.1:1";
    let workload = Cli::try_parse_from(args.split_whitespace()).unwrap().bench.workload;
    workload.target().unwrap().clone()
}

/// A run with this many deliveries in ten seconds, and latencies up to `max_us`.
pub(super) fn report(deliveries: u64, max_us: u64) -> Report {
    let target = Target::elsewhere(&target_args().url.unwrap(), tidewire_client::Trust::System);
    let mut report = Report::new("fanout", &target.unwrap(), &sizes("fanout"));
    let sample = |at_s, per_s| Sample {
        at: Duration::from_secs(at_s),
        per_s,
        server_cpus: Some(1.5),
        bench_cpus: Some(0.5),
    };
    let measured = Measured {
        elapsed: Duration::from_secs(10),
        server_cpu_s: Some(8.0),
        bench_cpu_s: Some(3.0),
        machine_busy_s: Some(11.5),
        server_rss_bytes: Some(2048),
        samples: vec![sample(5, 100.0), sample(10, 200.0)],
        ..Measured::default()
    };
    let mut latencies = Latencies::default();
    (1..=max_us).for_each(|us| latencies.record(us * 1000, 1));
    report.count("deliveries", deliveries, &measured);
    report.figures().latency(&latencies);
    report.distribution(Distribution::of("", &latencies));
    report.explain_latency("from <here> to there");
    report.cost(&measured, None);
    report
}

pub(super) fn saved(report: &Report) -> (tempfile::TempDir, Baseline) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    report.save(&file).unwrap();
    let baseline = Baseline::read(&file).unwrap();
    (folder, baseline)
}

#[test]
fn the_object_has_what_programs_look_for() {
    let object = report(4_000_000, 100).json(None).unwrap();
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["deliveries"], 4_000_000);
    assert_eq!(object["deliveries_per_s"], 400_000.0);
    assert_eq!(object["server_cpu_s_per_million"], 2.0);
    assert_eq!(object["server_rss_bytes"], 2048);
    for (field, us) in
        [("p50_us", 50), ("p95_us", 95), ("p99_us", 99), ("p999_us", 100), ("max_us", 100)]
    {
        assert_eq!(object[field], us);
    }
    assert_eq!(object["workload"]["kind"], "fanout");
    assert_eq!(object["workload"]["subscribers"], 100);
    assert_eq!(object["workload"]["rate"], Value::Null);
    assert_eq!(object["workload"].get("writers"), None);
    assert!(object["machine"]["processors"].as_u64().unwrap() > 0);
    assert_eq!(object["faults"], Value::Array(Vec::new()));
}

#[test]
fn nothing_counted_is_a_fault_and_what_is_not_known_is_absent() {
    let target = Target::elsewhere("ws://h", tidewire_client::Trust::System).unwrap();
    let mut report = Report::new("fanout", &target, &sizes("fanout"));
    report.count("deliveries", 0, &Measured::default());
    assert_eq!(report.faults(), ["no deliveries in the measured time"]);
    let object: Value = serde_json::from_str(&report.json(None).unwrap()).unwrap();
    assert!(object["server_cpu_s_per_million"].is_null() && object["p50_us"].is_null());
}

#[test]
fn the_table_has_the_figures_in_units_and_says_what_they_mean() {
    let summary = report(4_000_000, 4400).summary(None);
    for words in [
        "fanout over ws",
        "400,000 /s",
        "2.20 ms",
        "from <here> to there",
        "server 8.00 s (0.80 processors), bench 3.00 s (0.30 processors)",
        "limit",
    ] {
        assert!(summary.contains(words), "{words} is not in\n{summary}");
    }
}

#[test]
fn a_saved_run_is_read_again_as_it_was() {
    let before = report(1000, 100);
    let (_folder, baseline) = saved(&before);
    assert_eq!(baseline.report().json(None).unwrap(), before.json(None).unwrap());
    baseline.check("fanout", "ws", &sizes("fanout")).unwrap();
}

#[test]
fn a_baseline_gives_each_figure_its_ratio_and_says_which_way_is_better() {
    let (_folder, baseline) = saved(&report(1_000_000, 1000));
    let now = report(2_000_000, 3000);
    let object: Value = serde_json::from_str(&now.json(Some(&baseline)).unwrap()).unwrap();
    let ratios = &object["baseline"]["ratios"];
    assert_eq!(ratios["deliveries_per_s"], 2.0);
    assert_eq!(ratios["server_cpu_s_per_million"], 0.5);
    assert_eq!(ratios["server_rss_bytes"], 1.0);
    let summary = now.summary(Some(&baseline));
    let line = |label: &str| summary.lines().find(|line| line.contains(label)).unwrap().trim_end();
    assert!(line("deliveries").ends_with("2.00× better"), "{summary}");
    assert!(line("latency max").ends_with("3.00× worse"), "{summary}");
    assert!(line("server memory").ends_with("1.00× same"), "{summary}");
    assert!(summary.contains("before.json"), "{summary}");
}

#[test]
fn parts_are_compared_with_the_parts_of_the_same_name() {
    let case = |name: &str, p50_us: u64| {
        let mut figures = Figures::default();
        figures.set("p50_us", p50_us);
        Case { name: name.to_owned(), figures, ..Case::default() }
    };
    let (mut before, mut now) = (report(1, 1), report(1, 1));
    before.case(case("1 subscriber", 100));
    now.case(case("1 subscriber", 50));
    now.case(case("9 subscribers", 70));
    let (_folder, baseline) = saved(&before);
    let object: Value = serde_json::from_str(&now.json(Some(&baseline)).unwrap()).unwrap();
    let expected = serde_json::json!({ "1 subscriber": { "p50_us": 0.5 } });
    assert_eq!(object["baseline"]["cases"], expected);
    assert!(now.summary(Some(&baseline)).contains("0.50× better"));
}

#[test]
fn rounds_that_overlap_are_no_change() {
    let case = |low: u64, median: u64, high: u64| {
        let mut figures = Figures::default();
        figures.set("p50_us", median);
        let spread = [("p50_us".to_owned(), serde_json::json!([low, high]))].into_iter().collect();
        Case { name: "c".to_owned(), figures, spread, ..Case::default() }
    };
    let (mut before, mut now, mut slow) = (report(1, 1), report(1, 1), report(1, 1));
    before.case(case(90, 100, 150));
    now.case(case(140, 160, 180));
    slow.case(case(151, 160, 180));
    let (_folder, baseline) = saved(&before);
    assert!(now.summary(Some(&baseline)).contains("1.60× within the spread"));
    assert!(slow.summary(Some(&baseline)).contains("1.60× worse"));
}

#[test]
fn a_baseline_of_other_options_is_refused_by_the_options_that_differ() {
    let (_folder, baseline) = saved(&report(1000, 100));
    for (kind, transport, args, words) in [
        ("fanout", "ws", "fanout --subscribers 9", "subscribers is 100 there and 9 here"),
        ("fanout", "ws", "fanout --rate 9", "rate is not given there and 9 here"),
        ("fanout", "quic", "fanout", "transport is ws there and quic here"),
        ("tally", "ws", "tally", "workload is fanout there and tally here"),
    ] {
        let refusal = baseline.check(kind, transport, &sizes(args)).unwrap_err();
        assert_eq!(refusal.exit_code, 2);
        assert!(refusal.message.contains(words), "{}", refusal.message);
        assert!(refusal.message.contains("before.json"), "{}", refusal.message);
        assert!(refusal.message.contains("use the same options"), "{}", refusal.message);
    }
}

#[test]
fn what_is_no_saved_run_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.json");
    let refusal = Baseline::read(&file).unwrap_err();
    assert!(refusal.exit_code == 2 && refusal.message.contains("--baseline"), "{refusal:?}");
    for text in ["hello", "{}", "{\"format\": 99}"] {
        std::fs::write(&file, text).unwrap();
        let refusal = Baseline::read(&file).unwrap_err();
        assert!(refusal.exit_code == 2 && refusal.message.contains("--save"), "{refusal:?}");
    }
}
