//! What requests to a version may hold, put together from what its owner says and what its baseline knows.
//!
//! R1. A number is within its range, ends included. NaN is no number but a missing value, and so is an empty text.
//! R2. What a column's owner says goes before what the reference has. What neither says is not looked for.
//! R3. A missing value where the reference has some is counted and tolerated: it is neither warned of nor refused.
//! R4. Of a request that holds nothing unexpected nothing is allocated, but for a table where duplicates are looked
//!     for among more than [`ROWS_ON_STACK`] rows.
//! R5. The time is linear in the values, whatever they are: a chain of equal hashes is followed for a few steps only,
//!     so that duplicates may be missed among rows that were made for it.

mod compile;
mod rows;

use crate::monitor::inputs::Action;
use crate::refusal::Refusal;
use crate::tensor::{Elements, FixedElements, Tensor};
use crate::{DataType, tensor};

pub use compile::{Input, Known, KnownOf, check_columns};

/// Rows of a request up to which looking for duplicates allocates nothing.
pub const ROWS_ON_STACK: usize = 64;
/// Characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 40;
/// Sentences of a warning.
const WARNINGS_MAX: usize = 3;

/// What may be wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A number is out of its range.
    Range,
    /// A value is missing.
    Missing,
    /// A text is none of the known ones.
    Unseen,
    /// All numbers of the row are the same.
    Constant,
    /// The row is there before in the same request.
    Duplicate,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 5] = [
        Self::Range,
        Self::Missing,
        Self::Unseen,
        Self::Constant,
        Self::Duplicate,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Missing => "missing",
            Self::Unseen => "unseen",
            Self::Constant => "constant",
            Self::Duplicate => "duplicate",
        }
    }
}

/// One rule about one column, or about whole rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The column; none where it is about whole rows.
    pub column: Option<String>,
    /// What is looked for.
    pub rule: Rule,
    /// What becomes of it.
    pub action: Action,
    /// Whether it is only counted because the reference has it too (R3).
    pub tolerated: bool,
    /// What is expected in its place.
    pub want: String,
    /// Rows of the reference that have it, and all of its rows; none where the owner, and not the reference, says what
    /// is expected.
    pub reference: Option<(u64, u64)>,
    /// Whether more of it than in the reference is worth an alert.
    pub watched: bool,
}

impl Term {
    fn action(&self) -> Action {
        match self.tolerated {
            true => self.action.min(Action::Count),
            false => self.action,
        }
    }
}

/// Rules about the columns of an input's values.
#[derive(Clone, Debug)]
enum Checks {
    Numbers {
        least: Vec<f64>,
        greatest: Vec<f64>,
    },
    /// None where any text is known.
    Texts(Vec<Option<Levels>>),
    None,
}

/// Texts that are known, each at or behind the slot of its hash. At least half of the slots are free.
#[derive(Clone, Debug)]
struct Levels {
    slots: Box<[Option<Box<[u8]>>]>,
    longest: usize,
}

#[derive(Clone, Debug)]
struct InputChecks {
    /// The first of its columns.
    column: usize,
    checks: Checks,
}

/// What requests may hold.
#[derive(Clone, Debug)]
pub struct Contract {
    inputs: Vec<InputChecks>,
    /// [`RULES`] for each column, then two for whole rows; none where it is not looked for.
    terms: Vec<Option<Term>>,
    /// Whether every input is of few enough values a row to be looked at as a row.
    whole_rows: bool,
}

/// Rules about each column: `Range`, `Missing` and `Unseen`, in this order.
const RULES: usize = 3;
const RANGE: usize = 0;
const MISSING: usize = 1;
const UNSEEN: usize = 2;

/// What was found in a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// Rows, by the place of the term that they are against. Empty where there is nothing.
    pub rows: Vec<u64>,
    /// Why it is refused, if it is.
    pub refusal: Option<Refusal>,
    /// What its answer is to warn of.
    pub warning: Option<String>,
}

/// Rows against each term, and the first of them.
#[derive(Default)]
struct Tally {
    places: usize,
    found: Vec<(u64, usize)>,
}

impl Tally {
    #[cold]
    fn add(&mut self, place: usize, row: usize) {
        if self.found.is_empty() {
            self.found = vec![(0, usize::MAX); self.places];
        }
        let (rows, first) = &mut self.found[place];
        *rows += 1;
        *first = row.min(*first);
    }
}

impl Contract {
    /// How many places [`Checked::rows`] has. It follows from the inputs alone, so that counts may outlive a contract.
    pub fn places(&self) -> usize {
        self.terms.len()
    }

    /// What is looked for, and its place.
    pub fn terms(&self) -> impl Iterator<Item = (usize, &Term)> {
        let all = self.terms.iter().enumerate();
        all.filter_map(|(place, term)| Some((place, term.as_ref()?)))
    }

    /// Looks at a request that fits the signature: a tensor for each input, of so many rows.
    pub fn check(&self, inputs: &[Tensor], rows: usize) -> Checked {
        let mut tally = Tally {
            places: self.terms.len(),
            found: Vec::new(),
        };
        for (checks, tensor) in self.inputs.iter().zip(inputs) {
            match (&checks.checks, tensor.elements()) {
                (Checks::Numbers { least, greatest }, Elements::Fixed(fixed)) => {
                    let bounds = (&least[..], &greatest[..]);
                    self.check_numbers(checks.column, bounds, fixed, &mut tally);
                }
                (Checks::Texts(levels), Elements::Bytes(texts)) => {
                    self.check_texts(checks.column, levels, texts, &mut tally);
                }
                _ => {}
            }
        }
        let place = self.terms.len() - 2;
        if self.terms[place].is_some() {
            let constant = (0..rows).filter(|row| rows::is_constant(inputs, rows, *row));
            constant.for_each(|row| tally.add(place, row));
        }
        if self.terms[place + 1].is_some() {
            rows::duplicates(inputs, rows, |row| tally.add(place + 1, row));
        }
        match tally.found.is_empty() {
            true => Checked::default(),
            false => self.judged(&tally, inputs, rows),
        }
    }

    fn check_numbers(
        &self,
        column: usize,
        bounds: (&[f64], &[f64]),
        fixed: &FixedElements,
        tally: &mut Tally,
    ) {
        macro_rules! scan {
            ($type:ty, $number:expr) => {
                if let Some(values) = fixed.as_slice::<$type>() {
                    self.scan(column, bounds, values, $number, tally);
                }
            };
        }
        match fixed.datatype() {
            DataType::Uint8 => scan!(u8, f64::from),
            DataType::Uint16 => scan!(u16, f64::from),
            DataType::Uint32 => scan!(u32, f64::from),
            DataType::Uint64 => scan!(u64, |it| it as f64),
            DataType::Int8 => scan!(i8, f64::from),
            DataType::Int16 => scan!(i16, f64::from),
            DataType::Int32 => scan!(i32, f64::from),
            DataType::Int64 => scan!(i64, |it| it as f64),
            DataType::Fp16 => scan!(half::f16, f64::from),
            DataType::Bf16 => scan!(half::bf16, f64::from),
            DataType::Fp32 => scan!(f32, f64::from),
            DataType::Fp64 => scan!(f64, |it| it),
            DataType::Bool | DataType::Bytes => {}
        }
    }

    fn scan<T: tensor::Element>(
        &self,
        column: usize,
        (least, greatest): (&[f64], &[f64]),
        values: &[T],
        number: impl Fn(T) -> f64,
        tally: &mut Tally,
    ) {
        let Some(width) = std::num::NonZero::new(least.len()) else {
            return;
        };
        for (row, values) in values.chunks_exact(width.get()).enumerate() {
            // Without a branch, so that several values are compared at once. NaN is within nothing.
            let ends = least.iter().zip(greatest);
            let within = |value: f64, (least, greatest): (&f64, &f64)| {
                (value >= *least) & (value <= *greatest)
            };
            let fine = values
                .iter()
                .zip(ends)
                .fold(true, |fine, (it, ends)| fine & within(number(*it), ends));
            if fine {
                continue;
            }
            for (at, value) in values.iter().enumerate() {
                let (value, place) = (number(*value), (column + at) * RULES);
                let rule = match value.is_nan() {
                    true => MISSING,
                    false if within(value, (&least[at], &greatest[at])) => continue,
                    false => RANGE,
                };
                if self.terms[place + rule].is_some() {
                    tally.add(place + rule, row);
                }
            }
        }
    }

    fn check_texts(
        &self,
        column: usize,
        levels: &[Option<Levels>],
        texts: &[Vec<u8>],
        tally: &mut Tally,
    ) {
        let Some(width) = std::num::NonZero::new(levels.len()) else {
            return;
        };
        for (row, texts) in texts.chunks_exact(width.get()).enumerate() {
            for (at, (text, levels)) in texts.iter().zip(levels).enumerate() {
                let rule = match text.is_empty() {
                    true => MISSING,
                    false if levels.as_ref().is_none_or(|it| it.has(text)) => continue,
                    false => UNSEEN,
                };
                let place = (column + at) * RULES + rule;
                if self.terms[place].is_some() {
                    tally.add(place, row);
                }
            }
        }
    }

    /// What becomes of a request in which something was found.
    fn judged(&self, tally: &Tally, inputs: &[Tensor], rows: usize) -> Checked {
        let with = |action: Action| {
            let found = self.terms().filter_map(|(place, term)| {
                let (rows, first) = tally.found[place];
                (rows > 0 && term.action() == action).then_some((first, place))
            });
            let mut found: Vec<(usize, usize)> = found.collect();
            found.sort_unstable();
            found
        };
        let describe = |(row, place): (usize, usize)| self.describe(place, row, inputs, rows);
        let refusal = with(Action::Refuse).first().map(|it| describe(*it));
        let warnings = match refusal {
            Some(_) => Vec::new(),
            None => with(Action::Warn),
        };
        let shown = warnings.iter().take(WARNINGS_MAX);
        let mut sentences: Vec<String> = shown.map(|it| describe(*it).to_string()).collect();
        if let more @ 1.. = warnings.len().saturating_sub(WARNINGS_MAX) {
            sentences.push(format!("and {more} more"));
        }
        Checked {
            rows: tally.found.iter().map(|(rows, _)| *rows).collect(),
            refusal,
            warning: (!sentences.is_empty()).then(|| sentences.join("; ")),
        }
    }

    fn describe(&self, place: usize, row: usize, inputs: &[Tensor], rows: usize) -> Refusal {
        let term = self.terms[place].as_ref();
        let want = term.map_or_else(String::new, |it| it.want.clone());
        let Some(column) = term.and_then(|it| it.column.clone()) else {
            let got = match term.map(|it| it.rule) {
                Some(Rule::Duplicate) => {
                    let before = (0..row).find(|it| rows::same(inputs, rows, *it, row));
                    format!("is the same as row {}", before.unwrap_or(row))
                }
                _ => "has the same number in all its columns".to_owned(),
            };
            return Refusal::UnexpectedRow { row, got };
        };
        let place = place / RULES;
        let of = |it: &&(&InputChecks, &Tensor)| it.0.column <= place;
        let got = self.inputs.iter().zip(inputs).collect::<Vec<_>>();
        let got = got.iter().rfind(of).map(|(checks, tensor)| {
            let width = tensor.elements().count() / rows.max(1);
            shown(tensor.elements(), row * width + place - checks.column)
        });
        Refusal::UnexpectedValue {
            column,
            row,
            got: got.unwrap_or_default(),
            want,
        }
    }
}

impl Levels {
    fn new(texts: Vec<Box<[u8]>>) -> Self {
        let longest = texts.iter().map(|it| it.len()).max().unwrap_or(0);
        let mut slots = vec![None; (2 * texts.len()).next_power_of_two()];
        for text in texts {
            let mut at = rows::hash_of(&text) as usize & (slots.len() - 1);
            while slots[at].is_some() {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = Some(text);
        }
        Self {
            slots: slots.into(),
            longest,
        }
    }

    fn has(&self, text: &[u8]) -> bool {
        if text.len() > self.longest {
            return false;
        }
        let last = self.slots.len() - 1;
        let mut at = rows::hash_of(text) as usize & last;
        while let Some(known) = &self.slots[at] {
            if **known == *text {
                return true;
            }
            at = (at + 1) & last;
        }
        false
    }
}

/// A value for people: shortened, and without characters that would not be seen.
fn shown(elements: &Elements, at: usize) -> String {
    match elements {
        Elements::Fixed(fixed) => match fixed.number(at) {
            Some(number) if number.is_nan() => "missing".to_owned(),
            Some(number) if number.abs() >= 1e16 => format!("`{number:e}`"),
            Some(number) => format!("`{number}`"),
            None => "missing".to_owned(),
        },
        Elements::Bytes(texts) => match texts.get(at) {
            Some(text) if !text.is_empty() => shown_text(text),
            _ => "missing".to_owned(),
        },
    }
}

fn shown_text(text: &[u8]) -> String {
    // A character is of four bytes at most.
    let start = &text[..text.len().min(SHOWN_CHARS_MAX * 4)];
    let start = String::from_utf8_lossy(start);
    let short: String = start.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("`{}{more}`", short.escape_debug())
}

#[cfg(test)]
mod tests;
