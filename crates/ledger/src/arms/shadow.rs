//! What a candidate answered unheard beside what callers were answered: the same requests, pair by pair.
//!
//! R1. Another answer is what it is for the test `disagreement`, and so is a unit: in each window a key, or a request
//!     without one, is told by one of its pairs, chosen by chance. Counts are of pairs, intervals of units: pairs of a
//!     unit are alike, and counted each they would make intervals too narrow.
//! R2. Units go in by time, so that intervals hold however often one looks. Those by labels, which come in
//!     another order, and slices hold for one look.
//! R3. Rows are bounded: of more requests a sample by their ids' hash is taken.

mod sums;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use domain::{PredictionId, Refusal};
use stats::Estimate;
use stats::random;
use stats::sequential::proportion::{Tally, share};
use stats::slices::Side;

use super::{COLUMNS, Cell, Rows, answer_columns, same};
use crate::baseline::LeftOut;
use crate::failure;
use crate::files::Kind;
use crate::layout::{Layout, Meaning, unheard_of};
use crate::quality::{self, Truths};
use crate::read::{Ids, Range, Snapshot, within};
use crate::replay::{Recorded, Said, said_columns};
use crate::why::{Columns, WorstSlice};
use sums::{cost, difference, largest, latency, losses, moved, units};

/// Values of features in memory: with many features fewer rows are read.
const VALUES_MAX: usize = 4_000_000;

/// What is asked.
#[derive(Clone, Debug)]
pub struct ShadowAsked<'a> {
    /// The model.
    pub model: &'a str,
    /// The version that was heard.
    pub incumbent: u32,
    /// The one that was not.
    pub candidate: u32,
    /// While it was asked.
    pub range: Range,
    /// How long a window is.
    pub every_us: i64,
    /// What failed with one of these codes was its caller's mistake, and is no pair.
    pub blameless: &'a [&'a str],
    /// The most rows of either version that are read.
    pub rows_max: usize,
    /// The risk that an interval misses, and that a slice is named where none moved.
    pub alpha: f64,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowReport {
    /// Requests and rows that the candidate was asked.
    pub requests: u64,
    /// Their rows.
    pub rows: u64,
    /// Those of the rows that were looked at: a sample where they are fewer.
    pub looked_at: u64,
    /// Requests that it failed, by code.
    pub failed: BTreeMap<String, u64>,
    /// Rows that the caller was answered and that the candidate answered, or failed by no mistake of the caller's.
    pub pairs: u64,
    /// Pairs with another answer: those that the candidate failed are among them.
    pub changed: u64,
    /// Pairs that it failed.
    pub unanswered: u64,
    /// Units among the pairs (R1).
    pub units: u64,
    /// The share of units with another answer.
    pub share: Estimate,
    /// How much greater the candidate's number is.
    pub difference: Option<Difference>,
    /// The largest changes, those with another answer first.
    pub largest: Vec<Change>,
    /// Where answers moved more than elsewhere.
    pub moved: Moved,
    /// How long the two took for the same requests, each answered by both.
    pub latency: Option<[Latency; 2]>,
    /// What a row that both answered cost, in the mean.
    pub cost: Option<[f64; 2]>,
    /// How wrong the two are on the same units, where labels have come.
    pub losses: Vec<PairedLoss>,
}

/// How much greater one number is than the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Whether it is the score of the positive class; else the value that was answered.
    pub is_score: bool,
    /// Units with both numbers.
    pub units: u64,
    /// The mean; with an interval where all are scores from 0 to 1. Of other numbers no bound is known, and so no interval
    /// that would hold at all times.
    pub mean: Estimate,
}

/// A pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which.
    pub id: PredictionId,
    /// Its key.
    pub key: Option<String>,
    /// What its caller heard.
    pub incumbent: Said,
    /// What the candidate said.
    pub candidate: Said,
    /// Whether it counts as another answer.
    pub changed: bool,
    /// How much greater the number is.
    pub difference: Option<f64>,
}

/// Slices of units.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Whether a unit moved by how far its number went; else by 1 where its answer is another one.
    pub by_distance: bool,
    /// Units that were looked at: the inputs of all of them were recorded.
    pub units: u64,
    /// The fewest in each half.
    pub support: usize,
    /// Slices that were looked at.
    pub considered: u64,
    /// The half that searched.
    pub searched: Side,
    /// The half that confirmed.
    pub held_out: Side,
    /// What was found; what is not confirmed may be chance.
    pub slices: Vec<WorstSlice>,
    /// Columns that were searched, and those that were not.
    pub features: Vec<String>,
    /// Those that were not, and why.
    pub left_out: Vec<LeftOut>,
}

/// How long requests took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of them at most.
    pub p50_us: u32,
    /// 99 of 100 at most.
    pub p99_us: u32,
}

/// How wrong two versions are on the same units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedLoss {
    /// `misclassification`, `squared_error` of a score from the label as 0 or 1, `absolute_error`.
    pub name: &'static str,
    /// Units with a label that both answered.
    pub units: u64,
    /// The mean loss of each.
    pub incumbent: f64,
    /// Of the candidate.
    pub candidate: f64,
    /// The candidate's less the incumbent's; without an interval where losses have no bound.
    pub difference: Estimate,
}

impl Snapshot<'_> {
    /// Compares the two. Blocks for as long as it takes.
    pub fn shadow(&self, asked: &ShadowAsked<'_>) -> Result<ShadowReport, Refusal> {
        let mut reading = Reading::new(asked);
        let table = unheard_of(asked.model);
        for entry in self.files(Kind::Predictions, &table, asked.range) {
            let layout = self.layout(&entry);
            if layout.version == asked.candidate {
                let columns = columns(&layout, &[]);
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                self.read(&entry, &columns, Ids::ALL, asked.range, |batch| {
                    reading.unheard(&layout, &batch)
                })?;
            }
        }
        let of_log = self.of_log_some(
            &table,
            asked.range,
            |_| true,
            |layout, _| layout.version == asked.candidate,
        )?;
        for unsealed in of_log {
            let batch = within(&unsealed.batch, Ids::ALL, asked.range)?;
            reading.unheard(&unsealed.layout, &batch)?;
        }
        self.heard(asked, &mut reading)?;
        reading.finish()
    }

    /// Reads what callers heard of what was answered unheard.
    fn heard(&self, asked: &ShadowAsked<'_>, reading: &mut Reading<'_>) -> Result<(), Refusal> {
        let ids: HashSet<u128> = reading.unheard.keys().map(|it| it.0).collect();
        if ids.is_empty() {
            return Ok(());
        }
        // What was heard came before it was asked again.
        let range = Range {
            to_us: reading.latest_us.saturating_add(1),
            ..asked.range
        };
        let mut files = self.files(Kind::Predictions, asked.model, range);
        files.retain(|it| self.layout(it).version == asked.incumbent);
        let rows = self.of_log_some(
            asked.model,
            range,
            |_| true,
            |layout, head| {
                layout.version == asked.incumbent
                    && ids.contains(&crate::read::number_of(&head.place.id))
            },
        )?;
        let labels = self.labels_of_log(asked.model)?;
        let windows = quality::windows(self, asked.model, &files)?;
        let layouts = self.layouts_of(&files, &rows);
        let mut meanings: Vec<&Meaning> = Vec::new();
        for layout in &layouts {
            reading.features.expect(layout);
            if !meanings.contains(&&layout.meaning) {
                meanings.push(&layout.meaning);
            }
        }
        for meaning in meanings {
            let mut truths = Truths::none(self, asked.model, meaning, &labels)?;
            for window in &windows {
                truths.turn_to(self, asked.model, *window, &labels)?;
                for entry in &files {
                    let layout = self.layout(entry);
                    if layout.meaning == *meaning {
                        let features: Vec<String> = reading.features.names().cloned().collect();
                        let columns = columns(&layout, &features);
                        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                        self.read(entry, &columns, *window, range, |batch| {
                            reading.pair(&layout, &batch, &truths)
                        })?;
                    }
                }
                for unsealed in rows.iter().filter(|it| it.layout.meaning == *meaning) {
                    let batch = within(&unsealed.batch, *window, range)?;
                    reading.pair(&unsealed.layout, &batch, &truths)?;
                }
            }
        }
        Ok(())
    }
}

fn columns(layout: &Layout, features: &[String]) -> Vec<String> {
    let all = COLUMNS.iter().copied();
    let all = all.chain(["request_id", "inputs_recorded"]);
    let mut all: Vec<String> = all.map(str::to_owned).collect();
    all.extend(answer_columns(layout));
    all.extend(said_columns(layout));
    all.extend(features.iter().cloned());
    all
}

/// What the numbers of a layout's answers are.
#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    /// Scores of this class.
    Of(String),
    Values,
    /// They cannot be compared.
    Unlike,
}

impl Numbers {
    fn of(layout: &Layout) -> Self {
        match &layout.meaning {
            Meaning::Classes {
                classes,
                positive: Some(positive),
                ..
            } => classes
                .get(*positive)
                .cloned()
                .map_or(Self::Unlike, Self::Of),
            Meaning::Value { .. } => Self::Values,
            Meaning::Classes { .. } | Meaning::None => Self::Unlike,
        }
    }
}

/// A row that was answered unheard.
struct Unheard {
    unit: u64,
    end_us: i64,
    took_us: u32,
    cost: Option<f64>,
    numbers: Arc<Numbers>,
    /// None where it failed.
    said: Option<(Vec<Cell>, Said)>,
}

struct Pair {
    id: u128,
    row: u32,
    key: Option<String>,
    unit: u64,
    window: i64,
    end_us: i64,
    incumbent: Said,
    /// None where it failed.
    candidate: Option<Said>,
    changed: bool,
    numbers: Option<(f64, f64)>,
    took_us: [u32; 2],
    costs: Option<[f64; 2]>,
    truth: Option<Truth>,
    /// Whether its inputs were recorded.
    is_whole: bool,
}

/// What turned out to be true.
enum Truth {
    /// The class; and where there is a positive one, whether it is that.
    Class(String, Option<bool>),
    Number(f64),
}

/// What is read so far.
struct Reading<'a> {
    asked: &'a ShadowAsked<'a>,
    requests: u64,
    rows: u64,
    failed: BTreeMap<String, u64>,
    /// Requests with a hash of at least this are not looked at.
    below: Option<u64>,
    rows_max: usize,
    unheard: HashMap<(u128, u32), Unheard>,
    /// When the last of them came.
    latest_us: i64,
    looked_at: u64,
    pairs: Vec<Pair>,
    /// Whether numbers are scores; of the last pair that has any.
    is_score: bool,
    /// The features of the pairs, in their order.
    features: Columns,
}

impl<'a> Reading<'a> {
    fn new(asked: &'a ShadowAsked<'a>) -> Self {
        Self {
            asked,
            requests: 0,
            rows: 0,
            failed: BTreeMap::new(),
            below: None,
            rows_max: asked.rows_max,
            unheard: HashMap::new(),
            latest_us: i64::MIN,
            looked_at: 0,
            pairs: Vec::new(),
            is_score: false,
            features: Columns::default(),
        }
    }

    fn unheard(&mut self, layout: &Arc<Layout>, batch: &RecordBatch) -> Result<(), Refusal> {
        let features = layout.features().len().max(1);
        self.rows_max = self.rows_max.min((VALUES_MAX / features).max(1));
        let said = Recorded::of(layout, batch).said()?;
        let numbers = Arc::new(Numbers::of(layout));
        let rows = Rows::of(layout, batch)?;
        let mut request: Option<(u128, u64)> = None;
        for (row, said) in said.into_iter().enumerate() {
            let (id, number) = (rows.id(row), rows.numbers[row]);
            // The key of the first of a request's rows is that of all.
            let unit = match request {
                Some((of, unit)) if of == id => unit,
                _ => rows.unit(row).hash,
            };
            request = Some((id, unit));
            let code = rows.codes.at(row);
            self.rows += 1;
            self.latest_us = self.latest_us.max(rows.times[row]);
            if number == 0 {
                self.requests += 1;
                if let Some(code) = code {
                    *self.failed.entry(code.to_owned()).or_default() += 1;
                }
            }
            if self.below.is_some_and(|below| hash(id) >= below) {
                continue;
            }
            self.looked_at += 1;
            if code.is_some_and(|it| self.asked.blameless.contains(&it)) {
                continue;
            }
            let took_us = rows.took.value(row);
            let unheard = Unheard {
                unit,
                end_us: rows.times[row].saturating_add(i64::from(took_us)),
                took_us,
                cost: rows.cost(row),
                numbers: Arc::clone(&numbers),
                said: code.is_none().then(|| (rows.cells(row), said)),
            };
            self.unheard.insert((id, number), unheard);
        }
        while self.unheard.len() > self.rows_max {
            self.halve();
        }
        Ok(())
    }

    /// Takes half of the requests out: those with the greater hashes.
    fn halve(&mut self) {
        let below = self.below.unwrap_or(u64::MAX) / 2;
        self.below = Some(below);
        self.unheard.retain(|(id, _), _| hash(*id) < below);
        self.looked_at = self.unheard.len() as u64;
    }

    /// Puts what callers heard beside what was said unheard.
    fn pair(
        &mut self,
        layout: &Arc<Layout>,
        batch: &RecordBatch,
        truths: &Truths,
    ) -> Result<(), Refusal> {
        let wanted: BooleanArray = {
            let rows = Rows::of(layout, batch)?;
            let is_wanted = |row: usize| {
                let place = (rows.id(row), rows.numbers[row]);
                // What failed for its caller is nothing to compare with.
                self.unheard.contains_key(&place) && rows.codes.at(row).is_none()
            };
            (0..batch.num_rows())
                .map(|it| Some(is_wanted(it)))
                .collect()
        };
        if wanted.true_count() == 0 {
            return Ok(());
        }
        let batch = &filter_record_batch(batch, &wanted)
            .map_err(|error| failure::of_library("reading predictions", error))?;
        let said = Recorded::of(layout, batch).said()?;
        let recorded = batch
            .column_by_name("inputs_recorded")
            .and_then(|it| it.as_boolean_opt())
            // Of large tensors only a part is kept whole; their sums are there all the same.
            .filter(|_| !layout.has_summaries());
        let numbers = Numbers::of(layout);
        let rows = Rows::of(layout, batch)?;
        let mut taken = Vec::with_capacity(batch.num_rows());
        for (row, said) in said.into_iter().enumerate() {
            let place = (rows.id(row), rows.numbers[row]);
            let Some(unheard) = self.unheard.remove(&place) else {
                continue;
            };
            let took_us = rows.took.value(row);
            let end_us = rows.times[row].saturating_add(i64::from(took_us));
            let end_us = end_us.max(unheard.end_us);
            let heard = rows.cells(row);
            let cells = unheard.said.as_ref().map(|it| &it.0);
            let changed = cells.is_none_or(|it| !same(it, &heard));
            let candidate = unheard.said.map(|it| it.1);
            let alike = *unheard.numbers == numbers && numbers != Numbers::Unlike;
            let both = said.number.zip(candidate.as_ref().and_then(|it| it.number));
            let both = both.filter(|(a, b)| alike && a.is_finite() && b.is_finite());
            if both.is_some() {
                self.is_score = matches!(numbers, Numbers::Of(_));
            }
            taken.push(row);
            self.pairs.push(Pair {
                id: place.0,
                row: place.1,
                key: rows.key(row).map(str::to_owned),
                unit: unheard.unit,
                window: end_us
                    .saturating_sub(self.asked.range.from_us)
                    .div_euclid(self.asked.every_us),
                end_us,
                incumbent: said,
                candidate,
                changed,
                numbers: both,
                took_us: [took_us, unheard.took_us],
                costs: rows.cost(row).zip(unheard.cost).map(|(a, b)| [a, b]),
                truth: truths.of(batch, row).and_then(|it| truth(layout, it)),
                is_whole: recorded.is_none_or(|it| it.value(row)),
            });
        }
        self.features.add(batch, &taken)
    }

    fn finish(self) -> Result<ShadowReport, Refusal> {
        let Self {
            asked,
            requests,
            rows,
            failed,
            looked_at,
            pairs,
            is_score,
            features,
            ..
        } = self;
        let units = units(&pairs);
        let mut by_time: Vec<&Pair> = pairs
            .iter()
            .zip(&units)
            .filter(|it| *it.1)
            .map(|it| it.0)
            .collect();
        by_time.sort_by_key(|it| (it.end_us, it.id, it.row));
        let changed_units = by_time.iter().filter(|it| it.changed).count() as u64;
        let tally = Tally::new(by_time.len() as u64, changed_units);
        Ok(ShadowReport {
            requests,
            rows,
            looked_at,
            failed,
            pairs: pairs.len() as u64,
            changed: pairs.iter().filter(|it| it.changed).count() as u64,
            unanswered: pairs.iter().filter(|it| it.candidate.is_none()).count() as u64,
            units: by_time.len() as u64,
            share: share(tally, asked.alpha),
            difference: difference(&by_time, is_score, asked.alpha),
            latency: latency(&pairs),
            cost: cost(&pairs),
            losses: losses(&by_time, is_score, asked.alpha),
            moved: moved(&pairs, &units, features, asked.alpha)?,
            largest: largest(pairs),
        })
    }
}

/// What halves requests are in, and which are looked at: nothing that has to do with what is in them.
fn hash(id: u128) -> u64 {
    random::mixed(id as u64)
}

fn truth(layout: &Layout, truth: f64) -> Option<Truth> {
    match &layout.meaning {
        Meaning::Classes {
            classes, positive, ..
        } => {
            let place = truth as usize;
            let class = classes.get(place)?.clone();
            Some(Truth::Class(class, positive.map(|it| it == place)))
        }
        Meaning::Value { .. } => Some(Truth::Number(truth)),
        Meaning::None => None,
    }
}
