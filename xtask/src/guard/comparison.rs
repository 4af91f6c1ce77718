//! What is counted now against what stands in the baseline.

use std::collections::BTreeMap;

/// More than so much above the baseline fails, more than so much below it is reported. Moving code
/// about changes what the compiler inlines by a few percent; a tenth is a change of what is done.
const TOLERANCE_PERCENT: u64 = 10;

pub(super) struct Comparison {
    rows: Vec<[String; 4]>,
    /// One sentence each.
    pub(super) improvements: Vec<String>,
    /// One sentence each.
    pub(super) failures: Vec<String>,
}

impl Comparison {
    /// Compares counts, which are in the order of the report, with a baseline.
    pub(super) fn of(baseline: &BTreeMap<String, u64>, now: &[(String, u64)]) -> Self {
        let (rows, improvements, failures) = (Vec::new(), Vec::new(), Vec::new());
        let mut comparison = Self { rows, improvements, failures };
        for (name, count) in now {
            comparison.compare(name, baseline.get(name).copied(), *count);
        }
        for name in baseline.keys().filter(|name| now.iter().all(|(known, _)| known != *name)) {
            let failure = format!("{name}: the baseline has it, but there is no such operation");
            comparison.failures.push(failure);
        }
        comparison
    }

    fn compare(&mut self, name: &str, baseline: Option<u64>, now: u64) {
        let shown = grouped(now);
        let Some(before) = baseline else {
            self.rows.push([name.to_owned(), "none".to_owned(), shown, String::new()]);
            self.failures.push(format!("{name}: the baseline does not have it yet"));
            return;
        };
        let ratio = ratio(now, before);
        let change = format!(
            "{name}: {} instructions in the baseline, {shown} now, {ratio}",
            grouped(before)
        );
        if now * 100 > before * (100 + TOLERANCE_PERCENT) {
            self.failures
                .push(format!("{change} times as many (at most 1.{TOLERANCE_PERCENT:02})"));
        } else if now * 100 < before * (100 - TOLERANCE_PERCENT) {
            self.improvements.push(format!("{change} times as many: better"));
        }
        self.rows.push([name.to_owned(), grouped(before), shown, ratio]);
    }

    pub(super) fn print_table(&self) {
        println!("{:<40} {:>12} {:>12} {:>6}", "instructions per step", "baseline", "now", "ratio");
        for [name, before, now, ratio] in &self.rows {
            println!("{name:<40} {before:>12} {now:>12} {ratio:>6}");
        }
    }
}

/// `now / before` with three decimals.
fn ratio(now: u64, before: u64) -> String {
    let thousandths = (now * 1000 + before / 2) / before.max(1);
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(before: u64, now: u64) -> Comparison {
        Comparison::of(&[("x".to_owned(), before)].into(), &[("x".to_owned(), now)])
    }

    #[test]
    fn a_tenth_more_passes_and_anything_beyond_fails_with_both_counts_and_the_ratio() {
        assert!(compare(10_000, 11_000).failures.is_empty());
        let failures = compare(10_000, 11_001).failures;
        assert_eq!(
            failures,
            [
                "x: 10,000 instructions in the baseline, 11,001 now, 1.100 times as many (at most 1.10)"
            ]
        );
    }

    #[test]
    fn a_tenth_less_is_silent_and_anything_beyond_is_reported_and_passes() {
        let comparison = compare(10_000, 9_000);
        assert!(comparison.improvements.is_empty() && comparison.failures.is_empty());
        let comparison = compare(10_000, 8_999);
        assert!(comparison.failures.is_empty());
        assert!(matches!(&*comparison.improvements, [one] if one.contains("0.900 times")));
    }

    #[test]
    fn an_operation_without_a_baseline_and_a_baseline_without_an_operation_fail() {
        let comparison = Comparison::of(&[("old".to_owned(), 5)].into(), &[("new".to_owned(), 5)]);
        assert_eq!(comparison.failures.len(), 2);
        assert!(comparison.failures.iter().any(|failure| failure.starts_with("new: ")));
        assert!(comparison.failures.iter().any(|failure| failure.starts_with("old: ")));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
