//! How far two distributions over the same few cells are apart, at all times: of classes, of scores in bins.
//!
//! The measure is the Jensen-Shannon distance to base 2, that of [`drift`](crate::drift). Every cell's share, and the share
//! of all cells up to each, has its interval by [`proportion`](super::proportion::share), in both arms; together these
//! cover all shares (Bonferroni's inequality). A cell's term of the divergence is 0 where both shares are the same and
//! grows as they part, so the least it can be lies where the intervals are nearest and the most where they are farthest. To tell
//! cells apart no longer never makes a divergence greater (the data-processing inequality; Cover & Thomas, Elements of
//! Information Theory, section 2.8): so what the shares up to a cell show is a lower bound as well, and the better one
//! where all values have moved one way.

use super::proportion::{Tally, share};
use super::{Reading, Risks, Seen, Verdict};
use crate::gamma::bisect;
use crate::interval::Estimate;

/// Values of a cell in both arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The candidate's.
    pub candidate: u64,
    /// The control's.
    pub control: u64,
}

/// Whether the distance is greater than `most`, from 0 to 1. Cells that have an order stand in it. The means of what is
/// read are not known here, and 0; the difference is the distance.
pub fn read(cells: &[Cell], most: f64, risks: Risks) -> Reading {
    let risks = risks.checked();
    assert!((0.0..=1.0).contains(&most), "a distance is from 0 to 1");
    let sum = |of: fn(&Cell) -> u64| cells.iter().map(of).sum::<u64>();
    let (candidate, control) = (sum(|it| it.candidate), sum(|it| it.control));
    let seen = |units| Seen {
        units,
        events: None,
        mean: 0.0,
    };
    let reading = |verdict, ln_evidence, difference| Reading {
        verdict,
        candidate: seen(candidate),
        control: Some(seen(control)),
        ln_evidence,
        difference,
    };
    if candidate == 0 || control == 0 {
        return reading(Verdict::NoData, 0.0, Estimate::bare(0.0));
    }
    let exact = |count: u64, of: u64| count as f64 / of as f64;
    let terms = cells
        .iter()
        .map(|it| term(exact(it.candidate, candidate), exact(it.control, control)));
    let value = terms.sum::<f64>().sqrt().min(1.0);
    let (low, high) = bounds(cells, risks.fail);
    let verdict = if low > most {
        Verdict::Fail
    } else if bounds(cells, risks.pass).1 <= most {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    // The ends widen with the evidence asked for, and never leave the value out.
    let beyond = |it: f64| bounds(cells, (-it).exp()).0 > most;
    let ln_evidence = match value > most {
        true => bisect(0.0, super::LN_MOST, beyond),
        false => 0.0,
    };
    let ends = Estimate {
        value,
        low: Some(low.min(value)),
        high: Some(high.max(value)),
    };
    reading(verdict, ln_evidence, ends)
}

/// The ends of the distance, both held at once.
fn bounds(cells: &[Cell], alpha: f64) -> (f64, f64) {
    // Of each arm every cell, and all up to each but the last.
    let shares = 2 * (2 * cells.len()).saturating_sub(1);
    // No risk is 1: an interval has ends.
    let each = (alpha / shares.max(1) as f64).min(0.5);
    let units = cells.iter().fold(Cell::default(), |sum, it| plus(sum, *it));
    let ends = |cell: Cell| {
        let of = |count, units| {
            let it = share(Tally::new(units, count), each);
            (it.low.unwrap_or(0.0), it.high.unwrap_or(1.0))
        };
        (
            of(cell.candidate, units.candidate),
            of(cell.control, units.control),
        )
    };
    let (mut low, mut high) = (0.0, 0.0);
    let (mut upto, mut low_upto) = (Cell::default(), 0.0f64);
    for (place, cell) in cells.iter().enumerate() {
        let (one, other) = ends(*cell);
        low += nearest(one, other);
        high += term(one.0, other.1).max(term(one.1, other.0));
        upto = plus(upto, *cell);
        if place + 1 < cells.len() {
            let (one, other) = ends(upto);
            let rest = |(low, high): (f64, f64)| (1.0 - high, 1.0 - low);
            low_upto = low_upto.max(nearest(one, other) + nearest(rest(one), rest(other)));
        }
    }
    (low.max(low_upto).sqrt().min(1.0), high.sqrt().min(1.0))
}

fn plus(one: Cell, other: Cell) -> Cell {
    Cell {
        candidate: one.candidate + other.candidate,
        control: one.control + other.control,
    }
}

/// The least that a cell adds, where its shares lie between these ends.
fn nearest(one: (f64, f64), other: (f64, f64)) -> f64 {
    if one.1 < other.0 {
        term(one.1, other.0)
    } else if other.1 < one.0 {
        term(one.0, other.1)
    } else {
        0.0
    }
}

/// What a cell with these shares adds to the divergence; 0 or more.
fn term(one: f64, other: f64) -> f64 {
    let middle = (one + other) / 2.0;
    let part = |share: f64| match share > 0.0 {
        true => share * (share / middle).log2(),
        false => 0.0,
    };
    ((part(one) + part(other)) / 2.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::table::Table;
    use crate::random::Random;

    const RISKS: Risks = Risks {
        fail: 0.05,
        pass: 0.05,
    };

    fn cells(counts: &[(u64, u64)]) -> Vec<Cell> {
        let cell = |(candidate, control): &(u64, u64)| Cell {
            candidate: *candidate,
            control: *control,
        };
        counts.iter().map(cell).collect()
    }

    #[test]
    fn the_distance_is_that_of_drift_and_within_its_ends() {
        let counts = [(300, 500), (400, 200), (0, 20), (100, 400)];
        let got = read(&cells(&counts), 0.2, RISKS);
        let (one, other): (Vec<u64>, Vec<u64>) = counts.iter().copied().unzip();
        let want = Table::new(&one, &other).unwrap().jensen_shannon().value;
        assert!((got.difference.value - want).abs() < 1e-12);
        let (low, high) = (got.difference.low.unwrap(), got.difference.high.unwrap());
        assert!(low < want && want < high, "{got:?}");
        assert_eq!(
            (got.candidate.units, got.control.unwrap().units),
            (800, 1120)
        );
    }

    #[test]
    fn what_is_apart_fails_and_what_is_not_passes() {
        let verdict = |counts: &[(u64, u64)]| read(&cells(counts), 0.1, RISKS).verdict;
        assert_eq!(verdict(&[]), Verdict::NoData);
        assert_eq!(verdict(&[(10, 0), (5, 0)]), Verdict::NoData);
        assert_eq!(verdict(&[(10, 3), (5, 9)]), Verdict::Inconclusive);
        assert_eq!(verdict(&[(7_000, 3_000), (3_000, 7_000)]), Verdict::Fail);
        assert_eq!(verdict(&[(5_000, 4_980), (5_000, 5_020)]), Verdict::Pass);
        // Each cell by itself hardly differs, all of them together do.
        let shifted: Vec<(u64, u64)> = (0..20).map(|it| (100 + 10 * it, 290 - 10 * it)).collect();
        let got = read(&cells(&shifted), 0.1, RISKS);
        assert_eq!(got.verdict, Verdict::Fail);
        assert!(got.evidence() >= 20.0, "{got:?}");
    }

    /// Shares of both arms the same, or as far apart as tolerated: hardly ever a failure, at any look.
    #[test]
    fn it_hardly_ever_fails_wrongly_at_any_time() {
        let mut random = Random::new(21);
        // At these shares the distance is 0.1.
        let (mut low, mut high) = (0.3, 0.9);
        for _ in 0..60 {
            let middle: f64 = (low + high) / 2.0;
            let far = term(0.3, middle) + term(0.7, 1.0 - middle) > 0.01;
            (low, high) = if far { (low, middle) } else { (middle, high) };
        }
        for (other, most) in [(0.3, 0.02), (low, 0.1)] {
            let failed = (0..200).filter(|_| {
                let mut counts = cells(&[(0, 0), (0, 0)]);
                (0..100).any(|_| {
                    for _ in 0..50 {
                        counts[usize::from(random.uniform() >= 0.3)].control += 1;
                        counts[usize::from(random.uniform() >= other)].candidate += 1;
                    }
                    bounds(&counts, 0.2).0 > most
                })
            });
            assert!(failed.count() <= 40);
        }
    }
}
