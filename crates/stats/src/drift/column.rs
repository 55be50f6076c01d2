//! One column, in the reference and now, counted in cells that the reference fixed.
//!
//! R1. Cells are never changed: counts of the same cells add up, whenever and wherever they were made.
//! R2. What the reference has nothing of has a cell: numbers beyond its least and greatest, other levels.

use super::bins::{Bins, Counted};
use super::effect::{Effect, Pair, Question, Terms};
use super::table::{Distance, Smoothing, Table};

/// What the values of a column are counted in.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Numbers, by range.
    Numbers(Bins),
    /// Texts, by themselves.
    Levels(Levels),
}

/// Texts with a cell each; the last cell is that of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Ascending, each once.
    names: Vec<String>,
}

/// How far the shares of cells are from those of the reference; each with what chance alone makes of it, but the
/// last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    /// Population stability index, with half a row added to each cell.
    pub psi: Distance,
    /// Jensen-Shannon, base 2.
    pub jensen_shannon: Distance,
    /// Hellinger.
    pub hellinger: Distance,
    /// Total variation.
    pub total_variation: Distance,
    /// For numbers: the greatest difference of the distribution functions at the cells' ends, never more than
    /// Kolmogorov and Smirnov's statistic.
    pub kolmogorov_smirnov: Option<f64>,
}

impl Levels {
    /// In any order; what is there twice is taken once.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self { names }
    }

    /// Ascending.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The cell of a text.
    pub fn cell(&self, text: &str) -> usize {
        let found = self.names.binary_search_by(|it| it.as_str().cmp(text));
        found.unwrap_or(self.names.len())
    }
}

impl Cells {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Numbers(bins) => bins.cells(),
            Self::Levels(levels) => levels.names.len() + 1,
        }
    }

    /// No rows in any of them.
    pub fn empty(&self) -> Counted {
        Counted {
            cells: vec![0; self.count()],
            missing: 0,
        }
    }

    /// How far the column has moved, question by question. Questions that cannot be asked are not there.
    pub fn effects(&self, reference: &Counted, current: &Counted, terms: Terms) -> Vec<Effect> {
        let pairs = self.pairs(reference, current);
        let present = pairs.iter().fold(Pair::default(), |sum, it| sum.plus(*it));
        let missing = Pair {
            reference: reference.missing,
            current: current.missing,
        };
        let location = match self {
            Self::Numbers(bins) => Effect::location(&in_order(bins, &pairs), terms),
            Self::Levels(_) => None,
        };
        let unseen = self.unseen(reference, current);
        let unseen = unseen.and_then(|it| Effect::share(Question::Unseen, it, present, terms));
        let all = [
            location,
            Effect::shape(&pairs, terms),
            unseen,
            Effect::share(Question::Missing, missing, present.plus(missing), terms),
        ];
        all.into_iter().flatten().collect()
    }

    /// How far apart the shares are; none where one has no values.
    pub fn distances(&self, reference: &Counted, current: &Counted) -> Option<Distances> {
        let pairs = self.pairs(reference, current);
        let (a, b): (Vec<u64>, Vec<u64>) =
            pairs.iter().map(|it| (it.reference, it.current)).unzip();
        let table = Table::new(&a, &b)?;
        let (n, m) = (a.iter().sum::<u64>() as f64, b.iter().sum::<u64>() as f64);
        let greatest = |bins: &Bins| {
            let (mut below, mut most) = (Pair::default(), 0.0f64);
            for pair in in_order(bins, &pairs) {
                below = below.plus(pair);
                let apart = below.reference as f64 / n - below.current as f64 / m;
                most = most.max(apart.abs());
            }
            most
        };
        Some(Distances {
            psi: table.psi(Smoothing::Jeffreys),
            jensen_shannon: table.jensen_shannon(),
            hellinger: table.hellinger(),
            total_variation: table.total_variation(),
            kolmogorov_smirnov: match self {
                Self::Numbers(bins) => Some(greatest(bins)),
                Self::Levels(_) => None,
            },
        })
    }

    /// Rows of each cell.
    fn pairs(&self, reference: &Counted, current: &Counted) -> Vec<Pair> {
        let count = self.count();
        assert!(
            reference.cells.len() == count && current.cells.len() == count,
            "both were counted in these cells"
        );
        let pair = |cell: usize| Pair {
            reference: reference.cells[cell],
            current: current.cells[cell],
        };
        (0..count).map(pair).collect()
    }

    /// Rows with values of which the reference has none; none where it has some outside its cells too.
    fn unseen(&self, reference: &Counted, current: &Counted) -> Option<Pair> {
        let outside = |counted: &Counted| match self {
            Self::Numbers(bins) => bins.out_of_range(counted),
            Self::Levels(levels) => counted.cells[levels.names.len()],
        };
        (outside(reference) == 0).then(|| Pair {
            reference: 0,
            current: outside(current),
        })
    }
}

/// Rows in ascending order of their values, those together whose cells lie in each other.
fn in_order(bins: &Bins, cells: &[Pair]) -> Vec<Pair> {
    let group = |group: Vec<usize>| {
        let pairs = group.into_iter().map(|it| cells[it]);
        pairs.fold(Pair::default(), Pair::plus)
    };
    bins.order().into_iter().map(group).collect()
}

impl Counted {
    /// Rows, with missing values and without.
    pub fn rows(&self) -> u64 {
        self.missing + self.cells.iter().sum::<u64>()
    }

    /// Adds counts of the same cells.
    pub fn add(&mut self, other: &Self) {
        assert!(self.cells.len() == other.cells.len(), "R1");
        self.missing += other.missing;
        for (here, there) in self.cells.iter_mut().zip(&other.cells) {
            *here += there;
        }
    }
}
