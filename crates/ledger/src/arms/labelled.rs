//! How right the arms of a rollout were, as labels come.
//!
//! R1. A window has the rows whose first label came in it; a row counts once, by the last label of that window. So a window
//!     is the same whenever it is read, and who labels again changes no comparison.
//! R2. A label's number is the time at which it came, or a little later where many came at once.
//! R3. What is read of files is where labels of the windows are, and the rows that these name, however long the rollout is.
//!     Of labels that name a request or a key the rows are looked for among all of the rollout.
//! R4. A label that came before the row which it is of is not counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType as Arrow;
use domain::{PredictionId, Refusal};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::rows::{self, Rows};
use super::{ArmsAsked, COLUMNS, Side, Unit, chance, side};
use crate::attributes::Attributes;
use crate::failure;
use crate::files::Kind;
use crate::find::labels_of;
use crate::label::{Kept, Target};
use crate::layout::Layout;
use crate::quality::{Judged, Judging, answer_columns, read_label};
use crate::read::{Ids, Range, Snapshot, group_ids, names, number_of, within};

/// Rows of a window that were labelled.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The window's number.
    pub number: i64,
    /// A row of each unit, chosen by chance; sorted by side and unit.
    pub rows: Vec<LabelledRow>,
}

/// A row with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledRow {
    /// Who answered it.
    pub side: Side,
    /// Whose it is.
    pub unit: Unit,
    /// How right the answer was.
    pub judged: Judged,
    /// The value of each column asked for; none where it has none.
    pub groups: Vec<Option<String>>,
}

/// The row of each unit of a window, and what chose it.
type Chosen = BTreeMap<(Side, u64), (u64, LabelledRow)>;

impl Snapshot<'_> {
    /// Reads which rows of the candidate and the control were labelled in the windows. Blocks for as long as it takes.
    pub fn arms_labelled(&self, asked: &ArmsAsked<'_>) -> Result<Vec<Labelled>, Refusal> {
        let (by, attributes) = (asked.by, self.attributes_of(asked));
        let told = self.told_rows(asked, asked.model)?;
        let mut windows: BTreeMap<i64, Chosen> = BTreeMap::new();
        for (layout, batch) in told.batches() {
            let rows = Rows::of(layout, batch)?;
            let (groups, judging) = (
                values_of(batch, by, &attributes)?,
                Judging::of(layout, batch)?,
            );
            for row in 0..batch.num_rows() {
                let Some((window, label)) = told.of(&rows, batch, row, asked) else {
                    continue;
                };
                let truth = read_label(&layout.meaning, &label);
                let arm = rows.arms.at(row).unwrap_or_default();
                let Some(side) = side(asked, layout.version, arm) else {
                    continue;
                };
                let Some(judged) = judging.row(row, truth) else {
                    continue;
                };
                let unit = rows.unit(row);
                let hash = chance(rows.id(row), rows.numbers[row]);
                let labelled = LabelledRow {
                    side,
                    unit,
                    judged,
                    groups: groups.iter().map(|it| it[row].clone()).collect(),
                };
                let of_window = windows.entry(window).or_default();
                match of_window.get_mut(&(side, unit.hash)) {
                    Some(there) if there.0 <= hash => {}
                    Some(there) => *there = (hash, labelled),
                    None => drop(of_window.insert((side, unit.hash), (hash, labelled))),
                }
            }
        }
        let windows = windows.into_iter().map(|(number, rows)| Labelled {
            number,
            rows: rows.into_values().map(|it| it.1).collect(),
        });
        Ok(windows.collect())
    }

    /// The rows of the candidate and the control of which a table's labels in the windows tell.
    pub(super) fn told_rows(&self, asked: &ArmsAsked<'_>, table: &str) -> Result<Told, Refusal> {
        let at = |number: i64| {
            let since = number.saturating_mul(asked.every_us);
            asked.from_us.saturating_add(since)
        };
        let numbers = Range {
            from_us: at(asked.windows.start),
            to_us: at(asked.windows.end),
        };
        let of_log = self.labels_of_log(table)?;
        let mut new = Wanted::default();
        for kept in of_log.iter().filter(|it| numbers.has(it.number)) {
            new.add(&kept.label.target);
        }
        let is_new =
            |group: &RowGroupMetaData| label_numbers(group).is_none_or(|ends| numbers.meets(ends));
        self.labels_of_files(table, is_new, |kept| {
            if numbers.has(kept.number) {
                new.add(&kept.label.target);
            }
        })?;
        let rows = self.labelled_rows(asked, &new)?;
        let labels = self.all_labels(table, &of_log, &rows)?;
        Ok(Told {
            rows,
            labels,
            numbers,
        })
    }

    /// The attributes that are no column of either version.
    pub(super) fn attributes_of(&self, asked: &ArmsAsked<'_>) -> Attributes {
        let layouts: Vec<Arc<Layout>> = self.expected(asked.model).collect();
        asked.attributes.beside(&layouts)
    }

    /// Calls `take` with the labels of a model in those groups of files that are wanted.
    fn labels_of_files(
        &self,
        model: &str,
        wanted: impl Fn(&RowGroupMetaData) -> bool,
        mut take: impl FnMut(&Kept),
    ) -> Result<(), Refusal> {
        let schema = crate::seal::label_schema();
        let columns = names(&schema);
        for kind in [Kind::Labels, Kind::TextLabels] {
            for entry in self.files(kind, model, Range::ALL) {
                self.read_groups(&entry, &columns, &wanted, |batch| {
                    labels_of(&batch).iter().for_each(&mut take);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Rows of the candidate and the control that labels name, and that were answered.
    fn labelled_rows(
        &self,
        asked: &ArmsAsked<'_>,
        new: &Wanted,
    ) -> Result<Vec<(Arc<Layout>, RecordBatch)>, Refusal> {
        let mut found = Vec::new();
        if new.is_empty() {
            return Ok(found);
        }
        let since = Range {
            from_us: asked.from_us,
            to_us: i64::MAX,
        };
        let mut keep = |layout: &Arc<Layout>, batch: &RecordBatch| {
            let batch = within(batch, Ids::ALL, since)?;
            let rows = Rows::of(layout, &batch)?;
            let wanted = |row: usize| {
                let arm = rows.arms.at(row).unwrap_or_default();
                let is_arm = matches!(
                    side(asked, layout.version, arm),
                    Some(Side::Candidate | Side::Control)
                );
                Some(is_arm && rows.codes.at(row).is_none() && new.has(&rows, &batch, row))
            };
            let mask: BooleanArray = (0..batch.num_rows()).map(wanted).collect();
            if mask.true_count() > 0 {
                let some = filter_record_batch(&batch, &mask);
                let some = some.map_err(|error| failure::of_library("reading rows", error))?;
                found.push((Arc::clone(layout), some));
            }
            Ok(())
        };
        for entry in self.files(Kind::Predictions, asked.model, since) {
            let layout = self.layout(&entry);
            if ![asked.incumbent, asked.candidate].contains(&layout.version) {
                continue;
            }
            let answers = answer_columns(&layout.meaning);
            let compared = rows::answer_columns(&layout);
            let mut columns: Vec<&str> = COLUMNS.into_iter().chain(["request_id"]).collect();
            let more = answers.iter().chain(&compared).chain(asked.by);
            columns.extend(more.map(String::as_str));
            let may_have = |group: &RowGroupMetaData| {
                group_ids(group).is_none_or(|(first, last)| new.meets(first, last))
            };
            self.read_groups(&entry, &columns, may_have, |batch| keep(&layout, &batch))?;
        }
        let of_log = self.of_log_some(
            asked.model,
            since,
            |_| true,
            |layout, head| {
                side(asked, layout.version, head.arm()).is_some()
                    && (!new.is_by_id_alone() || new.ids.contains(&number_of(&head.place.id)))
            },
        )?;
        for unsealed in of_log {
            keep(&unsealed.layout, &unsealed.batch)?;
        }
        Ok(found)
    }

    /// All labels that name one of the rows.
    fn all_labels(
        &self,
        model: &str,
        of_log: &[Kept],
        found: &[(Arc<Layout>, RecordBatch)],
    ) -> Result<Labels, Refusal> {
        let mut wanted = Wanted::default();
        for (layout, batch) in found {
            let rows = Rows::of(layout, batch)?;
            for row in 0..batch.num_rows() {
                wanted.ids.insert(rows.id(row));
                wanted
                    .requests
                    .extend(text(batch, "request_id", row).map(str::to_owned));
                if let Some(key) = text(batch, "key", row) {
                    wanted.keys.entry(key.to_owned()).or_default();
                }
            }
        }
        let mut labels = Labels::default();
        if wanted.ids.is_empty() {
            return Ok(labels);
        }
        let mut take = |kept: &Kept| {
            if wanted.names(&kept.label.target) {
                labels.add(kept);
            }
        };
        of_log.iter().for_each(&mut take);
        // Those that name a request or a key have no id, and lie in files of their own.
        self.labels_of_files(
            model,
            |group| group_ids(group).is_none_or(|(first, last)| wanted.meets(first, last)),
            take,
        )?;
        Ok(labels)
    }
}

/// Rows, and the labels of a table that name them.
pub(super) struct Told {
    rows: Vec<(Arc<Layout>, RecordBatch)>,
    labels: Labels,
    /// Those of the windows.
    numbers: Range,
}

impl Told {
    pub(super) fn batches(&self) -> impl Iterator<Item = (&Layout, &RecordBatch)> {
        self.rows.iter().map(|(layout, batch)| (&**layout, batch))
    }

    /// The window in which a row is counted, and what its label says; none where that is not one of those asked for.
    pub(super) fn of(
        &self,
        rows: &Rows<'_>,
        batch: &RecordBatch,
        row: usize,
        asked: &ArmsAsked<'_>,
    ) -> Option<(i64, String)> {
        let (first, told) = self.labels.of(rows, batch, row, self.numbers, asked)?;
        let window = (first - asked.from_us).div_euclid(asked.every_us);
        Some((window, told))
    }
}

/// The numbers of the first and the last label of a group, where that is known.
fn label_numbers(group: &RowGroupMetaData) -> Option<(i64, i64)> {
    let mut columns = group.columns().iter();
    let column = columns.find(|it| it.column_path().string() == "number")?;
    match column.statistics()? {
        Statistics::Int64(of) => Some((*of.min_opt()?, *of.max_opt()?)),
        _ => None,
    }
}

fn text<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let column = batch.column_by_name(name)?.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}

/// The values of columns and of attributes as text, row by row.
pub(super) fn values_of(
    batch: &RecordBatch,
    by: &[String],
    attributes: &Attributes,
) -> Result<Vec<Vec<Option<String>>>, Refusal> {
    let mut all = Vec::new();
    for name in by {
        let column = match batch.column_by_name(name) {
            Some(column) => Some(Arc::clone(column)),
            None => attributes.column(name, batch)?,
        };
        let Some(column) = column else {
            all.push(vec![None; batch.num_rows()]);
            continue;
        };
        let texts = cast(&column, &Arrow::Utf8)
            .map_err(|error| failure::of_library("reading groups", error))?;
        let texts = texts.as_string::<i32>().iter();
        all.push(texts.map(|it| it.map(str::to_owned)).collect());
    }
    Ok(all)
}

/// What labels name.
#[derive(Default)]
struct Wanted {
    ids: BTreeSet<u128>,
    requests: HashSet<String>,
    /// The times of each key.
    keys: HashMap<String, Vec<Range>>,
}

impl Wanted {
    fn add(&mut self, target: &Target) {
        match target {
            Target::Id(PredictionId { request, .. }) => drop(self.ids.insert(number_of(request))),
            Target::Request { id, .. } => drop(self.requests.insert(id.clone())),
            Target::Key {
                key,
                from_us,
                to_us,
            } => self.keys.entry(key.clone()).or_default().push(Range {
                from_us: *from_us,
                to_us: *to_us,
            }),
        }
    }

    fn is_by_id_alone(&self) -> bool {
        self.requests.is_empty() && self.keys.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.is_by_id_alone()
    }

    fn meets(&self, first: u128, last: u128) -> bool {
        !self.is_by_id_alone() || self.ids.range(first..=last).next().is_some()
    }

    fn names(&self, target: &Target) -> bool {
        match target {
            Target::Id(PredictionId { request, .. }) => self.ids.contains(&number_of(request)),
            Target::Request { id, .. } => self.requests.contains(id),
            Target::Key { key, .. } => self.keys.contains_key(key),
        }
    }

    fn has(&self, rows: &Rows<'_>, batch: &RecordBatch, row: usize) -> bool {
        self.ids.contains(&rows.id(row))
            || text(batch, "request_id", row).is_some_and(|it| self.requests.contains(it))
            || text(batch, "key", row)
                .and_then(|it| self.keys.get(it))
                .is_some_and(|all| all.iter().any(|it| it.has(rows.times[row])))
    }
}

/// Labels by what they name, each with its number.
#[derive(Default)]
struct Labels {
    ids: HashMap<(u128, u32), Vec<(i64, String)>>,
    requests: HashMap<(String, u32), Vec<(i64, String)>>,
    keys: HashMap<String, Vec<(Range, i64, String)>>,
}

impl Labels {
    fn add(&mut self, kept: &Kept) {
        let told = (kept.number, kept.label.value.clone());
        match &kept.label.target {
            Target::Id(PredictionId { request, row }) => {
                let of = self.ids.entry((number_of(request), *row));
                of.or_default().push(told);
            }
            Target::Request { id, row } => {
                let of = self.requests.entry((id.clone(), *row));
                of.or_default().push(told);
            }
            Target::Key {
                key,
                from_us,
                to_us,
            } => {
                let range = Range {
                    from_us: *from_us,
                    to_us: *to_us,
                };
                let of = self.keys.entry(key.clone()).or_default();
                of.push((range, told.0, told.1));
            }
        }
    }

    /// The number of a row's first label and what the last of the same window says (R1); none where it came before these
    /// numbers, or after them.
    fn of(
        &self,
        rows: &Rows<'_>,
        batch: &RecordBatch,
        row: usize,
        numbers: Range,
        asked: &ArmsAsked<'_>,
    ) -> Option<(i64, String)> {
        let place = (rows.id(row), rows.numbers[row]);
        let by_id = self.ids.get(&place).into_iter().flatten();
        let request = text(batch, "request_id", row).map(|it| (it.to_owned(), place.1));
        let by_request = request.and_then(|it| self.requests.get(&it));
        let by_key = text(batch, "key", row).and_then(|it| self.keys.get(it));
        let by_key = by_key.into_iter().flatten().filter_map(|it| {
            let has = it.0.has(rows.times[row]);
            has.then_some((it.1, &it.2))
        });
        let by_text = by_request.into_iter().flatten();
        let all: Vec<(i64, &String)> = by_id
            .chain(by_text)
            .map(|it| (it.0, &it.1))
            .chain(by_key)
            .collect();
        let first = all.iter().map(|it| it.0).min()?;
        if !numbers.has(first) {
            return None;
        }
        let window = |number: i64| (number - asked.from_us).div_euclid(asked.every_us);
        let same = all.iter().filter(|it| window(it.0) == window(first));
        let last = same.max_by_key(|it| it.0)?;
        Some((first, last.1.clone()))
    }
}
