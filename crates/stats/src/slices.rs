//! Where a model is worst: conjunctions of conditions on a few features whose rows have a greater loss than the others.
//!
//! The search goes through the lattice of conjunctions level by level, as SliceLine does (Sagadeeva & Boehm, SIGMOD
//! 2021, 2290-2299). What it finds is tested, as SliceFinder does (Chung et al., ICDE 2019, 1550-1553), but on rows that
//! the search never saw.
//!
//! R1. Rows are of two halves. The one searches, the other confirms: a test on the second is honest however long the
//!     first was searched.
//! R2. The score of a slice is the mean test of Klösgen (Advances in Knowledge Discovery and Data Mining, 1996,
//!     249-271): how many standard errors its mean loss is over that of all rows, as a sample drawn from them without
//!     replacement. SliceLine's own score weighs size by a constant that has to suit the share of errors; where errors
//!     are rare, tiny slices win by chance.
//! R3. A slice of fewer than `support` rows, or with fewer outside of it, is not looked at, and nothing below it is. Nor
//!     is what lies below slices of which no part could score more than the best that was found: the rows that
//!     are worst can be no more than all of its loss over the mean, nor worse than the worst row (an optimistic
//!     estimate: Grosskreutz, Rüping & Wrobel, ECML PKDD 2008, 440-456; the least over all parents, as SliceLine).
//! R4. A condition stays in the slice only where the rows that it takes out have a smaller loss for certain, all slices
//!     looked at considered. So the largest slice that explains the loss is named, and not a part of it.
//! R5. The rows of a slice are taken out, in both halves, before the next is searched. So no slice is there only because
//!     it overlaps with one before it.
//! R6. Confirmed is a slice whose loss in the second half is greater than that of the others there, by a test that is
//!     adjusted for the slices tested by Benjamini and Yekutieli's procedure. With nothing to find, the probability
//!     that any is confirmed is at most `alpha`.

mod compare;
mod lattice;
#[cfg(test)]
mod tests;

use crate::Estimate;
use crate::fdr::{self, Dependence};
use compare::{Compared, Part};
use lattice::Lattice;

/// The code of a row that is in no cell of a feature.
pub const NO_CELL: u16 = u16::MAX;
/// Conditions of a slice.
pub const DEPTH_MAX: usize = 3;

/// A feature of all rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// How many cells it has.
    pub cells: u16,
    /// The cell of each row; [`NO_CELL`] where it is in none that could be named.
    pub codes: Vec<u16>,
}

/// Rows with their losses.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The features; each has a code for every row.
    pub features: &'a [Feature],
    /// The loss of each row: finite, and at least 0.
    pub losses: &'a [f64],
    /// Whether a row is of the half that confirms.
    pub held_out: &'a [bool],
}

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The fewest rows of a slice in each half, and of the others.
    pub support: usize,
    /// The most conditions of a slice, from 1 to [`DEPTH_MAX`].
    pub depth: usize,
    /// Slices that are tested.
    pub slices: usize,
    /// How often anything may be confirmed where there is nothing.
    pub alpha: f64,
    /// The level of the intervals.
    pub level: f64,
}

/// A feature and one of its cells, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    /// The feature.
    pub feature: usize,
    /// The cell.
    pub cell: u16,
}

/// Rows of one half: those of a slice, or the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// How many.
    pub rows: u64,
    /// Their mean loss.
    pub loss: Estimate,
}

/// A slice that looked worse than the others in the half that searches.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// All of them hold for its rows.
    pub conditions: Vec<Condition>,
    /// Its rows in the half that searches; they look worse than they are, as they were chosen.
    pub searched: Side,
    /// Its rows in the half that confirms.
    pub held_out: Side,
    /// The others in that half that are in no slice before this one (R5).
    pub others: Side,
    /// How much greater its loss is there.
    pub difference: Estimate,
    /// The probability of as great a difference by chance.
    pub p: f64,
    /// The least `alpha` at which it is confirmed, all slices tested considered.
    pub adjusted_p: f64,
    /// Whether it is (R6).
    pub confirmed: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The slices that were tested, in the order in which they were found.
    pub slices: Vec<Slice>,
    /// How many slices were looked at in the search.
    pub considered: u64,
    /// Whether every slice was looked at that could score more than those found.
    pub complete: bool,
    /// All rows of the half that searches.
    pub searched: Side,
    /// All rows of the half that confirms.
    pub held_out: Side,
}

/// Searches for the slices with the greatest loss, and confirms them.
pub fn search(rows: Rows<'_>, settings: Settings) -> Found {
    let Rows {
        features,
        losses,
        held_out,
    } = rows;
    assert_eq!(losses.len(), held_out.len(), "a half for each row");
    assert!(
        features.iter().all(|it| it.codes.len() == losses.len()),
        "a code for each row"
    );
    assert!(
        losses.iter().all(|it| it.is_finite() && *it >= 0.0),
        "a loss is finite and at least 0"
    );
    assert!((1..=DEPTH_MAX).contains(&settings.depth), "1 to 3");
    assert!(settings.alpha > 0.0 && settings.alpha < 1.0, "0 to 1");
    // Sums of squares of what is at most 1 stay finite.
    let greatest = losses.iter().copied().fold(0.0, f64::max);
    let losses: Vec<f64> = match greatest > 0.0 {
        true => losses.iter().map(|it| it / greatest).collect(),
        false => losses.to_vec(),
    };
    let shares = greatest == 1.0 && losses.iter().all(|it| *it == 0.0 || *it == 1.0);
    let half = |wanted: bool| -> Vec<u32> {
        let places = 0..u32::try_from(losses.len()).expect("rows are numbered by 32 bits");
        places
            .filter(|it| held_out[*it as usize] == wanted)
            .collect()
    };
    let mut search = Search {
        features,
        losses: &losses,
        scale: Scale { greatest, shares },
        settings,
        searching: half(false),
        confirming: half(true),
        considered: 0,
        complete: true,
    };
    let side = |rows: &[u32]| search.side(search.part(rows, |_| true));
    let (searched, held_out) = (side(&search.searching), side(&search.confirming));
    let mut slices = Vec::new();
    while slices.len() < settings.slices {
        let Some(slice) = search.next() else { break };
        slices.push(slice);
    }
    let p_values: Vec<f64> = slices.iter().map(|it| it.p).collect();
    let adjusted = fdr::adjusted(&p_values, Dependence::Any);
    for (slice, adjusted) in slices.iter_mut().zip(adjusted) {
        slice.adjusted_p = adjusted.map_or(1.0, |it| it.min(1.0));
        slice.confirmed = slice.adjusted_p <= settings.alpha && slice.difference.value > 0.0;
    }
    Found {
        slices,
        considered: search.considered,
        complete: search.complete,
        searched,
        held_out,
    }
}

/// What losses were before they were divided by the greatest.
#[derive(Clone, Copy)]
struct Scale {
    greatest: f64,
    /// Each is 0 or 1.
    shares: bool,
}

struct Search<'a> {
    features: &'a [Feature],
    losses: &'a [f64],
    scale: Scale,
    settings: Settings,
    /// Rows that are in no slice yet, of each half.
    searching: Vec<u32>,
    confirming: Vec<u32>,
    considered: u64,
    complete: bool,
}

impl Search<'_> {
    /// The next slice, tested; its rows are taken out.
    fn next(&mut self) -> Option<Slice> {
        let lattice = Lattice::new(
            self.features,
            self.losses,
            &self.searching,
            self.settings.support,
        )?;
        let best = lattice.search(self.settings.depth);
        self.considered += best.considered;
        self.complete &= best.complete;
        let conditions = self.needed(best.conditions?, best.considered);
        let searched = self.part(&self.searching, |it| self.holds(&conditions, it));
        let inside = self.part(&self.confirming, |it| self.holds(&conditions, it));
        let outside = self.part(&self.confirming, |it| !self.holds(&conditions, it));
        let compared = self.compare(inside, outside);
        let slice = Slice {
            searched: self.side(searched),
            held_out: self.side(inside),
            others: self.side(outside),
            difference: self.scaled(compared.difference),
            p: compared.p,
            adjusted_p: 1.0,
            confirmed: false,
            conditions,
        };
        let (features, conditions) = (self.features, &slice.conditions);
        self.searching
            .retain(|it| !holds(features, conditions, *it));
        self.confirming
            .retain(|it| !holds(features, conditions, *it));
        Some(slice)
    }

    /// The conditions without those that need not be there (R4). One that takes out fewer rows than a slice must have
    /// is never sure.
    fn needed(&self, mut conditions: Vec<Condition>, considered: u64) -> Vec<Condition> {
        while conditions.len() > 1 {
            let p_values = (0..conditions.len()).map(|place| {
                let mut parent = conditions.clone();
                let taken = parent.remove(place);
                let has = |row: u32| {
                    let codes = &self.features[taken.feature].codes;
                    codes[row as usize] == taken.cell
                };
                let inside = self.part(&self.searching, |it| self.holds(&parent, it) && has(it));
                let outside = self.part(&self.searching, |it| self.holds(&parent, it) && !has(it));
                (place, self.compare(inside, outside).p)
            });
            let least_sure = p_values.max_by(|a, b| a.1.total_cmp(&b.1));
            match least_sure {
                Some((place, p)) if p * considered as f64 > SURELY => {
                    conditions.remove(place);
                }
                _ => break,
            }
        }
        conditions
    }

    fn holds(&self, conditions: &[Condition], row: u32) -> bool {
        holds(self.features, conditions, row)
    }

    fn part(&self, rows: &[u32], has: impl Fn(u32) -> bool) -> Part {
        let mut part = Part::default();
        for row in rows.iter().filter(|it| has(**it)) {
            part.add(self.losses[*row as usize]);
        }
        part
    }

    /// Too few rows are not compared.
    fn compare(&self, inside: Part, outside: Part) -> Compared {
        let support = self.settings.support.max(2) as u64;
        if inside.rows < support || outside.rows < support {
            return Compared {
                difference: Estimate::bare(inside.mean() - outside.mean()),
                p: 1.0,
            };
        }
        match self.scale.shares {
            true => compare::shares(inside, outside, self.settings.level),
            false => compare::means(inside, outside, self.settings.level),
        }
    }

    fn side(&self, part: Part) -> Side {
        let loss = match self.scale.shares {
            true => part.share(self.settings.level),
            false => part.mean_at(self.settings.level),
        };
        Side {
            rows: part.rows,
            loss: self.scaled(loss),
        }
    }

    fn scaled(&self, estimate: Estimate) -> Estimate {
        let scaled = |it: f64| it * self.scale.greatest;
        Estimate {
            value: scaled(estimate.value),
            low: estimate.low.map(scaled),
            high: estimate.high.map(scaled),
        }
    }
}

/// How often a condition may stay that need not be there.
const SURELY: f64 = 0.05;

fn holds(features: &[Feature], conditions: &[Condition], row: u32) -> bool {
    conditions
        .iter()
        .all(|it| features[it.feature].codes[row as usize] == it.cell)
}
