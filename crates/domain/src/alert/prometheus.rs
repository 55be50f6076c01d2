//! Rules for those who would rather have Prometheus watch: what `/metrics` tells, summed up and judged.
//!
//! R1. Names of recorded series are `level:metric:operation`, as Prometheus' own guide has them.
//! R2. Objectives burn as in [`slo`](crate::monitor::slo), with two differences that Prometheus' numbers force: requests
//!     are counted in place of rows, and callers who were too late cannot be told from callers who left, so that both
//!     count as failures.
//! R3. A latency is the greatest bound of the histogram that is not beyond what the objective says: what is
//!     counted as slow may be in time, never the other way round.
//! R4. Labels are not in `/metrics`: of objectives of quality the server's own monitor alone can tell.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::manifest::Span;
use crate::monitor::slo::{EVENTS_MIN, Kind, Objective, PAIRS, windows};
use crate::name::ModelName;

/// A file of rules, as Prometheus reads them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The groups, each looked at as a whole.
    pub groups: Vec<Group>,
}

/// Rules that are looked at one after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name in the file.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A series to be recorded, or an alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The series' name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The alert's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// What is asked.
    pub expr: String,
    /// How long it must hold.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
    /// Labels of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is told of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

const FAILED: &str = r#"nv_inference_request_failure{reason=~"REJECTED|CANCELED|BACKEND"#;
const SECONDS: &str = "windlass_request_duration_seconds";
const ERRORS: &str = "model:windlass_errors:ratio_rate";
const REQUESTS: &str = "model:windlass_requests:rate";

/// The rules of a server: of all its models, of the objectives of those that have any, and of its own affairs. `bounds`
/// are the upper bounds of the histogram of latencies, in seconds, ascending.
pub fn rules(models: &[(ModelName, Vec<Objective>)], bounds: &[f64]) -> Rules {
    let objectives: Vec<Rule> = models
        .iter()
        .flat_map(|(model, objectives)| objectives.iter().map(move |it| (model, it)))
        .flat_map(|(model, it)| objective(model, it, bounds))
        .collect();
    let mut groups = vec![group("windlass-models", recorded())];
    if !objectives.is_empty() {
        groups.push(group("windlass-objectives", objectives));
    }
    groups.push(group("windlass-server", server()));
    Rules { groups }
}

fn group(name: &str, rules: Vec<Rule>) -> Group {
    Group {
        name: name.to_owned(),
        rules,
    }
}

fn record(name: String, expr: String) -> Rule {
    Rule {
        record: Some(name),
        expr,
        ..Rule::default()
    }
}

fn recorded() -> Vec<Rule> {
    let mut rules = vec![
        record(
            "model_version:windlass_rows:rate5m".to_owned(),
            "sum by (model, version) (rate(nv_inference_count[5m]))".to_owned(),
        ),
        record(
            "model_version:windlass_run_cpu_seconds:rate5m".to_owned(),
            "sum by (model, version) (rate(windlass_run_cpu_seconds_total[5m]))".to_owned(),
        ),
        record(
            "model_rule:windlass_input_violations:rate5m".to_owned(),
            "sum by (model, rule) (rate(windlass_input_violations_total[5m]))".to_owned(),
        ),
    ];
    for (name, quantile) in [("p50", "0.5"), ("p99", "0.99")] {
        rules.push(record(
            format!("model_version:{SECONDS}:{name}_5m"),
            format!(
                "histogram_quantile({quantile}, sum by (model, version, le) (rate({SECONDS}_bucket[5m])))"
            ),
        ));
    }
    for window in windows() {
        let window = Span(window);
        let failed = format!("sum by (model) (rate({FAILED}\"}}[{window}]))");
        let good = format!("sum by (model) (rate(nv_inference_request_success[{window}]))");
        rules.push(record(
            format!("{REQUESTS}{window}"),
            format!("{good} + ({failed} or {good} * 0)"),
        ));
        rules.push(record(
            format!("{ERRORS}{window}"),
            format!("({failed} or {good} * 0) / {REQUESTS}{window}"),
        ));
    }
    rules
}

/// What an objective needs recorded, and an alert for each pair of windows.
fn objective(model: &ModelName, objective: &Objective, bounds: &[f64]) -> Vec<Rule> {
    let of = format!("{{model=\"{model}\"}}");
    let mut rules = Vec::new();
    let share = match objective.kind {
        // R4.
        Kind::Quality => return rules,
        Kind::Errors => ERRORS.to_owned(),
        Kind::Latency => {
            let under = objective
                .under
                .map_or(f64::INFINITY, |it| it.0.as_secs_f64());
            let bound = bounds.iter().rfind(|it| **it <= under);
            let Some(bound) = bound else {
                // No bound is so low: the server's own monitor alone can tell.
                return rules;
            };
            let name = format!("model_objective:{SECONDS}:slow_ratio_rate");
            for window in windows() {
                let window = Span(window);
                let fast = format!(
                    "sum by (model) (rate({SECONDS}_bucket{{model=\"{model}\",le=\"{bound}\"}}[{window}]))"
                );
                let all = format!("sum by (model) (rate({SECONDS}_count{of}[{window}]))");
                let mut rule = record(format!("{name}{window}"), format!("1 - {fast} / {all}"));
                rule.labels = labels([("objective", objective.name.as_str())]);
                rules.push(rule);
            }
            name
        }
    };
    let chosen = match objective.kind {
        Kind::Errors | Kind::Quality => of.clone(),
        Kind::Latency => format!("{{model=\"{model}\",objective=\"{}\"}}", objective.name),
    };
    let mut alerts: BTreeMap<Severity, String> = BTreeMap::new();
    for pair in PAIRS {
        let (long, short) = (Span(pair.long), Span(pair.short));
        let limit = short_number(objective.limit(&pair) * objective.allowed());
        let rate = short_number(EVENTS_MIN as f64 / pair.long.as_secs_f64());
        let burns = format!(
            "({share}{long}{chosen} > {limit} and {share}{short}{chosen} > {limit} \
             and on (model) {REQUESTS}{long}{of} >= {rate})"
        );
        let expr = alerts.entry(pair.severity).or_default();
        let joined = if expr.is_empty() { "" } else { " or " };
        let _ = write!(expr, "{joined}{burns}");
    }
    // The most severe first.
    for (severity, expr) in alerts.into_iter().rev() {
        rules.push(Rule {
            alert: Some("WindlassObjectiveBurns".to_owned()),
            expr,
            labels: labels([
                ("severity", severity.name()),
                ("model", model.as_str()),
                ("objective", objective.name.as_str()),
            ]),
            annotations: labels([(
                "summary",
                format!(
                    "objective `{}` of {model} ({} % over {}) is used up too fast: {{{{ $value | humanizePercentage }}}} \
                     are bad",
                    objective.name, objective.target, objective.over
                )
                .as_str(),
            )]),
            ..Rule::default()
        });
    }
    rules
}

fn server() -> Vec<Rule> {
    let alert = |name: &str, expr: &str, lasts: Option<&str>, severity: &str, summary: &str| Rule {
        alert: Some(name.to_owned()),
        expr: expr.to_owned(),
        lasts: lasts.map(str::to_owned),
        labels: labels([("severity", severity)]),
        annotations: labels([("summary", summary)]),
        ..Rule::default()
    };
    vec![
        alert(
            "WindlassLedgerCannotRecord",
            "windlass_ledger_trouble == 1",
            Some("1m"),
            "page",
            "predictions are answered and not recorded, or refused; `windlass ledger` says why",
        ),
        alert(
            "WindlassRowsLost",
            "increase(windlass_ledger_rows_lost_total[10m]) > 0",
            None,
            "ticket",
            "{{ $value | humanize }} predictions of the last 10 minutes were answered and could not be recorded",
        ),
        alert(
            "WindlassRequestsShed",
            "increase(windlass_ledger_requests_shed_total[10m]) > 0",
            None,
            "page",
            "{{ $value | humanize }} requests of the last 10 minutes were refused because they could not be recorded",
        ),
        alert(
            "WindlassDeadLetters",
            "windlass_alert_dead_letters > 0",
            None,
            "ticket",
            "{{ $value }} notifications of alerts were given up; `windlass deliveries` lists them",
        ),
        alert(
            "WindlassExperimentVoid",
            "windlass_experiment_answer{answer=\"void\"} > 0",
            None,
            "ticket",
            "an experiment cannot tell {{ $labels.model }}:{{ $labels.version }} from its control, as keys are not split as intended",
        ),
        alert(
            "WindlassAlertsFire",
            "windlass_alerts_firing > 0",
            None,
            "{{ $labels.severity }}",
            "{{ $value }} alerts of Windlass' own monitors fire; `windlass alerts` lists them",
        ),
    ]
}

fn labels<const N: usize>(all: [(&str, &str); N]) -> BTreeMap<String, String> {
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Without the tail that binary fractions have.
fn short_number(value: f64) -> String {
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objectives(json: &str) -> Vec<(ModelName, Vec<Objective>)> {
        let name = "credit".parse().expect("a name");
        vec![(name, serde_json::from_str(json).expect("objectives"))]
    }

    fn named<'a>(rules: &'a Rules, name: &str) -> Vec<&'a Rule> {
        let all = rules.groups.iter().flat_map(|it| &it.rules);
        let is = |it: &&Rule| [&it.record, &it.alert].contains(&&Some(name.to_owned()));
        all.filter(is).collect()
    }

    #[test]
    fn an_objective_burns_as_its_monitor_says() {
        let models = objectives(r#"[{"name":"up","kind":"errors","target":99.9}]"#);
        let rules = rules(&models, &[0.1]);
        let [page, ticket] = named(&rules, "WindlassObjectiveBurns")[..] else {
            panic!("{rules:?}");
        };
        assert_eq!(page.labels["severity"], "page");
        // 14.4 and 6 times the thousandth that is allowed; a hundred requests an hour.
        assert_eq!(
            page.expr,
            "(model:windlass_errors:ratio_rate1h{model=\"credit\"} > 0.0144 and \
             model:windlass_errors:ratio_rate5m{model=\"credit\"} > 0.0144 and on (model) \
             model:windlass_requests:rate1h{model=\"credit\"} >= 0.027777778) or \
             (model:windlass_errors:ratio_rate6h{model=\"credit\"} > 0.006 and \
             model:windlass_errors:ratio_rate30m{model=\"credit\"} > 0.006 and on (model) \
             model:windlass_requests:rate6h{model=\"credit\"} >= 0.00462963)"
        );
        assert_eq!(ticket.labels["severity"], "ticket");
        for pair in PAIRS {
            let name = format!("{ERRORS}{}", Span(pair.long));
            assert_eq!(named(&rules, &name).len(), 1, "{name}");
        }
    }

    #[test]
    fn an_experiment_that_can_tell_nothing_is_an_alert() {
        let rules = rules(&[], &[]);
        let [void] = named(&rules, "WindlassExperimentVoid")[..] else {
            panic!("{rules:?}");
        };
        assert_eq!(void.expr, "windlass_experiment_answer{answer=\"void\"} > 0");
        assert_eq!(void.labels["severity"], "ticket");
    }

    #[test]
    fn a_latency_is_the_bound_below_it_and_left_out_where_there_is_none() {
        let asked = |under: &str| {
            let json =
                format!(r#"[{{"name":"fast","kind":"latency","target":99,"under":"{under}"}}]"#);
            rules(&objectives(&json), &[0.05, 0.1, 0.25])
        };
        let name = "model_objective:windlass_request_duration_seconds:slow_ratio_rate5m";
        let rules = asked("200ms");
        let slow = named(&rules, name);
        assert!(slow[0].expr.contains("le=\"0.1\""), "{slow:?}");
        assert_eq!(slow[0].labels["objective"], "fast");
        assert_eq!(named(&asked("10ms"), "WindlassObjectiveBurns").len(), 0);
    }
}
