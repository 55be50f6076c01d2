//! What of inputs, answers and quality changed: drift with the hours before as its baseline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::ledger::baseline::{Asked, Baseline, ColumnDrift, Counter};
use ::ledger::{Ledger, Question, Report};
use domain::alert::Fact;
use domain::monitor::Setting;
use domain::why::{Clue, Role, onset};
use domain::{ModelName, Refusal, Version};
use stats::Estimate;
use stats::drift::effect::{Question as Effect, Terms};
use stats::drift::verdict::Verdict;
use stats::interval::difference;

use super::series::Versions;
use super::{ALPHA, Found, Frame, evidence};
use crate::app::App;
use crate::clock::wall_ms;
use crate::drift::{LEVEL, attention, question_name, version_record};
use crate::loading::layout_of;
use crate::margins::Widened;
use crate::quality::{figure, metrics, rounded, shown};
use crate::questions::limit;

/// Labelled rows without which quality is not compared.
const LABELLED_MIN: u64 = 100;
/// The smallest change of a share that matters, and that of an error as a part of what it was.
const SHARE: f64 = 0.02;
const PART: f64 = 0.1;

/// One version's columns.
struct Columns {
    version: Version,
    watched: Vec<String>,
    features: Vec<String>,
    setting: Setting,
}

pub(super) async fn look(
    app: &App,
    model: &ModelName,
    frame: Frame,
    versions: Versions,
    found: &mut Found,
) -> Result<(), Refusal> {
    let Some(before) = columns(app, model, versions.before).await? else {
        found.unjudged(
            "drift and quality",
            "nothing was answered in the hours before, with which to compare",
        );
        return Ok(());
    };
    let mut halves = Vec::new();
    for (half, version) in frame.halves().into_iter().zip(versions.halves) {
        if let Some(it) = columns(app, model, version).await? {
            halves.push((half, it));
        }
    }
    if halves.is_empty() {
        found.unjudged(
            "drift and quality",
            "nothing was answered around the moment",
        );
        return Ok(());
    }
    let (ledger, name) = (Arc::clone(&app.keeper.ledger), model.to_string());
    let threads = app.questions.threads;
    let comparing = move || {
        let mut found = Found::default();
        let compared = Compared {
            ledger: &ledger,
            model: &name,
            frame,
            before,
            halves,
            threads,
        };
        compared.drift(&mut found)?;
        compared.quality(&mut found)?;
        Ok(found)
    };
    let more = app.questions.compute(limit(app), comparing).await?;
    found.clues.extend(more.clues);
    found.unchanged.extend(more.unchanged);
    found.unjudged.extend(more.unjudged);
    Ok(())
}

/// None of a version that is not there any more: what its columns mean is not known.
async fn columns(
    app: &App,
    model: &ModelName,
    version: Option<u32>,
) -> Result<Option<Columns>, Refusal> {
    let Some(version) = version.and_then(Version::new) else {
        return Ok(None);
    };
    let (record, manifest) = match version_record(app, model, version).await {
        Err(Refusal::UnknownVersion { .. } | Refusal::UnknownModel { .. }) => return Ok(None),
        found => found?,
    };
    let layout = layout_of(model, &record, &manifest)?;
    Ok(Some(Columns {
        version,
        watched: layout.watched(),
        features: layout.features(),
        setting: manifest.monitor,
    }))
}

struct Compared<'a> {
    ledger: &'a Ledger,
    model: &'a str,
    frame: Frame,
    before: Columns,
    halves: Vec<((i64, i64), Columns)>,
    threads: usize,
}

impl Compared<'_> {
    fn asked(&self, version: Version, spans: (i64, i64)) -> Asked<'_> {
        Asked {
            model: self.model,
            version: version.number(),
            range: self.frame.range(spans),
            first: None,
        }
    }

    fn drift(&self, found: &mut Found) -> Result<(), Refusal> {
        let setting = &self.before.setting;
        let snapshot = self.ledger.snapshot(wall_ms())?;
        let asked = self.asked(self.before.version, self.frame.before());
        let mut baseline = snapshot.baseline(&asked, &setting.drift.leave_out, &[])?;
        // Of another version only what both have can be compared.
        baseline.retain(|it| {
            let mut halves = self.halves.iter();
            halves.all(|(_, of)| of.watched.iter().any(|name| name == it))
        });
        let mut told: BTreeSet<String> = BTreeSet::new();
        let mut unsure: BTreeSet<String> = BTreeSet::new();
        for (half, of) in &self.halves {
            let asked = self.asked(of.version, *half);
            let spans = snapshot.counted_by_span(&asked, &baseline, self.frame.every_us)?;
            let mut all = Counter::new(&baseline);
            spans.values().for_each(|it| all.merge(it));
            let terms = Terms {
                margin: setting.drift.margin,
                alpha: ALPHA / 4.0,
                level: LEVEL,
            };
            // What was said of alerts is of no account here: who asks why wants all that moved.
            let none = Widened::default();
            let drift = baseline.drift(&all, terms, |it| attention(setting, &none, it));
            for (place, column) in drift.columns.iter().enumerate() {
                match column.verdict {
                    Verdict::Drift if !told.contains(&column.name) => {
                        told.insert(column.name.clone());
                        let at_us = self.began(&baseline, place, column, (&spans, *half), terms);
                        let is_input = self.before.features.contains(&column.name);
                        found.clues.extend(clue(column, is_input, at_us));
                    }
                    Verdict::NotEnoughData => drop(unsure.insert(column.name.clone())),
                    Verdict::Drift | Verdict::NoMaterialDrift => {}
                }
            }
        }
        unsure.retain(|it| !told.contains(it));
        if !unsure.is_empty() {
            let names: Vec<&str> = unsure.iter().map(String::as_str).collect();
            found.unjudged(
                format!("drift of {}", names.join(", ")),
                "there were too few rows to tell",
            );
        }
        let still = baseline.columns.len() - told.len() - unsure.len();
        if still > 0 {
            found.unchanged.push(format!("drift of {still} columns"));
        }
        Ok(())
    }

    /// When a column began to be as it is: by its effect in each span.
    fn began(
        &self,
        baseline: &Baseline,
        place: usize,
        column: &ColumnDrift,
        (spans, half): (&BTreeMap<i64, Counter>, (i64, i64)),
        terms: Terms,
    ) -> i64 {
        let Some(worst) = column.answers.first() else {
            return self.frame.time(half.0);
        };
        let question = worst.effect.question;
        let value = |span: i64| {
            let counter = spans.get(&span)?;
            let effects = baseline.columns[place].cells.effects(
                &baseline.columns[place].counted,
                &counter.columns[place],
                terms,
            );
            let same = effects.into_iter().find(|it| it.question == question)?;
            Some(same.estimate.value)
        };
        let values: Vec<Option<f64>> = (half.0..half.1).map(value).collect();
        // What is usual is nothing; what it came to is more than the whole half, where it began within.
        let place = onset(&values, 0.0, worst.effect.estimate.value);
        self.frame.time(half.0 + i64::try_from(place).unwrap_or(0))
    }

    /// Whether answers were less right, as far as labels have come.
    fn quality(&self, found: &mut Found) -> Result<(), Refusal> {
        let level = 1.0 - ALPHA / 8.0;
        let Some(before) = self.measured(self.before.version, self.frame.before(), level, found)?
        else {
            return Ok(());
        };
        for (half, of) in &self.halves {
            let Some(now) = self.measured(of.version, *half, level, found)? else {
                return Ok(());
            };
            let (name, usual, is_error) = before;
            let change = difference(now.1, usual);
            let margin = if is_error {
                PART * usual.value.abs()
            } else {
                SHARE
            };
            let worse = match is_error {
                true => change.low.filter(|it| *it > margin),
                false => change.high.filter(|it| *it < -margin).map(|it| -it),
            };
            if let Some(worse) = worse {
                found.clues.push(Clue {
                    role: Role::Symptom,
                    kind: "quality",
                    subject: name.to_owned(),
                    at_us: self.frame.time(half.0),
                    size: if margin > 0.0 {
                        worse / margin
                    } else {
                        f64::INFINITY
                    },
                    summary: format!(
                        "`{name}`: {} before, {} since; a change of {}",
                        rounded(usual.value),
                        rounded(now.1.value),
                        shown(figure(change))
                    ),
                    evidence: evidence(usual.value, now.1.value, change),
                });
                return Ok(());
            }
        }
        found.unchanged.push("quality".to_owned());
        Ok(())
    }

    /// Its main metric, and whether it is better the lower it is; none where it cannot be told, which is said.
    fn measured(
        &self,
        version: Version,
        spans: (i64, i64),
        level: f64,
        found: &mut Found,
    ) -> Result<Option<(&'static str, Estimate, bool)>, Refusal> {
        let now_us = wall_ms() * 1000;
        let question = Question {
            version: Some(version.number()),
            level,
            threads: self.threads,
            ..Question::of(self.model, self.frame.range(spans), now_us)
        };
        let quality = match self.ledger.snapshot(now_us / 1000)?.quality(&question) {
            // A model without a task has no quality.
            Err(Refusal::InvalidQuery { why }) => {
                found.unjudged("quality", why);
                return Ok(None);
            }
            quality => quality?,
        };
        let Some(group) = quality
            .groups
            .first()
            .filter(|it| it.labelled >= LABELLED_MIN)
        else {
            found.unjudged(
                "quality",
                format!("under {LABELLED_MIN} rows of a time have a label"),
            );
            return Ok(None);
        };
        if group.provisional {
            found.unjudged("quality", "labels are to come");
            return Ok(None);
        }
        let (wanted, is_error) = match group.report {
            Report::Binary { .. } | Report::Multiclass { .. } => ("accuracy", false),
            Report::Regression(_) => ("mae", true),
        };
        let metric = metrics(&group.report).into_iter().find(|it| it.0 == wanted);
        Ok(metric.map(|(name, it)| (name, it, is_error)))
    }
}

fn clue(column: &ColumnDrift, is_input: bool, at_us: i64) -> Option<Clue> {
    let worst = column
        .answers
        .iter()
        .find(|it| it.verdict == Verdict::Drift)?;
    let effect = &worst.effect;
    let (kind, what) = match (is_input, effect.question) {
        (true, Effect::Missing) => ("data_quality", "more or fewer values are missing"),
        (true, Effect::Unseen) => ("data_quality", "it has values that it had not"),
        (true, Effect::Location) => ("drift", "its values are greater or less"),
        (true, Effect::Shape) => ("drift", "its values are others"),
        (false, _) => ("answers", "answers are others"),
    };
    let estimate = effect.estimate;
    let mut evidence = domain::alert::Evidence::from([
        (
            "question".to_owned(),
            Fact::Text(question_name(effect.question).to_owned()),
        ),
        ("effect".to_owned(), Fact::Number(estimate.value)),
        ("margin".to_owned(), Fact::Number(effect.margin)),
        ("p".to_owned(), Fact::Number(worst.adjusted_p)),
    ]);
    for (name, end) in [("low", estimate.low), ("high", estimate.high)] {
        if let Some(end) = end {
            evidence.insert(name.to_owned(), Fact::Number(end));
        }
    }
    Some(Clue {
        role: if is_input { Role::Input } else { Role::Symptom },
        kind,
        subject: column.name.clone(),
        at_us,
        size: effect.in_margins(),
        summary: format!(
            "`{}`: {what} ({} {}, margin {})",
            column.name,
            question_name(effect.question),
            shown(figure(estimate)),
            rounded(effect.margin)
        ),
        evidence,
    })
}
