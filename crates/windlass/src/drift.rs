//! `windlass drift`: how far rows are from those of the reference. `windlass baseline`: what the reference is.

mod segments;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use domain::manifest::Span;
use domain::monitor::segments::Segments;
use domain::{ModelName, Reference, Selector, Version};
use http::Method;
use wire::api::drift::{
    BaselineRecord, CellsRecord, ColumnDriftRecord, DriftRecord, EffectRecord, LeftOutRecord,
    MultivariateRecord, NewBaselineRecord,
};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{count, interval, moment, moment_us, number, table};
use crate::range::{RangeArgs, asked};
use crate::rows::{self, Kind};

#[derive(Debug, Args)]
#[command(
    after_long_help = "A column has drifted where it has moved by more than the margin and this cannot be chance, all
columns considered. With too few rows to find a move of twice the margin the verdict is `not enough data`.

Questions about a column, each with its effect:
  location  are numbers greater or less? the probability that a current one is greater, less a half
  shape     are the shares of ranges or levels others? Cramer's V
  missing   are more or fewer values missing? Cohen's h
  unseen    are there values as the reference has none of? Cohen's h

With `--multivariate` all columns are asked about together too: can current rows be told from those of the
reference? It needs rows of both, so two files, or a model beside an earlier time of its own.

Examples:
  windlass drift credit
  windlass drift credit --last 7d --all
  windlass drift credit --reference train.parquet
  windlass drift credit --against-last 7d --multivariate
  windlass drift --reference train.parquet --current today.parquet --fail-on drift"
)]
pub(crate) struct DriftArgs {
    /// The model; its predictions are compared with its baseline, or with what is named
    #[arg(required_unless_present = "current", conflicts_with = "current")]
    model: Option<ModelName>,
    /// The file that is taken for the measure (CSV, JSON lines or Parquet): with a model, rows that it was trained
    /// with. They are counted here; none is sent
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Compares files, without a server: the one that is compared with the reference
    #[arg(long, value_name = "FILE", requires = "reference", conflicts_with_all = ["last", "from", "to", "version"])]
    current: Option<PathBuf>,
    /// Compares a model's predictions with those of so much time before them: `7d`
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["reference", "current"])]
    against_last: Option<Span>,
    /// Asks about all columns together too
    #[arg(long)]
    multivariate: bool,
    /// The version [default: the one with the traffic]
    #[arg(long)]
    version: Option<Version>,
    /// The smallest move that matters, in standard deviations [default: the model's `monitor.drift.margin`, or 0.1]
    #[arg(long)]
    margin: Option<f64>,
    /// The probability of a false alarm, of all columns together [default: the model's, or 0.05 for files]
    #[arg(long)]
    alpha: Option<f64>,
    /// Shows every column and not only those that have drifted
    #[arg(long)]
    all: bool,
    /// Ends with status 3 on this verdict
    #[arg(long, value_name = "VERDICT")]
    fail_on: Option<FailOn>,
    #[command(flatten)]
    range: RangeArgs,
}

/// Verdicts that a script may want to stop at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// A column has drifted.
    Drift,
    /// A column has drifted, or there are too few rows to tell.
    Unsure,
}

/// The margin where nobody said one.
const MARGIN: f64 = 0.1;

/// Runs `windlass drift`.
pub(crate) async fn run(context: &Context, args: &DriftArgs) -> anyhow::Result<()> {
    let drift = match (&args.model, &args.reference, &args.current) {
        (Some(model), _, _) => ask(context, args, model).await?,
        (None, Some(reference), Some(current)) => compare(args, reference, current)?,
        _ => {
            let message = "there is nothing to compare";
            return Err(Failure::usage(message, "name a model, or two files").into());
        }
    };
    context.output.answer(&drift, |it| show(it, args.all))?;
    judge(&drift, args.fail_on)
}

async fn ask(
    context: &Context,
    args: &DriftArgs,
    model: &ModelName,
) -> anyhow::Result<DriftRecord> {
    let path = asked(
        &format!("/api/v1/models/{model}/drift"),
        &[
            ("version", args.version.map(|it| it.to_string())),
            ("from", args.range.from()),
            ("to", args.range.to()),
            ("margin", args.margin.map(|it| it.to_string())),
            ("alpha", args.alpha.map(|it| it.to_string())),
            ("against", args.against_last.as_ref().map(Span::to_string)),
            ("multivariate", args.multivariate.then(|| "true".to_owned())),
            ("source", args.reference.as_deref().map(file_name)),
        ],
    );
    if args.multivariate && args.against_last.is_none() {
        let message = "`--multivariate` needs rows, and a baseline is counts";
        let hint = "compare with an earlier time of the model, `--against-last 7d`, or two files";
        return Err(Failure::usage(message, hint).into());
    }
    let client = Client::connect(context).await?;
    let drift = match &args.reference {
        None => client.get::<DriftRecord>(&path).await,
        Some(file) => {
            let selector = args.version.map_or(Selector::Traffic, Selector::Version);
            let model = model.clone();
            beside(&client, &path, &Reference { model, selector }, file).await
        }
    };
    client.close().await;
    drift
}

/// Beside what a file makes, here.
async fn beside(
    client: &Client,
    path: &str,
    version: &Reference,
    file: &Path,
) -> anyhow::Result<DriftRecord> {
    let body = counted(file, &segments::declared(client, version).await?)?;
    let answer = client.call(Method::POST, path, body.into()).await?;
    crate::client::read(&answer, path)
}

/// What a file is called as a reference.
fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The baseline that a file makes, here: of all rows and of these segments.
fn counted(file: &Path, segments: &[Segments]) -> anyhow::Result<Vec<u8>> {
    Ok(Opened::open(file)?.rows().baseline(threads(), segments)?)
}

fn compare(args: &DriftArgs, reference: &Path, current: &Path) -> anyhow::Result<DriftRecord> {
    let margin = args.margin.unwrap_or(MARGIN);
    let alpha = args.alpha.unwrap_or(server::drift::ALPHA);
    if !(0.001..=3.0).contains(&margin) {
        let message = format!("`--margin {margin}` is not from 0.001 to 3");
        return Err(Failure::usage(message, "it is in standard deviations; 0.1 is usual").into());
    }
    if !(1e-9..=0.5).contains(&alpha) {
        let message = format!("`--alpha {alpha}` is not from 1e-9 to 0.5");
        return Err(Failure::usage(message, "it is a probability; 0.05 is usual").into());
    }
    let (reference_rows, current_rows) = (Opened::open(reference)?, Opened::open(current)?);
    let name = reference.display().to_string();
    Ok(server::drift::compare(&server::drift::Files {
        reference: (reference_rows.rows(), &name),
        current: current_rows.rows(),
        margin,
        alpha,
        multivariate: args.multivariate,
        threads: threads(),
    })?)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A file of rows: Parquet is read where it lies, other formats are in memory.
enum Opened<'a> {
    Parquet(&'a Path),
    Batch(arrow::array::RecordBatch),
}

impl<'a> Opened<'a> {
    fn open(path: &'a Path) -> anyhow::Result<Self> {
        let unreadable = |error: std::io::Error| {
            let message = format!("`{}` cannot be read: {error}", path.display());
            Failure::not_found(message, "give CSV with a header, JSON lines, or Parquet")
        };
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.by_ref()
            .take(4)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if Kind::of(&bytes) == Kind::Parquet {
            return Ok(Self::Parquet(path));
        }
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        let read = rows::read(bytes.into(), &path.display().to_string())?;
        Ok(Self::Batch(rows::typed(&read.batch)?))
    }

    fn rows(&self) -> server::drift::Rows<'_> {
        match self {
            Self::Parquet(path) => server::drift::Rows::Parquet(path),
            Self::Batch(batch) => server::drift::Rows::Batch(batch),
        }
    }
}

fn judge(drift: &DriftRecord, fail_on: Option<FailOn>) -> anyhow::Result<()> {
    let fails = |verdict: &str| match fail_on {
        None => false,
        Some(FailOn::Drift) => verdict == "drift",
        Some(FailOn::Unsure) => verdict != "no material drift",
    };
    if !fails(&drift.verdict) {
        let together = drift.multivariate.as_ref();
        let Some(together) = together.filter(|it| fails(&it.verdict)) else {
            return Ok(());
        };
        let message = format!("{}: all columns together", together.verdict);
        return Err(Failure::refused(message, "no column shows it by itself").into());
    }
    let of = |it: &&ColumnDriftRecord| it.verdict == drift.verdict;
    let columns = drift.columns.iter().filter(of);
    let names: Vec<String> = columns.map(|it| format!("`{}`", it.name)).collect();
    let names: Vec<String> = names.into_iter().chain(segments::named(drift)).collect();
    let message = match names.is_empty() {
        true => drift.verdict.clone(),
        false => format!("{}: {}", drift.verdict, names.join(", ")),
    };
    Err(Failure::refused(message, "`windlass drift --all` shows every column").into())
}

fn show(drift: &DriftRecord, all: bool) -> String {
    let DriftRecord {
        model,
        version,
        question,
        reference,
        from_us,
        to_us,
        rows,
        verdict,
        margin,
        alpha,
        level: _,
        columns,
        left_out,
        segments: _,
        unsegmented,
        multivariate,
    } = drift;
    let what = match (model, version) {
        (Some(model), Some(version)) => format!("{model}:{version}  "),
        _ => String::new(),
    };
    let time = match (from_us, to_us) {
        (Some(from), Some(to)) => format!(" of {} to {}", moment_us(*from), moment_us(*to)),
        _ => String::new(),
    };
    let question = match question.as_str() {
        "skew" => "skew between training and serving: ",
        _ => "",
    };
    let mut parts = vec![format!(
        "{what}{question}{verdict}\n{}{time}, beside {} of {}\nmargin {} standard deviations, a false alarm in {} looks",
        count(*rows, "row"),
        count(reference.rows, "row"),
        reference.source,
        number(*margin),
        number((1.0 / alpha).round())
    )];
    let shown: Vec<&ColumnDriftRecord> = columns
        .iter()
        .filter(|it| all || it.verdict == "drift")
        .collect();
    if !shown.is_empty() {
        let lines = shown.iter().flat_map(|column| {
            let lines = column.effects.iter().enumerate();
            let wanted = lines.filter(|(_, it)| all || it.verdict == "drift");
            let line = |(at, effect): (usize, &EffectRecord)| {
                let name = if at == 0 { column.name.as_str() } else { "" };
                effect_line(name, effect)
            };
            wanted.map(line).collect::<Vec<_>>()
        });
        let head = [
            "COLUMN", "QUESTION", "EFFECT", "MARGIN", "FINDS", "P", "VERDICT",
        ];
        parts.push(table(&head, lines));
        parts.push(distances_table(&shown));
    }
    let widened = columns
        .iter()
        .filter_map(|it| Some((&it.name, it.widened?)))
        .map(|(name, times)| {
            let times = number(times);
            format!(
                "the margin of `{name}` is {times} times as wide: alerts about it were not useful"
            )
        });
    parts.extend(Some(widened.collect::<Vec<_>>().join("\n")).filter(|it| !it.is_empty()));
    let unsure = columns.iter().filter(|it| it.verdict == "not enough data");
    let (unsure, fine) = (unsure.count(), columns.len());
    let drifted = columns.iter().filter(|it| it.verdict == "drift").count();
    parts.push(format!(
        "{drifted} of {} drifted, {} without, {unsure} with too few rows to tell",
        count(fine as u64, "column"),
        fine - drifted - unsure
    ));
    parts.extend(segments::show(drift, all));
    parts.extend(multivariate.as_ref().map(together));
    parts.extend(left_out_lines(left_out, "not watched"));
    parts.extend(left_out_lines(unsegmented, "not segmented"));
    parts.join("\n\n")
}

/// All columns together.
fn together(it: &MultivariateRecord) -> String {
    let rows = format!(
        "{} beside {} of the reference",
        count(it.current_rows, "different row"),
        count(it.reference_rows, "different row")
    );
    let mut lines = vec![format!("all columns together: {} ({rows})", it.verdict)];
    lines.extend(it.why.clone());
    if let Some(auc) = it.auc {
        let shown = |it: Option<f64>| it.map_or_else(|| "-".to_owned(), number);
        lines.push(format!(
            "a classifier tells them apart with an AUC of {}: {} above a half, margin {}, finds {}, p {}",
            interval(&auc),
            number(auc.value - 0.5),
            number(it.margin),
            shown(it.detectable),
            shown(it.p)
        ));
    }
    if it.verdict == "drift" && !it.columns.is_empty() {
        let most = it.columns.iter().take(5);
        let most = most.map(|it| format!("`{}` {:.0} %", it.name, 100.0 * it.share));
        lines.push(format!("most by {}", most.collect::<Vec<_>>().join(", ")));
    }
    if let Some(mmd) = it.mmd {
        lines.push(format!(
            "{} of numbers as one vector: squared maximum mean discrepancy {}, p {} ({})",
            count(mmd.columns, "column"),
            number(mmd.squared),
            number(mmd.p),
            count(mmd.rows, "row")
        ));
    }
    lines.join("\n")
}

fn effect_line(name: &str, effect: &EffectRecord) -> Vec<String> {
    vec![
        name.to_owned(),
        effect.question.clone(),
        interval(&effect.effect),
        number(effect.margin),
        number(effect.detectable),
        number(effect.p),
        effect.verdict.clone(),
    ]
}

/// Distances as others know them; behind each what chance alone makes of it.
fn distances_table(columns: &[&ColumnDriftRecord]) -> String {
    let rows = columns.iter().filter_map(|column| {
        let it = column.distances.as_ref()?;
        let pair = |it: &wire::api::drift::DistanceRecord| {
            format!("{} ({})", number(it.value), number(it.by_chance))
        };
        let cells = match &column.cells {
            CellsRecord::Numbers { edges, atoms, .. } => {
                let ranges = count(edges.len() as u64 + 1, "range");
                format!("{ranges}, {}", count(atoms.len() as u64, "value"))
            }
            CellsRecord::Levels { count: levels } => count(*levels, "level"),
        };
        let ks = it.kolmogorov_smirnov.map(number);
        Some(vec![
            column.name.clone(),
            pair(&it.psi),
            pair(&it.jensen_shannon),
            pair(&it.hellinger),
            ks.unwrap_or_else(|| "-".to_owned()),
            cells,
        ])
    });
    let head = [
        "COLUMN",
        "PSI (BY CHANCE)",
        "JENSEN-SHANNON",
        "HELLINGER",
        "KS",
        "CELLS",
    ];
    table(&head, rows)
}

fn left_out_lines(left_out: &[LeftOutRecord], what: &str) -> Option<String> {
    let lines = left_out
        .iter()
        .map(|it| format!("`{}` is {what}: {}", it.name, it.why));
    (!left_out.is_empty()).then(|| lines.collect::<Vec<_>>().join("\n"))
}

#[derive(Debug, Args)]
#[command(
    after_long_help = "A baseline is counts: no row of the reference is kept, or sent anywhere. Without a file and without
a range of time it is shown. A version that is given none gets one of its first predictions.

Examples:
  windlass baseline credit:3
  windlass baseline credit:3 train.parquet
  windlass baseline credit:3 --last 7d
  windlass baseline credit:3 --first 10000"
)]
pub(crate) struct BaselineArgs {
    /// The version
    version: Reference,
    /// Rows that are taken for the measure: CSV, JSON lines or Parquet
    #[arg(conflicts_with_all = ["first", "last", "from", "to"])]
    file: Option<PathBuf>,
    /// Makes it of the version's first predictions, so many
    #[arg(long, value_name = "ROWS")]
    first: Option<u64>,
    #[command(flatten)]
    range: RangeArgs,
}

/// Runs `windlass baseline`.
pub(crate) async fn baseline(context: &Context, args: &BaselineArgs) -> anyhow::Result<()> {
    let Selector::Version(version) = args.version.selector else {
        let message = format!("`{}` names no version", args.version);
        return Err(Failure::usage(message, "name one, as in `credit:3`").into());
    };
    let model = &args.version.model;
    let client = Client::connect(context).await?;
    let asked_for =
        args.first.is_some() || args.range.from().is_some() || args.range.to().is_some();
    let record = match &args.file {
        Some(file) => send(&client, model, version, file).await,
        None if asked_for => {
            let record = NewBaselineRecord {
                from: args.range.from(),
                to: args.range.to(),
                first: args.first,
            };
            let path = path_of(model, version);
            client.send(Method::POST, &path, &record).await
        }
        None => client.get(&path_of(model, version)).await,
    };
    client.close().await;
    context.output.answer(&record?, show_baseline)
}

fn path_of(model: &ModelName, version: Version) -> String {
    format!("/api/v1/models/{model}/versions/{version}/baseline")
}

/// Makes a baseline of a file, here, and gives it to a version.
pub(crate) async fn send(
    client: &Client,
    model: &ModelName,
    version: Version,
    file: &Path,
) -> anyhow::Result<BaselineRecord> {
    let reference = Reference {
        model: model.clone(),
        selector: Selector::Version(version),
    };
    let body = counted(file, &segments::declared(client, &reference).await?)?;
    let path = asked(
        &path_of(model, version),
        &[("source", Some(file_name(file)))],
    );
    let answer = client.call(Method::PUT, &path, body.into()).await;
    let answer = answer.with_context(|| format!("giving `{model}:{version}` its baseline"))?;
    crate::client::read(&answer, &path)
}

fn show_baseline(record: &BaselineRecord) -> String {
    let BaselineRecord {
        model,
        version,
        reference,
        columns,
        left_out,
        absent,
        segments,
        unsegmented,
    } = record;
    let made = reference.made_ms.map(|it| format!(", made {}", moment(it)));
    let mut parts = vec![format!(
        "{model}:{version} is measured against {} of {}{}\n{} watched: {}",
        count(reference.rows, "row"),
        reference.source,
        made.unwrap_or_default(),
        count(columns.len() as u64, "column"),
        columns.join(", ")
    )];
    parts.extend(segments::of_reference(segments));
    parts.extend(left_out_lines(left_out, "not watched"));
    parts.extend(left_out_lines(unsegmented, "not segmented"));
    if !absent.is_empty() {
        parts.push(format!(
            "the reference does not have: {}",
            absent.join(", ")
        ));
    }
    parts.join("\n")
}
