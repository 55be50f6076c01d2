//! How far predictions of versions, or rows of files, are from their baselines.

mod baselines;
mod segments;
mod together;

use std::path::Path;
use std::sync::Arc;

use ::ledger::Range;
use ::ledger::baseline::{
    Asked, Attention, Baseline, ColumnDrift, Counter, Drift, LeftOut, Source, Together,
};
use arrow::array::RecordBatch;
use domain::access::{Permission, Read};
use domain::manifest::Manifest;
use domain::monitor::Setting;
use domain::monitor::segments::Segments;
use domain::{ModelName, Refusal, Version};
use stats::drift::bins::Counted;
use stats::drift::column::{Cells, Distances};
use stats::drift::effect::{Question, Terms};
use stats::drift::table::Distance;
use stats::drift::verdict::Judged;
use store::registry::VersionRecord;
use wire::api::drift as api;

use crate::app::App;
use crate::clock::wall_ms;
use crate::margins::Widened;
use crate::quality::metric_record;
use crate::questions::limit;

use baselines::{predictions_of, received, reference_record, wanted_baseline};

pub(crate) use baselines::{
    baseline_of, declared_baseline, of_predictions, question_of, set, show,
};

/// The level of the intervals that are shown.
pub(crate) const LEVEL: f64 = 0.95;
/// The monitor's name.
pub(crate) const MONITOR: &str = "drift";
/// How often files that are compared once may be called drifted where nothing changed.
pub const ALPHA: f64 = 0.05;

/// Rows of a file, or of one that was read already.
pub enum Rows<'a> {
    /// A Parquet file, which is read piece by piece.
    Parquet(&'a Path),
    /// Rows in memory.
    Batch(&'a RecordBatch),
}

impl Rows<'_> {
    fn source(&self) -> Source<'_> {
        match self {
            Self::Parquet(path) => Source::Parquet(path),
            Self::Batch(batch) => Source::Batch(batch),
        }
    }

    /// The baseline that they make, as a server takes it: of all columns, and of these segments. Needs no server.
    pub fn baseline(&self, threads: usize, segments: &[Segments]) -> Result<Vec<u8>, Refusal> {
        let baseline = self.source().baseline(threads, segments, |_| true)?;
        Ok(baseline.to_json())
    }
}

/// Two files to compare.
pub struct Files<'a> {
    /// The reference, and what it is called.
    pub reference: (Rows<'a>, &'a str),
    /// What is compared with it.
    pub current: Rows<'a>,
    /// The smallest move that matters, in standard deviations.
    pub margin: f64,
    /// How often it may be wrong.
    pub alpha: f64,
    /// Whether all columns together are asked about too.
    pub multivariate: bool,
    /// Threads that read.
    pub threads: usize,
}

/// How far the rows of one file are from those of another. Needs no server.
pub fn compare(files: &Files<'_>) -> Result<api::DriftRecord, Refusal> {
    let (rows, name) = &files.reference;
    let baseline = rows.source().baseline(files.threads, &[], |_| true)?;
    let current = files.current.source().count(files.threads, &baseline)?;
    let terms = Terms {
        margin: files.margin,
        alpha: files.alpha,
        level: LEVEL,
    };
    let reference = api::ReferenceRecord {
        source: (*name).to_owned(),
        rows: baseline.rows,
        made_ms: None,
    };
    let drift = baseline.drift(&current, terms, |_| Attention::PLAIN);
    let asked = (DRIFT, reference);
    let mut record = record(&baseline, asked, drift, terms, &Widened::default());
    if files.multivariate {
        let drawn = rows.source().drawn(&baseline)?;
        let current = files.current.source().drawn(&baseline)?;
        let together = Together::new(&baseline, drawn, current);
        record.multivariate = Some(together::judged(&together, terms));
    }
    Ok(record)
}

/// What a drift question asks.
pub(crate) struct Asking {
    pub(crate) model: ModelName,
    /// Without it the one that has the traffic.
    pub(crate) version: Option<Version>,
    /// Without it the window of the model's manifest.
    pub(crate) range: Option<Range>,
    pub(crate) against: Against,
    pub(crate) margin: Option<f64>,
    pub(crate) alpha: Option<f64>,
}

/// What predictions are compared with.
pub(crate) enum Against {
    /// The version's baseline.
    Baseline,
    /// What it answered in so many microseconds before, and whether all columns together are asked about too.
    Before(i64, Multivariate),
    /// Rows that were counted elsewhere: what they are called, and the baseline that they make.
    Sent(String, Vec<u8>),
}

/// Whether all columns together are asked about too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Multivariate {
    /// They are.
    Asked,
    /// They are not.
    NotAsked,
}

/// How far a version's predictions are from what they are compared with.
pub(crate) async fn drift(
    app: &App,
    _: Permission<Read>,
    asking: Asking,
) -> Result<api::DriftRecord, Refusal> {
    let model = asking.model;
    let version = version_of(app, &model, asking.version).await?;
    let (stored, manifest) = version_record(app, &model, version).await?;
    let setting = &manifest.monitor;
    let range = asking
        .range
        .unwrap_or_else(|| window(setting, wall_ms() * 1000));
    let terms = Terms {
        margin: asking.margin.unwrap_or(setting.drift.margin),
        alpha: asking.alpha.unwrap_or_else(|| setting.alpha()),
        level: LEVEL,
    };
    // A margin that is asked for is that, whatever was said of alerts.
    let widened = match asking.margin {
        Some(_) => Widened::default(),
        None => Widened::of(app, &model, MONITOR).await?,
    };
    let (question, reference, baseline) = match asking.against {
        Against::Baseline => {
            let (kept, baseline) = wanted_baseline(app, (&model, version), setting).await?;
            (question_of(&kept.source), reference_record(&kept), baseline)
        }
        Against::Before(before_us, multivariate) => {
            let before = (before_us, multivariate);
            let how = (setting, widened);
            return since(app, (&model, version), (range, before), how, terms).await;
        }
        Against::Sent(source, body) => {
            let baseline = received(&model, &stored, &manifest, &body)?;
            let reference = api::ReferenceRecord {
                source,
                rows: baseline.rows,
                made_ms: None,
            };
            (SKEW, reference, baseline)
        }
    };
    let (baseline, counter) = count(app, &model, version, range, baseline).await?;
    let drift = baseline.drift(&counter, terms, |it| attention(setting, &widened, it));
    let asked = (question, reference);
    let mut record = record(&baseline, asked, drift, terms, &widened);
    about(&mut record, &model, version, range);
    Ok(record)
}

/// Says what a record is about.
fn about(record: &mut api::DriftRecord, model: &ModelName, version: Version, range: Range) {
    record.model = Some(model.to_string());
    record.version = Some(version.number());
    (record.from_us, record.to_us) = (Some(range.from_us), Some(range.to_us));
}

/// The same, compared with what the version answered in so much time before.
async fn since(
    app: &App,
    (model, version): (&ModelName, Version),
    (range, (before_us, multivariate)): (Range, (i64, Multivariate)),
    (setting, widened): (&Setting, Widened),
    terms: Terms,
) -> Result<api::DriftRecord, Refusal> {
    if range.from_us == i64::MIN {
        return Err(Refusal::Malformed {
            what: "`against`",
            why: "there is nothing before the first prediction; say by `from` where the current ones begin".to_owned(),
        });
    }
    let before = Range {
        from_us: range.from_us.saturating_sub(before_us),
        to_us: range.from_us,
    };
    let (ledger, name) = (Arc::clone(&app.keeper.ledger), model.clone());
    let setting = setting.clone();
    let comparing = move || {
        let asked = |range: Range| Asked {
            model: name.as_str(),
            version: version.number(),
            range,
            first: None,
        };
        let snapshot = ledger.snapshot(wall_ms())?;
        let left_out = &setting.drift.leave_out;
        let baseline = snapshot.baseline(&asked(before), left_out, &setting.segments)?;
        let counter = snapshot.counted(&asked(range), &baseline)?;
        let drift = baseline.drift(&counter, terms, |it| attention(&setting, &widened, it));
        let reference = api::ReferenceRecord {
            source: predictions_of(before),
            rows: baseline.rows,
            made_ms: None,
        };
        let mut record = record(&baseline, (DRIFT, reference), drift, terms, &widened);
        if multivariate == Multivariate::Asked {
            let drawn = snapshot.drawn(&asked(before), &baseline)?;
            let current = snapshot.drawn(&asked(range), &baseline)?;
            let together = Together::new(&baseline, drawn, current);
            record.multivariate = Some(together::judged(&together, terms));
        }
        Ok(record)
    };
    let mut record = app.questions.compute(limit(app), comparing).await?;
    about(&mut record, model, version, range);
    Ok(record)
}

/// How a column is looked at.
pub(crate) fn attention(setting: &Setting, widened: &Widened, column: &str) -> Attention {
    Attention {
        weight: setting.drift.weights.get(column).copied().unwrap_or(1.0),
        widened: widened.factor(column),
    }
}

/// The predictions that are looked at.
pub(crate) fn window(setting: &Setting, now_us: i64) -> Range {
    let window_us = i64::try_from(setting.window.0.as_micros()).unwrap_or(i64::MAX);
    Range {
        from_us: now_us.saturating_sub(window_us),
        to_us: now_us,
    }
}

/// A version's predictions in the cells of its baseline.
pub(crate) async fn count(
    app: &App,
    model: &ModelName,
    version: Version,
    range: Range,
    baseline: Baseline,
) -> Result<(Baseline, Counter), Refusal> {
    let (ledger, name) = (Arc::clone(&app.keeper.ledger), model.clone());
    let counting = move || {
        let asked = Asked {
            model: name.as_str(),
            version: version.number(),
            range,
            first: None,
        };
        let counter = ledger.snapshot(wall_ms())?.counted(&asked, &baseline)?;
        Ok((baseline, counter))
    };
    app.questions.compute(limit(app), counting).await
}

/// What it is to compare predictions with a version's own, and with rows from elsewhere.
const DRIFT: &str = "drift";
const SKEW: &str = "skew";

/// The version asked for, or the one with the traffic.
pub(crate) async fn version_of(
    app: &App,
    model: &ModelName,
    version: Option<Version>,
) -> Result<Version, Refusal> {
    if let Some(version) = version {
        return Ok(version);
    }
    let summary = app.store.registry.model(model).await?;
    summary.traffic.ok_or_else(|| Refusal::NotReady {
        reference: model.to_string(),
        state: "it has no traffic; name a version".to_owned(),
    })
}

/// A version and its manifest.
pub(crate) async fn version_record(
    app: &App,
    model: &ModelName,
    version: Version,
) -> Result<(VersionRecord, Manifest), Refusal> {
    let record = app.store.registry.version(model, version).await?;
    let manifest = store::format::parse_manifest(&record.manifest)?;
    Ok((record, manifest))
}

fn left_out(all: &[LeftOut]) -> Vec<api::LeftOutRecord> {
    let record = |it: &LeftOut| api::LeftOutRecord {
        name: it.name.clone(),
        why: it.why.clone(),
    };
    all.iter().map(record).collect()
}

/// Drift as a record; the columns farthest from their margins first.
fn record(
    baseline: &Baseline,
    (question, reference): (&str, api::ReferenceRecord),
    drift: Drift,
    terms: Terms,
    widened: &Widened,
) -> api::DriftRecord {
    let segments = segments::drifts(baseline, &drift, widened);
    api::DriftRecord {
        model: None,
        version: None,
        question: question.to_owned(),
        reference,
        from_us: None,
        to_us: None,
        rows: drift.current_rows,
        verdict: drift.verdict.name().to_owned(),
        margin: terms.margin,
        alpha: terms.alpha,
        level: terms.level,
        columns: column_records(baseline, &drift.columns, widened),
        left_out: left_out(&baseline.left_out),
        segments,
        unsegmented: left_out(&baseline.unsegmented),
        multivariate: None,
    }
}

/// Columns with their cells; the farthest from their margins first.
fn column_records<'a>(
    baseline: &Baseline,
    columns: impl IntoIterator<Item = &'a ColumnDrift>,
    widened: &Widened,
) -> Vec<api::ColumnDriftRecord> {
    let mut columns: Vec<&ColumnDrift> = columns.into_iter().collect();
    let farthest = |it: &ColumnDrift| it.answers.first().map_or(0.0, |it| it.effect.in_margins());
    columns.sort_by(|a, b| {
        let verdicts = a.verdict.cmp(&b.verdict);
        verdicts.then(farthest(b).total_cmp(&farthest(a)))
    });
    let cells = columns
        .into_iter()
        .filter_map(|it| Some((&baseline.column(&it.name)?.cells, it)));
    cells.map(|it| column_record(it, widened)).collect()
}

/// A question's name.
pub(crate) fn question_name(question: Question) -> &'static str {
    match question {
        Question::Location => "location",
        Question::Shape => "shape",
        Question::Missing => "missing",
        Question::Unseen => "unseen",
    }
}

fn column_record(
    (cells, column): (&Cells, &ColumnDrift),
    widened: &Widened,
) -> api::ColumnDriftRecord {
    let effect = |it: &Judged| api::EffectRecord {
        question: question_name(it.effect.question).to_owned(),
        verdict: it.verdict.name().to_owned(),
        effect: metric_record(it.effect.estimate),
        margin: it.effect.margin,
        detectable: it.effect.detectable,
        p: it.adjusted_p,
    };
    api::ColumnDriftRecord {
        effects: column.answers.iter().map(effect).collect(),
        widened: Some(widened.factor(&column.name)).filter(|it| *it > 1.0),
        verdict: column.verdict.name().to_owned(),
        distances: column.distances.as_ref().map(distances_record),
        cells: cells_record(cells),
        shares: shares(cells, &column.reference, &column.current),
        name: column.name.clone(),
    }
}

/// Cells whose shares are told at most; of levels those that most rows of either side have.
const CELLS_TOLD: usize = 40;

/// The share of the rows in each cell, in the order of their values; none where a side has no rows.
fn shares(
    cells: &Cells,
    reference: &Counted,
    current: &Counted,
) -> Option<Vec<api::CellShareRecord>> {
    let all = |it: &Counted| it.cells.iter().sum::<u64>() + it.missing;
    let (before, now) = (all(reference), all(current));
    if before == 0 || now == 0 {
        return None;
    }
    let told = |cell: String, (a, b): (u64, u64)| api::CellShareRecord {
        cell,
        reference: a as f64 / before as f64,
        current: b as f64 / now as f64,
    };
    let counts = |at: usize| (reference.cells[at], current.cells[at]);
    let mut shares: Vec<api::CellShareRecord> = match cells {
        Cells::Numbers(bins) => {
            let order = bins.order().into_iter().flatten();
            order.map(|at| told(bins.name(at), counts(at))).collect()
        }
        Cells::Levels(levels) => {
            let mut order: Vec<usize> = (0..levels.names().len()).collect();
            let share = |at: usize| {
                let (a, b) = counts(at);
                (a as f64 / before as f64).max(b as f64 / now as f64)
            };
            order.sort_by(|a, b| share(*b).total_cmp(&share(*a)));
            let rest = order.split_off(order.len().min(CELLS_TOLD));
            let of_rest = rest.into_iter().chain([levels.names().len()]);
            let others = of_rest.fold((0, 0), |sum, at| {
                let (a, b) = counts(at);
                (sum.0 + a, sum.1 + b)
            });
            let named = order
                .iter()
                .map(|at| told(levels.names()[*at].clone(), counts(*at)));
            named.chain([told("(others)".to_owned(), others)]).collect()
        }
    };
    let missing = (reference.missing, current.missing);
    shares.push(told("(missing)".to_owned(), missing));
    // Cells for what neither side has say nothing.
    shares.retain(|it| it.reference > 0.0 || it.current > 0.0);
    Some(shares)
}

fn distances_record(distances: &Distances) -> api::DistancesRecord {
    let record = |it: Distance| api::DistanceRecord {
        value: it.value,
        by_chance: it.expected,
    };
    api::DistancesRecord {
        psi: record(distances.psi),
        jensen_shannon: record(distances.jensen_shannon),
        hellinger: record(distances.hellinger),
        total_variation: record(distances.total_variation),
        kolmogorov_smirnov: distances.kolmogorov_smirnov,
    }
}

fn cells_record(cells: &Cells) -> api::CellsRecord {
    let finite = |values: &[f64]| values.iter().copied().filter(|it| it.is_finite()).collect();
    match cells {
        Cells::Numbers(bins) => api::CellsRecord::Numbers {
            edges: finite(bins.edges()),
            atoms: finite(bins.atoms()),
            range: bins.range().filter(|(a, b)| a.is_finite() && b.is_finite()),
        },
        Cells::Levels(levels) => api::CellsRecord::Levels {
            count: levels.names().len() as u64,
        },
    }
}
