//! Single values that become a column.

use domain::Refusal;
use domain::frame::Column;

use crate::json::{Reader, Token};

/// One value of a row.
pub(super) enum Cell {
    Missing,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

/// The value that comes next; a list or an object is refused.
pub(super) fn read_cell(reader: &mut Reader<'_>) -> Result<Cell, Refusal> {
    Ok(match reader.token()? {
        Token::Null => Cell::Missing,
        Token::Bool(truth) => Cell::Bool(truth),
        Token::Text(text) => Cell::Text(text.into_owned()),
        Token::Word(_, number) => Cell::Number(number),
        Token::Number(decimal) if decimal.is_whole() => {
            let number = decimal.to_integer().and_then(|it| i64::try_from(it).ok());
            number.map_or_else(|| Cell::Number(decimal.to_f64()), Cell::Integer)
        }
        Token::Number(decimal) => Cell::Number(decimal.to_f64()),
    })
}

/// The values of a column so far.
#[derive(Default)]
pub(super) struct Cells(Vec<Cell>);

impl Cells {
    /// A column that was not there in `rows` rows.
    pub(super) fn missing(rows: usize) -> Self {
        let mut cells = Self::default();
        cells.fill(rows);
        cells
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, cell: Cell) {
        self.0.push(cell);
    }

    /// Missing values up to `rows`.
    pub(super) fn fill(&mut self, rows: usize) {
        while self.0.len() < rows {
            self.0.push(Cell::Missing);
        }
    }

    /// The column, of the narrowest type that holds all of its values; text and other values do not mix.
    pub(super) fn column(self, name: &str) -> Result<Column, Refusal> {
        let cells = self.0;
        let texts = cells.iter().any(|it| matches!(it, Cell::Text(_)));
        let bools = cells.iter().any(|it| matches!(it, Cell::Bool(_)));
        let numbers = cells.iter().any(|it| matches!(it, Cell::Number(_)));
        let integers = cells.iter().any(|it| matches!(it, Cell::Integer(_)));
        let missing = cells.iter().any(|it| matches!(it, Cell::Missing));
        if texts || !(bools || numbers || integers) {
            return strings(name, cells).map(Column::Strings);
        }
        if bools && (numbers || integers) {
            return Err(mixed(
                name,
                &cells,
                "a truth value, as others of its column are",
                |it| !matches!(it, Cell::Bool(_)),
            ));
        }
        if bools && !missing {
            let truth = |it: &Cell| matches!(it, Cell::Bool(true));
            return Ok(Column::Booleans(cells.iter().map(truth).collect()));
        }
        if integers && !numbers && !missing {
            let integer = |it: &Cell| match it {
                Cell::Integer(number) => Some(*number),
                Cell::Missing | Cell::Bool(_) | Cell::Number(_) | Cell::Text(_) => None,
            };
            return Ok(Column::Integers(cells.iter().filter_map(integer).collect()));
        }
        let number = |it: &Cell| match it {
            Cell::Missing | Cell::Text(_) => f64::NAN,
            Cell::Bool(truth) => f64::from(u8::from(*truth)),
            Cell::Integer(number) => *number as f64,
            Cell::Number(number) => *number,
        };
        Ok(Column::Numbers(cells.iter().map(number).collect()))
    }
}

fn strings(name: &str, cells: Vec<Cell>) -> Result<Vec<Option<String>>, Refusal> {
    let odd = |it: &Cell| !matches!(it, Cell::Text(_) | Cell::Missing);
    if cells.iter().any(odd) {
        return Err(mixed(
            name,
            &cells,
            "a string, as others of its column are",
            odd,
        ));
    }
    let text = |it: Cell| match it {
        Cell::Text(text) => Some(text),
        Cell::Missing | Cell::Bool(_) | Cell::Integer(_) | Cell::Number(_) => None,
    };
    Ok(cells.into_iter().map(text).collect())
}

fn mixed(name: &str, cells: &[Cell], want: &str, odd: impl Fn(&Cell) -> bool) -> Refusal {
    let index = cells.iter().position(odd).unwrap_or(0);
    let got = match cells.get(index) {
        None | Some(Cell::Missing) => "null".to_owned(),
        Some(Cell::Bool(truth)) => truth.to_string(),
        Some(Cell::Integer(number)) => number.to_string(),
        Some(Cell::Number(number)) => number.to_string(),
        Some(Cell::Text(text)) => text.chars().take(40).collect(),
    };
    Refusal::WrongValue {
        input: name.to_owned(),
        index,
        want: want.to_owned(),
        got,
    }
}
