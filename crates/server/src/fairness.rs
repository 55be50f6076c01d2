//! Whether a version treats groups alike, from what the ledger counted of each.

mod mitigate;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::ledger::{Called, Group, LabelCounts, Quality, Question, Range, Report};
use domain::access::{Permission, Read};
use domain::manifest::Manifest;
use domain::monitor::fairness::Metric;
use domain::{ModelName, Refusal, Version};
use stats::fairness::counts::{Counts, Rate};
use stats::fairness::gap::Gap;
use stats::fairness::{Fairness, Terms};
use store::registry::VersionRecord;
use wire::api::fairness as api;

use crate::app::App;
use crate::attributes;
use crate::clock::wall_ms;
use crate::drift::{version_of, version_record};
use crate::loading::layout_of;
use crate::quality::metric_record;
use crate::questions::limit;
use crate::range::known_ends;

pub(crate) use mitigate::{thresholds, weights};
pub(crate) use rows::rows;

/// What is asked.
pub(crate) struct Asking {
    pub(crate) model: ModelName,
    /// Without it the one that has the traffic.
    pub(crate) version: Option<Version>,
    pub(crate) by: Vec<String>,
    pub(crate) range: Range,
    pub(crate) level: f64,
    /// Without it what the model's manifest says.
    pub(crate) support: Option<u64>,
}

/// Counts the groups of a version and compares them.
pub(crate) async fn fairness(
    app: &App,
    _: Permission<Read>,
    asking: Asking,
) -> Result<api::FairnessRecord, Refusal> {
    let Answer {
        version,
        manifest,
        quality,
        compared,
        ..
    } = asked(app, &asking, 0).await?;
    let terms = Terms {
        level: asking.level,
        support_min: asking.support_of(&manifest),
    };
    let positive = quality.groups.iter().find_map(|it| match &it.report {
        Report::Binary { positive, .. } => Some(positive.clone()),
        Report::Multiclass { .. } | Report::Regression(_) => None,
    });
    let (from_us, to_us) = known_ends(asking.range);
    Ok(api::FairnessRecord {
        model: asking.model.to_string(),
        version: version.number(),
        from_us,
        to_us,
        positive,
        level: asking.level,
        support: terms.support_min,
        by: asking.by,
        provisional: quality.groups.iter().any(|it| it.provisional),
        groups: compared.group_records(asking.level),
        gaps: Metric::ALL
            .iter()
            .map(|it| (it.name().to_owned(), compared.gap(*it, terms)))
            .collect(),
        theil_index: compared.labelled().overall().theil_index(),
    })
}

impl Asking {
    fn support_of(&self, manifest: &Manifest) -> u64 {
        self.support.unwrap_or(manifest.monitor.fairness.support)
    }
}

/// A version whose task is binary, and what is counted of its groups.
struct Answer {
    version: Version,
    record: VersionRecord,
    manifest: Manifest,
    quality: Quality,
    compared: Compared,
}

/// Counts the groups of a version, with as many scored rows of each one by one.
async fn asked(app: &App, asking: &Asking, scored_max: usize) -> Result<Answer, Refusal> {
    let model = &asking.model;
    let version = version_of(app, model, asking.version).await?;
    let (record, manifest) = version_record(app, model, version).await?;
    let attributes = attributes::among(app, model, &asking.by).await?;
    let known: Vec<&str> = attributes.names().collect();
    let mut columns = asking.by.clone();
    columns.retain(|it| !known.contains(&it.as_str()));
    layout_of(model, &record, &manifest)?.check_columns(&columns)?;
    let now_us = wall_ms() * 1000;
    let question = Question {
        version: Some(version.number()),
        by: asking.by.clone(),
        attributes,
        scored_max,
        level: asking.level,
        threads: app.questions.threads,
        ..Question::of(model.as_str(), asking.range, now_us)
    };
    let ledger = Arc::clone(&app.keeper.ledger);
    let counting = move || ledger.snapshot(now_us / 1000)?.quality(&question);
    let quality = or_nothing(app.questions.compute(limit(app), counting).await)?;
    let compared = Compared::new(quality.groups.iter());
    if compared.groups.is_empty() && !quality.groups.is_empty() {
        return Err(Refusal::InvalidQuery {
            why: format!("the fairness of `{model}:{version}`: its task is not binary"),
        });
    }
    Ok(Answer {
        version,
        record,
        manifest,
        quality,
        compared,
    })
}

/// A version that has no rows yet has no groups either: its layout has the columns, the ledger does not.
pub(crate) fn or_nothing(answer: Result<Quality, Refusal>) -> Result<Quality, Refusal> {
    match answer {
        Err(Refusal::UnknownColumn { .. }) => Ok(Quality {
            groups: Vec::new(),
            labels: LabelCounts::default(),
        }),
        answer => answer,
    }
}

/// Groups and what was counted of each.
pub(crate) struct Compared {
    groups: BTreeMap<BTreeMap<String, String>, Counted>,
}

#[derive(Default)]
struct Counted {
    predictions: u64,
    labelled: u64,
    counts: Counts,
    called: Called,
}

impl Compared {
    /// Puts those of a binary task together that have the same values.
    pub(crate) fn new<'a>(all: impl Iterator<Item = &'a Group>) -> Self {
        let mut groups: BTreeMap<BTreeMap<String, String>, Counted> = BTreeMap::new();
        for group in all {
            let Report::Binary { report, .. } = &group.report else {
                continue;
            };
            let counted = groups.entry(group.by.clone()).or_default();
            counted.predictions += group.predictions;
            counted.labelled += group.labelled;
            counted.called.positive += group.called.positive;
            counted.called.negative += group.called.negative;
            counted.counts.merge(Counts {
                true_positive: report.true_positive,
                false_positive: report.false_positive,
                true_negative: report.true_negative,
                false_negative: report.false_negative,
            });
        }
        Self { groups }
    }

    fn labelled(&self) -> Fairness {
        Fairness::of(self.groups.values().map(|it| it.counts).collect())
    }

    /// All rows, of which it is known what they were called and not what they are: for `selection` alone.
    fn called(&self) -> Fairness {
        let counts = self.groups.values().map(|it| Counts {
            false_positive: it.called.positive,
            true_negative: it.called.negative,
            ..Counts::default()
        });
        Fairness::of(counts.collect())
    }

    fn names(&self) -> Vec<String> {
        let name = |by: &BTreeMap<String, String>| {
            let pairs = by.iter().map(|(column, value)| format!("{column}={value}"));
            pairs.collect::<Vec<_>>().join(", ")
        };
        self.groups.keys().map(name).collect()
    }

    /// How far the groups are apart in one rate.
    pub(crate) fn gap(&self, metric: Metric, terms: Terms) -> api::GapRecord {
        let labelled = || self.labelled().report(terms);
        match metric {
            Metric::Selection => self.gap_record(&self.called().report(terms).selection),
            Metric::TruePositive => self.gap_record(&labelled().true_positive),
            Metric::FalsePositive => self.gap_record(&labelled().false_positive),
            Metric::Accuracy => self.gap_record(&labelled().accuracy),
            Metric::EqualisedOdds => self.equalised_odds(terms),
        }
    }

    /// The larger of two gaps. Each is bounded at half the error, so that both bounds hold at once at the level.
    fn equalised_odds(&self, terms: Terms) -> api::GapRecord {
        let half = Terms {
            level: f64::midpoint(1.0, terms.level),
            ..terms
        };
        let rates = self.labelled().report(half);
        let one = self.gap_record(&rates.true_positive);
        let other = self.gap_record(&rates.false_positive);
        let value = |it: &api::GapRecord| it.gap.map(|it| it.value);
        let (larger, smaller) = match value(&one) >= value(&other) {
            true => (one, other),
            false => (other, one),
        };
        let gap = larger.gap.map(|mut gap| {
            if let Some(less) = smaller.gap {
                gap.low = gap.low.zip(less.low).map(|(one, other)| one.max(other));
                gap.high = gap.high.zip(less.high).map(|(one, other)| one.max(other));
            }
            gap
        });
        let ratios = [larger.ratio, smaller.ratio].into_iter().flatten();
        let left_out: BTreeSet<String> = larger
            .left_out
            .into_iter()
            .chain(smaller.left_out)
            .collect();
        api::GapRecord {
            gap,
            ratio: ratios.reduce(f64::min),
            least: larger.least,
            most: larger.most,
            left_out: left_out.into_iter().collect(),
        }
    }

    fn gap_record(&self, gap: &Gap) -> api::GapRecord {
        let names = self.names();
        let name = |place: usize| names[place].clone();
        let bound = &gap.bound;
        api::GapRecord {
            gap: bound.difference.map(metric_record),
            ratio: bound.ratio,
            least: bound.extremes.map(|it| name(it.least)),
            most: bound.extremes.map(|it| name(it.most)),
            left_out: bound.left_out.iter().map(|it| name(*it)).collect(),
        }
    }

    fn group_records(&self, level: f64) -> Vec<api::FairnessGroupRecord> {
        let called = self.called();
        let groups = self.groups.iter().zip(called.groups());
        let record = |((by, counted), called): ((&BTreeMap<_, _>, &Counted), &Counts)| {
            let rates = counted.counts.rates(level);
            let rates = [
                (Metric::Selection, called.rates(level).selection),
                (Metric::TruePositive, rates.true_positive),
                (Metric::FalsePositive, rates.false_positive),
                (Metric::Accuracy, rates.accuracy),
            ];
            api::FairnessGroupRecord {
                by: by.clone(),
                predictions: counted.predictions,
                labelled: counted.labelled,
                rates: rates
                    .map(|(metric, rate)| (metric.name().to_owned(), rate_record(rate)))
                    .into(),
            }
        };
        groups.map(record).collect()
    }
}

fn rate_record(rate: Rate) -> api::RateRecord {
    let Rate { support, estimate } = rate;
    api::RateRecord {
        support,
        rate: estimate.map(metric_record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(groups: &[(&str, Counts, Called)]) -> Compared {
        let groups = groups.iter().map(|(name, counts, called)| {
            let by = BTreeMap::from([("Sex".to_owned(), (*name).to_owned())]);
            let counted = Counted {
                predictions: called.positive + called.negative,
                labelled: counts.rows(),
                counts: *counts,
                called: *called,
            };
            (by, counted)
        });
        Compared {
            groups: groups.collect(),
        }
    }

    fn counts(all: [u64; 4]) -> Counts {
        let [true_positive, false_negative, false_positive, true_negative] = all;
        Counts {
            true_positive,
            false_positive,
            true_negative,
            false_negative,
        }
    }

    fn called(positive: u64, negative: u64) -> Called {
        Called { positive, negative }
    }

    const TERMS: Terms = Terms {
        level: 0.95,
        support_min: 50,
    };

    #[test]
    fn selection_is_of_all_rows_and_the_rest_of_labelled_ones() {
        let compared = compared(&[
            ("a", counts([80, 20, 10, 90]), called(600, 400)),
            ("b", counts([40, 60, 30, 70]), called(300, 700)),
            ("c", counts([1, 1, 1, 1]), called(2, 2)),
        ]);
        let gap = |metric| {
            let record = compared.gap(metric, TERMS);
            assert_eq!(record.left_out, ["Sex=c"], "{metric:?}");
            (record.gap.expect("two groups"), record.ratio)
        };
        let (selection, ratio) = gap(Metric::Selection);
        assert!((selection.value - 0.3).abs() < 1e-12);
        assert!(selection.low > Some(0.25));
        assert_eq!(ratio, Some(0.5));
        let (hits, _) = gap(Metric::TruePositive);
        assert!((hits.value - 0.4).abs() < 1e-12);
        let (alarms, _) = gap(Metric::FalsePositive);
        assert!((alarms.value - 0.2).abs() < 1e-12);
        let (odds, _) = gap(Metric::EqualisedOdds);
        assert_eq!(odds.value, hits.value);
        assert!(odds.low < hits.low, "two bounds at once are wider");
    }

    #[test]
    fn one_group_has_no_gap() {
        let lone = compared(&[
            ("a", counts([80, 20, 10, 90]), called(600, 400)),
            ("b", counts([1, 1, 1, 1]), called(2, 2)),
        ]);
        for metric in Metric::ALL {
            let record = lone.gap(metric, TERMS);
            assert_eq!((record.gap, record.most), (None, None));
        }
        assert!(
            compared(&[])
                .gap(Metric::Selection, TERMS)
                .left_out
                .is_empty()
        );
    }
}
