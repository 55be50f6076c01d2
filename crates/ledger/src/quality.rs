//! How right a model was: predictions and labels put together, counted by version, slice and time.
//!
//! Both lie sorted by prediction id, so they are merged, window of ids by window, in bounded memory and on
//! several threads. The metrics are those of `stats`.

mod examples;
mod labels;
mod losses;
mod rows;
mod sample;
mod slices;
mod tally;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use domain::Refusal;
use domain::attributes::KEY;
use domain::maturity::Cohort;
use domain::time::DAY_US;
use stats::{BinaryReport, MulticlassReport, RegressionReport};

use crate::attributes::Attributes;
use crate::files::{Entry, Kind};
use crate::layout::{Layout, Meaning};
use crate::read::{Ids, OfLog, Range, Snapshot, within};
use examples::Features;
use labels::{ById, Reads, TextLabels, Values};
use rows::Rows;
use slices::codes;
use tally::{Counted, Counter, Key, Tally, add};

pub use examples::{Example, Examples};
pub(crate) use labels::{Truths, windows};
pub use losses::{Loss, Losses};
pub use rows::Judged;
pub(crate) use rows::{Judging, answer_columns, losses};
pub(crate) use slices::{Interner, Slicer, numbered, told};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The model.
    pub model: String,
    /// The predictions' times.
    pub range: Range,
    /// One version alone.
    pub version: Option<u32>,
    /// Columns, or attributes, by whose values the rows are told apart.
    pub by: Vec<String>,
    /// The attributes among those. A column of that name goes before, whichever version has it.
    pub attributes: Attributes,
    /// How some of them are told: by the ranges between these edges, or as they are where there are none. The others
    /// are told as their values suggest.
    pub cuts: BTreeMap<String, Vec<f64>>,
    /// Spans of time by which they are.
    pub spans: Option<Spans>,
    /// The most scored rows of a group that are kept one by one, of a task of classes: of more a sample is.
    pub scored_max: usize,
    /// Whether labelled rows are kept one by one with their losses.
    pub losses: Option<Losses>,
    /// Whether rows are kept one by one with their features, of a model of numbers.
    pub examples: Option<Examples>,
    /// The level of the intervals.
    pub level: f64,
    /// Threads that count.
    pub threads: usize,
    /// Now, in microseconds since 1970.
    pub now_us: i64,
}

impl Question {
    /// About all rows of a model in a range, of all versions together with nothing kept of single rows; `now_us` is in
    /// microseconds since 1970. The intervals are of 95 %, counted by one thread.
    pub fn of(model: impl Into<String>, range: Range, now_us: i64) -> Self {
        Self {
            model: model.into(),
            range,
            version: None,
            by: Vec::new(),
            attributes: Attributes::default(),
            cuts: BTreeMap::new(),
            spans: None,
            scored_max: 0,
            losses: None,
            examples: None,
            level: 0.95,
            threads: 1,
            now_us,
        }
    }
}

/// Spans of time, one behind the other, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// Where one of them begins.
    pub from_us: i64,
    /// How long each is; at least 1.
    pub every_us: i64,
}

impl Spans {
    /// The beginning of the span that a time is in.
    fn of(self, time_us: i64) -> i64 {
        let since = time_us.saturating_sub(self.from_us);
        self.from_us + since.div_euclid(self.every_us) * self.every_us
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// One for each version, slice and span that has rows; sorted by them.
    pub groups: Vec<Group>,
    /// What the labels themselves tell.
    pub labels: LabelCounts,
}

/// Rows that are told together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The version.
    pub version: u32,
    /// The values of the columns asked for.
    pub by: BTreeMap<String, String>,
    /// The beginning of the span, where spans were asked for.
    pub from_us: Option<i64>,
    /// Rows answered.
    pub predictions: u64,
    /// Rows that were not.
    pub failed: u64,
    /// Rows answered that have a label.
    pub labelled: u64,
    /// Whether more labels are to be expected.
    pub provisional: bool,
    /// Labels that are neither a class of the model nor a number, as it needs.
    pub unread: u64,
    /// What rows were called, labelled or not, of a binary task.
    pub called: Called,
    /// Its scored rows, or a sample of them.
    pub scored: Vec<Scored>,
    /// The losses of its labelled rows, or a sample of them.
    pub losses: Vec<Loss>,
    /// Its rows with their features, or a sample of them.
    pub examples: Vec<Example>,
    /// The metrics.
    pub report: Report,
}

/// What rows were called, of two classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// The positive class.
    pub positive: u64,
    /// The other.
    pub negative: u64,
}

/// A row of a task of classes that has a score. Where there is no positive class, the question is whether the class that
/// was called is right: every row is called that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Has nothing to do with what is in the row.
    pub hash: u64,
    /// The score of the positive class, or of the one that was called, as the model gave it.
    pub score: f64,
    /// Whether it was called positive.
    pub predicted_positive: bool,
    /// Whether it is, where its label has come.
    pub positive: Option<bool>,
}

/// Metrics by the kind of task.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Whether it is the positive class.
    Binary {
        /// The class.
        positive: String,
        /// The other.
        negative: String,
        /// The metrics.
        report: BinaryReport,
    },
    /// Which class it is.
    Multiclass {
        /// The classes in the order of the confusion matrix.
        classes: Vec<String>,
        /// The metrics.
        report: MulticlassReport,
    },
    /// Which number it is.
    Regression(RegressionReport),
}

/// Labels of the question's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCounts {
    /// Predictions that labels name by id.
    pub named: u64,
    /// Those that the ledger has.
    pub matched: u64,
    /// Labels by the caller's own id or by key.
    pub by_text: u64,
    /// Rows that those found.
    pub by_text_matched: u64,
}

impl Snapshot<'_> {
    /// Counts how right a model was. Blocks for as long as it takes.
    pub fn quality(&self, question: &Question) -> Result<Quality, Refusal> {
        let log = self.of_log(&question.model)?;
        let files = self.files(Kind::Predictions, &question.model, question.range);
        let layouts = self.layouts_of(&files, &log.rows);
        check(question, &layouts)?;
        let texts = TextLabels::load(self, &question.model, &log.labels)?;
        let losses_max = question.losses.map(|it| it.read_max);
        let examples_max = question.examples.as_ref().map(|it| it.read_max);
        let read_max = losses_max.or(examples_max);
        let windows = match read_max.and_then(|it| losses::parts(&files, question.range, it)) {
            Some(parts) => parts,
            None => labels::windows(self, &question.model, &files)?,
        };
        let all_layouts = self.layouts_of_model(&question.model, &log.rows);
        let attributes = question.attributes.beside(&all_layouts);
        let columns = question.by.iter().filter(|it| !attributes.has(it));
        let columns: Vec<String> = columns.cloned().collect();
        // A column of other times is one of which these rows have nothing.
        let columns = self.slicers(&columns, &all_layouts, &files, &log)?;
        let mut columns = columns.into_iter();
        // In the order in which they were asked for. The values of attributes are texts.
        let told = |name: &String| match attributes.has(name) {
            true => Some((name.clone(), Slicer::Values)),
            false => columns.next(),
        };
        let mut by: Vec<(String, Slicer)> = question.by.iter().filter_map(told).collect();
        for (name, slicer) in &mut by {
            match question.cuts.get(name) {
                None => {}
                Some(edges) if edges.is_empty() => *slicer = Slicer::Values,
                Some(edges) => *slicer = Slicer::Ranges(edges.clone()),
            }
        }
        let work = Work {
            snapshot: self,
            question,
            by,
            attributes,
            windows,
            layouts,
            files,
            log,
            texts,
            next: AtomicUsize::new(0),
        };
        let counted = work.count()?;
        Ok(counted.finish(question, work.texts.count))
    }

    /// Whether anybody told what became of a model's predictions.
    pub fn has_labels(&self, model: &str) -> Result<bool, Refusal> {
        let is_sealed = [Kind::Labels, Kind::TextLabels]
            .iter()
            .any(|it| !self.files(*it, model, Range::ALL).is_empty());
        Ok(is_sealed || !self.of_log(model)?.labels.is_empty())
    }

    /// How each column that is asked for is told, from rows of the newest file or of the log.
    pub(crate) fn slicers(
        &self,
        by: &[String],
        layouts: &[Arc<Layout>],
        files: &[Arc<Entry>],
        log: &OfLog,
    ) -> Result<Vec<(String, Slicer)>, Refusal> {
        let mut slicers = Vec::with_capacity(by.len());
        for name in by {
            let has = |it: &Layout| it.schema().index_of(name).is_ok();
            if !layouts.iter().any(|it| has(it)) {
                let known: Vec<String> = layouts
                    .last()
                    .map(|it| it.schema())
                    .iter()
                    .flat_map(|it| it.fields().iter().map(|it| format!("`{}`", it.name())))
                    .collect();
                return Err(Refusal::UnknownColumn {
                    column: name.clone(),
                    known: known.join(", "),
                });
            }
            let mut sample: Option<ArrayRef> = None;
            let newest = files.iter().rev().find(|it| has(&self.layout(it)));
            if let Some(entry) = newest {
                // One batch is enough to tell by; the rest is not read for it.
                self.read_while(entry, &[name], Ids::ALL, Range::ALL, |batch| {
                    sample = batch.column_by_name(name).cloned();
                    Ok(false)
                })?;
            }
            let of_log = || {
                let rows = log.rows.iter().rev();
                rows.clone()
                    .find_map(|it| it.batch.column_by_name(name).cloned())
            };
            let slicer = match sample.or_else(of_log) {
                Some(column) => Slicer::of(column.as_ref())?,
                None => Slicer::Values,
            };
            slicers.push((name.clone(), slicer));
        }
        Ok(slicers)
    }
}

/// Refuses what cannot be counted.
fn check(question: &Question, layouts: &[Arc<Layout>]) -> Result<(), Refusal> {
    for layout in layouts {
        let why = match (why_uncounted(&layout.meaning), &layout.meaning) {
            (Some(why), _) => why.to_owned(),
            (None, Meaning::Classes { classes, .. })
                if classes.len() > stats::quality::multiclass::CLASSES_MAX =>
            {
                format!("it has {} classes, which are too many", classes.len())
            }
            (None, _) => continue,
        };
        if question.version.is_some_and(|it| it != layout.version) {
            continue;
        }
        return Err(Refusal::InvalidQuery {
            why: format!(
                "the quality of `{}:{}`: {why}",
                layout.model, layout.version
            ),
        });
    }
    Ok(())
}

/// Why answers that mean this are neither right nor wrong; none where they are.
pub(crate) fn why_uncounted(meaning: &Meaning) -> Option<&'static str> {
    match meaning {
        Meaning::Value { .. } => None,
        Meaning::Classes { classes, .. } if classes.len() >= 2 => None,
        Meaning::Classes { .. } => Some("its classes are not named by `task.classes`"),
        Meaning::None => Some("its windlass.yaml does not say by `task` what its answers mean"),
    }
}

/// What all threads share.
struct Work<'a> {
    snapshot: &'a Snapshot<'a>,
    question: &'a Question,
    by: Vec<(String, Slicer)>,
    attributes: Attributes,
    layouts: Vec<Arc<Layout>>,
    files: Vec<Arc<Entry>>,
    log: OfLog,
    texts: TextLabels,
    windows: Vec<Ids>,
    next: AtomicUsize,
}

impl Work<'_> {
    /// Counts every window, each once, on several threads.
    fn count(&self) -> Result<Counted, Refusal> {
        let merged: Mutex<Result<Counted, Refusal>> = Mutex::new(Ok(Counted::default()));
        let threads = self.question.threads.clamp(1, self.windows.len().max(1));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut counting = Counting::new(self);
                    let result = counting.all();
                    let mut merged = merged.lock().unwrap_or_else(PoisonError::into_inner);
                    match (&mut *merged, result) {
                        (Err(_), _) => {}
                        (Ok(all), Ok(())) => all.merge(counting.counted()),
                        (Ok(_), Err(refusal)) => *merged = Err(refusal),
                    }
                });
            }
        });
        merged.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delay of each so many labels is kept, to tell how long labels take.
const DELAYS_EVERY: u64 = 64;

/// Layout, slices and span of rows that are counted together.
type Part = (usize, Vec<u32>, Option<i64>);

/// What one thread counts.
struct Counting<'a> {
    work: &'a Work<'a>,
    interners: Vec<Interner>,
    tallies: Vec<(Part, Tally)>,
    /// Where the tally of each part is.
    places: HashMap<Part, usize>,
    days: HashMap<i64, Cohort>,
    delays_us: Vec<i64>,
    labels: LabelCounts,
}

impl<'a> Counting<'a> {
    fn new(work: &'a Work<'a>) -> Self {
        Self {
            work,
            interners: work.by.iter().map(|_| Interner::default()).collect(),
            tallies: Vec::new(),
            places: HashMap::new(),
            days: HashMap::new(),
            delays_us: Vec::new(),
            labels: LabelCounts::default(),
        }
    }

    fn all(&mut self) -> Result<(), Refusal> {
        let work = self.work;
        loop {
            let place = work.next.fetch_add(1, Relaxed);
            let Some(window) = work.windows.get(place) else {
                return Ok(());
            };
            self.window(*window)?;
        }
    }

    fn window(&mut self, ids: Ids) -> Result<(), Refusal> {
        let work = self.work;
        let question = work.question;
        // Labels are read for each kind of answer; nearly always there is one.
        let mut kinds: Vec<&Meaning> = Vec::new();
        for layout in &work.layouts {
            if !kinds.iter().any(|it| same_answers(it, &layout.meaning)) {
                kinds.push(&layout.meaning);
            }
        }
        for (first, kind) in kinds.iter().enumerate() {
            let labels = labels::by_id(
                work.snapshot,
                &question.model,
                ids,
                &work.log.labels,
                &Reads(kind),
            )?;
            if first == 0 {
                let within = |it: &&ById| question.range.has(time_us(it.id));
                self.labels.named += labels.iter().filter(within).count() as u64;
            }
            let wanted = |layout: &Layout| {
                same_answers(&layout.meaning, kind)
                    && question.version.is_none_or(|it| it == layout.version)
            };
            for entry in &work.files {
                let layout = work.snapshot.layout(entry);
                if !wanted(&layout) {
                    continue;
                }
                let columns = self.columns(&layout, entry);
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                work.snapshot
                    .read(entry, &columns, ids, question.range, |batch| {
                        self.batch(&layout, &batch, &labels)
                    })?;
            }
            for unsealed in &work.log.rows {
                if wanted(&unsealed.layout) {
                    let batch = within(&unsealed.batch, ids, question.range)?;
                    self.batch(&unsealed.layout, &batch, &labels)?;
                }
            }
        }
        Ok(())
    }

    /// The columns that are needed of a file.
    fn columns(&self, layout: &Layout, entry: &Entry) -> Vec<String> {
        let work = self.work;
        let mut columns: Vec<String> = ["prediction_id", "row", "code"].map(str::to_owned).into();
        columns.extend(answer_columns(&layout.meaning));
        let (first, last) = entry.times_us;
        let range = work.question.range;
        let whole = range.has(first) && range.has(last);
        if !whole || work.question.spans.is_some() || !work.texts.is_empty() {
            columns.push("time".to_owned());
        }
        if !work.texts.is_empty() {
            columns.extend(["request_id", KEY].map(str::to_owned));
        } else if !work.attributes.is_empty() {
            columns.push(KEY.to_owned());
        }
        columns.extend(work.by.iter().map(|(name, _)| name.clone()));
        let examples = work.question.examples.iter();
        columns.extend(examples.flat_map(|it| it.features().map(str::to_owned)));
        columns
    }

    /// Counts rows of one layout, sorted by id, with the labels of their window.
    fn batch(
        &mut self,
        layout: &Arc<Layout>,
        batch: &RecordBatch,
        labels: &[ById],
    ) -> Result<(), Refusal> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let work = self.work;
        let place = work.layouts.iter().position(|it| it == layout).unwrap_or(0);
        let attributes = &work.attributes;
        let joined = (!attributes.is_empty()).then(|| attributes.join(batch));
        let joined = joined.transpose()?;
        let batch = joined.as_ref().unwrap_or(batch);
        let rows = Rows::of(layout, batch)?;
        let codes = codes(batch, &work.by, &mut self.interners)?;
        let examples = work.question.examples.as_ref();
        let examples = examples.map(|it| Ok((it, Features::of(it, batch)?)));
        let examples = examples.transpose()?;
        let mut at = labels.partition_point(|it| it.id < rows.id(0));
        let mut part: Part = (place, Vec::with_capacity(codes.len()), None);
        let mut counted_in: Option<usize> = None;
        let mut day = (i64::MIN, Cohort::default());
        for row in 0..batch.num_rows() {
            let span = work.question.spans.map(|it| it.of(rows.time_us(row)));
            let (_, slices, of) = &part;
            let same = *of == span
                && slices
                    .iter()
                    .zip(&codes)
                    .all(|(it, column)| *it == column[row]);
            let index = match counted_in {
                Some(index) if same => index,
                _ => {
                    part.1.clear();
                    part.1.extend(codes.iter().map(|it| it[row]));
                    part.2 = span;
                    self.tally_of(&part, &layout.meaning)
                }
            };
            counted_in = Some(index);
            let Some((_, tally)) = self.tallies.get_mut(index) else {
                continue;
            };
            if rows.failed(row) {
                tally.failed += 1;
                continue;
            }
            let (id, number) = (rows.id(row), rows.row(row));
            let made_us = time_us(id);
            let today = made_us.div_euclid(DAY_US);
            if today != day.0 {
                add(self.days.entry(day.0).or_default(), day.1);
                day = (today, Cohort::default());
            }
            for cohort in [&mut tally.cohort, &mut day.1] {
                cohort.newest_us = cohort.newest_us.max(made_us);
                cohort.predictions += 1;
            }
            while labels
                .get(at)
                .is_some_and(|it| (it.id, it.row) < (id, number))
            {
                at += 1;
            }
            match rows.called_positive(row) {
                Some(true) => tally.called.positive += 1,
                Some(false) => tally.called.negative += 1,
                None => {}
            }
            let by_id = labels.get(at).filter(|it| (it.id, it.row) == (id, number));
            self.labels.matched += u64::from(by_id.is_some());
            let mut label = by_id.map(|it| (it.number, it.value, it.at_us));
            if !work.texts.is_empty()
                && let Some(told) = rows.told(&work.texts, row)
            {
                self.labels.by_text_matched += 1;
                if label.is_none_or(|(number, ..)| number < told.number) {
                    let value = Reads(&layout.meaning).read(&told.value);
                    label = Some((told.number, value, told.at_us));
                }
            }
            if work.question.scored_max > 0 {
                let truth = label.map(|it| it.1).filter(|it| !it.is_nan());
                let scored = || rows.scored(row, id, truth);
                let (hash, most) = (rows.hash(row, id), work.question.scored_max);
                tally.scored.keep(hash, most, scored);
            }
            if let Some((terms, features)) = &examples {
                let truth = label.map(|it| it.1).filter(|it| !it.is_nan());
                let hash = rows.hash(row, id);
                let example = || rows.example(row, hash, features, truth);
                tally.examples.keep(hash, terms.kept_max, example);
            }
            let Some((_, value, at_us)) = label else {
                continue;
            };
            if value.is_nan() {
                tally.unread += 1;
                continue;
            }
            tally.cohort.labelled += 1;
            day.1.labelled += 1;
            if day.1.labelled % DELAYS_EVERY == 1 {
                self.delays_us.push(at_us.saturating_sub(made_us).max(0));
            }
            if let Some(losses) = work.question.losses {
                let loss = || rows.loss(row, value, id);
                tally.losses.keep(rows.hash(row, id), losses.kept_max, loss);
            }
            rows.count(&mut tally.counter, row, value, id);
        }
        add(self.days.entry(day.0).or_default(), day.1);
        Ok(())
    }

    fn tally_of(&mut self, part: &Part, meaning: &Meaning) -> usize {
        if let Some(index) = self.places.get(part) {
            return *index;
        }
        self.tallies.push((part.clone(), Tally::new(meaning)));
        self.places.insert(part.clone(), self.tallies.len() - 1);
        self.tallies.len() - 1
    }

    fn counted(self) -> Counted {
        let mut counted = Counted {
            delays_us: self.delays_us,
            labels: self.labels,
            ..Counted::default()
        };
        counted.days.extend(
            self.days
                .into_iter()
                .filter(|(_, cohort)| cohort.predictions > 0),
        );
        let mut groups: BTreeMap<Key, (Arc<Layout>, Tally)> = BTreeMap::new();
        for ((place, slices, span), tally) in self.tallies {
            let layout = &self.work.layouts[place];
            let texts = slices.iter().zip(&self.interners);
            let key = (
                layout.version,
                serde_json::to_vec(&layout.meaning).unwrap_or_default(),
                texts.map(|(it, of)| of.text(*it).to_owned()).collect(),
                span,
            );
            match groups.get_mut(&key) {
                Some((_, there)) => there.merge(tally),
                None => drop(groups.insert(key, (Arc::clone(layout), tally))),
            }
        }
        counted.groups = groups;
        counted
    }
}

/// When a request's id was made, in microseconds since 1970.
fn time_us(id: u128) -> i64 {
    i64::try_from(id >> 80)
        .unwrap_or(i64::MAX)
        .saturating_mul(1000)
}

/// What a label says of an answer that means this: the place of a class, or a number. NaN where it is neither.
pub(crate) fn read_label(meaning: &Meaning, text: &str) -> f64 {
    Reads(meaning).read(text)
}

/// Whether labels are read alike for two layouts.
fn same_answers(a: &Meaning, b: &Meaning) -> bool {
    match (a, b) {
        (Meaning::Classes { classes: a, .. }, Meaning::Classes { classes: b, .. }) => a == b,
        (Meaning::Value { .. }, Meaning::Value { .. }) | (Meaning::None, Meaning::None) => true,
        _ => false,
    }
}
