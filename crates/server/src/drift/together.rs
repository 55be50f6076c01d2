//! All columns together: whether current rows can be told from the reference's.
//!
//! It needs rows of both sides, which a baseline does not keep: those of two files, or of two times of the ledger.

use ::ledger::baseline::Together;
use stats::boost::{Settings, refs};
use stats::drift::classifier::{Separation, separation};
use stats::drift::effect::Terms;
use stats::drift::embedding::{self, mmd};
use stats::drift::verdict::Verdict;
use wire::api::drift as api;

use crate::quality::metric_record;

/// Permutations that tell what chance makes of a discrepancy.
const PERMUTATIONS: usize = 199;

/// The verdict, by itself at the `alpha` of the terms. Takes seconds for as many rows as can take part.
pub(super) fn judged(together: &Together, terms: Terms) -> api::MultivariateRecord {
    let Together {
        names,
        is_number: _,
        reference,
        current,
    } = together;
    let rows = |side: &[Vec<f64>]| side.first().map_or(0, |it| it.len() as u64);
    let mut record = api::MultivariateRecord {
        verdict: Verdict::NotEnoughData.name().to_owned(),
        why: None,
        auc: None,
        margin: terms.margin,
        detectable: None,
        p: None,
        columns: Vec::new(),
        reference_rows: rows(reference),
        current_rows: rows(current),
        mmd: discrepancy(together),
    };
    match separation(
        &refs(reference),
        &refs(current),
        Settings::USUAL,
        terms.level,
    ) {
        Err(why) => record.why = Some(why.to_string()),
        Ok(separation) => {
            let judgement = separation.judge(terms);
            record.verdict = judgement.verdict.name().to_owned();
            record.auc = Some(metric_record(separation.auc));
            record.margin = judgement.margin;
            record.detectable = Some(judgement.detectable);
            record.p = Some(judgement.p);
            record.columns = shares(names, &separation);
        }
    }
    record
}

fn shares(names: &[String], separation: &Separation) -> Vec<api::ShareRecord> {
    let shares = separation.shares.iter().flatten();
    let mut shares: Vec<api::ShareRecord> = names
        .iter()
        .zip(shares)
        .filter(|(_, share)| **share > 0.0)
        .map(|(name, share)| api::ShareRecord {
            name: name.clone(),
            share: *share,
        })
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

/// Of the columns of numbers as one vector: each less its mean, in standard deviations, of both sides together. None
/// of fewer than two columns.
fn discrepancy(together: &Together) -> Option<api::MmdRecord> {
    let numbers = |side: &'_ [Vec<f64>]| -> Vec<Vec<f64>> {
        let columns = side.iter().zip(&together.is_number);
        let columns = columns.filter(|(_, is_number)| **is_number);
        columns.map(|(it, _)| it.clone()).collect()
    };
    let (before, now) = (numbers(&together.reference), numbers(&together.current));
    if before.len() < 2 {
        return None;
    }
    let scales: Vec<Option<(f64, f64)>> = before
        .iter()
        .zip(&now)
        .map(|(before, now)| scale(before.iter().chain(now)))
        .collect();
    // What does not move takes no part, and neither does what has no finite spread.
    let columns = scales.iter().flatten().count();
    let rows = |side: &[Vec<f64>]| -> Vec<f64> {
        let count = side.first().map_or(0, Vec::len);
        let vector = |row: usize| -> Option<Vec<f64>> {
            let values = side.iter().zip(&scales).filter_map(|(column, scale)| {
                let (mean, deviation) = (*scale)?;
                Some((column[row] - mean) / deviation)
            });
            let values: Vec<f64> = values.collect();
            values.iter().all(|it| it.is_finite()).then_some(values)
        };
        let vectors = (0..count).filter_map(vector);
        vectors.take(embedding::ROWS_MAX / 2).flatten().collect()
    };
    let (before, now) = (rows(&before), rows(&now));
    let found = mmd(&before, &now, columns, PERMUTATIONS, 1)?;
    Some(api::MmdRecord {
        squared: found.squared,
        p: found.p,
        columns: columns as u64,
        rows: ((before.len() + now.len()) / columns) as u64,
    })
}

/// Mean and standard deviation of the finite values; none where they do not scatter.
fn scale<'a>(values: impl Iterator<Item = &'a f64> + Clone) -> Option<(f64, f64)> {
    let finite = values.filter(|it| it.is_finite());
    let count = finite.clone().count() as f64;
    let mean = finite.clone().sum::<f64>() / count;
    let spread = finite.map(|it| (it - mean).powi(2)).sum::<f64>() / count;
    let deviation = spread.sqrt();
    (deviation > 0.0 && deviation.is_finite()).then_some((mean, deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        margin: 0.1,
        alpha: 0.05,
        level: 0.95,
    };

    /// Two columns that follow each other, or on one side go against each other: each by itself is as it was.
    fn told(rows: usize, sign: f64) -> Together {
        let side = |from: usize, sign: f64| {
            let random = |it: usize| {
                let bits = (it as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (bits >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
            };
            let x: Vec<f64> = (from..from + rows).map(random).collect();
            let follows = |(row, x): (usize, &f64)| sign * x + 0.2 * random(from + row + 1_000_000);
            let y = x.iter().enumerate().map(follows).collect();
            vec![x, y]
        };
        Together {
            names: vec!["x".to_owned(), "y".to_owned()],
            is_number: vec![true; 2],
            reference: side(0, 1.0),
            current: side(rows, sign),
        }
    }

    #[test]
    fn what_no_column_shows_by_itself_is_found() {
        let got = judged(&told(2_000, -1.0), TERMS);
        assert_eq!(got.verdict, "drift", "{got:?}");
        assert!(got.auc.expect("an area").value > 0.8);
        assert_eq!(got.columns.len(), 2);
        let mmd = got.mmd.expect("numbers");
        assert!(
            mmd.p <= 0.005 && (mmd.columns, mmd.rows) == (2, 2_000),
            "{mmd:?}"
        );
        let same = judged(&told(4_000, 1.0), TERMS);
        assert_eq!(same.verdict, "no material drift", "{same:?}");
        assert!(same.mmd.expect("numbers").p > 0.01);
    }

    #[test]
    fn of_little_or_nothing_nothing_is_said() {
        let few = judged(&told(30, 1.0), TERMS);
        assert_eq!(few.verdict, "not enough data");
        assert!(few.detectable.expect("an area") > 2.0 * few.margin);
        let mut none = told(3, 1.0);
        assert!(
            judged(&none, TERMS)
                .why
                .expect("a reason")
                .contains("3 rows")
        );
        none.reference.clear();
        none.current.clear();
        none.names.clear();
        none.is_number.clear();
        let got = judged(&none, TERMS);
        assert_eq!((got.verdict.as_str(), got.mmd), ("not enough data", None));
        let mut constant = told(2_000, 1.0);
        constant.reference[0].fill(1.0);
        constant.current[0].fill(1.0);
        constant.current[1].fill(f64::NAN);
        let got = judged(&constant, TERMS);
        assert_eq!(got.verdict, "drift");
        assert_eq!(got.mmd, None);
    }
}
