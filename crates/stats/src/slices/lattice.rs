//! The slice with the greatest score: conjunctions level by level, each level from what is left of the one before.

use std::collections::HashMap;

use super::{Condition, Feature};

/// Pairs of conditions below which is searched; of more those that could score most are.
const PAIRS_MAX: usize = 2000;

/// Rows that are searched.
pub(super) struct Lattice<'a> {
    features: &'a [Feature],
    losses: &'a [f64],
    rows: &'a [u32],
    terms: Terms,
}

/// What scores are made from.
#[derive(Clone, Copy)]
struct Terms {
    /// The rows.
    all: f64,
    mean: f64,
    deviation: f64,
    /// By how much the worst row is over the mean.
    worst: f64,
    support: f64,
}

/// What was found.
pub(super) struct Best {
    pub(super) conditions: Option<Vec<Condition>>,
    pub(super) considered: u64,
    pub(super) complete: bool,
    score: f64,
}

/// What is counted of a slice.
#[derive(Clone, Copy, Default)]
struct Tally {
    rows: f64,
    /// All of its loss over the mean.
    excess: f64,
    /// That of the rows alone that are over the mean.
    above: f64,
}

impl Tally {
    fn add(&mut self, over: f64) {
        self.rows += 1.0;
        self.excess += over;
        self.above += over.max(0.0);
    }

    /// What is true of whatever lies below both.
    fn least(self, other: Self) -> Self {
        Self {
            rows: self.rows.min(other.rows),
            excess: self.excess.min(other.excess),
            above: self.above.min(other.above),
        }
    }
}

impl Terms {
    /// By how many standard errors a slice's mean is over that of all (R2); none where it is too small or too large.
    fn score(&self, tally: Tally) -> Option<f64> {
        let Self { all, support, .. } = *self;
        if tally.rows < support || all - tally.rows < support {
            return None;
        }
        Some(tally.excess / self.error(tally.rows))
    }

    /// The standard error of the sum over so many rows.
    fn error(&self, rows: f64) -> f64 {
        self.deviation * (rows * (1.0 - rows / self.all)).sqrt()
    }

    /// More than any slice can score that is a part of this one (R3); 0 where none is large enough.
    fn bound(&self, tally: Tally) -> f64 {
        let most = tally.rows.min(self.all - self.support);
        if most < self.support || tally.above <= 0.0 {
            return 0.0;
        }
        // The sum over `rows` of the worst is at most this. Over its error it rises up to the number of rows that are
        // the worst, then falls up to half of all and rises again.
        let at = |rows: f64| (rows * self.worst).min(tally.above) / self.error(rows);
        let worst = (tally.above / self.worst).clamp(self.support, most);
        at(worst).max(at(most))
    }
}

impl<'a> Lattice<'a> {
    /// None where there is nothing to find: too few rows, or all alike.
    pub(super) fn new(
        features: &'a [Feature],
        losses: &'a [f64],
        rows: &'a [u32],
        support: usize,
    ) -> Option<Self> {
        let support = support.max(1) as f64;
        let all = rows.len() as f64;
        if all < 2.0 * support {
            return None;
        }
        let of = |it: &u32| losses[*it as usize];
        let mean = rows.iter().map(of).sum::<f64>() / all;
        let variance = rows.iter().map(|it| (of(it) - mean).powi(2)).sum::<f64>() / all;
        let worst = rows.iter().map(of).fold(0.0, f64::max) - mean;
        // What is left of numbers that are all alike is rounding.
        if variance.sqrt() <= 1e-12 * mean || worst <= 0.0 {
            return None;
        }
        Some(Self {
            features,
            losses,
            rows,
            terms: Terms {
                all,
                mean,
                deviation: variance.sqrt(),
                worst,
                support,
            },
        })
    }

    pub(super) fn search(&self, depth: usize) -> Best {
        let mut best = Best {
            conditions: None,
            considered: 0,
            complete: true,
            score: SCORE_MIN,
        };
        let singles = self.singles(&mut best);
        if depth >= 2 {
            let pairs = self.pairs(&singles, &mut best);
            if depth >= 3 {
                self.triples(&pairs, &mut best);
            }
        }
        best
    }

    fn over(&self, row: u32) -> f64 {
        self.losses[row as usize] - self.terms.mean
    }

    fn look(&self, best: &mut Best, tally: Tally, conditions: impl FnOnce() -> Vec<Condition>) {
        best.considered += 1;
        if let Some(score) = self.terms.score(tally)
            && score > best.score
        {
            best.score = score;
            best.conditions = Some(conditions());
        }
    }

    /// Feature by feature, cell by cell.
    fn singles(&self, best: &mut Best) -> Vec<Vec<Tally>> {
        let mut all = Vec::with_capacity(self.features.len());
        for (place, feature) in self.features.iter().enumerate() {
            let mut tallies = vec![Tally::default(); usize::from(feature.cells)];
            for row in self.rows {
                let code = usize::from(feature.codes[*row as usize]);
                if let Some(tally) = tallies.get_mut(code) {
                    tally.add(self.over(*row));
                }
            }
            for (cell, tally) in (0..).zip(&tallies) {
                let condition = Condition {
                    feature: place,
                    cell,
                };
                self.look(best, *tally, || vec![condition]);
            }
            all.push(tallies);
        }
        all
    }

    /// Two conditions each, with what could score more than the best so far below them.
    fn pairs(&self, singles: &[Vec<Tally>], best: &mut Best) -> Vec<([Condition; 2], Tally)> {
        let mut kept = Vec::new();
        let mut tallies: Vec<Tally> = Vec::new();
        for first in 0..self.features.len() {
            for second in first + 1..self.features.len() {
                let (ours, theirs) = (&singles[first], &singles[second]);
                let wide = theirs.len();
                let wanted = |a: usize, b: usize, than: f64| {
                    self.terms.bound(ours[a].least(theirs[b])) > than
                };
                let any = (0..ours.len()).any(|a| (0..wide).any(|b| wanted(a, b, best.score)));
                if !any {
                    continue;
                }
                tallies.clear();
                tallies.resize(ours.len() * wide, Tally::default());
                let (codes, others) = (&self.features[first].codes, &self.features[second].codes);
                for row in self.rows {
                    let (a, b) = (
                        usize::from(codes[*row as usize]),
                        usize::from(others[*row as usize]),
                    );
                    if a < ours.len() && b < wide {
                        tallies[a * wide + b].add(self.over(*row));
                    }
                }
                for (a, cell) in (0..ours.len()).zip(0u16..) {
                    for (b, other) in (0..wide).zip(0u16..) {
                        if !wanted(a, b, best.score) {
                            continue;
                        }
                        let tally = tallies[a * wide + b];
                        let pair = [(first, cell), (second, other)]
                            .map(|(feature, cell)| Condition { feature, cell });
                        self.look(best, tally, || pair.to_vec());
                        if self.terms.bound(tally) > best.score {
                            kept.push((pair, tally));
                        }
                    }
                }
            }
        }
        kept.retain(|(_, it)| self.terms.bound(*it) > best.score);
        if kept.len() > PAIRS_MAX {
            kept.sort_by(|a, b| self.terms.bound(b.1).total_cmp(&self.terms.bound(a.1)));
            kept.truncate(PAIRS_MAX);
            best.complete = false;
        }
        kept
    }

    fn triples(&self, pairs: &[([Condition; 2], Tally)], best: &mut Best) {
        let known: HashMap<[Condition; 2], Tally> = pairs.iter().copied().collect();
        // A third condition is looked for behind the second, so that each three are looked at once.
        let mut thirds: HashMap<Condition, Vec<Condition>> = HashMap::new();
        for [first, second] in known.keys() {
            thirds.entry(*first).or_default().push(*second);
        }
        thirds.values_mut().for_each(|it| it.sort_unstable());
        for (pair, tally) in pairs {
            let [first, second] = *pair;
            let below = |third: &Condition| {
                let one = known.get(&[first, *third])?;
                let other = known.get(&[second, *third])?;
                Some(tally.least(*one).least(*other))
            };
            let empty = Vec::new();
            let wanted: Vec<Condition> = thirds
                .get(&second)
                .unwrap_or(&empty)
                .iter()
                .filter(|it| below(it).is_some_and(|it| self.terms.bound(it) > best.score))
                .copied()
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let codes = |it: Condition| &self.features[it.feature].codes;
            let (one, other) = (codes(first), codes(second));
            let inside: Vec<u32> = self
                .rows
                .iter()
                .copied()
                .filter(|it| one[*it as usize] == first.cell && other[*it as usize] == second.cell)
                .collect();
            for third in wanted {
                let mut tally = Tally::default();
                let codes = codes(third);
                for row in inside
                    .iter()
                    .filter(|it| codes[**it as usize] == third.cell)
                {
                    tally.add(self.over(*row));
                }
                self.look(best, tally, || vec![first, second, third]);
            }
        }
    }
}

/// What looks no worse than this is not worth a test.
const SCORE_MIN: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// No slice scores more than the bound of what it is a part of.
    #[test]
    fn the_bound_holds_for_every_part() {
        let losses: Vec<f64> = (0..12).map(|it| f64::from(it * it % 7) / 6.0).collect();
        let rows: Vec<u32> = (0..12).collect();
        let lattice = Lattice::new(&[], &losses, &rows, 2).expect("rows");
        let tally = |set: u32| {
            let mut tally = Tally::default();
            rows.iter()
                .filter(|it| set >> **it & 1 == 1)
                .for_each(|it| tally.add(lattice.over(*it)));
            tally
        };
        let (mut sets, mut tight) = (0, 0);
        for whole in (0..1u32 << 12).step_by(7) {
            let bound = lattice.terms.bound(tally(whole));
            let mut part = whole;
            let mut greatest = 0.0f64;
            while part > 0 {
                if let Some(score) = lattice.terms.score(tally(part)) {
                    assert!(score <= bound + 1e-12, "{whole:b} {part:b}");
                    greatest = greatest.max(score);
                    sets += 1;
                }
                part = (part - 1) & whole;
            }
            tight += i32::from(greatest > 0.8 * bound);
        }
        assert!(sets > 10_000 && tight > 200, "{sets} {tight}");
    }
}
