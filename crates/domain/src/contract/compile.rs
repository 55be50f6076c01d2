//! From what is said and known of a version's inputs to what is looked for.

use super::{Checks, Contract, InputChecks, Levels, Rule, Term, shown_text};
use crate::monitor::inputs::{Action, Column, Inputs};
use crate::refusal::Refusal;
use crate::tensor::DataType;

/// Numbers of a row from which on it is odd that all are the same.
const CONSTANT_MIN: usize = 3;
/// Known texts that a refusal names.
const LEVELS_SHOWN: usize = 5;

/// An input of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What its elements are.
    pub datatype: DataType,
    /// The column of each value of a row; empty where there are too many for columns, or not always as many.
    pub columns: Vec<String>,
}

impl Input {
    fn is_of_numbers(&self) -> bool {
        !matches!(self.datatype, DataType::Bool | DataType::Bytes)
    }
}

/// What a reference has of a column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Its rows.
    pub rows: u64,
    /// Those whose value is missing.
    pub missing: u64,
    /// The least and the greatest number.
    pub range: Option<(f64, f64)>,
    /// Every text, where they are few enough to be known.
    pub levels: Option<Vec<String>>,
}

/// What a reference has of a column, by the column's name.
pub type KnownOf<'a> = &'a dyn Fn(&str) -> Option<Known>;

/// Refuses columns that the model does not have, and what can be said of no column of their type.
pub fn check_columns(setting: &Inputs, inputs: &[Input]) -> Result<(), Refusal> {
    for (name, said) in &setting.columns {
        let wrong = |field: &str, why: String| {
            Err(Refusal::InvalidManifest {
                field: format!("monitor.inputs.columns.{name}{field}"),
                why,
            })
        };
        let mut having = inputs.iter().filter(|it| it.columns.contains(name));
        let Some(input) = having.next() else {
            let all = inputs.iter().flat_map(|it| &it.columns);
            let shown: Vec<String> = all.clone().take(20).map(|it| format!("`{it}`")).collect();
            let more = match all.count() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let known = format!("{}{more}", shown.join(", "));
            return wrong(
                "",
                format!("the model has no such input column; it has {known}"),
            );
        };
        let datatype = input.datatype;
        let numbers = said.least.is_some() || said.greatest.is_some() || said.range.is_some();
        if numbers && !input.is_of_numbers() {
            return wrong("", format!("it is {datatype}, which has no range"));
        }
        let texts = said.levels.is_some() || said.unseen.is_some();
        if texts && datatype != DataType::Bytes {
            return wrong("", format!("it is {datatype}, which has no levels"));
        }
        let can_miss = datatype.is_float() || datatype == DataType::Bytes;
        if said.missing.is_some() && !can_miss {
            return wrong(
                ".missing",
                format!("it is {datatype}, which is never missing"),
            );
        }
    }
    Ok(())
}

impl Contract {
    /// What is looked for in these inputs, by what is said of them and by what is known of their columns; `known` is
    /// none where there is no reference.
    pub fn new(setting: &Inputs, inputs: &[Input], known: Option<KnownOf<'_>>) -> Self {
        let mut contract = Self {
            inputs: Vec::with_capacity(inputs.len()),
            terms: Vec::new(),
            whole_rows: inputs.iter().all(|it| !it.columns.is_empty()),
        };
        let nothing = Column::default();
        let mut column = 0;
        for input in inputs {
            let (mut least, mut greatest, mut texts) = (Vec::new(), Vec::new(), Vec::new());
            let first = contract.terms.len();
            for name in &input.columns {
                let said = setting.columns.get(name).unwrap_or(&nothing);
                let column = OneColumn {
                    name,
                    datatype: input.datatype,
                    setting,
                    said,
                    known: known.and_then(|it| it(name)),
                };
                let (range, levels) = (column.range(), column.levels());
                let ends = range.as_ref().map(|(_, ends)| *ends);
                let (low, high) = ends.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
                least.push(low);
                greatest.push(high);
                let (unseen, levels) = levels.unzip();
                texts.push(levels.map(Levels::new));
                let range = range.map(|(term, _)| term);
                contract.terms.extend([range, column.missing(), unseen]);
            }
            // Without columns there are no terms either.
            let is_free = contract.terms[first..].iter().all(Option::is_none);
            let checks = match input.datatype {
                _ if is_free => Checks::None,
                DataType::Bool => Checks::None,
                DataType::Bytes => Checks::Texts(texts),
                _ => Checks::Numbers { least, greatest },
            };
            contract.inputs.push(InputChecks { column, checks });
            column += input.columns.len();
        }
        let numbers = inputs.iter().filter(|it| it.datatype != DataType::Bytes);
        let numbers: usize = numbers.map(|it| it.columns.len()).sum();
        let row = |rule: Rule, said: Option<Action>, possible: bool| {
            let default = known.map_or(Action::Off, |_| Action::Count);
            let action = said.unwrap_or(default);
            let wanted = action != Action::Off && possible && contract.whole_rows;
            wanted.then(|| Term {
                column: None,
                rule,
                action,
                tolerated: false,
                want: match rule {
                    Rule::Duplicate => "each row once in a request".to_owned(),
                    _ => "numbers that are not all the same".to_owned(),
                },
                reference: None,
                // No reference says how many there usually are; their owner may.
                watched: said.is_some_and(|it| it > Action::Count),
            })
        };
        let rows = [
            row(Rule::Constant, setting.constant, numbers >= CONSTANT_MIN),
            row(Rule::Duplicate, setting.duplicate, true),
        ];
        contract.terms.extend(rows);
        contract
    }
}

/// What is said and known of a column.
struct OneColumn<'a> {
    name: &'a str,
    datatype: DataType,
    setting: &'a Inputs,
    said: &'a Column,
    known: Option<Known>,
}

impl OneColumn<'_> {
    fn term(&self, rule: Rule, action: Action, want: String) -> Term {
        Term {
            column: Some(self.name.to_owned()),
            rule,
            action,
            tolerated: false,
            want,
            reference: None,
            watched: true,
        }
    }

    fn range(&self) -> Option<(Term, (f64, f64))> {
        let numbers = !matches!(self.datatype, DataType::Bool | DataType::Bytes);
        let action = self.said.range.unwrap_or(self.setting.range);
        let known = self
            .known
            .as_ref()
            .and_then(|it| Some((it.rows, it.range?)));
        let (said_least, said_greatest) = (self.said.least, self.said.greatest);
        let said = said_least.is_some() || said_greatest.is_some();
        if !numbers || action == Action::Off || (known.is_none() && !said) {
            return None;
        }
        let (rows, (least, greatest)) = known.unwrap_or((0, (f64::NEG_INFINITY, f64::INFINITY)));
        // The model takes its values in its own precision: 0.1 is to be within 0 to 0.1 there too.
        let near = |it: f64| nearest(self.datatype, it);
        let ends = (
            near(said_least.unwrap_or(least)),
            near(said_greatest.unwrap_or(greatest)),
        );
        let want = match ends {
            (f64::NEG_INFINITY, f64::INFINITY) => "a number".to_owned(),
            (f64::NEG_INFINITY, greatest) => format!("a number of at most {greatest}"),
            (least, f64::INFINITY) => format!("a number of at least {least}"),
            (least, greatest) => format!("a number from {least} to {greatest}"),
        };
        let mut term = self.term(Rule::Range, action, want);
        term.reference = (!said).then_some((0, rows));
        Some((term, ends))
    }

    fn missing(&self) -> Option<Term> {
        let can_miss = self.datatype.is_float() || self.datatype == DataType::Bytes;
        let action = self.said.missing.unwrap_or(self.setting.missing);
        let said = self.said.missing.is_some();
        // An empty text that its owner names is a level like any other.
        let levels = self.said.levels.as_ref();
        let named = levels.is_some_and(|it| it.iter().any(String::is_empty));
        if named && !said {
            return None;
        }
        if !can_miss || action == Action::Off || (self.known.is_none() && !said) {
            return None;
        }
        let mut term = self.term(Rule::Missing, action, "a value".to_owned());
        if let Some(known) = self.known.as_ref().filter(|_| !said) {
            term.tolerated = known.missing > 0;
            term.reference = Some((known.missing, known.rows));
        }
        Some(term)
    }

    fn levels(&self) -> Option<(Term, Vec<Box<[u8]>>)> {
        let action = self.said.unseen.unwrap_or(self.setting.unseen);
        let known = self.known.as_ref().and_then(|it| it.levels.as_ref());
        let levels = self.said.levels.as_ref().or(known)?;
        if self.datatype != DataType::Bytes || action == Action::Off {
            return None;
        }
        // An empty text is a missing value, or allowed; it is never looked up.
        let named = levels.iter().filter(|it| !it.is_empty());
        let mut sorted: Vec<Box<[u8]>> = named.map(|it| it.as_bytes().into()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let few = sorted.iter().take(LEVELS_SHOWN);
        let few: Vec<String> = few.map(|it| shown_text(it)).collect();
        let want = match sorted.len() - few.len() {
            0 if few.is_empty() => "an empty text".to_owned(),
            0 => format!("one of {}", few.join(", ")),
            more => format!("one of {} and {more} more", few.join(", ")),
        };
        let mut term = self.term(Rule::Unseen, action, want);
        if self.said.levels.is_none() {
            term.reference = self.known.as_ref().map(|it| (0, it.rows));
        }
        Some((term, sorted))
    }
}

/// The number of this type that is nearest; a finite one stays finite.
fn nearest(datatype: DataType, value: f64) -> f64 {
    let (rounded, most) = match datatype {
        DataType::Fp16 => (half::f16::from_f64(value).to_f64(), half::f16::MAX.to_f64()),
        DataType::Bf16 => (
            half::bf16::from_f64(value).to_f64(),
            half::bf16::MAX.to_f64(),
        ),
        DataType::Fp32 => (f64::from(value as f32), f64::from(f32::MAX)),
        _ => (value, f64::MAX),
    };
    match value.is_finite() {
        true => rounded.clamp(-most, most),
        false => value,
    }
}
