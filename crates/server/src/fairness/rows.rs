//! The weight of each labelled row, as a question to the ledger: groups may be told by attributes, which no file of the
//! ledger has.

use std::fmt::Write as _;

use domain::access::{Permission, Read};
use domain::ledger::NO_VALUE;
use domain::{ModelName, Refusal};
use wire::api::fairness as api;

use crate::app::App;
use crate::attributes;
use crate::questions::{Sql, check_columns};

/// The question whose answer is the weight of each labelled row, of weights that were told.
pub(crate) async fn rows(
    app: &App,
    _: Permission<Read>,
    model: &ModelName,
    found: &api::WeightsRecord,
) -> Result<Sql, Refusal> {
    if found.model != model.as_str() {
        return Err(Refusal::Malformed {
            what: "`model`",
            why: format!(
                "these are weights of `{}`, and `{model}` is asked",
                found.model
            ),
        });
    }
    check_columns(&found.by)?;
    app.store.registry.model(model).await?;
    let attributes = attributes::among(app, model, &found.by).await?;
    Ok(Sql {
        text: question(found),
        rows_max: None,
        attributes: Some((model.clone(), attributes)),
    })
}

/// The question whose answer is the weight of each labelled row.
fn question(found: &api::WeightsRecord) -> String {
    let name = |it: &str| format!("\"{}\"", it.replace('"', "\"\""));
    let text = |it: &str| format!("'{}'", it.replace('\'', "''"));
    let when = |it: &api::WeightRecord| {
        let groups = it.by.iter().map(|(column, value)| match value.as_str() {
            // As the ledger tells them: a number that is missing is NaN, and a text may say so and be one; a text that is
            // missing is empty.
            NO_VALUE => format!(
                "({0} is null or cast({0} as varchar) in ('', '{NO_VALUE}') \
                 or arrow_typeof({0}) like 'Float%' and cast({0} as varchar) = 'NaN')",
                name(column)
            ),
            value => format!("cast({} as varchar) = {}", name(column), text(value)),
        });
        let label = format!("label = {}", text(&it.label));
        let all: Vec<String> = groups.chain([label]).collect();
        format!("when {} then {}", all.join(" and "), it.weight)
    };
    let cases: Vec<String> = found.weights.iter().map(when).collect();
    let case = match cases.is_empty() {
        true => "cast(null as double)".to_owned(),
        false => format!("case {} end", cases.join(" ")),
    };
    let mut sql = format!(
        "select prediction_id, weight from (select prediction_id, {case} as weight from {} \
         where version = {} and code is null and label is not null",
        name(&format!("model:{}", found.model)),
        found.version
    );
    for (bound, operator) in [(found.from_us, ">="), (found.to_us, "<")] {
        if let Some(us) = bound {
            // Writing to a string cannot fail.
            let _ = write!(sql, " and cast(time as bigint) {operator} {us}");
        }
    }
    sql + ") where weight is not null order by prediction_id"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn weights_are_a_question() {
        let weight = |group: &str, label: &str, weight| api::WeightRecord {
            by: BTreeMap::from([("Ho\"me".to_owned(), group.to_owned())]),
            label: label.to_owned(),
            rows: 7,
            weight,
        };
        let weights = api::WeightsRecord {
            model: "credit".to_owned(),
            version: 2,
            from_us: Some(5),
            to_us: None,
            by: vec!["Ho\"me".to_owned()],
            provisional: false,
            weights: vec![
                weight("it's, own", "bad", 1.5),
                weight("(none)", "good", 0.5),
            ],
        };
        assert_eq!(
            question(&weights),
            "select prediction_id, weight from (select prediction_id, case \
             when cast(\"Ho\"\"me\" as varchar) = 'it''s, own' and label = 'bad' then 1.5 \
             when (\"Ho\"\"me\" is null or cast(\"Ho\"\"me\" as varchar) in ('', '(none)') or arrow_typeof(\"Ho\"\"me\") like 'Float%' \
             and cast(\"Ho\"\"me\" as varchar) = 'NaN') and label = 'good' then 0.5 end as weight from \"model:credit\" \
             where version = 2 and code is null and label is not null and cast(time as bigint) >= 5) \
             where weight is not null order by prediction_id"
        );
    }
}
