//! Labels: what turned out to be true, told later.
//!
//! R1. A label is kept as it was told, with a number that grows: of several for one prediction the one with
//!     the greatest number holds, and the others are its history.
//! R2. Whether there is such a prediction is asked when the two are read together, never when a label comes:
//!     it may come first.

use domain::PredictionId;

use crate::columns::{Reader, Unreadable};
use crate::record::{LABELS, TEXT_BYTES_MAX};

/// Which prediction a label is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The prediction with this id.
    Id(PredictionId),
    /// The row of the request to which its caller gave this id.
    Request {
        /// The caller's own id.
        id: String,
        /// The row.
        row: u32,
    },
    /// Predictions with this key that were made at or after `from_us` and before `to_us`, in microseconds
    /// since 1970.
    Key {
        /// The key.
        key: String,
        /// The beginning of the window.
        from_us: i64,
        /// Its end.
        to_us: i64,
    },
}

/// What turned out to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Of which prediction.
    pub target: Target,
    /// A class's name, or a number as text.
    pub value: String,
    /// When it became known, in microseconds since 1970.
    pub at_us: i64,
}

/// A label that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) label: Label,
    pub(crate) number: i64,
}

/// The longest text in a label.
pub const LABEL_BYTES_MAX: usize = TEXT_BYTES_MAX;

/// Labels of one record.
pub(crate) const LABELS_A_RECORD: usize = 1024;

/// Labels of one model as a record of the log. Texts are no longer than [`LABEL_BYTES_MAX`].
pub(crate) fn encode(model: &str, first_number: i64, labels: &[Label], buffer: &mut Vec<u8>) {
    buffer.push(LABELS);
    text(model, buffer);
    buffer.extend_from_slice(&first_number.to_le_bytes());
    let count = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&count.to_le_bytes());
    for label in labels {
        match &label.target {
            Target::Id(id) => {
                buffer.push(0);
                buffer.extend_from_slice(&id.request);
                buffer.extend_from_slice(&id.row.to_le_bytes());
            }
            Target::Request { id, row } => {
                buffer.push(1);
                text(id, buffer);
                buffer.extend_from_slice(&row.to_le_bytes());
            }
            Target::Key {
                key,
                from_us,
                to_us,
            } => {
                buffer.push(2);
                text(key, buffer);
                buffer.extend_from_slice(&from_us.to_le_bytes());
                buffer.extend_from_slice(&to_us.to_le_bytes());
            }
        }
        text(&label.value, buffer);
        buffer.extend_from_slice(&label.at_us.to_le_bytes());
    }
}

fn text(text: &str, buffer: &mut Vec<u8>) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX - 1);
    buffer.extend_from_slice(&len.to_le_bytes());
    buffer.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}

/// Whose predictions the labels of a record are of.
pub(crate) fn model_of(record: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(record);
    (reader.byte().ok()? == LABELS).then_some(())?;
    reader.text().ok()?
}

/// The labels of a record, and whose predictions they are of.
pub(crate) fn decode(record: &[u8]) -> Result<(String, Vec<Kept>), Unreadable> {
    let mut reader = Reader::new(record);
    if reader.byte()? != LABELS {
        return Err(Unreadable);
    }
    let text = |reader: &mut Reader<'_>| Ok(reader.text()?.ok_or(Unreadable)?.to_owned());
    let model = text(&mut reader)?;
    let first = i64::from_le_bytes(reader.array()?);
    let count = reader.number()?;
    let mut labels = Vec::new();
    for index in 0..count {
        let target = match reader.byte()? {
            0 => Target::Id(PredictionId {
                request: reader.array()?,
                row: reader.number()?,
            }),
            1 => Target::Request {
                id: text(&mut reader)?,
                row: reader.number()?,
            },
            2 => Target::Key {
                key: text(&mut reader)?,
                from_us: i64::from_le_bytes(reader.array()?),
                to_us: i64::from_le_bytes(reader.array()?),
            },
            _ => return Err(Unreadable),
        };
        let value = text(&mut reader)?;
        let at_us = i64::from_le_bytes(reader.array()?);
        labels.push(Kept {
            label: Label {
                target,
                value,
                at_us,
            },
            number: first + i64::from(index),
        });
    }
    Ok((model, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_were_written() {
        let label = |target, value: &str| Label {
            target,
            value: value.to_owned(),
            at_us: 7,
        };
        let labels = vec![
            label(
                Target::Id(PredictionId {
                    request: [3; 16],
                    row: 9,
                }),
                "bad",
            ),
            label(
                Target::Request {
                    id: "order 7".to_owned(),
                    row: 1,
                },
                "",
            ),
            label(
                Target::Key {
                    key: "ü".to_owned(),
                    from_us: -5,
                    to_us: 5,
                },
                "1.5",
            ),
        ];
        let mut record = Vec::new();
        encode("credit", 40, &labels, &mut record);
        let (model, kept) = decode(&record).expect("a record");
        assert_eq!(model, "credit");
        let numbers: Vec<i64> = kept.iter().map(|it| it.number).collect();
        assert_eq!(numbers, [40, 41, 42]);
        let read: Vec<Label> = kept.into_iter().map(|it| it.label).collect();
        assert_eq!(read, labels);
        for end in 0..record.len() {
            assert_eq!(decode(&record[..end]), Err(Unreadable), "{end}");
        }
    }
}
