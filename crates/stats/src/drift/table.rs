//! Counts of the same cells, in a reference and now: levels of a category, or bins of a number.

use crate::gamma::{chi_square_above, noncentrality_at};
use crate::interval::Estimate;

/// Counts of both, cell by cell.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    reference: &'a [u64],
    current: &'a [u64],
    /// Rows of both.
    rows: (f64, f64),
}

/// A distance between two sets of shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// As it is between the shares seen.
    pub value: f64,
    /// What it would be, on average and to first order, had nothing changed.
    pub expected: f64,
}

impl Distance {
    /// What is left of it without what chance alone makes; at least 0.
    pub fn corrected(self) -> f64 {
        (self.value - self.expected).max(0.0)
    }
}

/// What is done about cells that are empty, of which the logarithm is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Smoothing {
    /// Half a row is added to each cell: Jeffreys' prior.
    Jeffreys,
    /// A share of 0 becomes this one, and the others stay: the common way, with 0.0001.
    Floor(f64),
}

/// The chi-square test of homogeneity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChiSquare {
    /// Pearson's statistic, without Yates's correction.
    pub statistic: f64,
    /// One less than cells that are not empty in both.
    pub degrees: usize,
    /// The probability of at least so much, had nothing changed.
    pub p: f64,
}

/// How strongly the cell depends on whether a row is a reference one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CramersV {
    /// Between 0 and 1, with the interval of the noncentrality of chi-square: Smithson, Confidence Intervals
    /// (2003), section 4.
    pub estimate: Estimate,
    /// Without the bias of finite samples: Bergsma, J. Korean Stat. Soc. 42 (2013), 323-328.
    pub corrected: f64,
}

impl<'a> Table<'a> {
    /// Of as many cells each; none where one has no rows.
    pub fn new(reference: &'a [u64], current: &'a [u64]) -> Option<Self> {
        assert!(
            reference.len() == current.len(),
            "both count the same cells"
        );
        let rows = |counts: &[u64]| counts.iter().map(|it| *it as f64).sum::<f64>();
        let rows = (rows(reference), rows(current));
        (rows.0 > 0.0 && rows.1 > 0.0).then_some(Self {
            reference,
            current,
            rows,
        })
    }

    /// The shares of both, cell by cell.
    fn shares(&self) -> impl Iterator<Item = (f64, f64)> {
        let (n, m) = self.rows;
        let pairs = self.reference.iter().zip(self.current);
        pairs.map(move |(a, b)| (*a as f64 / n, *b as f64 / m))
    }

    /// Cells that are not empty in both.
    fn cells(&self) -> usize {
        let pairs = self.reference.iter().zip(self.current);
        pairs.filter(|(a, b)| **a + **b > 0).count()
    }

    /// The variance of a difference of shares, for a share of 1: 1/n + 1/m.
    fn noise(&self) -> f64 {
        1.0 / self.rows.0 + 1.0 / self.rows.1
    }

    /// What the chi-square distance of the shares is on average, had nothing changed.
    fn expected(&self) -> f64 {
        (self.cells() as f64 - 1.0) * self.noise()
    }

    /// Half the sum of the differences of shares: the share of rows that would have to move.
    pub fn total_variation(&self) -> Distance {
        let value: f64 = self.shares().map(|(p, q)| (p - q).abs()).sum();
        let pooled = self.reference.iter().zip(self.current).map(|(a, b)| {
            let share = (*a as f64 + *b as f64) / (self.rows.0 + self.rows.1);
            (share * (1.0 - share) * self.noise()).sqrt()
        });
        // The mean of |x| for a normal x.
        let expected = pooled.sum::<f64>() * (2.0 / std::f64::consts::PI).sqrt();
        Distance {
            value: value / 2.0,
            expected: expected / 2.0,
        }
    }

    /// The largest difference of shares of one cell.
    pub fn l_infinity(&self) -> f64 {
        let differences = self.shares().map(|(p, q)| (p - q).abs());
        differences.fold(0.0, f64::max)
    }

    /// Hellinger's distance, from 0 to 1: the root of half the squared differences of roots.
    pub fn hellinger(&self) -> Distance {
        let terms = self.shares().map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2));
        Distance {
            value: (terms.sum::<f64>() / 2.0).sqrt(),
            // To second order its square is an eighth of the chi-square distance.
            expected: (self.expected() / 8.0).sqrt(),
        }
    }

    /// The Jensen-Shannon distance to base 2, from 0 to 1: the root of the divergence; Lin, IEEE Trans. Inf.
    /// Theory 37 (1991), 145-151.
    pub fn jensen_shannon(&self) -> Distance {
        let part = |share: f64, middle: f64| {
            if share > 0.0 {
                share * (share / middle).log2()
            } else {
                0.0
            }
        };
        let terms = self.shares().map(|(p, q)| {
            let middle = (p + q) / 2.0;
            (part(p, middle) + part(q, middle)) / 2.0
        });
        Distance {
            value: terms.sum::<f64>().max(0.0).sqrt(),
            expected: (self.expected() / 8.0 / std::f64::consts::LN_2).sqrt(),
        }
    }

    /// The population stability index, the sum of (p - q) ln(p / q). What it is expected to be is from
    /// Yurdakul & Naranjo, J. Risk Model Validation 14 (2020), 89-100.
    pub fn psi(&self, smoothing: Smoothing) -> Distance {
        let cells = self.reference.len() as f64;
        let (n, m) = self.rows;
        let pairs = self.reference.iter().zip(self.current);
        let term = |(a, b): (&u64, &u64)| {
            let (p, q) = match smoothing {
                Smoothing::Jeffreys => (
                    (*a as f64 + 0.5) / (n + cells / 2.0),
                    (*b as f64 + 0.5) / (m + cells / 2.0),
                ),
                Smoothing::Floor(least) => {
                    let floor = |share: f64| if share == 0.0 { least } else { share };
                    (floor(*a as f64 / n), floor(*b as f64 / m))
                }
            };
            (p - q) * (p / q).ln()
        };
        Distance {
            value: pairs.map(term).sum(),
            expected: self.expected(),
        }
    }

    /// Whether both can be of one distribution; none where all rows are in one cell.
    pub fn chi_square(&self) -> Option<ChiSquare> {
        let degrees = self.cells().checked_sub(1).filter(|it| *it > 0)?;
        let (n, m) = self.rows;
        let pairs = self.reference.iter().zip(self.current);
        let terms = pairs.filter(|(a, b)| **a + **b > 0).map(|(a, b)| {
            let (a, b) = (*a as f64, *b as f64);
            // Both rows' terms of the cell in one.
            (a * m - b * n).powi(2) / ((a + b) * n * m)
        });
        let statistic = terms.sum();
        Some(ChiSquare {
            statistic,
            degrees,
            p: chi_square_above(statistic, degrees as f64),
        })
    }

    /// Cramér's V of cell by sample; none where all rows are in one cell.
    pub fn cramers_v(&self, level: f64) -> Option<CramersV> {
        let ChiSquare {
            statistic, degrees, ..
        } = self.chi_square()?;
        let rows = self.rows.0 + self.rows.1;
        let degrees = degrees as f64;
        let root = |noncentrality: f64| (noncentrality / rows).sqrt().min(1.0);
        let tail = (1.0 - level) / 2.0;
        let noncentrality = |below: f64| noncentrality_at(statistic, degrees, below);
        let value = root(statistic);
        let phi = (statistic / rows - degrees / (rows - 1.0).max(1.0)).max(0.0);
        let columns = degrees + 1.0 - degrees.powi(2) / (rows - 1.0).max(1.0);
        // Of the two rows of the table.
        let samples = 2.0 - 1.0 / (rows - 1.0).max(1.0);
        let least = (columns.min(samples) - 1.0).max(f64::MIN_POSITIVE);
        Some(CramersV {
            estimate: Estimate {
                value,
                low: Some(root(noncentrality(1.0 - tail)).min(value)),
                high: Some(root(noncentrality(tail)).max(value)),
            },
            corrected: (phi / least).sqrt().min(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() <= within, "{a} is not {b}");
    }

    #[test]
    fn what_is_the_same_is_at_no_distance() {
        let table = Table::new(&[10, 20, 30], &[100, 200, 300]).unwrap();
        for distance in [
            table.total_variation(),
            table.hellinger(),
            table.jensen_shannon(),
            table.psi(Smoothing::Floor(1e-4)),
        ] {
            near(distance.value, 0.0, 1e-9);
            assert!(distance.expected > 0.0);
            assert_eq!(distance.corrected(), 0.0);
        }
        let test = table.chi_square().unwrap();
        assert_eq!((test.statistic, test.degrees), (0.0, 2));
        near(test.p, 1.0, 1e-12);
        let v = table.cramers_v(0.95).unwrap();
        assert_eq!(
            (v.estimate.value, v.estimate.low, v.corrected),
            (0.0, Some(0.0), 0.0)
        );
    }

    #[test]
    fn what_has_nothing_in_common_is_at_the_greatest() {
        let table = Table::new(&[10, 0], &[0, 10]).unwrap();
        for distance in [
            table.total_variation(),
            table.hellinger(),
            table.jensen_shannon(),
        ] {
            near(distance.value, 1.0, 1e-12);
        }
        assert_eq!(table.l_infinity(), 1.0);
        let psi = table.psi(Smoothing::Jeffreys).value;
        near(psi, 2.0 * (10.0 / 11.0) * (21_f64).ln(), 1e-12);
        near(table.cramers_v(0.95).unwrap().estimate.value, 1.0, 1e-12);
    }

    #[test]
    fn there_is_nothing_to_tell_of_nothing() {
        assert!(Table::new(&[0, 0], &[1, 2]).is_none());
        assert!(Table::new(&[], &[]).is_none());
        let one = Table::new(&[5, 0], &[7, 0]).unwrap();
        assert!(one.chi_square().is_none() && one.cramers_v(0.95).is_none());
        assert_eq!(one.total_variation().expected, 0.0);
    }

    #[test]
    fn two_by_two_by_hand() {
        // 40 of 100 and 60 of 100.
        let table = Table::new(&[40, 60], &[60, 40]).unwrap();
        let test = table.chi_square().unwrap();
        near(test.statistic, 8.0, 1e-12);
        near(test.p, 0.004_677_734_981_047_266, 1e-12);
        let v = table.cramers_v(0.95).unwrap().estimate;
        near(v.value, 0.2, 1e-12);
        // As of a normal variable around the root of chi-square.
        near(v.low.unwrap(), (8_f64.sqrt() - 1.96) / 200_f64.sqrt(), 2e-3);
        near(
            v.high.unwrap(),
            (8_f64.sqrt() + 1.96) / 200_f64.sqrt(),
            2e-3,
        );
    }
}
