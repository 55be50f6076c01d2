//! Median, median absolute deviation and the scores they give: what lies far out does not move them.
//!
//! The rules R1 to R5 are those of [`super`].

/// About the upper quartile of the standard normal distribution with the digits of Iglewicz & Hoaglin, How
/// to Detect and Handle Outliers (1993): a median absolute deviation divided by it estimates the
/// standard deviation of normal values.
pub const NORMAL_QUARTILE: f64 = 0.6745;

/// The limit that Iglewicz & Hoaglin advise: a score beyond it, either way, is a likely outlier.
pub const SCORE_LIMIT: f64 = 3.5;

/// Where values lie and how far they scatter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Centre {
    /// Finite.
    pub median: f64,
    /// The median of the distances from the median; finite, at least 0, and not scaled.
    pub deviation: f64,
}

impl Centre {
    /// Of the finite values (R1, R2). `None` without any. Linear in the number of values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut kept: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
        let median = middle(&mut kept)?;
        // A distance can exceed an f64, but less than half of them do: such values lie all on one side of
        // the median, and beyond zero from it.
        kept.iter_mut().for_each(|it| *it = (*it - median).abs());
        let deviation = middle(&mut kept)?;
        Some(Self { median, deviation })
    }

    /// The modified z-score `0.6745 (value - median) / MAD` (Iglewicz & Hoaglin 1993). `None` where the
    /// value is not a number (R1), and where the deviation is 0 (R3): more than half of the values are then
    /// one and the same, and how far the others may be from it is not known.
    pub fn score(self, value: f64) -> Option<f64> {
        let scaled = self.deviation > 0.0 && !value.is_nan();
        scaled.then(|| NORMAL_QUARTILE * (value - self.median) / self.deviation)
    }
}

/// The middle one of the finite values, or the mean of the two in the middle; `None` without any.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut kept: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
    middle(&mut kept)
}

/// The score of each value among all of them.
pub fn scores(values: &[f64]) -> Vec<Option<f64>> {
    let centre = Centre::of(values.iter().copied());
    let score = |it: &f64| centre.and_then(|centre| centre.score(*it));
    values.iter().map(score).collect()
}

/// The score of each value against the `window` values right before it, itself not among them. `None` for
/// the first `window` values, and where less than half of the values before are finite. The time is that of
/// the number of values times `window`.
pub fn rolling_scores(values: &[f64], window: usize) -> Vec<Option<f64>> {
    assert!(window > 0, "a window without values");
    let score = |index: usize| {
        let before = &values[index.checked_sub(window)?..index];
        half_finite(before)?;
        Centre::of(before.iter().copied())?.score(values[index])
    };
    (0..values.len()).map(score).collect()
}

/// The positions whose score lies further out than `limit`, either way.
pub fn beyond(scores: &[Option<f64>], limit: f64) -> Vec<usize> {
    let out = |score: &Option<f64>| score.is_some_and(|it| it.abs() > limit);
    (0..scores.len()).filter(|it| out(&scores[*it])).collect()
}

/// `None` where less than half of the values are finite.
pub(super) fn half_finite(values: &[f64]) -> Option<()> {
    let finite = values.iter().filter(|it| it.is_finite()).count();
    (2 * finite >= values.len()).then_some(())
}

/// The same of values none of which is "not a number"; leaves them in another order.
pub(crate) fn middle(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let half = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (lower, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    if odd {
        return Some(*upper);
    }
    let below = lower.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(f64::midpoint(below, *upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFINITY: f64 = f64::INFINITY;

    #[test]
    fn median_and_deviation_by_hand() {
        let centre =
            |values: &[f64]| Centre::of(values.iter().copied()).map(|it| (it.median, it.deviation));
        assert_eq!(centre(&[]), None);
        assert_eq!(centre(&[f64::NAN, INFINITY]), None);
        assert_eq!(centre(&[7.0]), Some((7.0, 0.0)));
        assert_eq!(centre(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0)));
        assert_eq!(
            centre(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]),
            Some((2.0, 1.0))
        );
        assert_eq!(
            centre(&[f64::NAN, 1.0, -INFINITY, 2.0, 6.0]),
            Some((2.0, 1.0))
        );
        assert_eq!(centre(&[-f64::MAX, f64::MAX]), Some((0.0, f64::MAX)));
        assert_eq!(
            centre(&[-f64::MAX, -f64::MAX, f64::MAX]),
            Some((-f64::MAX, 0.0))
        );
        assert_eq!(median([3.0, f64::NAN, 1.0, 2.0, 4.0]), Some(2.5));
    }

    #[test]
    fn distances_that_exceed_an_f64_leave_the_deviation_finite() {
        let most = f64::MAX;
        let centre = Centre::of([most, most, -most, -most, -most / 2.0]).expect("values");
        assert_eq!((centre.median, centre.deviation), (-most / 2.0, most / 2.0));
        assert_eq!(centre.score(most), Some(f64::INFINITY));
    }

    #[test]
    fn scores_by_hand_and_where_there_is_none() {
        let values = [1.0, 2.0, 3.0, 4.0, 10.0];
        let want = [-2.0, -1.0, 0.0, 1.0, 7.0].map(|it| Some(0.6745 * it));
        assert_eq!(scores(&values), want);
        assert_eq!(beyond(&scores(&values), SCORE_LIMIT), [4]);
        assert_eq!(beyond(&scores(&values), 1.0), [0, 4]);
        assert_eq!(scores(&[3.0, 3.0, 3.0, 50.0]), [None; 4]);
        assert_eq!(scores(&[]), []);
        let broken = scores(&[1.0, f64::NAN, 3.0, -INFINITY, INFINITY]);
        assert_eq!(
            broken,
            [
                Some(-0.6745),
                None,
                Some(0.6745),
                Some(-INFINITY),
                Some(INFINITY)
            ]
        );
        assert_eq!(beyond(&broken, 3.5), [3, 4]);
    }

    #[test]
    fn a_rolling_score_looks_only_back() {
        let got = rolling_scores(&[1.0, 2.0, 3.0, 9.0, 9.0], 3);
        // Before the first 9 lie 1, 2, 3; before the second 2, 3, 9, of median 3 and deviation 1.
        assert_eq!(
            got,
            [None, None, None, Some(0.6745 * 7.0), Some(0.6745 * 6.0)]
        );
        let gap = rolling_scores(&[1.0, f64::NAN, 3.0, f64::NAN, 4.0, 4.0], 3);
        // Before the first 4 only one of three is finite; before the second 3 and 4, of median 3.5.
        assert_eq!(gap, [None, None, None, None, None, Some(0.6745)]);
        assert_eq!(rolling_scores(&[1.0, 2.0], 3), [None, None]);
    }
}
