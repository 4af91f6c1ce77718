//! Times as RFC 3339 writes them: `2026-11-24T12:00:00Z`.

/// Unix time in milliseconds.
///
/// # Errors
/// Which form is expected.
pub(crate) fn parse_rfc3339(text: &str) -> Result<u64, String> {
    read(text).ok_or_else(|| {
        format!("'{text}' is no time: write it as 2026-11-24T12:00:00Z or with +01:00 for Z")
    })
}

/// The same form, in UTC and to the millisecond.
pub(crate) fn show_rfc3339(time_ms: u64) -> String {
    let seconds = i64::try_from(time_ms / 1000).unwrap_or(i64::MAX);
    let Ok(time) = time::OffsetDateTime::from_unix_timestamp(seconds) else {
        return format!("{time_ms} ms");
    };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = time.to_hms();
    let milli = time_ms % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

fn read(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let (fraction_ms, zone) = fraction(rest)?;
    let offset_minutes = offset(zone)?;
    let minutes = days_since_1970(year, month, day) * 1440 + hour * 60 + minute - offset_minutes;
    let time_ms = (minutes * 60 + second) * 1000 + fraction_ms;
    u64::try_from(time_ms).ok().filter(|_| in_range)
}

/// Three numbers of exactly so many digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut next = |digits: usize| -> Option<i64> {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let numbers = digits.map(&mut next);
    let [Some(first), Some(second), Some(third)] = numbers else { return None };
    parts.next().is_none().then_some([first, second, third])
}

/// Milliseconds of `.123456`, and what follows.
fn fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(digits) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    let padded = format!("{digits:0<3}");
    let fraction_ms = padded.get(..3)?.parse().ok()?;
    (!digits.is_empty()).then_some((fraction_ms, rest))
}

/// Minutes east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hour, minute) = digits.split_once(':')?;
    let [hour, minute, _] = numbers(&format!("{hour}:{minute}:00"), ':', [2, 2, 2])?;
    (hour < 24 && minute < 60).then_some(sign * (hour * 60 + minute))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_fraction() {
        for (text, time_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00.5+01:00", 500),
            ("2000-02-29T12:30:15.123456Z", 951_827_415_123),
            ("2026-11-24T12:00:00Z", 1_795_521_600_000),
            ("2026-11-24t07:00:00-05:00", 1_795_521_600_000),
        ] {
            assert_eq!(parse_rfc3339(text), Ok(time_ms), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_shown_reads_back() {
        assert_eq!(show_rfc3339(951_827_415_123), "2000-02-29T12:30:15.123Z");
        for time_ms in [0, 951_827_415_123, 1_795_521_600_007] {
            assert_eq!(parse_rfc3339(&show_rfc3339(time_ms)), Ok(time_ms));
        }
        assert_eq!(show_rfc3339(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in [
            "yesterday",
            "2026-11-24",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T12:00:00",
            "2026-11-24T12:00:00.Z",
            "2026-11-24T12:00:00+1:00",
            "1969-12-31T23:59:59Z",
            "2026-11-24T12:00:00Zulu",
            "é026-11-24T12:00:00Z",
        ] {
            assert!(parse_rfc3339(text).unwrap_err().contains("2026-11-24T12:00:00Z"), "{text}");
        }
    }
}
