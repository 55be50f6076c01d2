//! Bins of a number, fixed by its reference: kept with every score that rests on them.
//!
//! R1. A value that a good part of the reference has is a bin of its own: an atom.
//! R2. All others lie between edges, `a < x <= b`; the first bin has no lower edge, the last no upper one.
//! R3. What is less than the least reference value, or greater than the greatest, has one of two cells of its own.
//! R4. Missing values are counted apart.

use super::lookup::Lookup;
use super::sample::Sample;
use crate::sketch::Numbers;

/// The share of the reference from which on a value is an atom.
pub const ATOM_SHARE: f64 = 0.05;

/// Where each value belongs.
///
/// Cells are numbered: those between the edges first, then the atoms, both ascending, then what is below the range of
/// the reference, then what is above.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    atoms: Vec<f64>,
    edges: Vec<f64>,
    range: Option<(f64, f64)>,
}

/// How many values each bin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// As [`Bins`] numbers them.
    pub cells: Vec<u64>,
    /// NaN.
    pub missing: u64,
}

impl Bins {
    /// Bins with about as many reference values each, `parts` of them besides the atoms, at quantiles as NumPy's
    /// default has them (type 7 of Hyndman & Fan, Am. Stat. 50 (1996), 361-365). Without values there is one bin.
    pub fn new(reference: &Sample, parts: usize) -> Self {
        let sorted = reference.sorted();
        let (mut atoms, mut others) = (Vec::new(), Vec::new());
        for same in sorted.chunk_by(|a, b| a == b) {
            if same.len() > 1 && same.len() as f64 >= ATOM_SHARE * sorted.len() as f64 {
                atoms.push(same[0]);
            } else {
                others.push((same[0], same.len() as u64));
            }
        }
        Self {
            atoms,
            edges: edges(&others, parts),
            range: sorted.first().copied().zip(sorted.last().copied()),
        }
    }

    /// The same of a sketch: edges are quantiles of the points that it keeps of all values but the atoms. Without
    /// atoms a bin has its share of the reference within twice [`Numbers::rank_error`]; each atom may add as much. A
    /// value whose share is less than 0.4 % below [`ATOM_SHARE`] may be an atom too. Where the sketch is exact the bins
    /// are those of [`Self::new`].
    pub fn of_sketch(numbers: &Numbers, parts: usize) -> Self {
        let told = numbers.atoms(ATOM_SHARE);
        let atoms: Vec<f64> = told.iter().filter(|it| it.1 > 1).map(|it| it.0).collect();
        let mut others = numbers.points();
        others.retain(|it| !atoms.contains(&it.0));
        Self {
            atoms,
            edges: edges(&others, parts),
            range: numbers.range(),
        }
    }

    /// Bins that were kept: [`Self::atoms`], [`Self::edges`] and [`Self::range`]. None where these are no bins: not
    /// ascending, not numbers, or outside the range.
    pub fn from_parts(atoms: Vec<f64>, edges: Vec<f64>, range: Option<(f64, f64)>) -> Option<Self> {
        let well = |values: &[f64]| match range {
            None => values.is_empty(),
            Some((least, greatest)) => {
                // No comparison holds with NaN.
                least <= greatest
                    && values.is_sorted_by(|a, b| a < b)
                    && values.iter().all(|it| least <= *it && *it <= greatest)
            }
        };
        (well(&atoms) && well(&edges)).then_some(Self {
            atoms,
            edges,
            range,
        })
    }

    /// Values with bins of their own, ascending.
    pub fn atoms(&self) -> &[f64] {
        &self.atoms
    }

    /// The ends of the other bins, ascending, each once.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// The least and the greatest reference value; none without any, and then nothing is out of range.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// How many cells there are.
    pub fn cells(&self) -> usize {
        self.above() + 1
    }

    /// The cell of a value; none of NaN.
    pub fn cell(&self, value: f64) -> Option<usize> {
        if value.is_nan() {
            return None;
        }
        if let Some((least, greatest)) = self.range {
            if value < least {
                return Some(self.below());
            }
            if greatest < value {
                return Some(self.above());
            }
        }
        let atom = self.atoms.partition_point(|it| *it < value);
        if self.atoms.get(atom) == Some(&value) {
            return Some(self.first_atom() + atom);
        }
        Some(self.edges.partition_point(|it| *it < value))
    }

    /// Counts values.
    pub fn count(&self, values: impl IntoIterator<Item = f64>) -> Counted {
        let mut counted = Counted {
            cells: vec![0; self.cells()],
            missing: 0,
        };
        let lookup = Lookup::new(self);
        for value in values {
            match lookup.cell(value) {
                Some(cell) => counted.cells[cell] += 1,
                None => counted.missing += 1,
            }
        }
        counted
    }

    /// How many of these values, counted by these bins, are less or greater than any of the reference.
    pub fn out_of_range(&self, counted: &Counted) -> u64 {
        counted.cells[self.below()] + counted.cells[self.above()]
    }

    /// What a cell holds, in words: `(18, 25]`, `0`, `below 3`.
    pub fn name(&self, cell: usize) -> String {
        let (least, greatest) = self.range.unzip();
        let end = |it: Option<f64>, none: &str| it.map_or_else(|| none.to_owned(), shown);
        if cell == self.below() {
            return format!("below {}", end(least, "all"));
        }
        if cell == self.above() {
            return format!("above {}", end(greatest, "all"));
        }
        if let Some(atom) = cell.checked_sub(self.first_atom()) {
            return end(self.atoms.get(atom).copied(), "");
        }
        let low = cell
            .checked_sub(1)
            .and_then(|it| self.edges.get(it).copied());
        let high = self.edges.get(cell).copied();
        match low {
            // The least value is in it.
            None => format!("[{}, {}]", end(least, "-∞"), end(high.or(greatest), "∞")),
            Some(low) => format!("({}, {}]", shown(low), end(high.or(greatest), "∞")),
        }
    }

    /// All cells in ascending order of their values, in groups. An atom at or below the end of a bin comes before
    /// it, one at or above the other end after it, where the range ends the first and the last bin. An atom truly
    /// within a bin has values of the bin on both sides: the bin and all such atoms are one group, the bin first.
    pub fn order(&self) -> Vec<Vec<usize>> {
        let mut order = vec![vec![self.below()]];
        let mut atoms = (self.first_atom()..).zip(&self.atoms).peekable();
        let (least, greatest) = self.range.unzip();
        order.extend(
            atoms
                .next_if(|it| Some(*it.1) == least)
                .map(|it| vec![it.0]),
        );
        for bin in 0..=self.edges.len() {
            let end = self.edges.get(bin).copied().or(greatest);
            let mut group = vec![bin];
            while let Some((cell, _)) = atoms.next_if(|it| Some(*it.1) < end) {
                group.push(cell);
            }
            order.push(group);
            order.extend(atoms.next_if(|it| Some(*it.1) == end).map(|it| vec![it.0]));
        }
        order.push(vec![self.above()]);
        order
    }

    fn first_atom(&self) -> usize {
        self.edges.len() + 1
    }

    fn below(&self) -> usize {
        self.first_atom() + self.atoms.len()
    }

    fn above(&self) -> usize {
        self.below() + 1
    }
}

/// Quantiles of values, ascending, each with how often it is there.
fn edges(values: &[(f64, u64)], parts: usize) -> Vec<f64> {
    let mut rows = 0;
    let mut upto = Vec::with_capacity(values.len());
    for (_, count) in values {
        rows += count;
        upto.push(rows);
    }
    let at = |place: f64| values[upto.partition_point(|it| *it <= place as u64)].0;
    let quantile = |part: usize| {
        let place = rows.checked_sub(1)? as f64 * part as f64 / parts as f64;
        let (low, high) = (at(place.floor()), at(place.ceil()));
        let between = (high - low).mul_add(place.fract(), low);
        // Between infinities there is nothing.
        Some(if between.is_nan() { low } else { between })
    };
    let mut edges: Vec<f64> = (1..parts).filter_map(quantile).collect();
    edges.dedup();
    edges
}

/// Six significant digits, without the zeros at their end.
fn shown(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = 5 - value.abs().log10().floor() as i32;
    let Ok(digits) = usize::try_from(digits) else {
        return format!("{value:.0}");
    };
    let text = format!("{value:.*}", digits.min(12));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bin_has_as_many() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let bins = Bins::new(&Sample::new(values.iter().copied()), 10);
        assert_eq!((bins.cells(), bins.atoms.len()), (12, 0));
        let counted = bins.count(values);
        assert_eq!(
            (&counted.cells[..10], bins.out_of_range(&counted)),
            (&[10; 10][..], 0)
        );
    }

    #[test]
    fn zeros_are_a_bin_of_their_own() {
        let values: Vec<f64> = (0..100).map(|it| f64::from((it - 60).max(0))).collect();
        let bins = Bins::new(&Sample::new(values.iter().copied()), 4);
        assert_eq!(bins.atoms, [0.0]);
        let counted = bins.count(values);
        assert_eq!(counted.cells, [10, 10, 9, 10, 61, 0, 0]);
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
        assert_eq!(empty.count([1.0, 2.0]).cells, [2, 0, 0]);
        let same = Bins::new(&Sample::new([5.0; 40]), 10);
        assert_eq!(same.count([5.0, 4.0, 6.0]).cells, [0, 1, 1, 1]);
        let infinite = Bins::new(&Sample::new([f64::NEG_INFINITY, 0.0, f64::INFINITY]), 4);
        assert!(infinite.edges.iter().all(|it| !it.is_nan()));
    }

    #[test]
    fn what_the_reference_never_had_is_out_of_range() {
        let bins = Bins::new(&Sample::new([1.0, 2.0, 3.0, 4.0]), 2);
        let counted = bins.count([0.9, 1.0, 2.5, 4.0, 4.1, f64::INFINITY, f64::NAN]);
        assert_eq!(
            (&counted.cells[..], counted.missing),
            (&[2, 1, 1, 2][..], 1)
        );
        assert_eq!(bins.out_of_range(&counted), 3);
    }

    #[test]
    fn atoms_have_their_place_in_the_order() {
        let bins = |atoms: &[f64], edges: &[f64]| {
            Bins::from_parts(atoms.to_vec(), edges.to_vec(), Some((0.0, 9.0))).unwrap()
        };
        // At both ends of the range and at an edge.
        let order = bins(&[0.0, 5.0, 9.0], &[5.0]).order();
        assert_eq!(order, [[5], [2], [0], [3], [1], [4], [6]]);
        // Within bins.
        let order = bins(&[1.0, 2.0, 7.0], &[5.0]).order();
        assert_eq!(order, [vec![5], vec![0, 2, 3], vec![1, 4], vec![6]]);
        let none = Bins::new(&Sample::default(), 4).order();
        assert_eq!(none, [[1], [0], [2]]);
        let zeros: Vec<f64> = (0..100).map(|it| f64::from((it - 60).max(0))).collect();
        let order = Bins::new(&Sample::new(zeros), 4).order();
        assert_eq!(order.concat(), [5, 4, 0, 1, 2, 3, 6]);
    }

    #[test]
    fn parts_that_are_no_bins_are_refused() {
        let bins = Bins::new(&Sample::new([1.0, 2.0, 2.0, 3.0, f64::INFINITY]), 3);
        let parts = |it: &Bins| (it.atoms().to_vec(), it.edges().to_vec(), it.range());
        let (atoms, edges, range) = parts(&bins);
        assert_eq!(Bins::from_parts(atoms, edges, range), Some(bins));
        let nan = f64::NAN;
        for (atoms, edges, range) in [
            (vec![2.0, 1.0], vec![], Some((0.0, 9.0))),
            (vec![], vec![1.0, 1.0], Some((0.0, 9.0))),
            (vec![-0.0, 0.0], vec![], Some((0.0, 9.0))),
            (vec![nan], vec![], Some((0.0, 9.0))),
            (vec![], vec![10.0], Some((0.0, 9.0))),
            (vec![], vec![], Some((1.0, 0.0))),
            (vec![], vec![], Some((nan, 0.0))),
            (vec![], vec![], Some((0.0, nan))),
            (vec![1.0], vec![], None),
        ] {
            assert_eq!(Bins::from_parts(atoms, edges, range), None);
        }
    }

    #[test]
    fn bins_of_a_sketch_are_those_of_its_values() {
        let few: Vec<f64> = (0..900)
            .map(|it| f64::from((it % 90 - 40).max(0)))
            .collect();
        let (mut numbers, mut empty) = (Numbers::new(), Numbers::new());
        numbers.extend(&few);
        empty.add_missing(3);
        assert_eq!(
            Bins::of_sketch(&numbers, 7),
            Bins::new(&Sample::new(few), 7)
        );
        assert_eq!(Bins::of_sketch(&empty, 7), Bins::new(&Sample::default(), 7));
        // Of many, each bin has its part but for the error of two ranks.
        let values: Vec<f64> = (0..200_000_u64)
            .map(|it| (it.wrapping_mul(7919) % 100_003) as f64)
            .map(|it| if it < 30_000.0 { 7.0 } else { it.sqrt() })
            .collect();
        let mut numbers = Numbers::new();
        numbers.extend(&values);
        let bins = Bins::of_sketch(&numbers, 10);
        assert_eq!(bins.atoms(), [7.0]);
        let counted = bins.count(values.iter().copied());
        let seven = values.iter().filter(|it| **it == 7.0).count() as u64;
        assert_eq!((counted.cells[10], bins.out_of_range(&counted)), (seven, 0));
        let part = (200_000 - seven) as f64 / 10.0;
        let error = 2.0 * numbers.rank_error() * 200_000.0;
        for cell in &counted.cells[..10] {
            assert!((*cell as f64 - part).abs() <= error, "{:?}", counted.cells);
        }
    }
}
