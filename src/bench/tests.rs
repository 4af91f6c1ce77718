use clap::Parser;

use super::*;
use crate::config::Config;
use crate::server::Server;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
}

/// Runs a workload against a server in this process, and returns the object that it reports.
async fn measured(args: &str, scheme: &str) -> serde_json::Value {
    let listen = ([127, 0, 0, 1], 0).into();
    let config = Config { listen, admin_listen: listen, ..Config::default() };
    let server = Server::start(config).await.unwrap();
    let (address, admin) = (server.address(), server.admin_address());
    let mut args = format!("bench {args} --seconds 1 --url {scheme}://{address} --admin {admin}");
    if scheme != "ws" {
        let sha256 = server.certificate_sha256().map(|byte| format!("{byte:02x}")).concat();
        args.push_str(&format!(" --fingerprint {sha256}"));
    }
    let workload = Cli::try_parse_from(args.split_whitespace()).unwrap().bench.workload;
    workload.check(1024).unwrap();
    let sizes = Sizes::of(&workload);
    let target = Target::start(workload.target().unwrap(), &workload.needs()).await.unwrap();
    let progress = Progress::hidden();
    let report = run_workload(&workload, &sizes, &target, &progress).await.unwrap();
    target.stop().await.unwrap();
    server.stop().await;
    assert_eq!(report.faults(), &[] as &[String]);
    serde_json::from_str(&report.json(None).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_window_delivers_every_record_to_every_subscriber() {
    let args = "fanout --subscribers 7 --connections 3 --publishers 2 --batch 5 --window 50";
    for scheme in ["ws", "wss", "quic"] {
        let object = measured(&format!("{args} --warmup-seconds 0"), scheme).await;
        assert!(object["deliveries"].as_u64().unwrap() > 100, "{object}");
        assert_eq!(object["missing"], 0);
        assert!(object["p50_us"].as_u64().unwrap() <= object["p999_us"].as_u64().unwrap());
        assert!(object["server_rss_bytes"].as_u64().unwrap() > 1_000_000, "{object}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_kept() {
    let args = "fanout --subscribers 4 --rate 200 --warmup-seconds 1";
    for scheme in ["ws", "quic"] {
        let object = measured(args, scheme).await;
        let per_s = object["deliveries_per_s"].as_f64().unwrap();
        assert!((400.0..1200.0).contains(&per_s), "{object}");
        assert!(object["latency"].as_str().unwrap().contains("coordinated omission"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_acknowledged() {
    let args = "publish --publishers 3 --topics 2 --window 8 --batch 4 --warmup-seconds 0";
    for scheme in ["ws", "wss", "quic"] {
        let object = measured(args, scheme).await;
        assert!(object["acknowledged"].as_u64().unwrap() > 100, "{object}");
        assert!(object["p50_us"].as_u64().unwrap() <= object["max_us"].as_u64().unwrap());
    }
    let object = measured("publish --rate 300 --warmup-seconds 1", "ws").await;
    let per_s = object["acknowledged_per_s"].as_f64().unwrap();
    assert!((150.0..450.0).contains(&per_s), "{object}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_number_of_subscribers_has_its_rounds() {
    let args = "latency --subscribers 1,6 --rate 600 --rounds 2 --warmup-seconds 0";
    let object = measured(args, "ws").await;
    let cases = object["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        assert_eq!(case["rounds"].as_array().unwrap().len(), 2);
        let per_s = case["deliveries_per_s"].as_f64().unwrap();
        assert!((300.0..900.0).contains(&per_s), "{case}");
        let spread = case["spread"]["p50_us"].as_array().unwrap();
        let p50_us = case["p50_us"].as_f64().unwrap();
        assert!(spread[0].as_f64().unwrap() <= p50_us && p50_us <= spread[1].as_f64().unwrap());
    }
    assert_eq!(object["distributions"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_reach_the_last_watcher() {
    let args = "tally --writers 2 --in-flight 8 --watchers 5 --warmup-seconds 0";
    let object = measured(args, "ws").await;
    assert!(object["votes"].as_u64().unwrap() > 50, "{object}");
    let each = object["each_watcher"]["p50_us"].as_u64().unwrap();
    assert!(each <= object["p50_us"].as_u64().unwrap(), "{object}");
}
