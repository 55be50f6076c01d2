//! Attributes that callers send: CSV with a header, one of whose columns is `key`.

use domain::Refusal;
use domain::attributes::{KEY, Table};
use domain::limits::Limits;

fn malformed(why: String) -> Refusal {
    Refusal::Malformed {
        what: "the attributes",
        why,
    }
}

/// The attributes of a body, checked.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Table, Refusal> {
    let refuse = |error: csv::Error| malformed(error.to_string().to_lowercase());
    let mut reader = csv::Reader::from_reader(bytes);
    let mut names: Vec<String> = reader
        .headers()
        .map_err(refuse)?
        .iter()
        .map(str::to_owned)
        .collect();
    let key = names.iter().position(|it| it == KEY);
    let key = key.ok_or_else(|| Refusal::MissingColumn {
        column: KEY.to_owned(),
    })?;
    names.remove(key);
    let mut rows = Vec::new();
    for record in reader.records() {
        if rows.len() as u64 >= limits.labels_max {
            return Err(Refusal::TooLarge {
                what: "the number of rows",
                limit: limits.labels_max,
                got: None,
            });
        }
        // Every record has as many fields as the header.
        let mut fields: Vec<String> = record.map_err(refuse)?.iter().map(str::to_owned).collect();
        rows.push((fields.remove(key), fields));
    }
    let table = Table { names, rows };
    table.check()?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Table, String> {
        let limits = Limits {
            labels_max: 3,
            ..Limits::default()
        };
        decode(text.as_bytes(), &limits).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_table_has_a_key_and_attributes_in_any_order() {
        let row =
            |key: &str, values: [&str; 2]| (key.to_owned(), values.map(str::to_owned).to_vec());
        let table = Table {
            names: vec!["Sex".to_owned(), "Home".to_owned()],
            rows: vec![row("ann", ["f", "a, b"]), row("bob", ["", "c"])],
        };
        assert_eq!(read("Sex,key,Home\nf,ann,\"a, b\"\n,bob,c\n"), Ok(table));
    }

    #[test]
    fn what_is_no_such_table_is_refused() {
        for (text, want) in [
            ("", "`key`"),
            ("Sex,Age\nf,1\n", "`key`"),
            ("key\nann\n", "want a column beside `key`"),
            ("key,Sex\nann\n", "found record with 1 fields"),
            ("key,Sex\n,f\n", "row 1 has no `key`"),
            ("key,Sex\na,f\nb,f\nc,f\nd,f\n", "the number of rows"),
        ] {
            let why = read(text).expect_err("refused");
            assert!(why.contains(want), "{text:?}: {why}");
        }
        let why = decode(b"key,Sex\nann,\xff\n", &Limits::default()).expect_err("refused");
        assert!(why.to_string().contains("utf-8"), "{why}");
    }
}
