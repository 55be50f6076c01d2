//! A difference of means where shares move while it is measured: told within each time of constant shares and put together,
//! so that what changes from time to time changes both arms of it (Simpson's paradox).
//!
//! The post-stratified difference, its variance clustered by unit (Liang & Zeger, Biometrika 73 (1986), 13-22): a unit that comes in
//! several times is one source of chance, whichever arm it had then. What was known before is taken out as by
//! [`cuped`](super::cuped), with one slope for all.

use std::collections::BTreeMap;

use super::cuped::Pairs;
use super::means::{Values, half_width};
use super::proportion::Tally;
use super::rates::Rates;
use crate::interval::Estimate;

/// What a unit had in a time of constant shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which time.
    pub period: u32,
    /// Whose it was then: the candidate's or the control's.
    pub is_candidate: bool,
    /// Which unit.
    pub unit: u64,
    /// Its value.
    pub value: f64,
    /// What was known of it before, or the same of all.
    pub before: f64,
}

/// How much greater the candidate's mean is, and of how many units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stratified {
    /// With an interval that covers it at all times with probability `1 - alpha`, where there is enough.
    pub difference: Estimate,
    /// Different units.
    pub units: u64,
    /// Times in which both arms had two units or more; the others tell nothing.
    pub periods: u64,
}

/// Compares the arms. The rows of a unit stand one behind the other. Units are `planned` as in
/// [`Means`](super::means::Means).
pub fn difference(rows: &[Row], alpha: f64, planned: u64) -> Stratified {
    let mut cells: BTreeMap<u32, [Pairs; 2]> = BTreeMap::new();
    for row in rows {
        let cell = cells.entry(row.period).or_default();
        cell[usize::from(row.is_candidate)].add(row.value, row.before);
    }
    cells.retain(|_, it| it.iter().all(|it| it.values.units >= 2));
    let of_all = |part: fn(&Pairs) -> f64| cells.values().flatten().map(part).sum::<f64>();
    let slope = of_all(|it| it.product) / of_all(|it| it.before.second);
    let slope = if slope.is_finite() { slope } else { 0.0 };
    let mean = |it: &Pairs| it.values.mean - slope * it.before.mean;
    let all = of_all(|it| it.values.units as f64);
    let weight = |it: &[Pairs; 2]| (it[0].values.units + it[1].values.units) as f64 / all;
    let value: f64 = cells
        .values()
        .map(|it| weight(it) * (mean(&it[1]) - mean(&it[0])))
        .sum();
    let mut values = [Values::default(), Values::default()];
    let (mut units, mut variance) = (0, 0.0);
    for of_unit in rows.chunk_by(|one, other| one.unit == other.unit) {
        let mut part = None;
        for row in of_unit {
            let Some(cell) = cells.get(&row.period) else {
                continue;
            };
            let arm = &cell[usize::from(row.is_candidate)];
            let count = arm.values.units as f64;
            let off = row.value - slope * row.before - mean(arm);
            let sign = if row.is_candidate { 1.0 } else { -1.0 };
            // As many as are free: of `count` distances one follows from the others.
            let free = (count * (count - 1.0)).sqrt();
            *part.get_or_insert(0.0) += sign * weight(cell) * off / free;
            values[usize::from(row.is_candidate)].add(row.value);
        }
        if let Some(part) = part {
            units += 1;
            variance += part * part;
        }
    }
    let error = variance.sqrt();
    let enough = values.iter().all(Values::enough) && error > 0.0 && error.is_finite();
    Stratified {
        difference: match enough {
            true => Estimate::around(value, half_width(error, units, alpha, planned)),
            false => Estimate::bare(if value.is_finite() { value } else { 0.0 }),
        },
        units,
        periods: cells.len() as u64,
    }
}

/// The same where every value is 0 or 1, for events so rare, or so frequent, that [`difference`] has no interval: the
/// margins that the e-process of [`rates`](super::rates) does not reject, with each time as a window. A unit counts in the
/// first time in which it came, so that it is one bet. Exact, and wider.
pub fn difference_of_events(rows: &[Row], alpha: f64) -> Estimate {
    let mut windows: BTreeMap<u32, [Tally; 2]> = BTreeMap::new();
    let mut all = [Tally::default(), Tally::default()];
    for of_unit in rows.chunk_by(|one, other| one.unit == other.unit) {
        let Some(first) = of_unit.iter().min_by_key(|it| it.period) else {
            continue;
        };
        let one = Tally::new(1, u64::from(first.value > 0.0));
        let arm = usize::from(first.is_candidate);
        let window = windows.entry(first.period).or_default();
        (window[arm], all[arm]) = (window[arm].plus(one), all[arm].plus(one));
    }
    // The greatest margin by which one arm is shown to be greater than the other.
    let shown = |one: usize| {
        let is_shown = |margin: f64| {
            let mut rates = Rates::new(margin);
            for window in windows.values() {
                rates.add(window[one], window[1 - one]);
            }
            rates.ln_worse_max >= (2.0 / alpha).ln()
        };
        let (mut low, mut high) = (-1.0, 1.0);
        // To a two-thousandth.
        for _ in 0..12 {
            let middle = (low + high) / 2.0;
            match is_shown(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    };
    let value = all[1].share() - all[0].share();
    Estimate::between(value, shown(1), -shown(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::sequential::cuped;

    #[test]
    fn one_time_is_the_plain_difference() {
        let (mut rows, mut random) = (Vec::new(), Random::new(3));
        let mut pairs = [Pairs::default(), Pairs::default()];
        for unit in 0..400 {
            let before = random.normal();
            let is_candidate = unit % 2 == 0;
            let value = before + random.normal();
            rows.push(Row {
                period: 0,
                is_candidate,
                unit,
                value,
                before,
            });
            pairs[usize::from(is_candidate)].add(value, before);
        }
        let got = difference(&rows, 0.05, 5_000);
        let want = cuped::difference(&pairs[1], &pairs[0], 0.05, 5_000);
        assert_eq!((got.units, got.periods), (400, 1));
        assert!((got.difference.value - want.value).abs() < 1e-12);
        let (low, other) = (got.difference.low.unwrap(), want.low.unwrap());
        assert!((low - other).abs() < 1e-3, "{low} {other}");
        let none = difference(&[], 0.05, 5_000);
        assert_eq!((none.difference, none.periods), (Estimate::bare(0.0), 0));
    }

    /// By hand: in the first time 3 against 1, in the second 9 against 8, with as many rows in each.
    #[test]
    fn times_weigh_as_they_have_rows() {
        let row = |period, is_candidate, unit, value| Row {
            period,
            is_candidate,
            unit,
            value,
            before: 0.0,
        };
        let mut rows = Vec::new();
        for unit in 0..2 {
            rows.push(row(0, true, unit, 3.0));
            rows.push(row(1, true, unit, 9.0));
            rows.push(row(0, false, 10 + unit, 1.0));
            rows.push(row(1, false, 10 + unit, 8.0));
        }
        rows.push(row(2, true, 20, 500.0));
        let got = difference(&rows, 0.05, 5_000);
        assert_eq!((got.difference.value, got.units, got.periods), (1.5, 4, 2));
    }

    #[test]
    fn what_all_of_one_arm_do_and_none_of_the_other_is_found() {
        let row = |unit: u64| Row {
            period: (unit / 100) as u32,
            is_candidate: unit.is_multiple_of(5),
            unit,
            value: f64::from(u8::from(unit.is_multiple_of(5))),
            before: 0.0,
        };
        let rows: Vec<Row> = (0..1_000).map(row).collect();
        assert_eq!(difference(&rows, 0.05, 5_000).difference.low, None);
        let got = difference_of_events(&rows, 0.05);
        assert!(got.value == 1.0 && got.low.unwrap() > 0.8, "{got:?}");
        let few = difference_of_events(&rows[..100], 0.05);
        assert!(few.low.unwrap() < -0.9, "{few:?}");
    }

    /// No difference, while the rate rises from 5 to 15 % and the candidate's share from 50 to 90 %; half of the units come
    /// in each time. The difference of all rows at once is wrong ever more surely.
    #[test]
    fn what_rises_while_shares_move_is_no_difference() {
        let (runs, mut wrong, mut of_events_wrong, mut pooled_wrong) = (200, 0, 0, 0);
        for run in 0..runs {
            let mut random = Random::new(run);
            let mut rows: Vec<Row> = Vec::new();
            let (mut is_wrong, mut is_pooled_wrong) = (false, false);
            for period in 0..8u32 {
                let part = f64::from(period) / 7.0;
                let (share, rate) = (0.5 + 0.4 * part, 0.05 + 0.1 * part);
                for number in 0..1_000u64 {
                    let regular = number < 200;
                    let unit = match regular {
                        true => number,
                        false => 1_000 + u64::from(period) * 1_000 + number,
                    };
                    // Places are sticky, and of regular units every second is prone.
                    let place = Random::new(unit * 7_919 + run * 104_729).uniform();
                    let prone = match (regular, unit % 2) {
                        (true, 0) => 1.8,
                        (true, _) => 0.2,
                        (false, _) => 1.0,
                    };
                    let event = random.uniform() < rate * prone;
                    rows.push(Row {
                        period,
                        is_candidate: place < share,
                        unit,
                        value: f64::from(u8::from(event)),
                        before: 0.0,
                    });
                }
                rows.sort_by_key(|it| it.unit);
                let got = difference(&rows, 0.05, 5_000).difference;
                is_wrong |=
                    got.low.is_some_and(|low| low > 0.0) || got.high.is_some_and(|high| high < 0.0);
                let mut pooled = [Pairs::default(), Pairs::default()];
                for row in &rows {
                    pooled[usize::from(row.is_candidate)].add(row.value, 0.0);
                }
                let got = cuped::difference(&pooled[1], &pooled[0], 0.05, 5_000);
                is_pooled_wrong |= got.low.is_some_and(|low| low > 0.0);
            }
            let got = difference_of_events(&rows, 0.05);
            let misses = |end: Option<f64>, sign: f64| end.is_some_and(|end| sign * end > 0.0);
            of_events_wrong += u32::from(misses(got.low, 1.0) || misses(got.high, -1.0));
            wrong += u32::from(is_wrong);
            pooled_wrong += u32::from(is_pooled_wrong);
        }
        assert!(
            wrong <= 10 && of_events_wrong <= 10 && pooled_wrong > 40,
            "{wrong} {of_events_wrong} {pooled_wrong}"
        );
    }
}
