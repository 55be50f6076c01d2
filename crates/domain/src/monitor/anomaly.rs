//! Whether a model's latency, errors, traffic, cost and answers are as usual for the time of the day and the week.
//!
//! How far a span's value is from what is usual is `stats::series::spans`'s to say; here is what may be set, and
//! when so many unusual spans are an alarm.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wrong;
use crate::alert::Verdict;
use crate::manifest::Span;
use crate::refusal::Refusal;

/// Whether latency, errors, traffic, cost and the level of the answers are as usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Anomaly {
    /// Whether it is not watched at all.
    pub off: bool,
    /// The spans of time that are looked at one by one, each when it has ended: from 1m to 1h, and so many that they
    /// make a day.
    pub span: Span,
    /// How far from what is usual is unusual, in standard deviations of what is usual.
    #[schemars(range(min = 2.0, max = 100.0))]
    pub limit: f64,
    /// How many of the last `of` spans must be unusual.
    #[schemars(range(min = 1, max = 64))]
    pub needed: u32,
    /// The spans that are looked back on.
    #[schemars(range(min = 1, max = 64))]
    pub of: u32,
    /// Requests of a span without which nothing is said of its latency; rows without which nothing is said of its
    /// errors, its cost and its answers; rows that must be usual before traffic is looked at.
    pub rows_min: u64,
    /// The smallest moves that matter.
    pub margins: Margins,
    /// Series that are not watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<Series>,
}

/// The smallest moves that matter, whatever is usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Margins {
    /// Of latency, as a part of what is usual. Less than a millisecond never matters.
    pub latency: f64,
    /// Of the share of rows that fail, as it is: 0.01 is one row of a hundred.
    pub errors: f64,
    /// Of traffic: at 1 it must have doubled or halved.
    pub traffic: f64,
    /// Of what 1000 rows cost, as a part of what is usual.
    pub cost: f64,
    /// Of the mean answer, in standard deviations of answers.
    pub score: f64,
}

/// What is looked at, span by span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Series {
    /// What 99 of 100 requests took no longer than.
    Latency,
    /// The share of rows that failed.
    Errors,
    /// Rows.
    Traffic,
    /// What 1000 rows cost.
    Cost,
    /// The mean of the positive class's scores, or of the values.
    Score,
}

impl Series {
    /// Every series.
    pub const ALL: [Self; 5] = [
        Self::Latency,
        Self::Errors,
        Self::Traffic,
        Self::Cost,
        Self::Score,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Traffic => "traffic",
            Self::Cost => "cost",
            Self::Score => "score",
        }
    }

    /// Whether less than usual is out of the ordinary too. Nobody is woken because it is faster or cheaper.
    pub fn both_ways(self) -> bool {
        matches!(self, Self::Traffic | Self::Score)
    }
}

impl Default for Anomaly {
    fn default() -> Self {
        Self {
            off: false,
            span: Span(Duration::from_secs(300)),
            limit: 4.0,
            needed: 3,
            of: 5,
            rows_min: 100,
            margins: Margins::default(),
            leave_out: Vec::new(),
        }
    }
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            latency: 0.5,
            errors: 0.01,
            traffic: 1.0,
            cost: 0.25,
            score: 0.2,
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const SPAN_MIN: Duration = Duration::from_secs(60);
const SPAN_MAX: Duration = Duration::from_secs(3600);
const OF_MAX: u32 = 64;

impl Anomaly {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), Refusal> {
        let span = self.span;
        let even =
            span.0.subsec_nanos() == 0 && DAY.as_secs().is_multiple_of(span.0.as_secs().max(1));
        if !(SPAN_MIN..=SPAN_MAX).contains(&span.0) || !even {
            return wrong(
                "anomaly.span",
                format!("`{span}` is not from 1m to 1h and a whole part of a day"),
            );
        }
        let limit = self.limit;
        if !(2.0..=100.0).contains(&limit) {
            return wrong("anomaly.limit", format!("`{limit}` is not from 2 to 100"));
        }
        if !(1..=OF_MAX).contains(&self.of) {
            return wrong(
                "anomaly.of",
                format!("`{}` is not from 1 to {OF_MAX}", self.of),
            );
        }
        if !(1..=self.of).contains(&self.needed) {
            let (needed, of) = (self.needed, self.of);
            return wrong(
                "anomaly.needed",
                format!("`{needed}` is not from 1 to `of`, which is {of}"),
            );
        }
        if self.rows_min == 0 {
            return wrong("anomaly.rows_min", "`0` is less than 1".to_owned());
        }
        for series in Series::ALL {
            let margin = self.margin(series);
            if !(0.0..=1000.0).contains(&margin) {
                return wrong(
                    &format!("anomaly.margins.{}", series.name()),
                    format!("`{margin}` is not from 0 to 1000"),
                );
            }
        }
        Ok(())
    }

    /// The smallest move of a series that matters.
    pub fn margin(&self, series: Series) -> f64 {
        match series {
            Series::Latency => self.margins.latency,
            Series::Errors => self.margins.errors,
            Series::Traffic => self.margins.traffic,
            Series::Cost => self.margins.cost,
            Series::Score => self.margins.score,
        }
    }

    /// What is said of a series whose last `of` spans are these, the newest last: unusual or not, or nothing where
    /// there was too little to tell. A span of which nothing is known is not taken for a usual one.
    pub fn verdict(&self, spans: &[Option<bool>]) -> Verdict {
        let of = usize::try_from(self.of).unwrap_or(usize::MAX);
        let last = &spans[spans.len().saturating_sub(of)..];
        let count = |what: bool| last.iter().filter(|it| **it == Some(what)).count() as u64;
        let needed = u64::from(self.needed);
        let (unusual, usual) = (count(true), count(false));
        if unusual >= needed {
            Verdict::Bad
        } else if unusual + usual >= needed {
            Verdict::Fine
        } else {
            Verdict::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let got = match serde_json::from_str::<Anomaly>(text) {
            Err(error) => error.to_string(),
            Ok(setting) => match setting.check() {
                Err(refusal) => refusal.to_string(),
                Ok(()) => "fine".to_owned(),
            },
        };
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        check("{}", "fine");
        check(r#"{"off":true,"leave_out":["cost"]}"#, "fine");
        check(r#"{"leave_out":["scores"]}"#, "unknown variant `scores`");
        check(r#"{"spam":"5m"}"#, "unknown field `spam`");
        for span in ["30s", "7m", "2h", "90500ms"] {
            check(&format!(r#"{{"span":"{span}"}}"#), "`monitor.anomaly.span`");
        }
        check(r#"{"limit":1}"#, "`monitor.anomaly.limit`");
        check(r#"{"of":65}"#, "`monitor.anomaly.of`");
        check(r#"{"needed":6}"#, "`monitor.anomaly.needed`");
        check(r#"{"rows_min":0}"#, "`monitor.anomaly.rows_min`");
        check(
            r#"{"margins":{"cost":-1}}"#,
            "`monitor.anomaly.margins.cost`",
        );
        check(r#"{"margins":{"scores":1}}"#, "unknown field `scores`");
    }

    /// `!` is unusual, `.` is usual, `?` is not known.
    fn verdict(spans: &str) -> Verdict {
        let spans: Vec<Option<bool>> = spans
            .chars()
            .map(|it| (it != '?').then_some(it == '!'))
            .collect();
        Anomaly::default().verdict(&spans)
    }

    #[test]
    fn three_spans_of_five_are_an_alarm() {
        assert_eq!(verdict("!!!"), Verdict::Bad);
        assert_eq!(verdict("!.!.!"), Verdict::Bad);
        assert_eq!(verdict("!!...!"), Verdict::Fine);
        assert_eq!(verdict("!!??!"), Verdict::Bad);
        assert_eq!(verdict("!!???"), Verdict::Unknown);
        assert_eq!(verdict("??..."), Verdict::Fine);
        assert_eq!(verdict("...!!???"), Verdict::Unknown);
        assert_eq!(verdict(""), Verdict::Unknown);
    }
}
