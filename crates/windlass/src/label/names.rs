//! Which columns of the user's file are which of a label's, or of a metric's.

use wire::labels::{Of, TARGETS};

use crate::failure::Failure;

/// The columns that flags name; the others are known by their own names.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) of: Of,
    given: Vec<(String, &'static str)>,
}

impl Names {
    /// Of pairs of the file's column and the label's.
    pub(super) fn new(of: Of, given: Vec<(String, &'static str)>) -> Result<Self, Failure> {
        for (index, (column, of)) in given.iter().enumerate() {
            if let Some((_, other)) = given[..index].iter().find(|(it, _)| it == column) {
                let message = format!("column `{column}` cannot be `{other}` and `{of}`");
                return Err(Failure::usage(message, "name each column once"));
            }
        }
        Ok(Self { of, given })
    }

    /// What a column of the file is of a label; nothing where it is no part of one.
    ///
    /// A flag takes its part away from the column that has its name. One that says which predictions are
    /// meant does so alone: a table with `--id` may well have features called `key` or `request_id`.
    pub(super) fn part(&self, column: &str) -> Option<&'static str> {
        if let Some((_, part)) = self.given.iter().find(|(it, _)| it == column) {
            return Some(part);
        }
        let columns = self.of.columns().iter().copied();
        let own = columns.into_iter().find(|it| *it == column)?;
        let taken = |(_, part): &(String, &str)| {
            *part == own
                || match own {
                    // They go with a key.
                    "from" | "to" => TARGETS.contains(part) && *part != "key",
                    _ => TARGETS.contains(&own) && TARGETS.contains(part),
                }
        };
        (!self.given.iter().any(taken)).then_some(own)
    }

    /// Refuses a file with these columns where they make no labels.
    pub(super) fn check(&self, file: &str, columns: &[String]) -> Result<(), Failure> {
        let has = format!("the file has {}", list(columns));
        let missing = self.given.iter().find(|(it, _)| !columns.contains(it));
        if let Some((column, _)) = missing {
            let message = format!("`{file}` has no column `{column}`");
            return Err(Failure::refused(message, has));
        }
        let mut parts: Vec<&str> = Vec::new();
        for column in columns {
            let Some(part) = self.part(column) else {
                continue;
            };
            if parts.contains(&part) {
                let message = format!("`{file}` has two columns for `{part}`");
                return Err(Failure::refused(message, has));
            }
            parts.push(part);
        }
        if !parts.iter().any(|it| TARGETS.contains(it)) {
            let what = self.of.plural();
            let message =
                format!("no column of `{file}` says which predictions its {what} are for");
            let hint = format!(
                "name it: `--id COLUMN` for ids of predictions, `--request-id COLUMN` for ids that \
                 you gave requests, `--key COLUMN` for keys; {has}"
            );
            return Err(Failure::refused(message, hint));
        }
        let needed = self.of.needed();
        if !parts.contains(&needed) {
            let message = format!("`{file}` has no column `{needed}`");
            let hint = format!("name the column that holds it: `--{needed} COLUMN`; {has}");
            return Err(Failure::refused(message, hint));
        }
        Ok(())
    }
}

/// Names in a sentence, not too many of them.
fn list(columns: &[String]) -> String {
    const SHOWN: usize = 20;
    let names: Vec<String> = columns
        .iter()
        .take(SHOWN)
        .map(|it| format!("`{it}`"))
        .collect();
    let more = if columns.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: &[(&str, &'static str)], columns: &str, want: &str) {
        check_of(Of::Labels, flags, columns, want);
    }

    fn check_of(of: Of, flags: &[(&str, &'static str)], columns: &str, want: &str) {
        let flags = flags
            .iter()
            .map(|(column, part)| ((*column).to_owned(), *part));
        let columns: Vec<String> = columns.split_whitespace().map(str::to_owned).collect();
        let got = Names::new(of, flags.collect()).and_then(|names| {
            names.check("f", &columns)?;
            let parts = columns.iter().map(|it| names.part(it).unwrap_or("-"));
            Ok(parts.collect::<Vec<_>>().join(" "))
        });
        assert_eq!(got.unwrap_or_else(|failure| failure.message), want);
    }

    #[test]
    fn columns_are_known_by_their_own_names() {
        check(&[], "prediction_id label at x", "prediction_id label at -");
        check(&[], "request_id row label", "request_id row label");
        check(&[], "key from to label", "key from to label");
    }

    #[test]
    fn flags_name_other_columns_and_take_the_part_of_their_own() {
        check(
            &[("pid", "prediction_id"), ("truth", "label")],
            "pid key label truth at from",
            "prediction_id - - label at -",
        );
        check(
            &[("key", "prediction_id")],
            "key label",
            "prediction_id label",
        );
        check(
            &[("customer", "key")],
            "customer prediction_id label from",
            "key - label from",
        );
        check(
            &[("x", "prediction_id"), ("x", "label")],
            "x",
            "column `x` cannot be `prediction_id` and `label`",
        );
    }

    #[test]
    fn a_file_without_what_makes_labels_is_refused() {
        let no_target = "no column of `f` says which predictions its labels are for";
        check(&[], "label x", no_target);
        check(&[("x", "label")], "label x", no_target);
        check(&[], "key x", "`f` has no column `label`");
        check(&[("y", "label")], "key x", "`f` has no column `y`");
        check(&[], "key label key", "`f` has two columns for `key`");
    }

    #[test]
    fn a_metric_has_a_value_and_a_name_in_place_of_a_label() {
        let of = Of::Metrics;
        check_of(of, &[], "key name value label", "key name value -");
        check_of(of, &[("paid", "value")], "key paid value", "key value -");
        check_of(of, &[], "key label", "`f` has no column `value`");
        check_of(
            of,
            &[],
            "value",
            "no column of `f` says which predictions its metrics are for",
        );
    }
}
