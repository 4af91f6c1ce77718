use super::*;
use crate::bench::report::tests::{report, saved};

#[test]
fn the_page_needs_nothing_else() {
    let page = page(&report(4_000_000, 3000), None);
    for outside in ["http:", "https:", "src=", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "{outside} is in the page");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn each_chart_has_its_values_as_a_table() {
    let page = page(&report(4_000_000, 3000), None);
    assert_eq!(page.matches("<section class=\"chart\"").count(), 3);
    assert_eq!(page.matches("<summary>Values</summary>").count(), 3);
    assert!(page.contains("Latency by percentile") && page.contains("Throughput over time"));
    assert!(page.contains("<th scope=\"row\">99.9 %</th><td>3.00 ms</td>"), "{page}");
}

#[test]
fn options_machine_and_both_sides_are_told() {
    let page = page(&report(4_000_000, 3000), None);
    for words in
        ["subscribers", "payload_bytes", "kernel", "Linux", "server 8.00 s", "bench 3.00 s"]
    {
        assert!(page.contains(words), "{words} is not in the page");
    }
    assert!(page.contains("from &lt;here&gt; to there"));
}

#[test]
fn a_baseline_is_drawn_beside_the_run() {
    let (_folder, baseline) = saved(&report(1_000_000, 1000));
    let page = page(&report(4_000_000, 3000), Some(&baseline));
    assert!(page.contains("before.json") && page.contains("4.00× better"));
    assert!(page.contains("class=\"line style-1\""));
}
