//! Where the records of each model lie in a segment of the log: who asks about one model reads little of the others.
//!
//! R1. It grows when somebody asks, by what was appended since somebody asked before: a record is looked at once.
//! R2. What is no whole record is in no index. Sealing reads the segment as a whole, finds and counts it.
//! R3. Of predictions the heads are believed: a damaged one makes its piece seem to have what it has not, and whoever reads
//!     the piece finds the damage. Records that name models are checked.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::columns::{Place, arm, total_us};
use crate::label;
use crate::log::{Found, Frames, framed_bytes};
use crate::record;

/// A piece ends after so many bytes: it is told of each when its requests came and ended.
const PIECE_BYTES: usize = 128 << 10;
/// Other models' bytes between two records of a model that are read with them: asking the system twice costs more.
const GAP_BYTES: usize = 4096;

/// The records of a segment by model.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Up to here the segment was looked at.
    to: usize,
    /// The place in `models` of each layout's model, by the layout's number.
    layouts: BTreeMap<u32, usize>,
    /// In the order in which they came.
    models: Vec<OfModel>,
}

#[derive(Debug, Default)]
struct OfModel {
    name: String,
    /// Where its records lie, ascending.
    pieces: Vec<Piece>,
    /// Of all of its predictions.
    about: Option<About>,
}

#[derive(Debug)]
struct Piece {
    bytes: Range<usize>,
    /// Of predictions; none of other records, which have pieces of their own.
    about: Option<About>,
}

/// What is known of some requests together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) times: Times,
    pub(crate) arms: ArmsOf,
}

impl About {
    fn with(self, other: Self) -> Self {
        Self {
            times: self.times.with(other.times),
            arms: ArmsOf(self.arms.0 | other.arms.0),
        }
    }
}

/// The arms of some requests: a bit for each, which some may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArmsOf(u64);

impl ArmsOf {
    fn of(arm: &[u8]) -> Self {
        let hash = arm.iter().fold(0_u64, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        Self(1 << (hash % 61))
    }

    /// Whether one of these may be among them; of none that are named any may.
    pub(crate) fn may_have(self, arms: &[&str]) -> bool {
        let is_there = |it: &&str| self.0 & Self::of(it.as_bytes()).0 != 0;
        arms.is_empty() || arms.iter().any(is_there)
    }
}

/// When the first and the last of some requests came, and when they ended, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) came: (i64, i64),
    pub(crate) ended: (i64, i64),
}

impl Times {
    fn with(self, other: Self) -> Self {
        let both = |(a, b): (i64, i64), (c, d): (i64, i64)| (a.min(c), b.max(d));
        Self {
            came: both(self.came, other.came),
            ended: both(self.ended, other.ended),
        }
    }
}

impl Index {
    /// Up to which place of the segment it was made.
    pub(crate) fn to(&self) -> usize {
        self.to
    }

    /// Adds what the segment has from [`Index::to`] on; whole records, if it is written to still.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let is_checked = |it: &[u8]| it.first() != Some(&record::PREDICTIONS);
        for found in Frames::by_heads(bytes, is_checked) {
            let Found::Record { at, record, .. } = found else {
                continue;
            };
            let Some((model, about)) = self.about(record) else {
                continue;
            };
            let from = self.to + at;
            let to = from + framed_bytes(record.len());
            let of = &mut self.models[model];
            let joined = |before: Option<About>| match (before, about) {
                (Some(before), Some(about)) => Some(before.with(about)),
                (before, about) => before.or(about),
            };
            of.about = joined(of.about);
            match of.pieces.last_mut() {
                Some(last)
                    if from - last.bytes.end <= GAP_BYTES
                        && to - last.bytes.start <= PIECE_BYTES
                        && last.about.is_some() == about.is_some() =>
                {
                    last.bytes.end = to;
                    last.about = joined(last.about);
                }
                _ => of.pieces.push(Piece {
                    bytes: from..to,
                    about,
                }),
            }
        }
        self.to += bytes.len();
    }

    /// The place of the model that a record is about, and what is known of its predictions.
    fn about(&mut self, record: &[u8]) -> Option<(usize, Option<About>)> {
        match *record.first()? {
            record::LAYOUT => {
                let (number, layout) = record::read_layout(record)?;
                let model = self.place_of(&layout.model);
                self.layouts.insert(number, model);
                Some((model, None))
            }
            record::PREDICTIONS => {
                let place = Place::read(record).ok()?;
                let model = self.layouts.get(&place.layout)?;
                let came = place.time_us;
                let ended = came.saturating_add(i64::from(total_us(record)));
                let times = Times {
                    came: (came, came),
                    ended: (ended, ended),
                };
                let arms = ArmsOf::of(arm(record));
                Some((*model, Some(About { times, arms })))
            }
            record::LABELS => Some((self.place_of(label::model_of(record)?), None)),
            _ => None,
        }
    }

    fn place_of(&mut self, model: &str) -> usize {
        let known = self.models.iter().position(|it| it.name == model);
        known.unwrap_or_else(|| {
            self.models.push(OfModel {
                name: model.to_owned(),
                ..OfModel::default()
            });
            self.models.len() - 1
        })
    }

    /// When the first and the last prediction of a model were asked for; none where it has none.
    pub(crate) fn times_us(&self, model: &str) -> Option<(i64, i64)> {
        let of = self.models.iter().find(|it| it.name == model)?;
        of.about.map(|it| it.times.came)
    }

    /// The models that there are records of.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|it| it.name.as_str())
    }

    /// What to read of the first `end` bytes to have all records of some models, and little else. Of predictions those
    /// pieces suffice that `may` have what is wanted.
    pub(crate) fn pieces(
        &self,
        end: usize,
        wanted: impl Fn(&str) -> bool,
        may: impl Fn(&About) -> bool,
    ) -> Vec<Range<usize>> {
        let models = self.models.iter().filter(|it| wanted(&it.name));
        let pieces = models.flat_map(|it| it.pieces.iter());
        let pieces = pieces.filter(|it| it.about.as_ref().is_none_or(&may));
        let mut all: Vec<Range<usize>> = pieces.map(|it| it.bytes.clone()).collect();
        all.sort_unstable_by_key(|it| it.start);
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for piece in all.into_iter().take_while(|it| it.start < end) {
            let piece = piece.start..piece.end.min(end);
            match pieces.last_mut() {
                Some(last) if piece.start <= last.end + GAP_BYTES => {
                    last.end = last.end.max(piece.end)
                }
                _ => pieces.push(piece),
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use domain::rollout::traffic::Arm;

    use super::*;
    use crate::columns::TEXTS_AT;

    /// A record of predictions, as far as an index reads it.
    fn predictions(layout: u32, time_us: i64, bytes: usize) -> Vec<u8> {
        let mut record = vec![record::PREDICTIONS];
        record.extend(layout.to_le_bytes());
        record.extend([7; 16]);
        record.extend(time_us.to_le_bytes());
        record.extend(0u32.to_le_bytes());
        record.resize(record.len() + bytes, 1);
        record
    }

    fn layout(number: u32, model: &str) -> Vec<u8> {
        let mut layout = crate::tests::layout(&crate::tests::credit(&["Age"]), 1);
        model.clone_into(&mut layout.model);
        record::layout(number, &layout)
    }

    fn framed(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for it in records {
            bytes.extend(crate::log::head(it, 1));
            bytes.extend(it);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    #[test]
    fn the_pieces_of_a_model_have_all_of_its_records_however_they_were_asked_for() {
        let far = 2 * GAP_BYTES;
        let records = [
            layout(1, "a"),
            layout(2, "b"),
            predictions(1, 50, 10),
            predictions(2, 60, far),
            predictions(1, 40, 10),
            predictions(2, 70, far),
            predictions(3, 80, far),
            predictions(2, 65, far),
        ];
        let bytes = framed(&records);
        let mut ends = vec![0];
        for it in &records {
            ends.push(ends[ends.len() - 1] + framed_bytes(it.len()));
        }
        let mut whole = Index::default();
        whole.extend(&bytes);
        // Asked after each record, it is the same.
        let mut grown = Index::default();
        for ends in ends.windows(2) {
            grown.extend(&bytes[ends[0]..ends[1]]);
        }
        for index in [&whole, &grown] {
            assert_eq!(index.to(), bytes.len());
            assert_eq!(index.models().collect::<Vec<_>>(), ["a", "b"]);
            let of = |end: usize, model: &str| index.pieces(end, |it| it == model, |_| true);
            // What lies between is read with them where it is little.
            assert_eq!(of(bytes.len(), "a"), [ends[0]..ends[3], ends[4]..ends[5]]);
            // The record of a layout that nobody knows is nobody's.
            let of_b = [ends[1]..ends[6], ends[7]..ends[8]];
            assert_eq!(of(bytes.len(), "b"), of_b);
            // Who asked for less reads no further.
            assert_eq!(of(ends[3], "a").last(), Some(&(0..ends[3])));
            assert_eq!(
                index.pieces(bytes.len(), |_| true, |_| true),
                [0..ends[6], ends[7]..ends[8]]
            );
            assert!(of(bytes.len(), "c").is_empty());
            assert_eq!(index.times_us("a"), Some((40, 50)));
            assert_eq!(index.times_us("b"), Some((60, 70)));
            assert_eq!(index.times_us("c"), None);
        }
    }

    #[test]
    fn pieces_that_cannot_have_what_is_wanted_are_left_out() {
        // Each is a piece of its own; it came at its number and took as many microseconds as 0x0101_0101.
        let took = 0x0101_0101;
        let mut records = vec![layout(1, "a")];
        records.extend((0..4).map(|it| predictions(1, it, PIECE_BYTES)));
        let bytes = framed(&records);
        let mut index = Index::default();
        index.extend(&bytes);
        let first = framed_bytes(records[0].len());
        let size = framed_bytes(records[1].len());
        let of = |may: &dyn Fn(&About) -> bool| index.pieces(bytes.len(), |_| true, may);
        assert_eq!(of(&|_| false), vec![0..first; 1]);
        let came = of(&|it| it.times.came.0 == 1);
        assert_eq!(came, [0..first, first + size..first + 2 * size]);
        assert_eq!(of(&|it| it.times.ended == (1 + took, 1 + took)), came);
        let all = of(&|it| it.times.ended.1 > took || it.times.came.0 == 0);
        assert_eq!(all, vec![0..bytes.len(); 1]);
    }

    #[test]
    fn arms_are_told_apart() {
        let names = [
            Arm::Traffic,
            Arm::Incumbent,
            Arm::Control,
            Arm::Candidate,
            Arm::Shadow,
        ]
        .map(|it| it.name().into_owned());
        for (place, name) in names.iter().enumerate() {
            let only = ArmsOf::of(name.as_bytes());
            assert!(only.may_have(&[]));
            for (other_place, other) in names.iter().enumerate() {
                assert_eq!(only.may_have(&[other]), place == other_place);
            }
            assert!(only.may_have(&names.each_ref().map(|it| it.as_str())));
        }
        let record = |arm: &str| {
            let mut record = predictions(1, 5, 0);
            // To the end of its numbers.
            record.resize(TEXTS_AT, 0);
            record.extend(u16::try_from(arm.len()).expect("short").to_le_bytes());
            record.extend(arm.as_bytes());
            record
        };
        let mut index = Index::default();
        index.extend(&framed(&[
            layout(1, "a"),
            record("incumbent"),
            record("candidate"),
        ]));
        let of = |arms: &[&str]| {
            let pieces = index.pieces(usize::MAX, |_| true, |it| it.arms.may_have(arms));
            pieces.iter().map(Range::len).sum::<usize>()
        };
        assert!(of(&["candidate"]) > of(&["control"]));
        assert_eq!(of(&["incumbent", "control"]), of(&["candidate"]));
    }

    #[test]
    fn a_segment_is_looked_at_whole_however_great_its_records_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.log");
        let mut records = vec![layout(1, "a")];
        let sizes = [10, 300 << 10, 10, 1 << 20].into_iter().cycle();
        records.extend(
            sizes
                .take(12)
                .zip(0..)
                .map(|(bytes, it)| predictions(1, it, bytes)),
        );
        let mut bytes = framed(&records);
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            let segment = crate::log::open_old(&path, 1).expect("opened");
            let pieces = segment.pieces_of(|_| true, |_| true).expect("read");
            pieces.all().concat()
        };
        assert_eq!(of(&bytes), bytes);
        // One that is no record costs itself alone.
        let at = framed(&records[..6]).len();
        bytes[at] ^= 1;
        let mut rest = records.clone();
        rest.remove(6);
        assert_eq!(records[6].len(), predictions(1, 0, 300 << 10).len());
        assert_eq!(of(&bytes), framed(&rest));
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let records = [layout(1, "a"), predictions(1, 1, 10), predictions(1, 2, 10)];
        let mut bytes = framed(&records);
        let second = framed_bytes(records[0].len());
        bytes[second + 20] ^= 1;
        let of = |bytes: &[u8]| {
            let mut index = Index::default();
            index.extend(bytes);
            assert_eq!(index.to(), bytes.len());
            index
        };
        // One of predictions is in a piece, and whoever reads that finds it (R3).
        let pieces = of(&bytes).pieces(bytes.len(), |it| it == "a", |_| true);
        assert_eq!(pieces, vec![0..bytes.len(); 1]);
        let damaged = Frames::new(&bytes).filter(|it| matches!(it, Found::Damaged { .. }));
        assert_eq!(damaged.count(), 1);
        let mut nameless = bytes.clone();
        nameless[20] ^= 1;
        assert_eq!(of(&nameless).models().count(), 0);
        bytes.extend([9; 13]);
        assert_eq!(of(&bytes).times_us("a"), Some((2, 2)));
    }
}
