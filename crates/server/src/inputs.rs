//! What requests to a version may hold, and how many of their rows did not.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use ::ledger::Layout;
use ::ledger::baseline::{Baseline, Column};
use arc_swap::ArcSwap;
use domain::access::{Permission, Read};
use domain::contract::{Contract, Input, Known, Rule, Term};
use domain::monitor::inputs::{Inputs as Setting, Strictness};
use domain::{Refusal, Tensor};
use stats::drift::column::Cells;
use store::registry::actions::Action;
use store::registry::{BaselineRecord, UnixMillis};
use wire::api::inputs as api;

use crate::app::App;
use crate::running::Running;

/// A version's contract, and what was found against it since the version was loaded.
pub(crate) struct Inputs {
    setting: Setting,
    inputs: Vec<Input>,
    now: ArcSwap<Current>,
    /// What rules of alerts want of it. Held while another contract is made, so that none is lost.
    strict: Mutex<Strict>,
    rows: AtomicU64,
    /// Rows by the contract's places, which stay the same when a new baseline makes another contract.
    found: Box<[AtomicU64]>,
    /// The same by rule, without what is tolerated.
    violations: [AtomicU64; Rule::ALL.len()],
    looked: Mutex<Counts>,
}

/// How strict rules of alerts make the inputs of a model, and by which of their actions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strict {
    strictness: Strictness,
    by: Vec<i64>,
}

impl Strict {
    /// By the actions that stand.
    pub(crate) fn of(actions: &[Action]) -> Self {
        let all = actions.iter().filter_map(|it| Some((it.id, it.inputs?)));
        let (by, all): (Vec<i64>, Vec<Strictness>) = all.unzip();
        Self {
            strictness: all.into_iter().fold(Strictness::default(), Strictness::and),
            by,
        }
    }
}

struct Current {
    contract: Contract,
    /// What the baseline that it follows has; none where it follows none.
    reference: Option<Arc<Reference>>,
}

/// What a baseline has of columns.
struct Reference {
    made_at: UnixMillis,
    columns: BTreeMap<String, Known>,
}

impl Reference {
    fn of(kept: &BaselineRecord, baseline: &Baseline) -> Arc<Self> {
        let column = |it: &Column| (it.name.clone(), known(baseline.rows, it));
        Arc::new(Self {
            made_at: kept.made_at,
            columns: baseline.columns.iter().map(column).collect(),
        })
    }
}

/// Rows looked at, and those against each term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) found: Vec<u64>,
}

impl Inputs {
    /// Of a version that is loaded. A baseline that cannot be read is left alone: whoever asks for it is told why.
    pub(crate) fn new(
        setting: &Setting,
        layout: &Layout,
        kept: Option<&BaselineRecord>,
        strict: Strict,
    ) -> Self {
        let inputs = of(layout);
        let reference = kept.and_then(|it| {
            let baseline = Baseline::from_json(&it.body).ok()?;
            Some(Reference::of(it, &baseline))
        });
        let stricter = setting.at_least(strict.strictness);
        let contract = contract(&stricter, &inputs, reference.as_deref());
        let found = (0..contract.places()).map(|_| AtomicU64::new(0)).collect();
        Self {
            setting: setting.clone(),
            inputs,
            now: ArcSwap::from_pointee(Current {
                contract,
                reference,
            }),
            strict: Mutex::new(strict),
            rows: AtomicU64::new(0),
            found,
            violations: Default::default(),
            looked: Mutex::default(),
        }
    }

    /// Expects what this baseline has from now on. What was counted stays.
    pub(crate) fn follow(&self, kept: &BaselineRecord, baseline: &Baseline) {
        let strict = self.strict.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = Some(Reference::of(kept, baseline));
        self.store(&strict, reference);
    }

    /// Is as strict as rules of alerts want from now on. What was counted stays, and what is expected otherwise.
    pub(crate) fn enforce(&self, wanted: &Strict) {
        let mut strict = self.strict.lock().unwrap_or_else(PoisonError::into_inner);
        if *strict != *wanted {
            *strict = wanted.clone();
            self.store(&strict, self.now.load().reference.clone());
        }
    }

    fn store(&self, strict: &Strict, reference: Option<Arc<Reference>>) {
        let stricter = self.setting.at_least(strict.strictness);
        let contract = contract(&stricter, &self.inputs, reference.as_deref());
        self.now.store(Arc::new(Current {
            contract,
            reference,
        }));
    }

    fn strict(&self) -> Strict {
        let strict = self.strict.lock().unwrap_or_else(PoisonError::into_inner);
        strict.clone()
    }

    /// How many rules would be stricter than they are.
    fn gains(&self, strictness: Strictness) -> usize {
        let strictness = strictness.and(self.strict().strictness);
        let stricter = self.setting.at_least(strictness);
        let reference = self.now.load().reference.clone();
        let wanted = contract(&stricter, &self.inputs, reference.as_deref());
        let present: Vec<(usize, Term)> = self.terms();
        let is_gain = |place: usize, term: &Term| {
            let before = present.iter().find(|it| it.0 == place);
            !term.tolerated && before.is_none_or(|(_, it)| it.action < term.action)
        };
        wanted
            .terms()
            .filter(|(place, it)| is_gain(*place, it))
            .count()
    }

    /// When the baseline was made that is followed.
    pub(crate) fn follows(&self) -> Option<UnixMillis> {
        self.now.load().reference.as_ref().map(|it| it.made_at)
    }

    /// Looks at a request that fits the signature and counts what it finds: why it is refused, or what its answer is to
    /// warn of.
    pub(crate) fn check(&self, inputs: &[Tensor], rows: usize) -> Result<Option<String>, Refusal> {
        let current = self.now.load();
        let checked = current.contract.check(inputs, rows);
        self.rows.fetch_add(rows as u64, Relaxed);
        if checked.rows.is_empty() {
            return Ok(None);
        }
        for (place, term) in current.contract.terms() {
            let rows = checked.rows[place];
            if rows > 0 {
                self.found[place].fetch_add(rows, Relaxed);
                if !term.tolerated {
                    self.violations[term.rule as usize].fetch_add(rows, Relaxed);
                }
            }
        }
        match checked.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(checked.warning),
        }
    }

    /// Rows against each rule.
    pub(crate) fn violations(&self) -> [(&'static str, u64); Rule::ALL.len()] {
        Rule::ALL.map(|it| (it.name(), self.violations[it as usize].load(Relaxed)))
    }

    fn counts(&self) -> Counts {
        // Whoever counts at this moment has counted the rows first.
        let found = self.found.iter().map(|it| it.load(Relaxed)).collect();
        let rows = self.rows.load(Relaxed);
        Counts { rows, found }
    }

    /// What was counted since the last look of which there were so many rows; until then the look is not over.
    pub(crate) fn since_last_look(&self, rows_min: u64) -> Counts {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.counts();
        looked.found.resize(now.found.len(), 0);
        let since = Counts {
            rows: now.rows - looked.rows,
            found: now
                .found
                .iter()
                .zip(&looked.found)
                .map(|(now, before)| now - before)
                .collect(),
        };
        if since.rows >= rows_min {
            *looked = now;
        }
        since
    }

    /// What is looked for, and its place among what is counted.
    pub(crate) fn terms(&self) -> Vec<(usize, Term)> {
        let current = self.now.load();
        let terms = current.contract.terms();
        terms.map(|(place, term)| (place, term.clone())).collect()
    }

    fn record(&self, running: &Running) -> api::InputsRecord {
        let counts = self.counts();
        let rule = |(place, term): (usize, Term)| api::InputRuleRecord {
            rule: term.rule.name().to_owned(),
            action: term.action.name().to_owned(),
            want: term.want,
            rows: counts.found[place],
            tolerated: term.tolerated,
            reference: term.reference.map(share),
            column: term.column,
        };
        api::InputsRecord {
            model: running.model.to_string(),
            version: running.version.number(),
            rows: counts.rows,
            baseline_ms: self.follows().map(|it| it.0),
            stricter_by: self.strict().by,
            rules: self.terms().into_iter().map(rule).collect(),
        }
    }
}

/// Whether a rule of an alert could make the version that has the traffic stricter; else why not.
pub(crate) fn could_be_stricter(running: &Running, strictness: Strictness) -> Result<(), Refusal> {
    if running.inputs.gains(strictness) > 0 {
        return Ok(());
    }
    let reason = match running.inputs.terms().is_empty() {
        true => "neither a baseline nor `monitor.inputs` says what they may hold",
        false => "they are checked as strictly already",
    };
    let (model, version) = (&running.model, running.version);
    let why = format!("nothing about the inputs of {model}:{version} would be stricter: {reason}");
    Err(Refusal::Conflict { why })
}

/// A part of rows; 0 of none.
pub(crate) fn share((part, all): (u64, u64)) -> f64 {
    part as f64 / all.max(1) as f64
}

/// What requests to a version may hold.
pub(crate) async fn show(
    app: &App,
    permission: Permission<Read>,
    reference: &domain::Reference,
) -> Result<api::InputsRecord, Refusal> {
    let running = app.look(permission, reference).await?;
    Ok(running.inputs.record(&running))
}

/// The inputs of a model, as its contract sees them.
pub(crate) fn of(layout: &Layout) -> Vec<Input> {
    let input = |(datatype, columns): (domain::DataType, &[String])| Input {
        datatype,
        columns: columns.to_vec(),
    };
    layout.input_columns().map(input).collect()
}

fn contract(setting: &Setting, inputs: &[Input], reference: Option<&Reference>) -> Contract {
    let known = |name: &str| reference?.columns.get(name).cloned();
    Contract::new(setting, inputs, reference.map(|_| &known as _))
}

/// What a baseline has of a column.
fn known(rows: u64, column: &Column) -> Known {
    let missing = column.counted.missing;
    match &column.cells {
        Cells::Numbers(bins) => Known {
            rows,
            missing,
            // Cells of predictions were made of these very rows; of others some may lie outside.
            range: bins
                .range()
                .filter(|_| bins.out_of_range(&column.counted) == 0),
            levels: None,
        },
        Cells::Levels(levels) => {
            let names = levels.names();
            let others = column.counted.cells[names.len()];
            // A request has no other way to say that a text is missing.
            let empty = names.binary_search_by(|it| it.as_str().cmp(""));
            let empty = empty.map_or(0, |it| column.counted.cells[it]);
            Known {
                rows,
                missing: missing + empty,
                range: None,
                levels: (others == 0).then(|| names.to_vec()),
            }
        }
    }
}
