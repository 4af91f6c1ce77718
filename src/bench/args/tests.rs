use super::*;
use clap::{CommandFactory, Parser};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
}

fn parse(args: &str) -> Result<Workload, String> {
    let args = std::iter::once("bench").chain(args.split_whitespace());
    Cli::try_parse_from(args).map(|cli| cli.bench.workload).map_err(|error| error.to_string())
}

#[test]
fn the_definition_of_the_options_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_payload_has_room_for_its_timestamp() {
    assert!(parse("fanout --payload 7").unwrap_err().contains("8..=65536"));
    assert!(parse("fanout --payload 8").is_ok());
}

#[test]
fn trust_is_for_servers_elsewhere() {
    assert!(parse("tally --ca x.pem").unwrap_err().contains("--url"));
    assert!(parse("tally --url quic://h --ca x.pem").is_ok());
    assert!(parse("tally --url ws://h --transport quic").unwrap_err().contains("--transport"));
    assert!(parse("idle --url ws://h --config x.toml").unwrap_err().contains("--config"));
}

#[test]
fn a_schedule_has_no_window() {
    assert!(parse("fanout --rate 9 --window 9").unwrap_err().contains("--window"));
}

#[test]
fn every_refusal_names_the_option_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    for (args, option, advice) in [
        (
            "fanout --subscribers 5 --connections 6",
            "--connections 6",
            "use --connections 5 or fewer",
        ),
        ("fanout --subscribers 1000", "--subscribers 1000", "use 835 or fewer"),
        ("fanout --subscribers 5000 --connections 1000", "--connections 1000", "raise the limit"),
        ("fanout --batch 10000", "--batch 10000", "use --batch 7880 or fewer"),
        ("publish --payload 65536 --batch 16", "--batch 16", "a smaller --payload"),
        ("publish --transport quic --threads 2", "--threads 2", "leave --threads out"),
        ("publish --url quic://h --threads 2", "--threads 2", "leave --threads out"),
        ("publish --publishers 2 --topics 3", "--topics 3", "use --topics 2 or fewer"),
        ("tally --watchers 3 --connections 4", "--connections 4", "use --connections 3 or fewer"),
        ("idle --connections 1000", "--connections-per-process 1000", "use 836 or fewer"),
        ("idle --connections 1000 --connections-per-process 9", "--connections 1000", "--url"),
        ("latency --subscribers 1,999", "--subscribers 999", "use 835 or fewer"),
        ("latency --subscribers 800 --rate 99", "--rate 99", "use --rate 1600 or more"),
        ("publish --url ws://h --ca x.pem", "--ca", "use wss://"),
        ("fanout --save /no/such/file", "--save /no/such/file", "make it first"),
        (&format!("fanout --report {folder}"), "--report", "name a file in it"),
        ("fanout --save same --report same", "--save and --report", "use two files"),
    ] {
        let refusal = parse(args).unwrap().check(900).unwrap_err();
        assert!(refusal.contains(option) && refusal.contains(advice), "{args}: {refusal}");
    }
}

#[test]
fn options_that_go_together_are_not_refused() {
    for args in [
        "fanout",
        "fanout --subscribers 5000 --connections 9 --batch 7880 --threads 2 --save x.json",
        "publish --transport quic",
        "publish --url ws://h --batch 10000",
        "tally --watchers 1",
        "idle --connections 1000 --connections-per-process 500 --url ws://h",
        "latency --subscribers 1,10,800 --connections 10",
    ] {
        parse(args).unwrap().check(900).unwrap();
    }
}
