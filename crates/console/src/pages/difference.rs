//! What differs between two versions.

use std::collections::BTreeMap;
use std::time::Duration;

use similar::{ChangeTag, TextDiff};
use wire::api::{FileRecord, LengthRecord, SignatureRecord, TensorRecord, VersionDetailRecord};

use crate::show;

/// Lines around a difference that are shown.
const AROUND: usize = 3;
/// Lines of a difference that are shown.
const LINES_MAX: usize = 2000;
/// For so long a small difference is looked for, before a larger one is taken.
const TIME_MAX: Duration = Duration::from_millis(50);

/// What differs.
pub(super) struct Difference {
    pub(super) before: u32,
    pub(super) files: Vec<Changed>,
    pub(super) signature: Vec<Changed>,
    pub(super) manifest: Vec<Line>,
    /// How many bytes all files have, before and after.
    pub(super) sizes: (u64, u64),
}

/// Something that is not the same: `added`, `removed`, `changed`.
pub(super) struct Changed {
    pub(super) name: String,
    pub(super) how: &'static str,
    pub(super) before: String,
    pub(super) after: String,
}

/// A line of a difference: `+`, `-`, a space, or `…` where lines are left out.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) sign: char,
    pub(super) text: String,
}

impl Difference {
    pub(super) fn between(before: &VersionDetailRecord, after: &VersionDetailRecord) -> Self {
        let file = |it: &FileRecord| {
            let said = format!("{} {}", show::short(&it.digest), show::bytes(it.size));
            // The whole digest counts, and not what is shown of it.
            (it.path.clone(), (it.digest.clone(), said))
        };
        let files = |of: &VersionDetailRecord| of.files.iter().map(file).collect();
        let size = |of: &VersionDetailRecord| of.files.iter().map(|it| it.size).sum();
        Self {
            before: before.version.version,
            files: changed(files(before), files(after)),
            signature: changed(tensors(&before.signature), tensors(&after.signature)),
            manifest: lines(&before.manifest, &after.manifest),
            sizes: (size(before), size(after)),
        }
    }

    /// What there are lists of.
    pub(super) fn changes(&self) -> [(&'static str, &Vec<Changed>); 2] {
        [("Signature", &self.signature), ("Files", &self.files)]
    }

    pub(super) fn is_none(&self) -> bool {
        self.files.is_empty() && self.signature.is_empty() && self.manifest.is_empty()
    }
}

/// By name, what is compared and what is said of it.
type Things = BTreeMap<String, (String, String)>;

fn tensors(signature: &SignatureRecord) -> Things {
    let inputs = signature.inputs.iter().map(|it| ("input", it));
    let outputs = signature.outputs.iter().map(|it| ("output", it));
    let tensors = inputs.chain(outputs).map(|(side, tensor)| {
        let mut said = format!("{} {}", tensor.datatype, shape(tensor));
        if !tensor.features.is_empty() {
            said.push_str(&format!(" of {}", tensor.features.join(", ")));
        }
        (format!("{side} {}", tensor.name), (said.clone(), said))
    });
    tensors.collect()
}

/// A tensor's shape in words: `any × 20`.
pub(super) fn shape(tensor: &TensorRecord) -> String {
    let lengths = tensor.shape.iter().map(|it| match it {
        LengthRecord::Number(-1) => "any".to_owned(),
        LengthRecord::Number(length) => length.to_string(),
        LengthRecord::Name(name) => name.clone(),
    });
    let lengths: Vec<String> = lengths.collect();
    match lengths.is_empty() {
        true => "one value".to_owned(),
        false => lengths.join(" × "),
    }
}

fn changed(before: Things, after: Things) -> Vec<Changed> {
    let mut all = Vec::new();
    for (name, (was, said)) in &before {
        let (how, now) = match after.get(name) {
            None => ("removed", String::new()),
            Some((is, _)) if is == was => continue,
            Some((_, now)) => ("changed", now.clone()),
        };
        all.push(Changed {
            name: name.clone(),
            how,
            before: said.clone(),
            after: now,
        });
    }
    let new = after
        .into_iter()
        .filter(|(name, _)| !before.contains_key(name));
    all.extend(new.map(|(name, (_, now))| Changed {
        name,
        how: "added",
        before: String::new(),
        after: now,
    }));
    all
}

/// The lines that differ, and a few around them; none where nothing does.
pub(super) fn lines(before: &str, after: &str) -> Vec<Line> {
    let diff = TextDiff::configure()
        .timeout(TIME_MAX)
        .diff_lines(before, after);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(AROUND) {
        let first = group.first();
        if !lines.is_empty() || first.is_some_and(|it| it.new_range().start > 0) {
            lines.push(Line {
                sign: '…',
                text: String::new(),
            });
        }
        for change in group.iter().flat_map(|it| diff.iter_changes(it)) {
            lines.push(Line {
                sign: match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                },
                text: change.value().trim_end_matches(['\r', '\n']).to_owned(),
            });
            if lines.len() >= LINES_MAX {
                return lines;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str) -> String {
        let lines = lines(before, after).into_iter();
        let lines: Vec<String> = lines.map(|it| format!("{}{}", it.sign, it.text)).collect();
        lines.join("\n")
    }

    #[test]
    fn lines_that_differ_are_told_with_those_around_them() {
        let before = "a\nb\nc\nd\ne\nf\n";
        assert_eq!(shown(before, before), "");
        assert_eq!(
            shown(before, "a\nb\nc\nd\nE\nf\ng\n"),
            "…\n b\n c\n d\n-e\n+E\n f\n+g"
        );
        assert_eq!(shown("", "x: <script>\n"), "+x: <script>");
    }

    #[test]
    fn what_is_large_is_bounded() {
        let many = |of: &str| format!("{of}\n").repeat(LINES_MAX * 2);
        assert_eq!(lines(&many("a"), &many("b")).len(), LINES_MAX);
    }

    #[test]
    fn things_are_added_removed_and_changed_by_name() {
        let things = |all: &[(&str, &str)]| -> Things {
            let all = all.iter();
            all.map(|(name, it)| ((*name).to_owned(), ((*it).to_owned(), (*it).to_owned())))
                .collect()
        };
        let all = changed(
            things(&[("a", "1"), ("b", "2"), ("c", "3")]),
            things(&[("b", "2"), ("c", "4"), ("d", "5")]),
        );
        let all: Vec<String> = all
            .iter()
            .map(|it| format!("{} {} {}>{}", it.how, it.name, it.before, it.after))
            .collect();
        assert_eq!(all, ["removed a 1>", "changed c 3>4", "added d >5"]);
    }
}
