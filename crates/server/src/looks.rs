//! What monitors found, as it is kept: every look that found something is written down, and the newest findings of each
//! monitor are at hand.
//!
//! R1. What is at hand was written down: nobody is shown what a restart forgets.
//! R2. Monitors that follow series look often and find the same: of theirs only a look with another verdict is kept, and
//!     at most one a minute.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::alert::{Finding, Moment, Verdict};
use domain::{ModelName, Refusal, Version};
use store::Store;
use store::registry::looks::{Kind, Look, NewLook};

use crate::app::App;
use crate::clock::wall_ms;
use crate::running::Running;

/// Findings of one look that are kept; of more those that are fine give way first.
const FINDINGS_MAX: usize = 1000;
/// The shortest time between two looks of series that are kept.
const SERIES_EVERY: Duration = Duration::from_secs(60);

/// What a monitor found last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) at: Moment,
    pub(crate) version: Version,
    pub(crate) findings: Vec<Finding>,
}

/// What each monitor of a model found last. Some look both at windows and at series.
pub(crate) type Newest = BTreeMap<(Kind, String), Arc<Found>>;

/// The looks at every model.
pub(crate) struct Looks {
    newest: Mutex<HashMap<ModelName, Newest>>,
    /// How many there were since the server was started.
    count: AtomicU64,
}

impl Looks {
    /// Reads what the last process found.
    pub(crate) async fn open(store: &Store) -> Result<Self, Refusal> {
        let mut newest: HashMap<ModelName, Newest> = HashMap::new();
        for (model, look) in store.registry.newest_looks().await? {
            let Look {
                id: _,
                version,
                at,
                kind,
                findings,
            } = look;
            enter(
                newest.entry(model).or_default(),
                kind,
                (version, at),
                findings,
            );
        }
        Ok(Self {
            newest: Mutex::new(newest),
            count: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ModelName, Newest>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each monitor found last, of every model.
    pub(crate) fn newest(&self) -> HashMap<ModelName, Newest> {
        self.lock().clone()
    }

    /// Grows with each look.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Forgets a model that was removed.
    pub(crate) fn forget(&self, model: &ModelName) {
        self.lock().remove(model);
    }
}

/// Keeps what monitors found at a look at a version.
pub(crate) async fn keep(app: &App, running: &Running, kind: Kind, findings: Vec<Finding>) {
    let (model, at) = (&running.model, Moment(wall_ms()));
    if findings.is_empty() {
        return;
    }
    if kind == Kind::Series {
        let looks = app.looks.lock();
        let newest = looks.get(model);
        if newest.is_some_and(|it| !is_news(it, running.version, &findings, at)) {
            return;
        }
    }
    let findings = worst(findings);
    let look = NewLook {
        model,
        version: running.version,
        at,
        kind,
        findings: &findings,
    };
    match app.store.registry.keep_look(&look).await {
        // It was removed meanwhile.
        Err(Refusal::UnknownModel { .. }) => {}
        Err(refusal) => tracing::warn!(%refusal, %model, "what monitors found is not kept"),
        Ok(()) => {
            let mut looks = app.looks.lock();
            let newest = looks.entry(model.clone()).or_default();
            enter(newest, kind, (running.version, at), findings);
            app.looks.count.fetch_add(1, Relaxed);
        }
    }
}

/// Takes the findings of a look in by monitor.
fn enter(newest: &mut Newest, kind: Kind, (version, at): (Version, Moment), all: Vec<Finding>) {
    let mut by_monitor: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in all {
        let of = by_monitor.entry(finding.monitor.clone()).or_default();
        of.push(finding);
    }
    for (monitor, findings) in by_monitor {
        let found = Found {
            at,
            version,
            findings,
        };
        newest.insert((kind, monitor), Arc::new(found));
    }
}

/// Whether what was found of series is to be kept (R2).
fn is_news(newest: &Newest, version: Version, findings: &[Finding], now: Moment) -> bool {
    let known = || newest.iter().filter(|((kind, _), _)| *kind == Kind::Series);
    let last = known().map(|(_, it)| it.at).max();
    if last.is_some_and(|last| now < last.after(SERIES_EVERY) && now >= last) {
        return false;
    }
    let before = known().filter(|(_, it)| it.version == version);
    let before = before.flat_map(|(_, it)| &it.findings).map(verdict);
    let before: BTreeSet<_> = before.collect();
    !findings.iter().map(verdict).all(|it| before.contains(&it))
}

fn verdict(finding: &Finding) -> (&str, &str, Option<&str>, &'static str) {
    let Finding {
        monitor,
        subject,
        segment,
        verdict,
        ..
    } = finding;
    (monitor, subject, segment.as_deref(), verdict.name())
}

/// As many findings as are kept, in their order.
fn worst(findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() <= FINDINGS_MAX {
        return findings;
    }
    let rank = |it: &Finding| match it.verdict {
        Verdict::Bad => 0,
        Verdict::Unknown => 1,
        Verdict::Fine => 2,
    };
    let mut places: Vec<usize> = (0..findings.len()).collect();
    places.sort_by_key(|it| rank(&findings[*it]));
    places.truncate(FINDINGS_MAX);
    let kept: BTreeSet<usize> = places.into_iter().collect();
    let all = findings.into_iter().enumerate();
    all.filter(|(place, _)| kept.contains(place))
        .map(|(_, it)| it)
        .collect()
}

#[cfg(test)]
mod tests {
    use domain::alert::{Evidence, Severity};

    use super::*;

    fn finding(subject: &str, verdict: Verdict) -> Finding {
        Finding {
            model: "m".parse().expect("a name"),
            version: None,
            monitor: "slo".to_owned(),
            subject: subject.to_owned(),
            segment: None,
            verdict,
            severity: Severity::Page,
            summary: String::new(),
            evidence: Evidence::new(),
        }
    }

    #[test]
    fn of_series_what_is_new_is_kept_once_a_minute() {
        let version = |it| Version::new(it).expect("a version");
        let mut newest = Newest::new();
        let found = |verdict| vec![finding("fast", verdict), finding("works", Verdict::Fine)];
        let first = found(Verdict::Fine);
        assert!(is_news(&newest, version(1), &first, Moment(0)));
        enter(&mut newest, Kind::Series, (version(1), Moment(0)), first);
        let news = |newest: &Newest, it, verdict, at| {
            is_news(newest, version(it), &found(verdict), Moment(at))
        };
        assert!(
            !news(&newest, 1, Verdict::Fine, 3_600_000),
            "it is the same"
        );
        assert!(!news(&newest, 1, Verdict::Bad, 59_999), "it is too soon");
        assert!(news(&newest, 1, Verdict::Bad, 60_000));
        assert!(news(&newest, 2, Verdict::Fine, 60_000), "another version");
        assert!(news(&newest, 1, Verdict::Bad, -5), "the clock was set back");
        // A look of other monitors says nothing of series.
        let of_windows = found(Verdict::Bad);
        enter(
            &mut newest,
            Kind::Windows,
            (version(1), Moment(60_000)),
            of_windows,
        );
        assert!(!news(&newest, 1, Verdict::Fine, 60_000));
        assert!(news(&newest, 1, Verdict::Bad, 60_000));
    }

    #[test]
    fn of_too_many_findings_those_that_are_fine_give_way() {
        let verdict = |place: usize| match place % 4 {
            0 => Verdict::Bad,
            1 => Verdict::Unknown,
            _ => Verdict::Fine,
        };
        let all = (0..1600).map(|it| finding(&it.to_string(), verdict(it)));
        let kept = worst(all.collect());
        assert_eq!(kept.len(), FINDINGS_MAX);
        let count = |verdict| kept.iter().filter(|it| it.verdict == verdict).count();
        let counts = Verdict::ALL.map(count);
        assert_eq!(counts, [400, 200, 400]);
        let places: Vec<usize> = kept
            .iter()
            .map(|it| it.subject.parse().expect("a number"))
            .collect();
        assert!(places.is_sorted());
    }
}
