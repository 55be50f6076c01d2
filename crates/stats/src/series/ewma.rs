//! The control chart of an exponentially weighted moving average: Roberts, Technometrics 1 (1959), 239-250.
//! It finds small shifts that last, in a series without trend or season.
//!
//! The rules R1 to R5 are those of [`super`].

use crate::sum::Moments;

/// The process in control, and how tightly it is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The mean of the values in control.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The share of the newest value in the average; above 0, at most 1, which makes it Shewhart's chart.
    pub weight: f64,
    /// How many standard deviations of the average it may be off the mean; above 0.
    pub limit: f64,
}

/// The usual share of the newest value.
pub const WEIGHT: f64 = 0.2;

/// The usual limit.
pub const LIMIT: f64 = 3.0;

/// The chart so far; of fixed size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ewma {
    settings: Settings,
    average: f64,
    count: u64,
}

/// What the chart shows after a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The weighted average; finite.
    pub average: f64,
    /// The average is in control from here
    pub low: f64,
    /// to here.
    pub high: f64,
    /// The average is outside, or the value is infinite (R2).
    pub out: bool,
}

impl Ewma {
    /// A chart without values, its average at the mean. `None` where mean or deviation is not finite, where
    /// the deviation is not above 0 (R3), and where the limits exceed an `f64`.
    pub fn new(settings: Settings) -> Option<Self> {
        let Settings {
            mean,
            deviation,
            weight,
            limit,
        } = settings;
        assert!(
            weight > 0.0 && weight <= 1.0 && limit > 0.0,
            "a weight up to 1 and a limit, both above 0"
        );
        let width = limit * deviation;
        let given = deviation > 0.0 && (mean.abs() + width).is_finite();
        given.then_some(Self {
            settings,
            average: mean,
            count: 0,
        })
    }

    /// With mean and deviation (n - 1 in the denominator) of the finite values of a time in control, and the
    /// usual [`WEIGHT`] and [`LIMIT`]. `None` as for [`Ewma::new`], and with fewer than two values.
    pub fn of_baseline(values: &[f64]) -> Option<Self> {
        let mut moments = Moments::default();
        let finite = values.iter().filter(|it| it.is_finite());
        finite.for_each(|it| moments.add(*it));
        Self::new(Settings {
            mean: moments.mean(),
            deviation: moments.variance()?.sqrt(),
            weight: WEIGHT,
            limit: LIMIT,
        })
    }

    /// The next value. `None` where it is not a number (R1); an infinite one is out and leaves the average
    /// as it is (R2).
    ///
    /// The limits are those of the time since the start, `limit deviation sqrt(weight / (2 - weight)
    /// (1 - (1 - weight)^2t))`, and not the wider ones they tend to: Montgomery, Introduction to Statistical
    /// Quality Control, the chapter on this chart.
    pub fn add(&mut self, value: f64) -> Option<Point> {
        let Settings {
            mean,
            deviation,
            weight,
            limit,
        } = self.settings;
        if value.is_nan() {
            return None;
        }
        if value.is_finite() {
            self.count += 1;
            let average = weight * value + (1.0 - weight) * self.average;
            // Between two values of an f64's greatest, rounding can leave its range.
            self.average = average.clamp(f64::MIN, f64::MAX);
        }
        // Before the first finite value, the limits of the first.
        let twice = 2.0 * self.count.max(1) as f64;
        let grown = -(twice * (-weight).ln_1p()).exp_m1();
        let half = limit * deviation * (weight / (2.0 - weight) * grown).sqrt();
        let (low, high) = (mean - half, mean + half);
        Some(Point {
            average: self.average,
            low,
            high,
            out: value.is_infinite() || self.average < low || self.average > high,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Settings = Settings {
        mean: 10.0,
        deviation: 2.0,
        weight: 0.5,
        limit: 3.0,
    };

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got}, not {want}");
    }

    #[test]
    fn three_values_by_hand() {
        let mut chart = Ewma::new(STANDARD).expect("a deviation");
        // The variance of the average, in those of a value: 1/4, then 1/4 + 1/16, then 1/4 + 1/16 + 1/64.
        for (value, average, variance, out) in [
            (12.0, 11.0, 1.0 / 4.0, false),
            (17.0, 14.0, 5.0 / 16.0, true),
            (10.0, 12.0, 21.0 / 64.0, false),
        ] {
            let point = chart.add(value).expect("a number");
            near(point.average, average);
            near(point.low, 10.0 - 6.0 * f64::sqrt(variance));
            near(point.high, 10.0 + 6.0 * f64::sqrt(variance));
            assert_eq!(point.out, out, "{value}");
        }
    }

    #[test]
    fn what_is_not_finite_leaves_the_average_as_it_is() {
        let mut chart = Ewma::new(STANDARD).expect("a deviation");
        assert_eq!(chart.add(f64::NAN), None);
        let point = chart.add(f64::INFINITY).expect("an infinity is judged");
        assert_eq!((point.average, point.low, point.high), (10.0, 7.0, 13.0));
        assert!(point.out);
        near(chart.add(12.0).expect("a number").average, 11.0);
        let greatest = chart.add(f64::MAX).expect("a number");
        assert!(greatest.average.is_finite() && greatest.out);
    }

    #[test]
    fn with_a_weight_of_one_it_is_shewharts_chart() {
        let mut chart = Ewma::new(Settings {
            weight: 1.0,
            ..STANDARD
        })
        .expect("a deviation");
        for (value, out) in [(15.9, false), (16.1, true), (4.1, false), (3.9, true)] {
            let point = chart.add(value).expect("a number");
            assert_eq!((point.average, point.low, point.high), (value, 4.0, 16.0));
            assert_eq!(point.out, out);
        }
    }

    #[test]
    fn a_baseline_without_scale_gives_no_chart() {
        assert_eq!(Ewma::of_baseline(&[]), None);
        assert_eq!(Ewma::of_baseline(&[1.0]), None);
        assert_eq!(Ewma::of_baseline(&[0.1; 5]), None);
        assert_eq!(Ewma::of_baseline(&[f64::NAN, 1.0, f64::INFINITY]), None);
        assert_eq!(Ewma::of_baseline(&[-f64::MAX, f64::MAX]), None);
        let chart = Ewma::of_baseline(&[1.0, f64::NAN, 3.0]).expect("two values");
        let Settings {
            mean, deviation, ..
        } = chart.settings;
        assert_eq!((mean, deviation), (2.0, 2.0f64.sqrt()));
    }
}
