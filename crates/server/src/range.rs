//! Ranges of time, as callers say them.

use ::ledger::Range;
use domain::Refusal;
use domain::time::read_moment;

/// A moment that a text says, relative to now or by itself.
pub(crate) fn moment(
    name: &'static str,
    text: Option<&str>,
    now_us: i64,
) -> Result<Option<i64>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let read = read_moment(text, now_us);
    read.map(Some).ok_or_else(|| Refusal::Malformed {
        what: name,
        why: format!(
            "`{}` is not a moment such as `2026-11-24T10:00:00Z`, `10:00` or `7d`",
            text.chars().take(60).collect::<String>()
        ),
    })
}

/// The range of time that two texts say.
pub(crate) fn range_of(
    from: Option<&str>,
    to: Option<&str>,
    now_us: i64,
) -> Result<Range, Refusal> {
    let from_us = moment("`from`", from, now_us)?.unwrap_or(Range::ALL.from_us);
    let to_us = moment("`to`", to, now_us)?.unwrap_or(Range::ALL.to_us);
    if from_us >= to_us {
        return Err(Refusal::Malformed {
            what: "the range of time",
            why: "it ends before it begins".to_owned(),
        });
    }
    Ok(Range { from_us, to_us })
}

/// The ends of a range that are known.
pub(crate) fn known_ends(all: Range) -> (Option<i64>, Option<i64>) {
    let some = |it: i64, none: i64| (it != none).then_some(it);
    (
        some(all.from_us, Range::ALL.from_us),
        some(all.to_us, Range::ALL.to_us),
    )
}
