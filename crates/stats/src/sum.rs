//! Sums that keep what a plain `f64` sum loses.
//!
//! A sum is an unevaluated pair of `f64` (double-double, about 106 bits), so that a mean over ten million
//! rows is right to the last bits, a variance survives an offset of a billion, and merging parts in any
//! order gives the same value. Error-free transformations: Knuth, The Art of Computer Programming 2, 4.2.2;
//! Dekker, Numer. Math. 18 (1971). What overflows becomes not finite and stays so; the caller looks at the
//! end.

/// A running sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, term: f64) {
        let (high, low) = two_sum(self.high, term);
        *self = Self::normal(high, low + self.low);
    }

    /// Adds `term * term` without rounding the product.
    pub(crate) fn add_square(&mut self, term: f64) {
        let (product, error) = two_product(term, term);
        let (high, low) = two_sum(self.high, product);
        *self = Self::normal(high, low + (self.low + error));
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        let (high, low) = two_sum(self.high, other.high);
        let (middle, rest) = two_sum(self.low, other.low);
        let sum = Self::normal(high, low + middle);
        Self::normal(sum.high, sum.low + rest)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.plus(Self {
            high: -other.high,
            low: -other.low,
        })
    }

    pub(crate) fn value(self) -> f64 {
        self.high + self.low
    }

    /// Both numbers, for keeping.
    pub(crate) fn parts(self) -> (f64, f64) {
        (self.high, self.low)
    }

    pub(crate) fn from_parts(high: f64, low: f64) -> Self {
        Self { high, low }
    }

    fn times(self, other: Self) -> Self {
        let (product, error) = two_product(self.high, other.high);
        let cross = self.high * other.low + self.low * other.high;
        Self::normal(product, error + cross)
    }

    fn over(self, divisor: f64) -> Self {
        let quotient = Self {
            high: self.high / divisor,
            low: 0.0,
        };
        let whole = quotient.times(Self {
            high: divisor,
            low: 0.0,
        });
        Self::normal(quotient.high, self.minus(whole).high / divisor)
    }

    /// `high` is the larger of the two, or both are of one size.
    fn normal(high: f64, low: f64) -> Self {
        let sum = high + low;
        Self {
            high: sum,
            low: low - (sum - high),
        }
    }
}

impl From<u128> for Sum {
    fn from(whole: u128) -> Self {
        // 2^53 at a time: each part is exact as `f64`.
        const PART: u128 = 1 << 53;
        let high = (whole / PART) as f64 * PART as f64;
        Self::normal(high, (whole % PART) as f64)
    }
}

/// Sums from which mean and variance follow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    pub(crate) sum: Sum,
    pub(crate) squares: Sum,
}

impl Moments {
    pub(crate) fn add(&mut self, term: f64) {
        self.count += 1;
        self.sum.add(term);
        self.squares.add_square(term);
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum.plus(other.sum),
            squares: self.squares.plus(other.squares),
        }
    }

    /// Takes out a part that was added before.
    pub(crate) fn minus(self, part: Self) -> Self {
        Self {
            count: self.count - part.count,
            sum: self.sum.minus(part.sum),
            squares: self.squares.minus(part.squares),
        }
    }

    /// Not a number where nothing was added.
    pub(crate) fn mean(self) -> f64 {
        self.sum.value() / self.count as f64
    }

    /// The sum of squared distances from the mean.
    pub(crate) fn spread(self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let around_zero = self.sum.times(self.sum).over(self.count as f64);
        let spread = self.squares.minus(around_zero).value();
        // What rounding leaves below zero is zero; what is not a number stays so.
        if spread < 0.0 { 0.0 } else { spread }
    }

    /// The unbiased variance of one term; `None` for fewer than two.
    pub(crate) fn variance(self) -> Option<f64> {
        (self.count > 1).then(|| self.spread() / (self.count - 1) as f64)
    }
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// Dekker's product rather than `mul_add`, which is a slow call where the target has no such instruction.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
    let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    (product, error)
}

fn halves(a: f64) -> (f64, f64) {
    const SPLITTER: f64 = ((1u64 << 27) + 1) as f64;
    let scaled = SPLITTER * a;
    let high = scaled - (scaled - a);
    (high, a - high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plain_sum_loses_is_kept() {
        let mut sum = Sum::default();
        for term in [1e16, 1.0, -1e16, 1.0] {
            sum.add(term);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn ten_million_tenths() {
        let mut sum = Sum::default();
        for _ in 0..10_000_000 {
            sum.add(0.1);
        }
        assert_eq!(sum.value(), 1e6);
    }

    #[test]
    fn variance_survives_an_offset() {
        let mut moments = Moments::default();
        for term in [1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0, 1e9 + 4.0] {
            moments.add(term);
        }
        assert_eq!(moments.mean(), 1e9 + 2.5);
        assert_eq!(moments.spread(), 5.0);
        assert_eq!(moments.variance(), Some(5.0 / 3.0));
        assert_eq!(moments.minus(moments).spread(), 0.0);
        assert_eq!(moments.plus(moments).spread(), 10.0);
    }

    #[test]
    fn whole_numbers_beyond_the_mantissa_are_exact() {
        let whole = (1u128 << 90) + 1;
        let rest = Sum::from(whole).minus(Sum::from(1u128 << 90));
        assert_eq!(rest.value(), 1.0);
    }

    #[test]
    fn overflow_is_not_finite() {
        let mut moments = Moments::default();
        moments.add(1e200);
        assert!(!moments.squares.value().is_finite());
    }
}
