//! What each key did while versions shared a model's traffic, row by row: what an experiment is made of.
//!
//! R1. What is told of a time all of whose requests have ended is the same whenever it is read, but for labels that came since.
//! R2. A unit is a key, or a request without one. The key of the first of a request's rows is that of all, as the first row
//!     says who answers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use domain::Refusal;
use domain::rollout::traffic::Arm;

use crate::arms::Unit;
use crate::files::{Entry, Kind};
use crate::layout::{Layout, Meaning, posted_as};
use crate::quality::{self, Judged, Judging, Truths, answer_columns};
use crate::read::{Ids, Range, Snapshot, Unsealed, within};
use crate::requests::{Requests, UnitOf};

/// What is asked of a model's rows.
#[derive(Clone, Copy, Debug)]
pub struct UnitsAsked<'a> {
    /// The model.
    pub model: &'a str,
    /// Rows of requests that came then.
    pub came: Range,
    /// The versions of an experiment by the numbers of their arms. Without any all rows with a key are told, whichever
    /// version answered them, as of arm 0.
    pub versions: &'a [u32],
    /// What is told of each row.
    pub of: UnitValue<'a>,
}

/// What is told of a row. Requests that failed with a code that is `blameless` are their callers' mistakes.
#[derive(Clone, Copy, Debug)]
pub enum UnitValue<'a> {
    /// 1 where its request failed, else 0.
    Failed {
        /// See above.
        blameless: &'a [&'a str],
    },
    /// 1 where its answer took longer than that or none came, else 0.
    Over {
        /// The budget in microseconds.
        us: u64,
        /// See above.
        blameless: &'a [&'a str],
        /// The one among them which says that the caller waited no longer: after the budget that is slow, too.
        gave_up: &'a str,
    },
    /// What it cost.
    Cost,
    /// What its label says of it.
    Judged(fn(&Judged) -> Option<f64>),
    /// What was posted of it as this metric; of several values the last one.
    Posted(&'a str),
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitRow {
    /// The number of the arm that answered it.
    pub arm: u8,
    /// Whose it is; it came when the row did.
    pub unit: Unit,
    /// What is told of it; none where there is nothing to tell, or not yet.
    pub value: Option<f64>,
}

const COLUMNS: [&str; 9] = [
    "prediction_id",
    "row",
    "time",
    "arm",
    "key",
    "request_id",
    "code",
    "total_us",
    "cost",
];

impl Snapshot<'_> {
    /// Calls `take` with each row. Blocks for as long as it takes.
    pub fn units(
        &self,
        asked: &UnitsAsked<'_>,
        mut take: impl FnMut(UnitRow),
    ) -> Result<(), Refusal> {
        let arms: Vec<String> = (0..asked.versions.len())
            .map(|it| Arm::Version(u8::try_from(it).unwrap_or(u8::MAX)).to_string())
            .collect();
        let reading = Reading { asked, arms };
        let mut files = self.files(Kind::Predictions, asked.model, asked.came);
        files.retain(|it| reading.has(&self.layout(it)));
        match asked.of {
            UnitValue::Judged(judge) => self.units_judged(&reading, &files, judge, &mut take),
            UnitValue::Posted(metric) => self.units_posted(&reading, &files, metric, &mut take),
            UnitValue::Failed { .. } | UnitValue::Over { .. } | UnitValue::Cost => {
                self.units_done(&reading, &files, &mut take)
            }
        }
    }

    /// By what the rows themselves say.
    fn units_done(
        &self,
        reading: &Reading<'_>,
        files: &[Arc<Entry>],
        take: &mut impl FnMut(UnitRow),
    ) -> Result<(), Refusal> {
        for entry in files {
            let layout = self.layout(entry);
            let mut unit_of = UnitOf::default();
            self.read(entry, &COLUMNS, Ids::ALL, reading.asked.came, |batch| {
                reading.rows(&layout, &batch, &mut unit_of, |_| None, take)
            })?;
        }
        for unsealed in self.units_of_log(reading)? {
            let batch = within(&unsealed.batch, Ids::ALL, reading.asked.came)?;
            reading.rows(
                &unsealed.layout,
                &batch,
                &mut UnitOf::default(),
                |_| None,
                take,
            )?;
        }
        Ok(())
    }

    /// By the labels that name them.
    fn units_judged(
        &self,
        reading: &Reading<'_>,
        files: &[Arc<Entry>],
        judge: fn(&Judged) -> Option<f64>,
        take: &mut impl FnMut(UnitRow),
    ) -> Result<(), Refusal> {
        let (model, came) = (reading.asked.model, reading.asked.came);
        let log = self.of_log(model)?;
        let unsealed = || log.rows.iter().filter(|it| reading.has(&it.layout));
        let layouts = self.layouts_of(files, unsealed());
        let mut meanings: Vec<&Meaning> = Vec::new();
        for layout in &layouts {
            if !meanings.contains(&&layout.meaning) && !matches!(layout.meaning, Meaning::None) {
                meanings.push(&layout.meaning);
            }
        }
        let windows = quality::windows(self, model, files)?;
        for meaning in meanings {
            let mut truths = Truths::none(self, model, meaning, &log.labels)?;
            for window in &windows {
                truths.turn_to(self, model, *window, &log.labels)?;
                let mut rows = |layout: &Arc<Layout>, batch: &RecordBatch, unit_of: &mut UnitOf| {
                    let judging = Judging::of(layout, batch)?;
                    let value = |row: usize| {
                        let truth = truths.of(batch, row)?;
                        judge(&judging.row(row, truth)?)
                    };
                    reading.rows(layout, batch, unit_of, value, take)
                };
                for entry in files {
                    let layout = self.layout(entry);
                    if layout.meaning != *meaning {
                        continue;
                    }
                    let answers = answer_columns(meaning);
                    let answers = answers.iter().map(String::as_str);
                    let columns: Vec<&str> = COLUMNS.into_iter().chain(answers).collect();
                    let mut unit_of = UnitOf::default();
                    self.read(entry, &columns, *window, came, |batch| {
                        rows(&layout, &batch, &mut unit_of)
                    })?;
                }
                for unsealed in unsealed().filter(|it| it.layout.meaning == *meaning) {
                    let batch = within(&unsealed.batch, *window, came)?;
                    rows(&unsealed.layout, &batch, &mut UnitOf::default())?;
                }
            }
        }
        Ok(())
    }

    /// By the values of a metric that name them, which are kept as labels are. What answers mean is not asked.
    fn units_posted(
        &self,
        reading: &Reading<'_>,
        files: &[Arc<Entry>],
        metric: &str,
        take: &mut impl FnMut(UnitRow),
    ) -> Result<(), Refusal> {
        let (table, came) = (posted_as(reading.asked.model, metric), reading.asked.came);
        let values = self.labels_of_log(&table)?;
        let log = self.units_of_log(reading)?;
        let mut truths = Truths::none(self, &table, &Meaning::None, &values)?;
        for window in quality::windows(self, &table, files)? {
            truths.turn_to(self, &table, window, &values)?;
            let mut rows = |layout: &Layout, batch: &RecordBatch, unit_of: &mut UnitOf| {
                let value = |row: usize| truths.of(batch, row);
                reading.rows(layout, batch, unit_of, value, take)
            };
            for entry in files {
                let layout = self.layout(entry);
                let mut unit_of = UnitOf::default();
                self.read(entry, &COLUMNS, window, came, |batch| {
                    rows(&layout, &batch, &mut unit_of)
                })?;
            }
            for unsealed in &log {
                let batch = within(&unsealed.batch, window, came)?;
                rows(&unsealed.layout, &batch, &mut UnitOf::default())?;
            }
        }
        Ok(())
    }

    /// The rows that are not sealed, of the arms alone.
    fn units_of_log(&self, reading: &Reading<'_>) -> Result<Vec<Unsealed>, Refusal> {
        self.of_log_some(
            reading.asked.model,
            reading.asked.came,
            |_| true,
            |layout, head| reading.has(layout) && reading.arm(layout.version, head.arm()).is_some(),
        )
    }
}

struct Reading<'a> {
    asked: &'a UnitsAsked<'a>,
    /// The names of the arms.
    arms: Vec<String>,
}

impl Reading<'_> {
    /// Whether rows of the layout are asked for.
    fn has(&self, layout: &Layout) -> bool {
        let versions = self.asked.versions;
        versions.is_empty() || versions.contains(&layout.version)
    }

    /// The number of the arm by which a version answered; none where it is no arm of the experiment.
    fn arm(&self, version: u32, arm: &str) -> Option<u8> {
        if self.arms.is_empty() {
            return Some(0);
        }
        let place = self.arms.iter().position(|it| it == arm)?;
        (self.asked.versions[place] == version).then_some(u8::try_from(place).ok()?)
    }

    fn rows(
        &self,
        layout: &Layout,
        batch: &RecordBatch,
        unit_of: &mut UnitOf,
        told: impl Fn(usize) -> Option<f64>,
        take: &mut impl FnMut(UnitRow),
    ) -> Result<(), Refusal> {
        let requests = Requests::of(batch)?;
        for row in 0..batch.num_rows() {
            let unit = unit_of.row(&requests, row);
            let name = requests.arms.at(row).unwrap_or_default();
            let Some(arm) = self.arm(layout.version, name) else {
                continue;
            };
            if self.arms.is_empty() && !unit.is_key {
                continue;
            }
            let code = requests.codes.at(row);
            let value = match self.asked.of {
                UnitValue::Judged(_) | UnitValue::Posted(_) => {
                    code.map_or_else(|| told(row), |_| None)
                }
                UnitValue::Failed { blameless } => match code {
                    Some(code) if blameless.contains(&code) => None,
                    code => Some(f64::from(u8::from(code.is_some()))),
                },
                UnitValue::Over {
                    us,
                    blameless,
                    gave_up,
                } => {
                    let is_over = requests.total_us(row) > us;
                    match code {
                        None => Some(f64::from(u8::from(is_over))),
                        Some(code) if code == gave_up => is_over.then_some(1.0),
                        Some(code) if blameless.contains(&code) => None,
                        Some(_) => Some(1.0),
                    }
                }
                UnitValue::Cost => requests.cost(row),
            };
            take(UnitRow { arm, unit, value });
        }
        Ok(())
    }
}
