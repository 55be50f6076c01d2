//! The demo's callers: they ask about one row after another for as long as the demo lasts, and tell later what
//! turned out to be true.
//!
//! R1. The same rows in the same order every time, each request with the same key.
//! R2. A part that was gone through begins again; its keys do not.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use domain::limits::Limits;
use domain::{Reference, Signature};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use wire::api::ledger::LabelsRecord;

use super::bundle;
use crate::client::Client;
use crate::predict;
use crate::predict::answers;
use crate::predict::columns::{self, Chosen};

/// Rows of a request, and how often there is one: 600 rows a second.
const ROWS: usize = 4;
const EVERY: Duration = Duration::from_micros(6667);
/// Requests that are under way at the same time, at most.
const ASKING_MAX: usize = 8;
/// Who asks: each has a key of its own.
const DEALERS: u64 = 100_000;
/// What turned out to be true is told so long after the answer.
const LABELS_AFTER: Duration = Duration::from_secs(1);
/// How often labels are sent, and how many at a time.
const LABELS_EVERY: Duration = Duration::from_millis(500);
const LABELS_MAX: usize = 5000;

/// Whose applications come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Period {
    Reference,
    Drifted,
}

/// Rows and what turned out to be true of them.
struct Part {
    rows: RecordBatch,
    labels: Vec<String>,
}

/// An answer that waits for its label.
struct Waiting {
    since: Instant,
    period: Period,
    id: String,
    label: String,
}

/// The callers.
pub(super) struct Stream<'a> {
    client: &'a Client,
    model: &'a Reference,
    signature: Signature,
    chosen: Chosen,
    reference: Part,
    drifted: Part,
    period: Cell<Period>,
    /// Whether labels of the drifted part are told; those of the reference always are.
    labels_come: Cell<bool>,
    /// Requests of the period so far, and of all.
    place: Cell<usize>,
    requests: Cell<u64>,
    /// Requests of the reference period that have no answer yet.
    under_way: Cell<usize>,
    answered: Cell<u64>,
    labelled: Cell<u64>,
    waiting: RefCell<VecDeque<Waiting>>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        client: &'a Client,
        model: &'a Reference,
        signature: Signature,
    ) -> anyhow::Result<Self> {
        let reference = Part::read(bundle::REFERENCE, "reference.parquet")?;
        let drifted = Part::read(bundle::DRIFTED, "drifted.parquet")?;
        let schema = reference.rows.schema();
        let names: Vec<String> = schema.fields().iter().map(|it| it.name().clone()).collect();
        let chosen = columns::choose(&names, &signature)?;
        Ok(Self {
            client,
            model,
            signature,
            chosen,
            reference,
            drifted,
            period: Cell::new(Period::Reference),
            labels_come: Cell::new(true),
            place: Cell::new(0),
            requests: Cell::new(0),
            under_way: Cell::new(0),
            answered: Cell::new(0),
            labelled: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// From now on other people apply, and what becomes of them is not known yet.
    pub(super) fn drift(&self) {
        self.period.set(Period::Drifted);
        self.labels_come.set(false);
        self.place.set(0);
    }

    /// From now on it is told what became of them, of those before too.
    pub(super) fn tell_labels(&self) {
        self.labels_come.set(true);
    }

    /// Whether all that is answered from now on is about those other people.
    pub(super) fn has_drifted(&self) -> bool {
        let drifted = self.period.get() == Period::Drifted && self.place.get() > 0;
        drifted && self.under_way.get() == 0
    }

    /// Rows answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// Rows of which it was told what became of them.
    pub(super) fn labelled(&self) -> u64 {
        self.labelled.get()
    }

    /// Asks and tells until it is dropped, or something fails.
    pub(super) async fn flow(&self) -> anyhow::Result<Infallible> {
        let (mut next, mut labels) = (
            tokio::time::interval(EVERY),
            tokio::time::interval(LABELS_EVERY),
        );
        let (mut asking, mut telling) = (FuturesUnordered::new(), FuturesUnordered::new());
        loop {
            tokio::select! {
                _ = next.tick(), if asking.len() < ASKING_MAX => asking.push(self.ask()),
                Some(asked) = asking.next() => asked?,
                _ = labels.tick(), if telling.is_empty() => {
                    if let Some(due) = self.due() {
                        telling.push(self.tell(due));
                    }
                }
                Some(told) = telling.next() => told?,
            }
        }
    }

    /// One request.
    async fn ask(&self) -> anyhow::Result<()> {
        let (period, place, number) = (self.period.get(), self.place.get(), self.requests.get());
        self.place.set(place + 1);
        self.requests.set(number + 1);
        let part = match period {
            Period::Reference => &self.reference,
            Period::Drifted => &self.drifted,
        };
        let before = usize::from(period == Period::Reference);
        self.under_way.set(self.under_way.get() + before);
        let first = place * ROWS % (part.rows.num_rows() / ROWS * ROWS);
        let rows = part.rows.slice(first, ROWS);
        let inputs = columns::inputs(&rows, &self.chosen, &self.signature, first)?;
        let body = wire::oip::encode_request(None, &inputs, &[], &[])?;
        let path = predict::infer_path(self.model);
        let dealer = format!("dealer-{}", number % DEALERS);
        let answer = self.client.ask(&path, ("x-dealer", &dealer), body.into());
        let answer = answer.await.context("asking about an application")?;
        self.under_way.set(self.under_way.get() - before);
        let response = wire::oip::decode_response(&answer, None, &Limits::default())?;
        let ids = answers::ids(&response, ROWS)?;
        let ids = ids.column(0).as_string::<i32>();
        let since = Instant::now();
        let labels = &part.labels[first..first + ROWS];
        let waiting = ids.iter().flatten().zip(labels).map(|(id, label)| Waiting {
            since,
            period,
            id: id.to_owned(),
            label: label.clone(),
        });
        self.waiting.borrow_mut().extend(waiting);
        self.answered.set(self.answered.get() + ROWS as u64);
        Ok(())
    }

    /// Labels that are to be told now, in the order of their answers.
    fn due(&self) -> Option<Vec<Waiting>> {
        let mut waiting = self.waiting.borrow_mut();
        let is_due = |it: &Waiting| {
            it.since.elapsed() >= LABELS_AFTER
                && (it.period == Period::Reference || self.labels_come.get())
        };
        let count = waiting.iter().take(LABELS_MAX).take_while(|it| is_due(it));
        let count = count.count();
        (count > 0).then(|| waiting.drain(..count).collect())
    }

    async fn tell(&self, due: Vec<Waiting>) -> anyhow::Result<()> {
        let line = |it: &Waiting| {
            let line = serde_json::json!({ "prediction_id": it.id, "label": it.label });
            format!("{line}\n")
        };
        let body: String = due.iter().map(line).collect();
        let path = format!("/api/v1/labels?model={}", self.model.model);
        let record: LabelsRecord = self
            .client
            .deliver(&path, "application/jsonl", body.into())
            .await
            .context("telling what became of applicants")?;
        anyhow::ensure!(
            record.rejected.is_empty(),
            "the server did not take a label: {:?}",
            record.rejected.first()
        );
        self.labelled.set(self.labelled.get() + record.accepted);
        Ok(())
    }
}

impl Part {
    fn read(bytes: &'static [u8], name: &str) -> anyhow::Result<Self> {
        let rows = predict::read(Bytes::from_static(bytes), name)?;
        let labels = rows
            .column_by_name("label")
            .context("the rows have labels")?;
        let labels = cast(labels, &DataType::Utf8)?;
        let labels = labels.as_string::<i32>().iter();
        let labels = labels.map(|it| it.unwrap_or_default().to_owned()).collect();
        Ok(Self { rows, labels })
    }
}
