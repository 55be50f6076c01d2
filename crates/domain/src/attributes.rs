//! Attributes of those whom predictions are about, by the key of the rows: often what a model must not be told, as a
//! person's sex, and by which it is to be seen whether it treats people alike.

use crate::Refusal;

/// Attributes of a model.
pub const ATTRIBUTES_MAX: usize = 16;
/// Keys of an attribute.
pub const KEYS_MAX: u64 = 1_000_000;
/// The most bytes of a key, of an attribute's name and of a value.
pub const BYTES_MAX: usize = 256;
/// The column of a table that has the keys.
pub const KEY: &str = "key";

/// Attributes as they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What they are called.
    pub names: Vec<String>,
    /// Each key with a value for each of them; an empty one takes back what was told before.
    pub rows: Vec<(String, Vec<String>)>,
}

/// Refuses names that attributes cannot have: why.
pub fn check_names(names: &[String]) -> Result<(), String> {
    if names.len() > ATTRIBUTES_MAX {
        let got = names.len();
        return Err(format!("there are {got}, at most are {ATTRIBUTES_MAX}"));
    }
    for (place, name) in names.iter().enumerate() {
        if name.trim().is_empty() || name.len() > BYTES_MAX {
            return Err(format!(
                "a name has 1 to {BYTES_MAX} bytes, not all of them spaces"
            ));
        }
        if name == KEY {
            return Err(format!("`{KEY}` is what they are joined by"));
        }
        if names[..place].contains(name) {
            return Err(format!("`{name}` is there twice"));
        }
    }
    Ok(())
}

impl Table {
    /// Refuses what cannot be kept. The number of rows is its reader's to bound.
    pub fn check(&self) -> Result<(), Refusal> {
        let malformed = |why| Refusal::Malformed {
            what: "the attributes",
            why,
        };
        if self.names.is_empty() {
            let why = format!("want a column beside `{KEY}`");
            return Err(malformed(why));
        }
        check_names(&self.names).map_err(malformed)?;
        for (row, (key, values)) in (1..).zip(&self.rows) {
            if key.is_empty() {
                return Err(malformed(format!("row {row} has no `{KEY}`")));
            }
            let names = std::iter::once(KEY).chain(self.names.iter().map(String::as_str));
            let texts = std::iter::once(key).chain(values);
            if let Some((name, text)) = names.zip(texts).find(|it| it.1.len() > BYTES_MAX) {
                let got = text.len();
                let why = format!("`{name}` of row {row} has {got} bytes, at most are {BYTES_MAX}");
                return Err(malformed(why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(names: &[&str], key: &str, value: &str) -> String {
        let table = Table {
            names: names.iter().map(|it| (*it).to_owned()).collect(),
            rows: vec![
                ("ann".to_owned(), vec!["f".to_owned(); names.len()]),
                (key.to_owned(), vec![value.to_owned(); names.len()]),
            ],
        };
        let checked = table.check();
        checked.map_or_else(|refusal| refusal.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_row() {
        let long = "x".repeat(BYTES_MAX + 1);
        assert_eq!(why(&["Sex", "Age"], "bob", ""), "fine");
        for (names, key, value, want) in [
            (&[][..], "bob", "m", "want a column beside `key`"),
            (&["Sex", "Sex"][..], "bob", "m", "`Sex` is there twice"),
            (&["key"][..], "bob", "m", "`key` is what they are joined by"),
            (&[" "][..], "bob", "m", "a name has 1 to 256 bytes"),
            (&["Sex"][..], "", "m", "row 2 has no `key`"),
            (
                &["Sex"][..],
                &long,
                "m",
                "`key` of row 2 has 257 bytes, at most are 256",
            ),
            (&["Sex"][..], "bob", &long, "`Sex` of row 2 has 257 bytes"),
        ] {
            let got = why(names, key, value);
            assert!(got.contains(want), "{got}");
        }
        let many: Vec<String> = (0..17).map(|it| it.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(why(&many, "bob", "m").contains("there are 17, at most are 16"));
    }
}
