//! Parts of the rows that are watched by themselves: those with one value of a column, or with numbers of one range.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A column whose values are segments: `{by: Home}`, `{by: Age, edges: [25, 40]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segments {
    /// The column.
    pub by: String,
    /// Of numbers: where one segment ends and the next begins, ascending. Without edges each value is a segment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<f64>,
}

/// The most columns: each is a question to the ledger.
const COLUMNS_MAX: usize = 4;
/// The most segments of a column; of more values those with the most labelled rows, or, for drift, the most rows of
/// the reference.
pub const LEVELS_MAX: usize = 12;

impl Segments {
    /// How many segments there are at most.
    pub fn levels(&self) -> usize {
        match self.edges.len() {
            0 => LEVELS_MAX,
            edges => edges + 2,
        }
    }
}

/// How many times a question about all rows is asked with these segments: once of all, and of each.
pub fn times(all: &[Segments]) -> usize {
    1 + all.iter().map(Segments::levels).sum::<usize>()
}

/// Refuses what makes no sense: the field below `monitor`, and why.
pub fn check(all: &[Segments]) -> Result<(), (String, String)> {
    let wrong = |why| Err(("segments".to_owned(), why));
    if all.len() > COLUMNS_MAX {
        let got = all.len();
        return wrong(format!("it names {got} columns, at most are {COLUMNS_MAX}"));
    }
    for (place, Segments { by, edges }) in all.iter().enumerate() {
        if all[..place].iter().any(|it| it.by == *by) {
            return wrong(format!("`{by}` is there twice"));
        }
        if edges.len() >= LEVELS_MAX {
            let (got, most) = (edges.len(), LEVELS_MAX - 1);
            return wrong(format!("`{by}` has {got} edges, at most are {most}"));
        }
        // No comparison holds with NaN.
        let ascend = edges.windows(2).all(|it| it[0] < it[1]);
        if !ascend || edges.iter().any(|it| !it.is_finite()) {
            return wrong(format!("the edges of `{by}` are not ascending numbers"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_few_and_told_by_ascending_edges() {
        let of = |text: &str| serde_json::from_str::<Vec<Segments>>(text).expect("segments");
        let all = of(r#"[{"by":"Home"},{"by":"Age","edges":[25,40]}]"#);
        assert_eq!(check(&all), Ok(()));
        // Twelve homes; three ranges, and rows without an age.
        assert_eq!(times(&all), 1 + 12 + 4);
        assert_eq!(times(&[]), 1);
        for (text, want) in [
            (r#"[{"by":"Home"},{"by":"Home"}]"#, "twice"),
            (r#"[{"by":"Age","edges":[40,25]}]"#, "ascending"),
            (
                r#"[{"by":"a"},{"by":"b"},{"by":"c"},{"by":"d"},{"by":"e"}]"#,
                "at most are 4",
            ),
            (
                r#"[{"by":"a","edges":[1,2,3,4,5,6,7,8,9,10,11,12]}]"#,
                "at most are 11",
            ),
        ] {
            let (field, why) = check(&of(text)).expect_err("wrong");
            assert!(field == "segments" && why.contains(want), "{why}");
        }
    }
}
