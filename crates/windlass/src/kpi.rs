//! `windlass kpi`: how much a model answers, how fast, and what that costs.

use clap::{Args, ValueEnum};
use domain::ModelName;
use domain::manifest::Span;
use wire::api::ledger::{BudgetRecord, KpiGroupRecord, KpiRecord, QuantilesRecord};

use crate::client::Client;
use crate::context::Context;
use crate::output::{moment_us, number, share, table};
use crate::range::{RangeArgs, asked};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windlass kpi credit --last 1h --every 5m\n  \
    windlass kpi credit --by version --from 2026-11-01 --to 2026-12-01"
)]
pub(crate) struct KpiArgs {
    /// The model
    model: ModelName,
    /// What the figures are told by
    #[arg(long, value_delimiter = ',')]
    by: Vec<By>,
    /// Spans of time that the figures are told by: `5m`
    #[arg(long, value_name = "SPAN")]
    every: Option<Span>,
    #[command(flatten)]
    range: RangeArgs,
}

/// What rows are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The version that answered
    Version,
    /// Who asked
    Caller,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Caller => "caller",
        }
    }
}

/// Runs `windlass kpi`.
pub(crate) async fn run(context: &Context, args: &KpiArgs) -> anyhow::Result<()> {
    let by: Vec<&str> = args.by.iter().map(|it| it.name()).collect();
    let path = asked(
        &format!("/api/v1/models/{}/kpi", args.model),
        &[
            ("from", args.range.from()),
            ("to", args.range.to()),
            ("by", (!by.is_empty()).then(|| by.join(","))),
            ("every", args.every.as_ref().map(Span::to_string)),
        ],
    );
    let client = Client::connect(context).await?;
    let kpi = client.get::<KpiRecord>(&path).await;
    client.close().await;
    context.output.answer(&kpi?, show)
}

fn show(kpi: &KpiRecord) -> String {
    let KpiRecord {
        model,
        from_us,
        to_us,
        currency,
        groups,
        budget,
    } = kpi;
    let (from, to) = (moment_us(*from_us), moment_us(*to_us));
    let mut parts = vec![format!("{model}  {from} to {to}")];
    parts.push(match groups.is_empty() {
        true => "no rows".to_owned(),
        false => groups_table(groups, currency.as_deref()),
    });
    if let Some(budget) = budget {
        let BudgetRecord {
            cost,
            per,
            spent,
            verdict,
        } = budget;
        let currency = currency.as_deref().unwrap_or_default();
        let (spent, cost, part) = (number(*spent), number(*cost), share(spent / cost));
        parts.push(format!(
            "budget  {spent} of {cost} {currency} per {per} spent ({part}): {verdict}"
        ));
    }
    parts.join("\n\n")
}

fn groups_table(groups: &[KpiGroupRecord], currency: Option<&str>) -> String {
    let any = |has: fn(&KpiGroupRecord) -> bool| groups.iter().any(has);
    let (versions, callers) = (
        any(|it| it.version.is_some()),
        any(|it| it.caller.is_some()),
    );
    let spans = any(|it| it.at_us.is_some());
    let costs = any(|it| it.cost.is_some());
    let accelerator = any(|it| it.accelerator_s > 0.0);
    let mut headers = Vec::new();
    headers.extend(versions.then(|| "VERSION".to_owned()));
    headers.extend(callers.then(|| "CALLER".to_owned()));
    headers.extend(spans.then(|| "FROM".to_owned()));
    headers.extend(
        [
            "ROWS",
            "REQUESTS",
            "ROWS/S",
            "ERRORS",
            "P50 MS",
            "P90 MS",
            "P99 MS",
            "QUEUE P99",
            "COMPUTE P50",
            "ROWS/RUN",
            "CORE S",
        ]
        .map(str::to_owned),
    );
    headers.extend(accelerator.then(|| "ACCELERATOR S".to_owned()));
    if costs {
        let currency = currency.unwrap_or("COST");
        headers.extend([currency.to_owned(), format!("{currency}/1000")]);
    }
    let rows = groups.iter().map(|group| {
        let KpiGroupRecord {
            version,
            caller,
            at_us,
            rows,
            requests,
            rows_per_s,
            error_rate,
            total_us: QuantilesRecord { p50, p90, p99 },
            queue_us,
            compute_us,
            batch_rows,
            cpu_s,
            accelerator_s,
            memory_mib_s: _,
            cost,
            cost_per_1000,
        } = group;
        let ms = |us: f64| number(us / 1000.0);
        let or_none = |it: Option<String>| it.unwrap_or_else(|| "-".to_owned());
        let mut row = Vec::new();
        if versions {
            row.push(or_none(version.map(|it| it.to_string())));
        }
        if callers {
            row.push(or_none(caller.clone().filter(|it| !it.is_empty())));
        }
        if spans {
            row.push(or_none(at_us.map(moment_us)));
        }
        row.extend([rows.to_string(), requests.to_string()]);
        row.extend([number(*rows_per_s), share(*error_rate)]);
        row.extend([
            ms(*p50),
            ms(*p90),
            ms(*p99),
            ms(queue_us.p99),
            ms(compute_us.p50),
        ]);
        row.extend([number(*batch_rows), number(*cpu_s)]);
        row.extend(accelerator.then(|| number(*accelerator_s)));
        if costs {
            row.extend([cost, cost_per_1000].map(|it| or_none(it.map(number))));
        }
        row
    });
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    table(&headers, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> KpiGroupRecord {
        KpiGroupRecord {
            version: None,
            caller: None,
            at_us: None,
            rows: 1000,
            requests: 500,
            rows_per_s: 16.666,
            error_rate: 0.012,
            total_us: QuantilesRecord {
                p50: 812.0,
                p90: 1500.0,
                p99: 12_345.0,
            },
            queue_us: QuantilesRecord::default(),
            compute_us: QuantilesRecord::default(),
            batch_rows: 2.0,
            cpu_s: 1.25,
            accelerator_s: 0.0,
            memory_mib_s: 3.0,
            cost: None,
            cost_per_1000: None,
        }
    }

    fn check(groups: Vec<KpiGroupRecord>, currency: Option<&str>, want: &str) {
        let budget = currency.map(|_| BudgetRecord {
            cost: 5.0,
            per: "1d".to_owned(),
            spent: 4.5,
            verdict: "warn".to_owned(),
        });
        let kpi = KpiRecord {
            model: "credit".to_owned(),
            from_us: 0,
            to_us: 60_000_000,
            currency: currency.map(str::to_owned),
            groups,
            budget,
        };
        let shown = show(&kpi);
        let (head, rest) = shown.split_once("\n\n").expect("a head");
        assert_eq!(head, "credit  1970-01-01 00:00:00 to 1970-01-01 00:01:00");
        assert_eq!(rest, want);
    }

    #[test]
    fn figures_are_one_line_a_group() {
        check(vec![], None, "no rows");
        check(
            vec![group()],
            None,
            "ROWS  REQUESTS  ROWS/S  ERRORS  P50 MS  P90 MS  P99 MS  QUEUE P99  COMPUTE P50  ROWS/RUN  CORE S
1000  500       16.7    1.20%   0.812   1.50    12.3    0          0            2.00      1.25",
        );
    }

    #[test]
    fn costs_stand_where_there_are_prices_and_the_budget_below() {
        let mut first = group();
        (first.version, first.caller) = (Some(3), Some(String::new()));
        (first.cost, first.cost_per_1000) = (Some(0.5), Some(0.5));
        let mut kpi = group();
        (kpi.version, kpi.caller) = (Some(4), Some("shop".to_owned()));
        check(
            vec![first, kpi],
            Some("USD"),
            "VERSION  CALLER  ROWS  REQUESTS  ROWS/S  ERRORS  P50 MS  P90 MS  P99 MS  QUEUE P99  COMPUTE P50  ROWS/RUN  CORE S  USD    USD/1000
3        -       1000  500       16.7    1.20%   0.812   1.50    12.3    0          0            2.00      1.25    0.500  0.500
4        shop    1000  500       16.7    1.20%   0.812   1.50    12.3    0          0            2.00      1.25    -      -

budget  4.50 of 5.00 USD per 1d spent (90.0%): warn",
        );
    }
}
