//! Points in time as users write and read them: RFC 3339 or milliseconds since the Unix epoch.
//!
//! Days are turned into dates by the usual civil-calendar arithmetic on 400-year eras; no time zone database is
//! needed because RFC 3339 carries its offset. Called by the command line only.

use duolog_base::TimestampMs;

const MS_PER_SECOND: i64 = 1_000;
const MS_PER_MINUTE: i64 = 60 * MS_PER_SECOND;
const MS_PER_DAY: i64 = 24 * 60 * MS_PER_MINUTE;
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01, where an era begins, to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

/// Why text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is neither RFC 3339 (2026-01-31T12:00:00Z) nor milliseconds since 1970")]
pub struct InstantError {
    given: String,
}

/// Reads RFC 3339 or a plain number of milliseconds.
pub fn parse(text: &str) -> Result<TimestampMs, InstantError> {
    let error = || InstantError { given: text.to_owned() };
    if let Ok(ms) = text.parse::<i64>() {
        return if ms >= 0 { Ok(TimestampMs(ms)) } else { Err(error()) };
    }
    parse_rfc3339(text).map(TimestampMs).ok_or_else(error)
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(days_from_date(year, month, day) * MS_PER_DAY + seconds * MS_PER_SECOND + milliseconds(fraction)? - zone_ms(zone)?)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let valid = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

/// The first three digits of a fraction of a second.
fn milliseconds(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    padded.parse().ok()
}

/// How far local time is ahead of UTC.
fn zone_ms(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'Z' | b'z' => return if zone.len() == 1 { Some(0) } else { None },
        b'-' => -1,
        _ => 1,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if hours > 23 || minutes > 59 { None } else { Some(sign * (hours * 60 + minutes) * MS_PER_MINUTE) }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01.
fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    // A year begins in March here, so that the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - DAYS_TO_EPOCH
}

/// Writes RFC 3339 in UTC with milliseconds; `-` for "none".
pub fn format(at: TimestampMs) -> String {
    if at.0 < 0 {
        return "-".to_owned();
    }
    let (days, ms) = (at.0.div_euclid(MS_PER_DAY), at.0.rem_euclid(MS_PER_DAY));
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, ms) = (ms / MS_PER_SECOND, ms % MS_PER_SECOND);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_read_and_print_the_same() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-23T01:02:03.004Z", 1_795_395_723_004),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
        ] {
            assert_eq!(parse(text), Ok(TimestampMs(ms)), "{text}");
            assert_eq!(format(TimestampMs(ms)), text);
        }
    }

    #[test]
    fn zones_and_plain_milliseconds_are_read() {
        assert_eq!(parse("1970-01-01T02:00:00+02:00"), Ok(TimestampMs(0)));
        assert_eq!(parse("1969-12-31T23:30:00.5-00:30"), Ok(TimestampMs(500)));
        assert_eq!(parse("1234"), Ok(TimestampMs(1234)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "-5",
            "2026-02-29T00:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T25:00:00Z",
            "2026-1-1T0:0:0Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
