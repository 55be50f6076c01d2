//! What is counted of each group of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::maturity::{self, Cohort};
use stats::{Binary, Multiclass, Regression};

use super::sample::Sample;
use super::{Called, Example, Group, LabelCounts, Loss, Quality, Question, Report, Scored};
use crate::layout::{Layout, Meaning};

/// What is counted of a group.
#[derive(Clone)]
pub(super) enum Counter {
    Binary(Binary),
    Multiclass(Multiclass),
    Regression(Regression),
}

impl Counter {
    pub(super) fn new(meaning: &Meaning) -> Self {
        match meaning {
            Meaning::Classes {
                classes,
                positive: None,
                ..
            } => Self::Multiclass(Multiclass::new(classes.len())),
            Meaning::Classes { .. } => Self::Binary(Binary::new()),
            Meaning::Value { .. } | Meaning::None => Self::Regression(Regression::default()),
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Binary(a), Self::Binary(b)) => a.merge(b),
            (Self::Multiclass(a), Self::Multiclass(b)) => a.merge(b),
            (Self::Regression(a), Self::Regression(b)) => a.merge(b),
            // Groups are told apart by what their answers mean.
            _ => {}
        }
    }
}

#[derive(Clone)]
pub(super) struct Tally {
    pub(super) cohort: Cohort,
    pub(super) failed: u64,
    pub(super) unread: u64,
    pub(super) called: Called,
    pub(super) scored: Sample<Scored>,
    pub(super) losses: Sample<Loss>,
    pub(super) examples: Sample<Example>,
    pub(super) counter: Counter,
}

impl Tally {
    pub(super) fn new(meaning: &Meaning) -> Self {
        Self {
            cohort: Cohort::default(),
            failed: 0,
            unread: 0,
            called: Called::default(),
            scored: Sample::by(|it| it.hash),
            losses: Sample::by(|it| it.hash),
            examples: Sample::by(|it| it.hash),
            counter: Counter::new(meaning),
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        add(&mut self.cohort, other.cohort);
        self.failed += other.failed;
        self.unread += other.unread;
        self.called.positive += other.called.positive;
        self.called.negative += other.called.negative;
        self.scored.merge(other.scored);
        self.losses.merge(other.losses);
        self.examples.merge(other.examples);
        self.counter.merge(other.counter);
    }
}

pub(super) fn add(to: &mut Cohort, from: Cohort) {
    to.newest_us = to.newest_us.max(from.newest_us);
    to.predictions += from.predictions;
    to.labelled += from.labelled;
}

/// What a group is of: version, what its answers mean, slices, span.
pub(super) type Key = (u32, Vec<u8>, Vec<String>, Option<i64>);

/// Everything counted.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) groups: BTreeMap<Key, (Arc<Layout>, Tally)>,
    pub(super) days: BTreeMap<i64, Cohort>,
    pub(super) delays_us: Vec<i64>,
    pub(super) labels: LabelCounts,
}

impl Counted {
    pub(super) fn merge(&mut self, other: Self) {
        for (key, (layout, tally)) in other.groups {
            match self.groups.get_mut(&key) {
                Some((_, there)) => there.merge(tally),
                None => drop(self.groups.insert(key, (layout, tally))),
            }
        }
        for (day, cohort) in other.days {
            add(self.days.entry(day).or_default(), cohort);
        }
        self.delays_us.extend(other.delays_us);
        self.labels.named += other.labels.named;
        self.labels.matched += other.labels.matched;
        self.labels.by_text_matched += other.labels.by_text_matched;
    }

    pub(super) fn finish(mut self, question: &Question, by_text: u64) -> Quality {
        self.labels.by_text = by_text;
        self.delays_us.sort_unstable();
        let place = self.delays_us.len() * 19 / 20;
        let delay = self.delays_us.get(place).copied();
        let days: Vec<Cohort> = self.days.into_values().collect();
        let expected = maturity::expected(&days, delay, question.now_us);
        let groups = self.groups.into_iter().map(|(key, (layout, tally))| {
            let examples_max = question.examples.as_ref().map_or(0, |it| it.kept_max);
            let losses_max = question.losses.map_or(0, |it| it.kept_max);
            let mut losses = tally.losses.finish(losses_max);
            losses.sort_by_key(|it| (it.made_us, it.hash));
            let (version, _, values, from_us) = key;
            Group {
                version,
                by: question.by.iter().cloned().zip(values).collect(),
                from_us,
                predictions: tally.cohort.predictions,
                failed: tally.failed,
                labelled: tally.cohort.labelled,
                provisional: maturity::is_provisional(&tally.cohort, &expected, question.now_us),
                unread: tally.unread,
                called: tally.called,
                scored: tally.scored.finish(question.scored_max),
                losses,
                examples: tally.examples.finish(examples_max),
                report: report(&layout.meaning, tally.counter, question.level),
            }
        });
        Quality {
            groups: groups.collect(),
            labels: self.labels,
        }
    }
}

fn report(meaning: &Meaning, counter: Counter, level: f64) -> Report {
    let classes = match meaning {
        Meaning::Classes { classes, .. } => classes.clone(),
        Meaning::Value { .. } | Meaning::None => Vec::new(),
    };
    match counter {
        Counter::Regression(it) => Report::Regression(it.report(level)),
        Counter::Multiclass(it) => Report::Multiclass {
            classes,
            report: it.report(level),
        },
        Counter::Binary(it) => {
            let place = match meaning {
                Meaning::Classes {
                    positive: Some(positive),
                    ..
                } => *positive,
                _ => 1,
            };
            let name = |place: usize| classes.get(place).cloned().unwrap_or_default();
            Report::Binary {
                positive: name(place),
                negative: name(1 - place.min(1)),
                report: it.report(level),
            }
        }
    }
}
