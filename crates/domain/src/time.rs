//! Points in time as numbers that a caller hands in.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since a start that the caller chose: monotonic, comparable only with times from the
/// same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than any time a caller will see.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long ago `earlier` was; nothing when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// The date of a day counted from 1970-01-01: year, month, day.
/// Source: Howard Hinnant, `civil_from_days`, <https://howardhinnant.github.io/date_algorithms.html>.
pub fn date(day: i64) -> (i64, u8, u8) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let small = |it: i64| u8::try_from(it).unwrap_or(0);
    (
        year + era * 400 + i64::from(month <= 2),
        small(month),
        small(date),
    )
}

/// The day of a date, counted from 1970-01-01; none where there is no such date. The reverse of [`date`].
/// Source: Howard Hinnant, `days_from_civil`, at the same address.
pub fn day(year: i64, month: u8, date_of_month: u8) -> Option<i64> {
    let shifted = year - i64::from(month <= 2);
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let from_march = i64::from(month).checked_add(9)? % 12;
    let of_year = (153 * from_march + 2) / 5 + i64::from(date_of_month) - 1;
    let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (date(day) == (year, month, date_of_month)).then_some(day)
}

/// A moment in UTC, of microseconds since 1970: `2026-11-22 11:05:03`. [`read_moment`] reads it.
pub fn show_moment(us: i64) -> String {
    let (day, second) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US) / 1_000_000);
    let (year, month, date) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}")
}

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// Reads a moment in UTC as microseconds since 1970: `2026-11-24T10:00:00Z` (the `T` may be a space, seconds,
/// fractions of one and the `Z` may be left out, and an offset such as `+01:00` may stand in its place), a
/// date `2026-11-24`, a time of today `10:00`, or how long ago it was: `7d`, `90m`.
pub fn read_moment(text: &str, now_us: i64) -> Option<i64> {
    let text = text.trim();
    if let Ok(ago) = text.parse::<crate::manifest::Span>() {
        return now_us.checked_sub(i64::try_from(ago.0.as_micros()).ok()?);
    }
    let (date_part, time_part) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (Some(date), Some(time)),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let day_us = match date_part {
        None => now_us.div_euclid(DAY_US) * DAY_US,
        Some(date) => {
            let parts: Vec<&str> = date.split('-').collect();
            let [year, month, date] = parts[..] else {
                return None;
            };
            let year = (year.len() == 4).then(|| year.parse().ok())??;
            day(year, month.parse().ok()?, date.parse().ok()?)?.checked_mul(DAY_US)?
        }
    };
    let Some(time) = time_part else {
        return Some(day_us);
    };
    let (clock, offset_us) = split_offset(time)?;
    let parts: Vec<&str> = clock.split(':').collect();
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, "0"),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
    let (whole, fraction) = second.split_once('.').unwrap_or((second, ""));
    let second: i64 = whole.parse().ok()?;
    let digits = |it: &str| it.bytes().all(|b| b.is_ascii_digit());
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return None;
    }
    if !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let of_day = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    day_us.checked_add(of_day)?.checked_sub(offset_us)
}

/// A time of day and how far its zone is before UTC, in microseconds.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, 0));
    };
    let (clock, offset) = time.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = match offset.get(1..)?.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None => (
            offset.get(1..3)?,
            offset.get(3..).filter(|it| !it.is_empty()).unwrap_or("0"),
        ),
    };
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..=14).contains(&hours) && (0..60).contains(&minutes))
        .then_some((clock, sign * (hours * 60 + minutes) * 60_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_the_same_both_ways() {
        for number in (-800_000..800_000).step_by(97) {
            let (year, month, date) = date(number);
            assert_eq!(day(year, month, date), Some(number));
        }
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(day(2000, 2, 29), Some(11_016));
        assert_eq!(day(2001, 2, 29), None);
        assert_eq!(day(2026, 13, 1), None);
    }

    #[test]
    fn moments_are_read_in_every_form() {
        let now = day(2026, 11, 24).expect("a date") * DAY_US + 12 * 3_600_000_000;
        let at = |hours: i64| Some(now + (hours - 12) * 3_600_000_000);
        for (text, want) in [
            ("2026-11-24T10:00:00Z", at(10)),
            ("2026-11-24 10:00", at(10)),
            ("2026-11-24T11:00:00.000000+01:00", at(10)),
            ("2026-11-24T05:00:00-0500", at(10)),
            ("10:00", at(10)),
            ("2026-11-24", at(0)),
            ("2h", at(10)),
            ("1d", at(-12)),
            ("2026-11-24T10:00:00.5Z", at(10).map(|it| it + 500_000)),
            ("24:00", None),
            ("2026-11-31", None),
            ("yesterday", None),
            ("26-11-24", None),
            ("", None),
        ] {
            assert_eq!(read_moment(text, now), want, "{text}");
        }
    }
}
