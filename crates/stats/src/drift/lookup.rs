//! Finding the cells of many numbers.
//!
//! R1. It tells the same as [`Bins::cell`], which defines it.
//! R2. Between two neighbours of the values where cells meet there is one cell. So one search among these is enough,
//!     and of a fixed number of steps it needs no branch.

use super::bins::Bins;

/// A step for each bit of a place among the rungs.
const STEPS: [usize; 6] = [32, 16, 8, 4, 2, 1];
/// One less than the places that so many steps tell apart.
const RUNGS_MAX: usize = 63;

/// A search among a column's bins, for as many values as there are: to make it takes as long as a hundred of them.
pub struct Lookup<'a> {
    bins: &'a Bins,
    /// None where there are too many rungs.
    ladder: Option<Ladder>,
}

struct Ladder {
    /// Ascending; a value is above those that are less than itself. No value is above infinity, which fills it up.
    rungs: [f64; RUNGS_MAX + 1],
    /// By how many rungs a value is above.
    cells: [usize; RUNGS_MAX + 1],
}

impl<'a> Lookup<'a> {
    /// For these bins.
    pub fn new(bins: &'a Bins) -> Self {
        let ends = bins.range().map(|(least, most)| [least.next_down(), most]);
        let atoms = bins.atoms().iter().flat_map(|it| [it.next_down(), *it]);
        let edges = bins.edges().iter().copied();
        let mut rungs: Vec<f64> = edges
            .chain(atoms)
            .chain(ends.into_iter().flatten())
            .collect();
        rungs.sort_by(f64::total_cmp);
        rungs.dedup();
        let ladder = (rungs.len() <= RUNGS_MAX).then(|| Ladder::new(bins, &rungs));
        Self { bins, ladder }
    }

    /// The cell of a value; none of NaN.
    #[inline]
    pub fn cell(&self, value: f64) -> Option<usize> {
        match &self.ladder {
            Some(_) if value.is_nan() => None,
            Some(ladder) => Some(ladder.cell(value)),
            None => self.bins.cell(value),
        }
    }
}

impl Ladder {
    fn new(bins: &Bins, rungs: &[f64]) -> Self {
        let mut ladder = Self {
            rungs: [f64::INFINITY; RUNGS_MAX + 1],
            cells: [0; RUNGS_MAX + 1],
        };
        ladder.rungs[..rungs.len()].copy_from_slice(rungs);
        // R2: the least value of each part stands for all of it.
        let least = rungs.iter().map(|it| it.next_up());
        let least = std::iter::once(f64::NEG_INFINITY).chain(least);
        for (cell, value) in ladder.cells.iter_mut().zip(least) {
            *cell = bins.cell(value).unwrap_or(0);
        }
        ladder
    }

    #[inline]
    fn cell(&self, value: f64) -> usize {
        let mut above = 0;
        for step in STEPS {
            let rung = self.rungs[(above + step - 1) & RUNGS_MAX];
            above += if rung < value { step } else { 0 };
        }
        self.cells[above & RUNGS_MAX]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_the_bins_tell() {
        let (least, most) = (f64::NEG_INFINITY, f64::INFINITY);
        let many: Vec<f64> = (0..100).map(f64::from).collect();
        let (ends, infinite) = ([least, 0.0, most], [least, most]);
        let close = [1.0, 1.0_f64.next_up(), 1.0_f64.next_up().next_up()];
        type Parts<'a> = (&'a [f64], &'a [f64], Option<(f64, f64)>);
        let cases: [Parts<'_>; 15] = [
            (&[], &[], None),
            (&[], &[], Some((3.0, 3.0))),
            (&[3.0], &[], Some((3.0, 3.0))),
            (&[0.0, 5.0, 9.0], &[5.0], Some((0.0, 9.0))),
            (&[-0.0], &[0.0, 1.0], Some((-1.0, 1.0))),
            (&[0.0], &[-0.0, 1.0], Some((-0.0, 1.0))),
            (&[1.0, 2.0, 7.0], &[5.0], Some((-2.0, 9.0))),
            (&close, &close, Some((0.0, 9.0))),
            (&close[1..], &close[..1], Some((1.0, close[2]))),
            (&ends, &infinite, Some((least, most))),
            (&[], &[0.0], Some((least, most))),
            (&[f64::MIN, f64::MAX], &[0.0], Some((f64::MIN, f64::MAX))),
            (&[], &many[1..64], Some((0.0, 100.0))),
            (&[], &many[1..62], Some((0.0, 100.0))),
            (&many, &many, Some((0.0, 99.0))),
        ];
        for (atoms, edges, range) in cases {
            let bins = Bins::from_parts(atoms.to_vec(), edges.to_vec(), range).expect("bins");
            let lookup = Lookup::new(&bins);
            let ends = range.into_iter().flat_map(|(least, most)| [least, most]);
            let all = atoms.iter().chain(edges).copied().chain(ends);
            let around = all.flat_map(|it| [it.next_down(), it, it.next_up(), it + 0.5]);
            let others = [f64::NAN, least, f64::MIN, -0.0, 0.0, f64::MAX, most];
            for value in around.chain(others) {
                assert_eq!(lookup.cell(value), bins.cell(value), "{value:?} {bins:?}");
            }
        }
    }

    #[test]
    fn bins_of_twenty_parts_and_all_atoms_have_a_ladder() {
        let atoms: Vec<f64> = (0..19).map(f64::from).collect();
        let edges: Vec<f64> = (0..19).map(|it| f64::from(it) + 0.5).collect();
        let bins = Bins::from_parts(atoms, edges, Some((-1.0, 20.0))).expect("bins");
        assert!(Lookup::new(&bins).ladder.is_some());
    }
}
