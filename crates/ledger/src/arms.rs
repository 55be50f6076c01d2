//! What the arms of a rollout did, by windows of time: what its tests are made of.
//!
//! R1. A window has what ended in it. A row is in the ledger before its answer leaves, so a window that is over is whole
//!     soon, and is the same whenever it is read.
//! R2. A unit is a key, or a request without one: requests of a key go together, as do the rows of a request. Of its
//!     answers one is told, chosen by chance.
//! R3. What is read is what ended in the windows, however long the rollout is.
//! R4. What is answered unheard is asked only once its caller was answered: a pair is of the window in which the unheard
//!     answer ended, and the other one is in the ledger by then.

mod labelled;
mod posted;
mod rows;
pub(crate) mod shadow;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use domain::Refusal;
use domain::rollout::traffic::Arm;
use parquet::file::metadata::RowGroupMetaData;
use stats::random::mixed;

use crate::attributes::Attributes;
use crate::files::Kind;
use crate::layout::{Layout, unheard_of};
use crate::quality::{self, Judging, Scored};
use crate::read::{Ids, Range, Snapshot, group_times, may_have, number_of};
use crate::requests::{Ends, UnitOf};
use labelled::values_of;
pub use labelled::{Labelled, LabelledRow};
pub use posted::Posted;
use rows::{Cell, Rows, answer_columns, same};

/// What is asked of a model's rows.
#[derive(Clone, Debug)]
pub struct ArmsAsked<'a> {
    /// The model.
    pub model: &'a str,
    /// The version with which another is compared.
    pub incumbent: u32,
    /// That other one.
    pub candidate: u32,
    /// When the first window begins. Requests that came earlier are not counted.
    pub from_us: i64,
    /// How long a window is.
    pub every_us: i64,
    /// The windows, by their numbers from 0.
    pub windows: std::ops::Range<i64>,
    /// The longest that a request takes.
    pub longest_us: i64,
    /// Requests that failed with one of these codes are not counted: they are their caller's mistakes.
    pub blameless: &'a [&'a str],
    /// The one among them which says that the caller waited no longer.
    pub gave_up: &'a str,
    /// How long answers may take: 64 budgets at most.
    pub over_us: &'a [u64],
    /// Whether the candidate's unheard answers are compared with those that callers got.
    pub pairs: bool,
    /// Columns whose values are told, or attributes.
    pub by: &'a [String],
    /// The attributes among those. A column of that name goes before, whichever version has it.
    pub attributes: Attributes,
    /// Whether scores are told, of the classes that were called too where there are several.
    pub scores: bool,
}

/// What ended in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmsWindow {
    /// Its number.
    pub number: i64,
    /// What the units of each side did; sorted by side and unit.
    pub sides: Vec<(Side, Did)>,
    /// When the requests came which the candidate answered unheard.
    pub shadowed_us: Vec<i64>,
    /// Of units that it answered unheard, whether it answered otherwise than the version which the caller heard. Sorted
    /// by unit.
    pub differs: Vec<(Unit, bool)>,
}

/// An arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The candidate with its share.
    Candidate,
    /// What it is compared with.
    Control,
    /// The candidate with all of the traffic.
    After,
}

/// What was assigned to an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// A hash of the key, or of the request.
    pub hash: u64,
    /// Whether it has a key: only then may it come again.
    pub is_key: bool,
    /// When its last request came.
    pub came_us: i64,
}

/// What a unit did in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Did {
    /// Which.
    pub unit: Unit,
    /// When the first of its requests came that ended in the window.
    pub first_us: i64,
    /// Whether a request was answered, or failed by no mistake of its caller's.
    pub counts: bool,
    /// Whether one failed so.
    pub failed: bool,
    /// A bit for each budget: whether an answer took longer, or none came. Set also where the caller waited longer than
    /// that and then no more.
    pub over: u64,
    /// What a row costs, on average; none without prices.
    pub cost: Option<f64>,
    /// One of its answers.
    pub answer: Option<Answer>,
    /// Whether that called positive, where there is such a class.
    pub called_positive: Option<bool>,
    /// The same with its score, where that is asked for and there is one.
    pub scored: Option<Scored>,
    /// The value that its row has in each column asked for; none where it has none.
    pub groups: Vec<Option<String>>,
}

/// An answer, as far as distributions of answers are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Its score of the positive class, or its number; finite.
    Number(f64),
    /// Its class.
    Class(Arc<str>),
}

/// Columns that are read of every row.
const COLUMNS: [&str; 8] = [
    "prediction_id",
    "row",
    "time",
    "arm",
    "key",
    "code",
    "total_us",
    "cost",
];

impl Snapshot<'_> {
    /// Reads what is asked: those windows in which something ended, ascending. Blocks for as long as it takes.
    pub fn arms(&self, asked: &ArmsAsked<'_>) -> Result<Vec<ArmsWindow>, Refusal> {
        assert!(asked.over_us.len() <= 64, "a bit for each budget");
        let at = |number: i64| {
            let since = number.saturating_mul(asked.every_us);
            asked.from_us.saturating_add(since)
        };
        let ended = Range {
            from_us: at(asked.windows.start),
            to_us: at(asked.windows.end),
        };
        let came_before = |it: i64| Range {
            from_us: it.saturating_sub(asked.longest_us).max(asked.from_us),
            to_us: ended.to_us,
        };
        let mut counting = Counting {
            asked,
            unit_of: UnitOf::default(),
            units: BTreeMap::new(),
            shadowed_us: BTreeMap::new(),
            shadow: HashMap::new(),
            pairs: BTreeMap::new(),
            attributes: self.attributes_of(asked),
        };
        let compared = [Arm::Candidate, Arm::Control, Arm::Traffic].map(|it| it.name());
        let mut may = May {
            ids: Ids::ALL,
            scan: came_before(ended.from_us),
            ended: Some(ended),
            arms: &compared.each_ref().map(|it| &**it),
        };
        self.each(
            asked,
            asked.model,
            &may,
            |layout, _, arm| side(asked, layout.version, arm).is_some(),
            |layout, batch| counting.take(layout, batch),
        )?;
        may.arms = &[];
        self.each(
            asked,
            &unheard_of(asked.model),
            &may,
            |layout, _, _| layout.version == asked.candidate,
            |layout, batch| counting.take_unheard(layout, batch),
        )?;
        // What callers heard of what was answered unheard (R4).
        let came = counting.shadow.values().map(|it| it.unit.came_us).min();
        if let Some(came_us) = came {
            let ids: BTreeSet<u128> = counting.shadow.keys().map(|it| it.0).collect();
            let may = May {
                ids: Ids::spanned_by(&ids),
                scan: came_before(came_us),
                ended: None,
                arms: &[],
            };
            self.each(
                asked,
                asked.model,
                &may,
                |layout, id, _| layout.version == asked.incumbent && ids.contains(&id),
                |layout, batch| counting.pair(layout, batch),
            )?;
        }
        Ok(counting.finish())
    }

    /// Calls `take` with those of the rows of both versions which a table may have and whose version, id and arm are
    /// wanted. The others cost little, and nothing where they lie together.
    fn each(
        &self,
        asked: &ArmsAsked<'_>,
        table: &str,
        may: &May<'_>,
        wanted: impl Fn(&Layout, u128, &str) -> bool,
        mut take: impl FnMut(&Layout, &RecordBatch) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        for entry in self.files(Kind::Predictions, table, may.scan) {
            let layout = self.layout(&entry);
            let ends = (entry.times_us.0, entry.ended_us.unwrap_or(i64::MAX));
            if ![asked.incumbent, asked.candidate].contains(&layout.version) || !may.has_ends(ends)
            {
                continue;
            }
            let mut answers = answer_columns(&layout);
            if asked.scores {
                answers.extend(quality::answer_columns(&layout.meaning));
            }
            let answers = answers.iter().chain(asked.by).map(String::as_str);
            let columns: Vec<&str> = COLUMNS.into_iter().chain(answers).collect();
            let group = |group: &RowGroupMetaData| {
                may_have(group, may.ids, may.scan)
                    && group_times(group).is_none_or(|it| may.has_ends(it.ended))
            };
            let wanted = |batch: &RecordBatch| {
                let ends = Ends::of(batch)?;
                let is_wanted = |row: usize| {
                    let arm = ends.arms.at(row).unwrap_or_default();
                    may.has(ends.times[row], ends.end_us(row)) && wanted(&layout, ends.id(row), arm)
                };
                let rows = 0..batch.num_rows();
                Ok(rows.map(|it| Some(is_wanted(it))).collect())
            };
            self.read_some(&entry, (&Ends::COLUMNS, &columns), group, wanted, |batch| {
                take(&layout, &batch)
            })?;
        }
        let rows = self.of_log_some(
            table,
            may.scan,
            |it| may.has_ends(it.times.ended) && it.arms.may_have(may.arms),
            |layout, head| {
                let (came, took) = (head.place.time_us, i64::from(head.total_us()));
                may.has(came, came.saturating_add(took))
                    && wanted(layout, number_of(&head.place.id), head.arm())
            },
        )?;
        for unsealed in rows {
            take(&unsealed.layout, &unsealed.batch)?;
        }
        Ok(())
    }
}

/// Which rows there may be to count.
struct May<'a> {
    ids: Ids,
    /// When their requests came.
    scan: Range,
    /// When they ended; none where that does not matter.
    ended: Option<Range>,
    /// The arms of all of them; empty where any has some.
    arms: &'a [&'a str],
}

impl May<'_> {
    fn has(&self, came_us: i64, end_us: i64) -> bool {
        self.scan.has(came_us) && self.ended.is_none_or(|it| it.has(end_us))
    }

    fn has_ends(&self, ends: (i64, i64)) -> bool {
        self.ended.is_none_or(|it| it.meets(ends))
    }
}

fn side(asked: &ArmsAsked<'_>, version: u32, arm: &str) -> Option<Side> {
    if version == asked.candidate && arm == Arm::Candidate.name() {
        return Some(Side::Candidate);
    }
    if version == asked.candidate && arm == Arm::Traffic.name() {
        return Some(Side::After);
    }
    (version == asked.incumbent && arm == Arm::Control.name()).then_some(Side::Control)
}

/// What is counted so far.
struct Counting<'a> {
    asked: &'a ArmsAsked<'a>,
    unit_of: UnitOf,
    units: BTreeMap<(i64, Side, u64), Sum>,
    shadowed_us: BTreeMap<i64, Vec<i64>>,
    shadow: HashMap<(u128, u32), Unheard>,
    /// Of each window and unit the pair that was chosen, and what chose it.
    pairs: BTreeMap<(i64, u64), (u64, Unit, bool)>,
    attributes: Attributes,
}

struct Sum {
    did: Did,
    rows: u64,
    cost: f64,
    /// What chose the answer: the least holds.
    chosen: u64,
}

/// What the candidate answered unheard, of one row.
struct Unheard {
    unit: Unit,
    end_us: i64,
    /// None where it failed.
    cells: Option<Vec<Cell>>,
}

impl Counting<'_> {
    fn number(&self, end_us: i64) -> i64 {
        let since = end_us.saturating_sub(self.asked.from_us);
        since.div_euclid(self.asked.every_us)
    }

    fn take(&mut self, layout: &Layout, batch: &RecordBatch) -> Result<(), Refusal> {
        let asked = self.asked;
        let rows = Rows::of(layout, batch)?;
        let groups = values_of(batch, asked.by, &self.attributes)?;
        let scores = asked.scores.then(|| Judging::of(layout, batch));
        let scores = scores.transpose()?;
        for row in 0..batch.num_rows() {
            let (id, came_us) = (rows.id(row), rows.times[row]);
            let arm = rows.arms.at(row).unwrap_or_default();
            let (took, end_us) = (rows.total_us(row), rows.end_us(row));
            let unit = self.unit_of.row(&rows, row);
            let Some(side) = side(asked, layout.version, arm) else {
                continue;
            };
            let code = rows.codes.at(row);
            let is_mistake = code.is_some_and(|it| asked.blameless.contains(&it));
            let over = asked
                .over_us
                .iter()
                .enumerate()
                .filter(|(_, it)| took > **it);
            let over = over.fold(0, |bits, (place, _)| bits | 1 << place);
            let place = (self.number(end_us), side, unit.hash);
            let sum = self.units.entry(place).or_insert_with(|| Sum::of(unit));
            sum.did.unit.came_us = sum.did.unit.came_us.max(came_us);
            sum.did.first_us = sum.did.first_us.min(came_us);
            match code {
                None => {
                    sum.did.counts = true;
                    sum.did.over |= over;
                    let hash = chance(id, rows.numbers[row]);
                    if hash <= sum.chosen
                        && let Some(answer) = rows.answer(row)
                    {
                        (sum.chosen, sum.did.answer) = (hash, Some(answer));
                        sum.did.called_positive = rows.called_positive(layout, row);
                        sum.did.scored = scores.as_ref().and_then(|it| it.scored(row, None));
                        sum.did.groups = groups.iter().map(|it| it[row].clone()).collect();
                    }
                }
                Some(_) if !is_mistake => {
                    sum.did.counts = true;
                    sum.did.failed = true;
                    sum.did.over = u64::MAX;
                }
                Some(code) if code == asked.gave_up => sum.did.over |= over,
                Some(_) => {}
            }
            if let Some(cost) = rows.cost(row) {
                sum.rows += 1;
                sum.cost += cost;
            }
        }
        Ok(())
    }

    fn take_unheard(&mut self, layout: &Layout, batch: &RecordBatch) -> Result<(), Refusal> {
        let rows = Rows::of(layout, batch)?;
        for row in 0..batch.num_rows() {
            let (unit, end_us) = (self.unit_of.row(&rows, row), rows.end_us(row));
            if rows.numbers[row] == 0 {
                let of_window = self.shadowed_us.entry(self.number(end_us)).or_default();
                of_window.push(rows.times[row]);
            }
            let code = rows.codes.at(row);
            let is_mistake = code.is_some_and(|it| self.asked.blameless.contains(&it));
            if self.asked.pairs && !is_mistake {
                let unheard = Unheard {
                    unit,
                    end_us,
                    cells: code.is_none().then(|| rows.cells(row)),
                };
                self.shadow
                    .insert((rows.id(row), rows.numbers[row]), unheard);
            }
        }
        Ok(())
    }

    /// Compares what callers heard with what the candidate said unheard.
    fn pair(&mut self, layout: &Layout, batch: &RecordBatch) -> Result<(), Refusal> {
        let rows = Rows::of(layout, batch)?;
        for row in 0..batch.num_rows() {
            let place = (rows.id(row), rows.numbers[row]);
            let Some(unheard) = self.shadow.get(&place) else {
                continue;
            };
            // What failed for its caller is nothing to compare with.
            if rows.codes.at(row).is_some() {
                continue;
            }
            let heard = rows.cells(row);
            let differs = unheard.cells.as_ref().is_none_or(|it| !same(it, &heard));
            let (unit, hash) = (unheard.unit, chance(place.0, place.1));
            let key = (self.number(unheard.end_us), unit.hash);
            let chosen = self.pairs.entry(key).or_insert((hash, unit, differs));
            if hash < chosen.0 {
                *chosen = (hash, unit, differs);
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<ArmsWindow> {
        let mut windows: BTreeMap<i64, ArmsWindow> = BTreeMap::new();
        let numbers = self.units.keys().map(|it| it.0);
        let numbers = numbers.chain(self.shadowed_us.keys().copied());
        let numbers: BTreeSet<i64> = numbers.chain(self.pairs.keys().map(|it| it.0)).collect();
        for number in numbers {
            let empty = ArmsWindow {
                number,
                ..ArmsWindow::default()
            };
            windows.insert(number, empty);
        }
        let mut put = |number: i64, fill: &mut dyn FnMut(&mut ArmsWindow)| {
            windows.get_mut(&number).into_iter().for_each(fill);
        };
        for ((number, side, _), sum) in self.units {
            let mut did = Some(sum.finish());
            put(number, &mut |it| {
                it.sides.extend(did.take().map(|did| (side, did)));
            });
        }
        for (number, mut came) in self.shadowed_us {
            came.sort_unstable();
            put(number, &mut |it| it.shadowed_us.append(&mut came));
        }
        for ((number, _), (_, unit, differs)) in self.pairs {
            put(number, &mut |it| it.differs.push((unit, differs)));
        }
        windows.into_values().collect()
    }
}

impl Sum {
    fn of(unit: Unit) -> Self {
        Self {
            did: Did {
                unit,
                first_us: unit.came_us,
                counts: false,
                failed: false,
                over: 0,
                cost: None,
                answer: None,
                called_positive: None,
                scored: None,
                groups: Vec::new(),
            },
            rows: 0,
            cost: 0.0,
            chosen: u64::MAX,
        }
    }

    fn finish(self) -> Did {
        let cost = (self.rows > 0).then(|| self.cost / self.rows as f64);
        Did { cost, ..self.did }
    }
}

/// What has nothing to do with what is in a row. The lower half of an id of version 7 is random.
fn chance(id: u128, row: u32) -> u64 {
    mixed((id as u64) ^ u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
