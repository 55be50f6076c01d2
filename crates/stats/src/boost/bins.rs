//! Features in bins: what a tree sees of them.

/// The most bins of a feature, that of missing values aside.
const BINS_MAX: usize = 255;

/// The rows to fit, a byte for each value.
pub(super) struct Table {
    pub(super) rows: usize,
    pub(super) columns: Vec<Column>,
    /// Row after row, for each feature the bin.
    codes: Vec<u8>,
    /// Slots of all features together.
    pub(super) slots: usize,
}

pub(super) struct Column {
    /// Bin `i` has the values up to and with `edges[i]`, the last one those above.
    pub(super) edges: Vec<f64>,
    /// Where the slots of this feature begin among those of all: one a bin, then one of what is missing.
    pub(super) first: usize,
}

impl Column {
    /// The bin of missing values.
    pub(super) fn missing(&self) -> usize {
        self.edges.len() + 1
    }

    fn code(&self, value: f64) -> u8 {
        let bin = if value.is_nan() {
            self.missing()
        } else {
            self.edges.partition_point(|it| *it < value)
        };
        u8::try_from(bin).expect("at most 255 bins and the missing")
    }
}

impl Table {
    /// Of columns of one length.
    pub(super) fn new(features: &[&[f64]]) -> Self {
        let rows = features[0].len();
        let mut codes = vec![0; rows * features.len()];
        let (mut columns, mut slots) = (Vec::with_capacity(features.len()), 0);
        for (place, values) in features.iter().enumerate() {
            let column = Column {
                edges: edges(values),
                first: slots,
            };
            for (row, value) in values.iter().enumerate() {
                codes[row * features.len() + place] = column.code(*value);
            }
            slots += column.missing() + 1;
            columns.push(column);
        }
        Self {
            rows,
            columns,
            codes,
            slots,
        }
    }

    pub(super) fn row(&self, row: u32) -> &[u8] {
        let width = self.columns.len();
        &self.codes[row as usize * width..][..width]
    }
}

/// A bin for each value where there are few, else bins of about as many rows each; a value as frequent as a bin
/// begins one.
fn edges(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|it| !it.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let runs: Vec<&[f64]> = sorted.chunk_by(|one, other| one == other).collect();
    let few = runs.len() <= BINS_MAX;
    let (mut bins_left, mut rows_left, mut filled) = (BINS_MAX, sorted.len(), 0);
    let mut edges = Vec::new();
    for pair in runs.windows(2) {
        filled += pair[0].len();
        let full = |rows: usize| rows * bins_left >= rows_left;
        if few || (bins_left > 1 && (full(filled) || full(pair[1].len()))) {
            edges.push(between(pair[0][0], pair[1][0]));
            bins_left -= 1;
            rows_left -= filled;
            filled = 0;
        }
    }
    edges
}

/// A number from `low` up to, but not with, `high`: halfway where there is one.
fn between(low: f64, high: f64) -> f64 {
    let middle = f64::midpoint(low, high);
    if low < middle && middle < high {
        middle
    } else {
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_a_bin_each_and_missing_ones_the_last() {
        let table = Table::new(&[&[3.0, f64::NAN, 1.0, 3.0, 2.0], &[f64::NAN; 5]]);
        assert_eq!(table.columns[0].edges, [1.5, 2.5]);
        let codes: Vec<&[u8]> = (0..5).map(|it| table.row(it)).collect();
        assert_eq!(codes, [&[2, 1], &[3, 1], &[0, 1], &[2, 1], &[1, 1]]);
        assert_eq!((table.columns[1].first, table.slots), (4, 6));
    }

    #[test]
    fn many_values_share_bins_evenly_and_a_frequent_one_has_its_own() {
        let mut values: Vec<f64> = (0..10_000).map(f64::from).collect();
        values.extend([500.0; 10_000]);
        let edges = edges(&values);
        assert_eq!(edges.len(), BINS_MAX - 1);
        let at = edges.partition_point(|it| *it < 500.0);
        assert_eq!((edges[at - 1], edges[at]), (499.5, 500.5));
        let widest = edges.windows(2).map(|it| it[1] - it[0]).fold(0.0, f64::max);
        assert!(widest <= 80.0, "{widest}");
    }

    #[test]
    fn an_edge_lies_between_neighbours_and_infinities() {
        let next = 1f64.next_up();
        let far = f64::INFINITY;
        for (low, high) in [
            (1.0, next),
            (-far, far),
            (-far, 0.0),
            (0.0, far),
            (-1.0, 3.0),
        ] {
            let edge = between(low, high);
            assert!(low <= edge && edge < high, "{low} {edge} {high}");
        }
        assert!(edges(&[0.0, -0.0, f64::NAN]).is_empty());
    }
}
