//! What could be done about groups that are not treated alike: thresholds for serving, weights for training.
//!
//! R1. Thresholds are learned of one half of the labelled rows and tried on the other.
//! R2. What is told can be put into the version's manifest as it is; what could not be is refused here.

use std::collections::BTreeMap;

use ::ledger::{Group, Report, Scored};
use domain::Refusal;
use domain::access::{Permission, Read};
use domain::decision::{ByGroup, Decision, GROUPS_MAX, THRESHOLD};
use domain::ledger::{NO_VALUE, OTHER_VALUES};
use domain::monitor::fairness::Metric;
use domain::task::Task;
use stats::fairness::counts::Counts;
use stats::fairness::optimiser::ScoredRow;
use stats::fairness::thresholds::{Alike, alike};
use stats::fairness::{Terms, Weights};
use wire::api::fairness as api;

use super::{Answer, Asking, Compared, Counted, asked, rate_record};
use crate::app::App;
use crate::package::blocking;
use crate::range::known_ends;

/// Rows of a group that are looked at; of more a sample is.
const SCORED_MAX: usize = 10_000;

/// Thresholds of groups that make a rate of a version alike, and what they would do.
pub(crate) async fn thresholds(
    app: &App,
    _: Permission<Read>,
    asking: Asking,
    criterion: Option<&str>,
) -> Result<api::ThresholdsRecord, Refusal> {
    let (metric, rate) = criterion_of(criterion.unwrap_or("selection"))?;
    let [by] = &asking.by[..] else {
        return Err(Refusal::Malformed {
            what: "`by`",
            why: format!(
                "{} columns; a threshold is of a group of one",
                asking.by.len()
            ),
        });
    };
    let Answer {
        version,
        record,
        manifest,
        quality,
        ..
    } = asked(app, &asking, SCORED_MAX).await?;
    let support = asking.support_of(&manifest);
    let terms = Terms {
        level: asking.level,
        support_min: support,
    };
    let mut signature = record.signature;
    let of = format!("{}:{version}", asking.model);
    let by = by.clone();
    let learning = move || {
        let Some(Task::Binary {
            by_group,
            threshold,
            positive,
            classes,
            ..
        }) = &mut signature.task
        else {
            return Err(Refusal::InvalidQuery {
                why: format!("`{of}` has no binary task"),
            });
        };
        let otherwise = threshold.unwrap_or(THRESHOLD);
        let positive = positive.clone().or_else(|| classes.get(1).cloned());
        let halves = Halves::of(&quality.groups, &by)?;
        let (thresholds, skipped) = halves.learn(rate, support).ok_or_else(|| {
            let name = metric.name();
            let why = format!(
                "of no two values of `{by}` there are {support} rows under `{name}` with a score and a label in the half \
                 that is learned from"
            );
            Refusal::InvalidQuery { why }
        })?;
        let with_one = thresholds.iter();
        let with_one = with_one.filter_map(|(name, it)| Some((name.clone(), (*it)?)));
        *by_group = Some(ByGroup {
            column: by.clone(),
            thresholds: with_one.collect(),
        });
        Decision::of(&signature)?;
        let task = serde_json::to_value(&signature.task).map_err(|error| Refusal::Internal {
            what: format!("writing the task: {error}"),
        })?;
        let threshold = |group: &str| {
            thresholds
                .get(group)
                .copied()
                .flatten()
                .unwrap_or(otherwise)
        };
        let before = halves.outcome(metric, terms, |_, it| it.predicted_positive);
        let after = halves.outcome(metric, terms, |group, it| it.score >= threshold(group));
        let count = |it: &[OfGroup<'_>]| it.iter().map(|(_, it)| it.len() as u64).sum();
        Ok(api::ThresholdsRecord {
            model: asking.model.to_string(),
            version: version.number(),
            positive: positive.unwrap_or_else(|| "1".to_owned()),
            by: by.clone(),
            criterion: metric.name().to_owned(),
            level: asking.level,
            support,
            learned: count(&halves.learned),
            held_out: count(&halves.held_out),
            skipped,
            otherwise,
            thresholds,
            before,
            after,
            task,
        })
    };
    blocking(learning).await
}

/// Weights of the labelled rows of a version.
pub(crate) async fn weights(
    app: &App,
    _: Permission<Read>,
    asking: Asking,
) -> Result<api::WeightsRecord, Refusal> {
    let Answer {
        version,
        quality,
        compared,
        ..
    } = asked(app, &asking, 0).await?;
    let classes = quality.groups.iter().find_map(|it| match &it.report {
        Report::Binary {
            positive, negative, ..
        } => Some((positive.clone(), negative.clone())),
        Report::Multiclass { .. } | Report::Regression(_) => None,
    });
    let weights = classes.map_or_else(Vec::new, |it| compared.weights(&it));
    let (from_us, to_us) = known_ends(asking.range);
    Ok(api::WeightsRecord {
        model: asking.model.to_string(),
        version: version.number(),
        from_us,
        to_us,
        by: asking.by,
        provisional: quality.groups.iter().any(|it| it.provisional),
        weights,
    })
}

fn criterion_of(name: &str) -> Result<(Metric, Alike), Refusal> {
    let why = match name {
        "selection" => return Ok((Metric::Selection, Alike::Selection)),
        "true_positive" => return Ok((Metric::TruePositive, Alike::TruePositive)),
        "false_positive" => return Ok((Metric::FalsePositive, Alike::FalsePositive)),
        "equalised_odds" => {
            "one threshold a group makes one rate alike, and `equalised_odds` are two: take `true_positive` or \
             `false_positive`"
                .to_owned()
        }
        _ => format!("`{name}` is none of `selection`, `true_positive`, `false_positive`"),
    };
    Err(Refusal::Malformed {
        what: "`criterion`",
        why,
    })
}

impl Compared {
    /// What a row of each group with each of two labels counts for.
    fn weights(&self, (positive, negative): &(String, String)) -> Vec<api::WeightRecord> {
        let reweighing = self.labelled().reweighing();
        let groups = self.groups.iter().zip(reweighing);
        let records = |((by, counted), weights): ((&BTreeMap<_, _>, &Counted), Weights)| {
            let counts = counted.counts;
            let of = [
                (positive, counts.positives(), weights.positive),
                (negative, counts.negatives(), weights.negative),
            ];
            let of = of.into_iter().filter_map(|(label, rows, weight)| {
                Some(api::WeightRecord {
                    by: by.clone(),
                    label: label.clone(),
                    rows,
                    weight: weight?,
                })
            });
            of.collect::<Vec<_>>()
        };
        groups.flat_map(records).collect()
    }
}

/// A group and its labelled rows that have a score.
type OfGroup<'a> = (&'a str, Vec<&'a Scored>);

/// The labelled rows of all groups in two halves.
struct Halves<'a> {
    by: &'a str,
    learned: Vec<OfGroup<'a>>,
    held_out: Vec<OfGroup<'a>>,
}

impl<'a> Halves<'a> {
    /// Divided by what has nothing to do with the rows.
    fn of(all: &'a [Group], by: &'a str) -> Result<Self, Refusal> {
        let mut groups: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
        for group in all {
            let Some(name) = group.by.get(by) else {
                continue;
            };
            let labelled = group.scored.iter().filter(|it| it.positive.is_some());
            groups.entry(name).or_default().extend(labelled);
        }
        if groups.len() > GROUPS_MAX {
            let why = format!(
                "`{by}` has over {GROUPS_MAX} values: too many to have thresholds of their own"
            );
            return Err(Refusal::InvalidQuery { why });
        }
        // An odd multiplier mixes all bits into the highest: 2^64 over the golden ratio.
        let first = |it: &&Scored| it.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0;
        let halves = groups.into_iter().map(|(name, rows)| {
            let (learned, held_out) = rows.into_iter().partition(first);
            ((name, learned), (name, held_out))
        });
        let (learned, held_out) = halves.unzip();
        Ok(Self {
            by,
            learned,
            held_out,
        })
    }

    /// The threshold of each group, and the rows that took no part. What is no value of the column, as none is there
    /// or several are put together, has no threshold.
    fn learn(&self, rate: Alike, support: u64) -> Option<(BTreeMap<String, Option<f64>>, u64)> {
        let is_value = |name: &str| !matches!(name, NO_VALUE | OTHER_VALUES);
        let groups = self.learned.iter().enumerate();
        let values = groups.filter(|(_, (name, _))| is_value(name));
        let rows = values.flat_map(|(group, (_, rows))| {
            rows.iter().filter_map(move |it| {
                Some(ScoredRow {
                    group,
                    score: it.score,
                    positive: it.positive?,
                })
            })
        });
        let rows: Vec<ScoredRow> = rows.collect();
        let found = alike(rate, self.learned.len(), &rows, support)?;
        let names = self.learned.iter().map(|(name, _)| (*name).to_owned());
        Some((names.zip(found.groups).collect(), found.skipped))
    }

    /// The rows that were held out, where each is called what `called` says.
    fn outcome(
        &self,
        metric: Metric,
        terms: Terms,
        called: impl Fn(&str, &Scored) -> bool,
    ) -> api::OutcomeRecord {
        let counted = self.held_out.iter().map(|(name, rows)| {
            let mut counted = Counted::default();
            for it in rows {
                let positive = called(name, it);
                counted.counts.add(positive, it.positive == Some(true));
                match positive {
                    true => counted.called.positive += 1,
                    false => counted.called.negative += 1,
                }
            }
            let group = BTreeMap::from([(self.by.to_owned(), (*name).to_owned())]);
            (group, counted)
        });
        let compared = Compared {
            groups: counted.collect(),
        };
        let overall: Counts = compared.labelled().overall();
        api::OutcomeRecord {
            gap: compared.gap(metric, terms),
            accuracy: rate_record(overall.rates(terms.level).accuracy).rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use stats::Binary;

    use super::*;
    use crate::quality::{group_of, report_of};

    const TERMS: Terms = Terms {
        level: 0.95,
        support_min: 50,
    };

    /// Rows of a group: their scores go up from 0 to 1, and with them how often they are positive.
    fn group(name: &str, rows: u64, power: f64) -> Group {
        let row = |index: u64| {
            let part = (index as f64 + 0.5) / rows as f64;
            let score = part.powf(power);
            Scored {
                hash: index.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ rows,
                score,
                predicted_positive: score >= 0.5,
                positive: Some((index * 7919 % rows) as f64 / (rows as f64) < score),
            }
        };
        Group {
            by: BTreeMap::from([("Sex".to_owned(), name.to_owned())]),
            predictions: rows,
            labelled: rows,
            scored: (0..rows).map(row).collect(),
            ..group_of(report_of(Binary::new()))
        }
    }

    #[test]
    fn what_is_learned_of_one_half_holds_on_the_other() {
        let all = [
            group("a", 2000, 0.7),
            group("b", 2000, 2.0),
            group("c", 30, 1.0),
            group("(none)", 500, 1.0),
        ];
        let halves = Halves::of(&all, "Sex").expect("few groups");
        let (thresholds, skipped) = halves.learn(Alike::Selection, 50).expect("two groups");
        assert_eq!(skipped, 0);
        assert_eq!((thresholds["c"], thresholds["(none)"]), (None, None));
        let (a, b) = (
            thresholds["a"].expect("rows"),
            thresholds["b"].expect("rows"),
        );
        assert!(a > 0.5 && b < 0.5, "{a} {b}");
        let two = Halves::of(&all[..2], "Sex").expect("few groups");
        let before = two.outcome(Metric::Selection, TERMS, |_, it| it.predicted_positive);
        let after = two.outcome(Metric::Selection, TERMS, |group, it| {
            it.score >= thresholds[group].expect("rows")
        });
        let gap = |it: &api::OutcomeRecord| it.gap.gap.expect("two groups");
        assert!(gap(&before).low > Some(0.25), "{before:?}");
        assert!(gap(&after).value < 0.08, "{after:?}");
        assert_eq!(before.gap.most.as_deref(), Some("Sex=a"));
        let accuracy = |it: &api::OutcomeRecord| it.accuracy.expect("rows").value;
        assert!(accuracy(&after) > accuracy(&before) - 0.1);
        assert!(halves.learn(Alike::Selection, 5000).is_none());
    }

    #[test]
    fn too_many_groups_and_other_rates_are_refused() {
        let all: Vec<Group> = (0..65).map(|it| group(&it.to_string(), 1, 1.0)).collect();
        assert!(Halves::of(&all, "Sex").is_err());
        for (name, want) in [
            ("equalised_odds", "`equalised_odds` are two"),
            ("parity", "`parity` is none of `selection`"),
        ] {
            let refusal = criterion_of(name).expect_err("refused").to_string();
            assert!(refusal.contains(want), "{refusal}");
        }
    }
}
