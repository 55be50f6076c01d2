//! One tree: how it grows, and what it says of a row.

use std::ops::{AddAssign, Range, Sub, SubAssign};

use super::Settings;
use super::bins::Table;

/// A leaf has at least so much curvature: LightGBM's `min_sum_hessian_in_leaf`.
const HESSIAN_MIN: f64 = 1e-3;
/// A gain below this share of what it is the difference of is rounding.
const ROUNDING: f64 = 1e-12;

/// The derivatives of a row's loss by its score.
#[derive(Clone, Copy)]
pub(super) struct Slope {
    pub(super) gradient: f64,
    pub(super) hessian: f64,
}

/// The root is first, and a node comes before its children.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree(Vec<Node>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Leaf(f64),
    Split(Split),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Split {
    feature: usize,
    /// Values up to and with this one go to the left.
    edge: f64,
    missing: Side,
    left: usize,
    right: usize,
    gain: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Left,
    Right,
}

impl Tree {
    pub(super) fn value(&self, features: &[&[f64]], row: usize) -> f64 {
        let mut at = 0;
        loop {
            let split = match &self.0[at] {
                Node::Leaf(value) => return *value,
                Node::Split(split) => split,
            };
            let value = features[split.feature][row];
            let to_left = value <= split.edge || (value.is_nan() && split.missing == Side::Left);
            at = if to_left { split.left } else { split.right };
        }
    }

    pub(super) fn add_gains(&self, gains: &mut [f64]) {
        for node in &self.0 {
            if let Node::Split(split) = node {
                gains[split.feature] += split.gain;
            }
        }
    }
}

/// Sums over rows.
#[derive(Clone, Copy, Default)]
struct Cell {
    gradient: f64,
    hessian: f64,
    rows: usize,
}

impl Cell {
    fn add(&mut self, slope: Slope) {
        self.gradient += slope.gradient;
        self.hessian += slope.hessian;
        self.rows += 1;
    }

    /// Twice what the best step lowers the loss by: Chen & Guestrin, equation 6.
    fn fall(self) -> f64 {
        self.gradient * self.gradient / self.hessian
    }
}

impl AddAssign for Cell {
    fn add_assign(&mut self, other: Self) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
        self.rows += other.rows;
    }
}

impl SubAssign for Cell {
    fn sub_assign(&mut self, part: Self) {
        self.gradient -= part.gradient;
        self.hessian -= part.hessian;
        self.rows -= part.rows;
    }
}

impl Sub for Cell {
    type Output = Self;

    fn sub(mut self, part: Self) -> Self {
        self -= part;
        self
    }
}

/// A way to split a node.
#[derive(Clone, Copy)]
struct Cut {
    feature: usize,
    /// The last bin on the left.
    bin: usize,
    missing: Side,
    gain: f64,
    left: Cell,
}

/// A leaf while the tree grows.
struct Leaf {
    node: usize,
    /// Its part of the order of rows.
    place: Range<usize>,
    total: Cell,
    /// With the sums by bin that it was found in.
    cut: Option<(Cut, Vec<Cell>)>,
}

/// Grows trees on the same rows.
pub(super) struct Growth {
    table: Table,
    settings: Settings,
    /// The rows, those of a leaf beside one another.
    order: Vec<u32>,
    spare: Vec<u32>,
}

impl Growth {
    pub(super) fn new(table: Table, settings: Settings) -> Self {
        Self {
            order: Vec::with_capacity(table.rows),
            spare: Vec::with_capacity(table.rows),
            table,
            settings,
        }
    }

    /// The next tree, whose values are added to the scores. `None` where no split helps.
    pub(super) fn grow(&mut self, slopes: &[Slope], scores: &mut [f64]) -> Option<Tree> {
        let rows = u32::try_from(slopes.len()).expect("at most ROWS_MAX");
        self.order.clear();
        self.order.extend(0..rows);
        let squares: f64 = slopes.iter().map(|it| it.gradient * it.gradient).sum();
        let mut total = Cell::default();
        slopes.iter().for_each(|it| total.add(*it));
        let all = 0..slopes.len();
        let sums = self.sums(all.clone(), slopes);
        let mut nodes = vec![Node::Leaf(0.0)];
        let mut leaves = vec![Leaf {
            node: 0,
            place: all,
            total,
            cut: self.cut(&sums, total, squares).map(|cut| (cut, sums)),
        }];
        while leaves.len() < self.settings.leaves {
            let Some(best) = best(&leaves) else {
                break;
            };
            let leaf = leaves.swap_remove(best);
            let last = leaves.len() + 2 == self.settings.leaves;
            let Some((cut, sums)) = leaf.cut else {
                break;
            };
            let middle = self.part(leaf.place.clone(), cut);
            nodes[leaf.node] = Node::Split(Split {
                feature: cut.feature,
                edge: self.edge(cut),
                missing: cut.missing,
                left: nodes.len(),
                right: nodes.len() + 1,
                gain: cut.gain,
            });
            let mut children = [
                (leaf.place.start..middle, cut.left),
                (middle..leaf.place.end, leaf.total - cut.left),
            ]
            .map(|(place, total)| {
                nodes.push(Node::Leaf(
                    -self.settings.rate * total.gradient / total.hessian,
                ));
                Leaf {
                    node: nodes.len() - 1,
                    place,
                    total,
                    cut: None,
                }
            });
            if !last {
                self.find_cuts(&mut children, sums, slopes, squares);
            }
            leaves.extend(children);
        }
        if nodes.len() == 1 {
            return None;
        }
        for leaf in leaves {
            if let Node::Leaf(value) = nodes[leaf.node] {
                for row in &self.order[leaf.place] {
                    scores[*row as usize] += value;
                }
            }
        }
        Some(Tree(nodes))
    }

    /// Only the smaller child's rows are added up: the larger one has the rest of the parent's sums.
    fn find_cuts(
        &self,
        children: &mut [Leaf; 2],
        mut sums: Vec<Cell>,
        slopes: &[Slope],
        squares: f64,
    ) {
        let [left, right] = children;
        let (small, large) = if left.total.rows <= right.total.rows {
            (left, right)
        } else {
            (right, left)
        };
        if !self.may_split(large) {
            return;
        }
        let of_small = self.sums(small.place.clone(), slopes);
        for (all, part) in sums.iter_mut().zip(&of_small) {
            *all -= *part;
        }
        large.cut = self.cut(&sums, large.total, squares).map(|it| (it, sums));
        if self.may_split(small) {
            let cut = self.cut(&of_small, small.total, squares);
            small.cut = cut.map(|it| (it, of_small));
        }
    }

    fn may_split(&self, leaf: &Leaf) -> bool {
        leaf.total.rows / 2 >= self.settings.rows_in_leaf_min
    }

    /// The rows' slopes by feature and bin.
    fn sums(&self, place: Range<usize>, slopes: &[Slope]) -> Vec<Cell> {
        let mut sums = vec![Cell::default(); self.table.slots];
        let firsts: Vec<usize> = self.table.columns.iter().map(|it| it.first).collect();
        for row in &self.order[place] {
            let slope = slopes[*row as usize];
            for (code, first) in self.table.row(*row).iter().zip(&firsts) {
                sums[first + usize::from(*code)].add(slope);
            }
        }
        sums
    }

    /// The split that lowers the loss most, the first of equals. `squares` of all gradients tell what is rounding.
    fn cut(&self, sums: &[Cell], total: Cell, squares: f64) -> Option<Cut> {
        let mut best: Option<Cut> = None;
        let fits =
            |it: Cell| it.rows >= self.settings.rows_in_leaf_min && it.hessian >= HESSIAN_MIN;
        let mut consider = |feature: usize, bin: usize, missing: Side, left: Cell| {
            if left.rows >= total.rows || !fits(left) || !fits(total - left) {
                return;
            }
            let falls = left.fall() + (total - left).fall();
            let gain = falls - total.fall();
            if gain > ROUNDING * (squares + falls) && best.is_none_or(|it| gain > it.gain) {
                best = Some(Cut {
                    feature,
                    bin,
                    missing,
                    gain,
                    left,
                });
            }
        };
        for (feature, column) in self.table.columns.iter().enumerate() {
            let none = column.first + column.missing();
            let missing = sums[none];
            let mut left = Cell::default();
            for (bin, cell) in sums[column.first..none].iter().enumerate() {
                if cell.rows == 0 {
                    continue;
                }
                left += *cell;
                if missing.rows > 0 {
                    consider(feature, bin, Side::Right, left);
                    let mut with = left;
                    with += missing;
                    consider(feature, bin, Side::Left, with);
                } else if 2 * left.rows >= total.rows {
                    consider(feature, bin, Side::Left, left);
                } else {
                    consider(feature, bin, Side::Right, left);
                }
            }
        }
        best
    }

    /// What splits the values as the cut splits the bins.
    fn edge(&self, cut: Cut) -> f64 {
        // After the last bin only missing values are left for the other side.
        let edges = &self.table.columns[cut.feature].edges;
        edges.get(cut.bin).copied().unwrap_or(f64::INFINITY)
    }

    /// Brings the rows of the left side before those of the right, both in their order; where these begin.
    fn part(&mut self, place: Range<usize>, cut: Cut) -> usize {
        let missing = self.table.columns[cut.feature].missing();
        self.spare.clear();
        let mut middle = place.start;
        for at in place {
            let row = self.order[at];
            let bin = usize::from(self.table.row(row)[cut.feature]);
            let to_left = if bin == missing {
                cut.missing == Side::Left
            } else {
                bin <= cut.bin
            };
            if to_left {
                self.order[middle] = row;
                middle += 1;
            } else {
                self.spare.push(row);
            }
        }
        self.order[middle..][..self.spare.len()].copy_from_slice(&self.spare);
        middle
    }
}

/// The leaf whose split gains most, the first of equals.
fn best(leaves: &[Leaf]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, leaf) in leaves.iter().enumerate() {
        if let Some((cut, _)) = &leaf.cut
            && best.is_none_or(|it| cut.gain > it.1)
        {
            best = Some((at, cut.gain));
        }
    }
    best.map(|it| it.0)
}
