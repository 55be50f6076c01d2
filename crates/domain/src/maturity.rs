//! Whether the labels of some predictions are as many as they will be.

/// Predictions of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// When the last was made, in microseconds since 1970.
    pub newest_us: i64,
    /// How many were answered.
    pub predictions: u64,
    /// How many of them have a label.
    pub labelled: u64,
}

/// How many labels are to be expected, told from days that had time enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The share of predictions that have a label in the end.
    pub coverage: f64,
    /// Within so many microseconds 19 of 20 labels come, where that is known.
    pub delay_us: Option<i64>,
}

/// Days that are needed to tell how many labels come in the end. With fewer, all predictions should have one.
const DAYS_MIN: usize = 3;
/// Less than this share of the labels that are to be expected is few.
const ENOUGH: f64 = 0.9;

/// What is to be expected, from all days of a model.
pub fn expected(days: &[Cohort], delay_us: Option<i64>, now_us: i64) -> Expected {
    let mature = |it: &&Cohort| {
        let delay = delay_us.unwrap_or(0);
        it.predictions > 0 && it.newest_us.saturating_add(delay) <= now_us
    };
    let coverages: Vec<f64> = days
        .iter()
        .filter(mature)
        .map(|it| it.labelled as f64 / it.predictions as f64)
        .collect();
    let most = coverages.iter().copied().fold(0.0, f64::max);
    Expected {
        coverage: if coverages.len() >= DAYS_MIN && most > 0.0 {
            most
        } else {
            1.0
        },
        delay_us,
    }
}

/// Whether more labels are to be expected for these predictions.
pub fn is_provisional(these: &Cohort, expected: &Expected, now_us: i64) -> bool {
    if these.predictions == 0 {
        return false;
    }
    let coverage = these.labelled as f64 / these.predictions as f64;
    let young = expected
        .delay_us
        .is_some_and(|it| these.newest_us.saturating_add(it) > now_us);
    coverage < ENOUGH * expected.coverage || (young && coverage < expected.coverage)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = crate::time::DAY_US;

    fn day(number: i64, labelled: u64) -> Cohort {
        Cohort {
            newest_us: number * DAY,
            predictions: 100,
            labelled,
        }
    }

    #[test]
    fn a_half_labelled_day_is_provisional() {
        let days = [day(1, 60), day(2, 58), day(3, 62), day(4, 30)];
        let expected = expected(&days, Some(DAY / 2), 5 * DAY);
        assert_eq!(expected.coverage, 0.62);
        let told: Vec<bool> = days
            .iter()
            .map(|it| is_provisional(it, &expected, 5 * DAY))
            .collect();
        assert_eq!(told, [false, false, false, true]);
    }

    #[test]
    fn without_days_to_compare_with_every_prediction_should_have_a_label() {
        let expected = expected(&[day(1, 60)], None, 5 * DAY);
        assert!(is_provisional(&day(1, 60), &expected, 5 * DAY));
        assert!(!is_provisional(&day(1, 95), &expected, 5 * DAY));
        assert!(!is_provisional(&Cohort::default(), &expected, 5 * DAY));
    }

    #[test]
    fn what_had_no_time_for_its_labels_is_provisional_until_all_are_there() {
        let days = [day(1, 100), day(2, 100), day(3, 100)];
        let expected = expected(&days, Some(10 * DAY), 20 * DAY);
        assert!(is_provisional(&day(15, 95), &expected, 20 * DAY));
        assert!(!is_provisional(&day(15, 100), &expected, 20 * DAY));
    }
}
