//! Bins of a number, fixed by its reference: kept with every score that rests on them.
//!
//! R1. A value that a good part of the reference has is a bin of its own: an atom.
//! R2. All others lie between edges, `a < x <= b`; the first bin has no lower end, the last no upper one.
//! R3. Missing values are counted apart.

use super::sample::Sample;

/// The share of the reference from which on a value is an atom.
pub const ATOM_SHARE: f64 = 0.05;

/// Where each value belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// Values with bins of their own, ascending.
    pub atoms: Vec<f64>,
    /// The ends of the other bins, ascending, each once.
    pub edges: Vec<f64>,
}

/// How many values each bin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Between the edges first, then the atoms.
    pub cells: Vec<u64>,
    /// NaN.
    pub missing: u64,
}

impl Bins {
    /// Bins with about as many reference values each, `parts` of them besides the atoms, at quantiles as NumPy's
    /// default has them (type 7 of Hyndman & Fan, Am. Stat. 50 (1996), 361-365). Without values there is one bin.
    pub fn new(reference: &Sample, parts: usize) -> Self {
        let sorted = reference.sorted();
        let mut atoms = Vec::new();
        let mut others = Vec::with_capacity(sorted.len());
        for same in sorted.chunk_by(|a, b| a == b) {
            if same.len() > 1 && same.len() as f64 >= ATOM_SHARE * sorted.len() as f64 {
                atoms.push(same[0]);
            } else {
                others.extend_from_slice(same);
            }
        }
        let quantile = |part: usize| {
            let place = (others.len().checked_sub(1)?) as f64 * part as f64 / parts as f64;
            let (low, high) = (
                others[place.floor() as usize],
                others[place.ceil() as usize],
            );
            let between = (high - low).mul_add(place.fract(), low);
            // Between infinities there is nothing.
            Some(if between.is_nan() { low } else { between })
        };
        let mut edges: Vec<f64> = (1..parts).filter_map(quantile).collect();
        edges.dedup();
        Self { atoms, edges }
    }

    /// How many bins there are.
    pub fn cells(&self) -> usize {
        self.edges.len() + 1 + self.atoms.len()
    }

    /// The bin of a value; none of NaN.
    pub fn cell(&self, value: f64) -> Option<usize> {
        if value.is_nan() {
            return None;
        }
        let atom = self.atoms.partition_point(|it| *it < value);
        if self.atoms.get(atom) == Some(&value) {
            return Some(self.edges.len() + 1 + atom);
        }
        Some(self.edges.partition_point(|it| *it < value))
    }

    /// Counts values.
    pub fn count(&self, values: impl IntoIterator<Item = f64>) -> Counted {
        let mut counted = Counted {
            cells: vec![0; self.cells()],
            missing: 0,
        };
        for value in values {
            match self.cell(value) {
                Some(cell) => counted.cells[cell] += 1,
                None => counted.missing += 1,
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bin_has_as_many() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let bins = Bins::new(&Sample::new(values.iter().copied()), 10);
        assert_eq!((bins.cells(), bins.atoms.len()), (10, 0));
        assert_eq!(bins.count(values).cells, [10; 10]);
    }

    #[test]
    fn zeros_are_a_bin_of_their_own() {
        let values: Vec<f64> = (0..100).map(|it| f64::from((it - 60).max(0))).collect();
        let bins = Bins::new(&Sample::new(values.iter().copied()), 4);
        assert_eq!(bins.atoms, [0.0]);
        let counted = bins.count(values);
        assert_eq!(counted.cells, [10, 10, 9, 10, 61]);
        // What is near an atom is not it.
        assert_eq!(bins.cell(1e-300), Some(0));
        assert_eq!(bins.cell(-0.0), bins.cell(0.0));
    }

    #[test]
    fn every_value_has_a_place() {
        let bins = Bins::new(&Sample::new([1.0, 2.0, 3.0]), 3);
        for value in [f64::NEG_INFINITY, -1e300, 2.0, 1e300, f64::INFINITY] {
            assert!(bins.cell(value).unwrap() < bins.cells());
        }
        assert_eq!(bins.count([f64::NAN, 1.0]).missing, 1);
        let empty = Bins::new(&Sample::default(), 10);
        assert_eq!(empty.count([1.0, 2.0]).cells, [2]);
        let same = Bins::new(&Sample::new([5.0; 40]), 10);
        assert_eq!(same.count([5.0, 4.0, 6.0]).cells, [2, 1]);
        let infinite = Bins::new(&Sample::new([f64::NEG_INFINITY, 0.0, f64::INFINITY]), 4);
        assert!(infinite.edges.iter().all(|it| !it.is_nan()));
    }
}
