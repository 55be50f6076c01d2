//! The ledger as its users see it: rows go in, are sealed, merged, damaged, and come out.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use domain::ledger::Share;
use domain::signature::Rows as RowsRule;
use domain::{DataType, Dimension, Elements, PredictionId, Refusal, Signature, Tensor, TensorSpec};
use futures::TryStreamExt;

use super::*;

mod arms;
mod attributes;
mod baselines;
mod labelled;
mod metrics;
mod segments;
mod served;
mod shadow;
mod units;

/// 2026-11-24, noon.
const NOW_MS: i64 = 1_795_521_600_000;

fn settings() -> Settings {
    Settings {
        segment_bytes: 1 << 20,
        segments_max: 4,
        ..Settings::default()
    }
}

fn spec(name: &str, datatype: DataType, inner: &[Option<usize>]) -> TensorSpec {
    let dimension = |it: &Option<usize>| it.map_or(Dimension::Variable(None), Dimension::Fixed);
    let mut shape = vec![Dimension::Variable(None)];
    shape.extend(inner.iter().map(dimension));
    TensorSpec {
        name: name.to_owned(),
        datatype,
        shape,
        features: Vec::new(),
    }
}

/// Two numbers and a city in, two scores out.
pub(crate) fn credit(features: &[&str]) -> Signature {
    let mut x = spec("x", DataType::Fp32, &[Some(features.len())]);
    x.features = features.iter().map(|it| (*it).to_owned()).collect();
    let task = r#"{"type":"binary","positive":"bad","classes":["good","bad"],"scores":"p","threshold":0.5}"#;
    Signature {
        inputs: vec![x, spec("city", DataType::Bytes, &[Some(1)])],
        outputs: vec![spec("p", DataType::Fp32, &[Some(2)])],
        rows: RowsRule::Outermost,
        task: serde_json::from_str(task).expect("a task"),
    }
}

pub(crate) fn layout(signature: &Signature, version: u32) -> Layout {
    Layout::new(&Version {
        model: "credit",
        version,
        digest: format!("{version:064x}"),
        signature,
        key: None,
        caller: None,
    })
    .expect("a layout")
}

fn id(number: u64, day: i64) -> [u8; 16] {
    let ms = u64::try_from(NOW_MS + day * 86_400_000).expect("after 1970") + number / 1000;
    let mut id = [0; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

/// The score of a row, so that tests can tell what was recorded.
fn score(number: u64) -> f32 {
    (number % 100) as f32 / 100.0
}

struct Site {
    folder: tempfile::TempDir,
    ledger: Ledger,
    writer: Writer,
}

impl Site {
    fn new() -> Self {
        Self::at(tempfile::tempdir().expect("a folder"))
    }

    fn at(folder: tempfile::TempDir) -> Self {
        let ledger = Ledger::open(folder.path(), settings()).expect("a ledger");
        ledger.make_room();
        let writer = ledger.writer(layout(&credit(&["age", "income"]), 1));
        Self {
            folder,
            ledger,
            writer,
        }
    }

    /// As after the sudden end of the process: nothing is closed.
    fn killed(self) -> Self {
        let Self { folder, ledger, .. } = self;
        drop(ledger);
        Self::at(folder)
    }

    /// Records a request of `rows` rows.
    fn record(&self, number: u64, day: i64, rows: usize) {
        self.record_with(number, day, rows, None, None);
    }

    fn record_with(
        &self,
        number: u64,
        day: i64,
        rows: usize,
        key: Option<&str>,
        request_id: Option<&str>,
    ) {
        let width = 2;
        let x: Vec<f32> = (0..rows * width)
            .map(|it| it as f32 + number as f32)
            .collect();
        let cities: Vec<Vec<u8>> = (0..rows)
            .map(|it| {
                if it % 2 == 0 {
                    b"north".to_vec()
                } else {
                    b"south".to_vec()
                }
            })
            .collect();
        let inputs = [
            Tensor::new(vec![rows, width], Elements::from_slice(&x)).expect("fits"),
            Tensor::new(vec![rows, 1], Elements::Bytes(cities)).expect("fits"),
        ];
        let bad = score(number);
        let p: Vec<f32> = (0..rows).flat_map(|_| [1.0 - bad, bad]).collect();
        let p = Tensor::new(vec![rows, 2], Elements::from_slice(&p)).expect("fits");
        let rows = Rows {
            id: id(number, day),
            time_us: (NOW_MS + day * 86_400_000) * 1000 + number as i64,
            rows: rows as u32,
            arm: "traffic",
            key,
            caller: None,
            request_id,
            code: None,
            spent: Spent::default(),
            inputs: Some(&inputs),
            outputs: &[(0, &p)],
            sample: Share::default(),
        };
        let mut first = 0;
        while let Err(Full { taken }) = self.ledger.record(&self.writer, &rows, first, NOW_MS) {
            first = taken;
            self.ledger.make_room();
            self.ledger.tend_once(NOW_MS).expect("tended");
        }
    }

    fn label(&self, labels: &[(Target, &str)]) {
        let labels: Vec<Label> = labels
            .iter()
            .map(|(target, value)| Label {
                target: target.clone(),
                value: (*value).to_owned(),
                at_us: NOW_MS * 1000,
            })
            .collect();
        let added = self.ledger.add_labels("credit", &labels, NOW_MS);
        added.expect("room for labels");
    }

    /// Seals and merges everything, as if at a time.
    fn settle(&self, now_ms: i64) {
        self.ledger.log.close_segment();
        while self.ledger.tend_once(now_ms).expect("tended") != Tended::Idle {}
    }

    fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>, Refusal> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let limits = SqlLimits {
            memory_bytes: 64 << 20,
            spill_bytes: 0,
            threads: 1,
        };
        runtime.block_on(async {
            let snapshot = self.ledger.snapshot(NOW_MS)?;
            let stream = snapshot.query(sql, limits).await?;
            stream.try_collect().await.map_err(|error| refused(&error))
        })
    }

    fn number(&self, sql: &str) -> i64 {
        let batches = self.ask(sql).expect("an answer");
        let first = batches.first().expect("a row");
        first.column(0).as_primitive::<Int64Type>().value(0)
    }

    fn quality(&self, by: &[&str]) -> Quality {
        let question = Question {
            by: by.iter().map(|it| (*it).to_owned()).collect(),
            threads: 2,
            ..Question::of("credit", Range::ALL, NOW_MS * 1000)
        };
        let snapshot = self.ledger.snapshot(NOW_MS).expect("a snapshot");
        snapshot.quality(&question).expect("quality")
    }

    fn files(&self, below: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join(below)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

fn by_id(number: u64, day: i64, row: u32) -> Target {
    Target::Id(PredictionId {
        request: id(number, day),
        row,
    })
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 4], at).expect("written");
}

#[test]
fn rows_are_the_same_in_the_log_sealed_merged_and_after_a_sudden_end() {
    let site = Site::new();
    for number in 0..300 {
        site.record(number, 0, 1 + (number % 3) as usize);
    }
    let want = 600;
    let sum = "select cast(sum(age) + sum(income) as bigint) from credit";
    let (count, total) = ("select count(*) from predictions", site.number(sum));
    assert_eq!(site.number(count), want);
    let site = site.killed();
    assert_eq!((site.number(count), site.number(sum)), (want, total));
    site.settle(NOW_MS);
    assert_eq!((site.number(count), site.number(sum)), (want, total));
    assert_eq!(site.files("predictions").len(), 1);
    for number in 300..310 {
        site.record(number, 0, 1);
        site.settle(NOW_MS);
    }
    // Eight small files of a day became one, and files that were merged stay for a while.
    let status = site.ledger.status();
    assert!(status.files.len() <= 8, "{}", status.files.len());
    assert_eq!(site.number(count), want + 10);
    let later = NOW_MS + 2 * 86_400_000;
    site.settle(later);
    assert_eq!(site.ledger.status().files.len(), 1);
    site.settle(later + 200_000);
    assert_eq!(site.files("predictions").len(), 1);
    let site = site.killed();
    assert_eq!(site.number(count), want + 10);
    assert_eq!(
        site.number(
            "select count(distinct prediction_id) from credit where city in ('north', 'south')"
        ),
        want + 10
    );
}

#[test]
fn a_large_request_has_several_records_and_every_row() {
    let site = Site::new();
    site.record(7, 0, 20_000);
    assert_eq!(site.number("select count(*) from credit"), 20_000);
    assert_eq!(
        site.number("select cast(max(row) as bigint) from credit"),
        19_999
    );
    site.settle(NOW_MS);
    assert_eq!(
        site.number("select count(distinct prediction_id) from credit"),
        20_000
    );
}

#[test]
fn where_there_is_no_room_it_is_said_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(folder.path(), settings()).expect("a ledger");
    let writer = ledger.writer(layout(&credit(&["age", "income"]), 1));
    let rows = Rows {
        id: id(1, 0),
        time_us: 0,
        rows: 3,
        arm: "traffic",
        key: None,
        caller: None,
        request_id: None,
        code: Some("malformed"),
        spent: Spent::default(),
        inputs: None,
        outputs: &[],
        sample: Share::default(),
    };
    assert_eq!(ledger.record(&writer, &rows, 0, 0), Err(Full { taken: 0 }));
    ledger.make_room();
    assert!(ledger.record(&writer, &rows, 0, 0).is_ok());
    ledger.count_lost(3);
    assert_eq!(ledger.counts(), (3, 3, 0));
    drop(ledger);
    let ledger = Ledger::open(folder.path(), settings()).unwrap();
    assert_eq!(
        ledger.counts(),
        (0, 3, 0),
        "what was lost is known to the next process"
    );
}

#[test]
fn rows_that_wait_to_be_sealed_are_bounded() {
    let site = Site::new();
    let signature = credit(&["age", "income"]);
    let writer = site.ledger.writer(layout(&signature, 1));
    let mut refused = false;
    for number in 0..100_000 {
        let rows = Rows {
            id: id(number, 0),
            time_us: 0,
            rows: 1,
            arm: "traffic",
            key: Some("a key that takes some room, so that the log is full soon"),
            caller: None,
            request_id: None,
            code: None,
            spent: Spent::default(),
            inputs: None,
            outputs: &[],
            sample: Share::default(),
        };
        site.ledger.make_room();
        if site.ledger.record(&writer, &rows, 0, 0).is_err() {
            refused = true;
            break;
        }
    }
    assert!(refused);
    let trouble = site.ledger.status().trouble.expect("a reason");
    assert!(trouble.contains("wait to be sealed"), "{trouble}");
    site.ledger.tend_once(NOW_MS).expect("sealed");
    site.ledger.make_room();
    site.record(200_000, 0, 1);
}

#[test]
fn a_record_that_was_being_written_is_cut_and_counted() {
    let site = Site::new();
    site.record(1, 0, 2);
    site.record(2, 0, 2);
    let log = site.files("log").remove(0);
    let Site { folder, ledger, .. } = site;
    let end = ledger.log.open_rows().expect("rows").1 as u64;
    drop(ledger);
    let file = OpenOptions::new().write(true).open(&log).expect("a file");
    file.write_all_at(&[0; 24], end - 24).expect("written");
    let site = Site::at(folder);
    assert_eq!(site.number("select count(*) from predictions"), 2);
    site.settle(NOW_MS);
    assert_eq!(site.number("select count(*) from predictions"), 2);
    let damage = site.ledger.status().damage;
    assert!(damage.torn_bytes > 0 && damage.records == 0, "{damage:?}");
}

#[test]
fn a_damaged_record_costs_itself_and_is_kept_aside() {
    let site = Site::new();
    for number in 0..3 {
        site.record(number, 0, 2);
    }
    let log = site.files("log").remove(0);
    let (_, end) = site.ledger.log.open_rows().expect("rows");
    let Site { folder, ledger, .. } = site;
    drop(ledger);
    let bytes = std::fs::read(&log).expect("the log");
    let second = bytes[..end]
        .windows(16)
        .position(|it| it == id(1, 0))
        .expect("the second request");
    flip(&log, second as u64 + 40);
    let site = Site::at(folder);
    assert_eq!(site.number("select count(*) from predictions"), 4);
    site.settle(NOW_MS);
    let damage = site.ledger.status().damage;
    assert_eq!((damage.records, damage.rows), (1, 2));
    assert_eq!(site.files("quarantine").len(), 1);
}

#[test]
fn a_damaged_file_is_set_aside_and_the_others_answer() {
    let site = Site::new();
    site.record(1, 0, 4);
    site.settle(NOW_MS);
    site.record(2, 1, 3);
    site.settle(NOW_MS);
    let count = "select count(*) from predictions";
    assert_eq!(site.number(count), 7);
    let damaged = site.files("predictions").remove(0);
    let site = site.killed();
    flip(&damaged, 200);
    let refusal = site.ask(count).expect_err("it is told");
    assert!(refusal.to_string().contains("is damaged"), "{refusal}");
    assert_eq!(site.number(count), 3);
    let damage = site.ledger.status().damage;
    assert_eq!((damage.files, damage.file_rows), (1, 4));
    assert_eq!(site.files("quarantine").len(), 1);
    assert_eq!(site.ledger.verify(NOW_MS), Ok((1, 0)));
    flip(&site.files("predictions")[0], 300);
    assert_eq!(site.ledger.verify(NOW_MS), Ok((1, 1)));
}

#[test]
fn the_last_label_holds_however_it_comes() {
    let site = Site::new();
    // Before its prediction.
    site.label(&[(by_id(1, 0, 0), "good")]);
    for number in 0..40 {
        let (key, request) = (
            format!("customer {}", number % 10),
            format!("request {number}"),
        );
        site.record_with(number, 0, 1, Some(&key), Some(&request));
    }
    site.label(&[
        (by_id(1, 0, 0), "bad"),
        (by_id(2, 0, 0), "good"),
        (by_id(99, 0, 0), "good"),
    ]);
    site.label(&[(by_id(2, 0, 0), "good"), (by_id(2, 0, 7), "bad")]);
    let by_request = Target::Request {
        id: "request 3".to_owned(),
        row: 0,
    };
    let by_key = Target::Key {
        key: "customer 4".to_owned(),
        from_us: NOW_MS * 1000,
        to_us: NOW_MS * 1000 + 20,
    };
    site.label(&[(by_request, "bad"), (by_key, "bad")]);
    let check = |site: &Site| {
        let quality = site.quality(&[]);
        let [group] = &quality.groups[..] else {
            panic!("one group: {quality:?}")
        };
        // 1, 2 and 3 by id and request; 4 and 14 by key.
        assert_eq!((group.predictions, group.labelled), (40, 5));
        assert!(group.provisional);
        let labels = quality.labels;
        assert_eq!((labels.named, labels.matched), (4, 2));
        assert_eq!((labels.by_text, labels.by_text_matched), (2, 3));
        let Report::Binary { report, .. } = &group.report else {
            panic!("a binary task")
        };
        // All scores are below a half, so `good` is answered, and of the labels one is.
        let counts = (
            report.true_positive,
            report.false_negative,
            report.true_negative,
        );
        assert_eq!(counts, (0, 4, 1));
        assert_eq!(
            site.number("select count(*) from credit where label = 'bad'"),
            4
        );
        let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
        let found = snapshot.find(PredictionId {
            request: id(1, 0),
            row: 0,
        });
        let story = found.expect("an answer").expect("it is there");
        let told: Vec<&str> = story.labels.iter().map(|it| it.value.as_str()).collect();
        assert_eq!(told, ["bad", "good"]);
    };
    check(&site);
    site.settle(NOW_MS);
    check(&site);
    let site = site.killed();
    check(&site);
}

#[test]
fn quality_is_told_by_slice_over_versions_of_different_columns() {
    let site = Site::new();
    for number in 0..100 {
        site.record(number, -1, 2);
    }
    let labels: Vec<(Target, &str)> = (0..100)
        .flat_map(|number| {
            let truth = if number % 4 == 0 { "bad" } else { "good" };
            [(by_id(number, -1, 0), truth), (by_id(number, -1, 1), "bad")]
        })
        .collect();
    site.label(&labels);
    site.settle(NOW_MS);
    let Site {
        folder,
        ledger,
        writer: _,
    } = site;
    let writer = ledger.writer(layout(&credit(&["age", "assets"]), 2));
    let site = Site {
        folder,
        ledger,
        writer,
    };
    site.record(500, 0, 2);
    let quality = site.quality(&["city"]);
    let told: Vec<(u32, &str, u64, u64)> = quality
        .groups
        .iter()
        .map(|it| {
            (
                it.version,
                it.by["city"].as_str(),
                it.predictions,
                it.labelled,
            )
        })
        .collect();
    let want = [
        (1, "north", 100, 100),
        (1, "south", 100, 100),
        (2, "north", 1, 0),
        (2, "south", 1, 0),
    ];
    assert_eq!(told, want);
    assert_eq!(
        site.number("select count(*) from credit where income is null"),
        2
    );
    assert_eq!(
        site.number("select count(*) from credit where assets is null"),
        200
    );
    let unknown = site
        .ledger
        .snapshot(NOW_MS)
        .expect("a snapshot")
        .quality(&Question {
            by: vec!["town".to_owned()],
            ..Question::of("credit", Range::ALL, NOW_MS * 1000)
        });
    assert!(matches!(unknown, Err(Refusal::UnknownColumn { .. })));
}

#[test]
fn rows_are_told_by_spans_that_begin_anywhere_and_a_sample_is_kept() {
    let site = Site::new();
    for number in 0..100 {
        site.record(number, 0, 1);
    }
    let labels: Vec<(Target, &str)> = (0..50).map(|it| (by_id(it, 0, 0), "bad")).collect();
    site.label(&labels);
    let now_us = NOW_MS * 1000;
    let ask = |scored_max: usize| {
        let question = Question {
            version: Some(1),
            spans: Some(Spans {
                from_us: now_us + 100,
                every_us: 30,
            }),
            scored_max,
            losses: Some(Losses {
                kept_max: scored_max,
                read_max: 1_000,
            }),
            threads: 2,
            ..Question::of("credit", Range::ALL, now_us)
        };
        let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
        snapshot.quality(&question).expect("quality").groups
    };
    let check = || {
        let told: Vec<(i64, u64, Called)> = ask(0)
            .iter()
            .map(|it| {
                let from = it.from_us.expect("a span") - now_us;
                (from, it.predictions, it.called)
            })
            .collect();
        let called = |positive, negative| Called { positive, negative };
        let want = [
            (-20, 10, called(0, 10)),
            (10, 30, called(0, 30)),
            (40, 30, called(20, 10)),
            (70, 30, called(30, 0)),
        ];
        assert_eq!(told, want);
        let groups = ask(20);
        let kept: Vec<usize> = groups.iter().map(|it| it.scored.len()).collect();
        assert_eq!(kept, [10, 20, 20, 20]);
        let of = |group: usize| groups[group].scored.iter();
        assert!(of(0).all(|it| it.positive == Some(true) && !it.predicted_positive));
        let losses: Vec<usize> = groups.iter().map(|it| it.losses.len()).collect();
        assert_eq!(losses, [10, 20, 10, 0]);
        let mut all = groups.iter().flat_map(|it| &it.losses);
        assert!(all.all(|it| it.loss == 1.0 && it.made_us / 1000 == NOW_MS));
        assert!(of(3).all(|it| it.positive.is_none() && it.predicted_positive));
        assert!(of(3).all(|it| (0.69..1.0).contains(&it.score)));
        assert_eq!(ask(20), groups);
    };
    check();
    site.settle(NOW_MS);
    check();
}

#[test]
fn recorded_inputs_come_back_as_they_were() {
    let site = Site::new();
    for number in 0..50 {
        site.record(number, 0, 3);
    }
    site.settle(NOW_MS);
    for number in 50..60 {
        site.record(number, 0, 3);
    }
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let mut wanted = Wanted {
        model: "credit".to_owned(),
        range: Range::ALL,
        version: None,
        after: None,
        rows: 47,
        by: Vec::new(),
    };
    assert_eq!(snapshot.count(&wanted), Ok(180));
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let page = snapshot.page(&wanted).expect("a page");
        for part in &page.parts {
            ids.extend(part.ids());
            let inputs = part
                .inputs(&credit(&["age", "income"]), 0..part.rows())
                .expect("inputs");
            assert_eq!(inputs[0].name, "x");
            assert_eq!(inputs[0].tensor.shape(), [part.rows(), 2]);
            let first = part.ids()[0];
            let Elements::Fixed(x) = inputs[0].tensor.elements() else {
                panic!("numbers")
            };
            let number = u64::from_be_bytes(first.request[8..].try_into().expect("8 bytes"));
            let want = f64::from(first.row * 2) + number as f64;
            assert_eq!(x.number(0), Some(want));
        }
        pages += 1;
        let Some(next) = page.next else { break };
        wanted.after = Some(next);
    }
    assert_eq!(pages, 4);
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!((ids.len(), sorted), (180, ids));
}

#[test]
fn a_tensor_of_any_size_is_summed_up_and_kept_where_it_is_small() {
    let site = Site::new();
    let signature = Signature {
        inputs: vec![
            spec("ids", DataType::Int64, &[None]),
            spec("image", DataType::Fp32, &[Some(20), Some(20)]),
        ],
        outputs: vec![spec("y", DataType::Fp16, &[Some(2)])],
        rows: RowsRule::Outermost,
        task: None,
    };
    let writer = site.ledger.writer(layout(&signature, 3));
    let ids = Tensor::new(vec![1, 3], Elements::from_slice(&[5i64, -7, 9])).expect("fits");
    let image: Vec<f32> = (0..400).map(|it| it as f32).collect();
    let image = Tensor::new(vec![1, 20, 20], Elements::from_slice(&image)).expect("fits");
    let y = [half::f16::from_f32(0.5), half::f16::from_f32(-2.0)];
    let y = Tensor::new(vec![1, 2], Elements::from_slice(&y)).expect("fits");
    for (number, sample) in [(1, "0%"), (2, "100%")] {
        let rows = Rows {
            id: id(number, 0),
            time_us: 0,
            rows: 1,
            arm: "traffic",
            key: None,
            caller: None,
            request_id: None,
            code: None,
            spent: Spent::default(),
            inputs: Some(&[ids.clone(), image.clone()]),
            outputs: &[(0, &y)],
            sample: sample.parse().expect("a share"),
        };
        site.ledger.record(&writer, &rows, 0, NOW_MS).expect("room");
    }
    for sealed in [false, true] {
        if sealed {
            site.settle(NOW_MS);
        }
        let one = "select count(*) from credit where ids_shape = '[3]' and ids_min = -7 and image_max = 399 \
                   and image_mean = 199.5 and image_shape = '[20, 20]' and y_0 = 0.5 and y_1 = -2";
        assert_eq!(site.number(one), 2);
        assert_eq!(
            site.number("select count(*) from credit where image is null"),
            1
        );
        assert_eq!(
            site.number("select count(*) from credit where inputs_recorded"),
            1
        );
        assert_eq!(
            site.number("select count(distinct image_digest) from credit"),
            1
        );
        let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
        let page = snapshot.page(&Wanted {
            model: "credit".to_owned(),
            range: Range::ALL,
            version: None,
            after: None,
            rows: 10,
            by: Vec::new(),
        });
        let part = &page.expect("a page").parts[0];
        assert_eq!((part.is_whole(0), part.is_whole(1)), (false, true));
        let inputs = part.inputs(&signature, 1..2).expect("inputs");
        assert_eq!((&inputs[0].tensor, &inputs[1].tensor), (&ids, &image));
    }
}

#[test]
fn a_question_only_reads() {
    let site = Site::new();
    site.record(1, 0, 1);
    for sql in [
        "create table t as select 1",
        "create external table t stored as csv location '/etc/passwd'",
        "insert into credit select * from credit",
        "copy (select 1) to '/tmp/windlass-never.csv'",
        "delete from credit",
        "drop view credit",
        "set datafusion.execution.batch_size = 1",
        "select * from '/etc/passwd'",
        "select * from no_such",
        "select",
        "select 1; select 2",
        "begin",
        "",
    ] {
        let refusal = site.ask(sql).map(|_| ()).expect_err(sql);
        assert!(
            matches!(refusal, Refusal::InvalidQuery { .. }),
            "{sql}: {refusal}"
        );
    }
    let long = format!("select '{}'", "x".repeat(SQL_BYTES_MAX));
    assert!(matches!(site.ask(&long), Err(Refusal::TooLarge { .. })));
    let greedy = "select array_agg(a.value) from generate_series(1, 30000000) a";
    let refusal = site.ask(greedy).map(|_| ()).expect_err("too much");
    assert!(
        matches!(refusal, Refusal::QueryTooLarge { .. }),
        "{refusal}"
    );
}

#[test]
fn the_first_questions_may_come_at_once() {
    let (at_once, mut site) = (4, Site::new());
    site.record(1, 0, 3);
    for _ in 0..20 {
        site = site.killed();
        let start = std::sync::Barrier::new(at_once);
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(site.number("select count(*) from predictions"), 3);
                });
            }
        });
    }
}

#[test]
fn a_model_has_a_table_before_its_first_row() {
    let site = Site::new();
    assert!(site.ask("select age from credit").is_err());
    let layout = layout(&credit(&["age", "income"]), 1);
    let noted = site.ledger.expect(&layout, Retain::default(), NOW_MS);
    noted.expect("noted");
    assert_eq!(site.number("select count(age) from credit"), 0);
    assert_eq!(site.number("select count(label) from credit"), 0);
    site.record(1, 0, 3);
    assert_eq!(site.number("select count(age) from credit"), 3);
}

#[test]
fn what_could_not_be_noted_is_noted_later() {
    let site = Site::new();
    // A folder stands where the new catalog is to be written.
    let name = site.folder.path().join("catalog.tmp");
    std::fs::create_dir(&name).expect("a folder");
    let keep = Retain {
        age_us: Some(1),
        bytes: None,
    };
    let layout = layout(&credit(&["age", "income"]), 1);
    assert!(site.ledger.expect(&layout, keep, NOW_MS).is_err());
    assert!(site.ledger.tend_once(NOW_MS).is_err());
    std::fs::remove_dir(&name).expect("removed");
    site.ledger.tend_once(NOW_MS).expect("tended");
    assert_eq!(site.killed().ledger.files.catalog().keep["credit"], keep);
}

#[test]
fn old_rows_go_when_their_time_is_over() {
    let site = Site::new();
    for day in -3..=0 {
        site.record(1, day, 5);
        site.settle(NOW_MS);
    }
    let day_us = 86_400_000_000;
    let keep = Retain {
        age_us: Some(day_us * 3 / 2),
        bytes: None,
    };
    let layout = layout(&credit(&["age", "income"]), 1);
    site.ledger.expect(&layout, keep, NOW_MS).expect("noted");
    // The next process knows, although nobody serves the model any more.
    let site = site.killed();
    site.settle(NOW_MS);
    assert_eq!(site.number("select count(*) from predictions"), 10);
    assert_eq!(site.ledger.status().expired_rows, 10);
    // Their files go later, when nobody can be reading them any more.
    assert_eq!(site.files("predictions").len(), 4);
    site.ledger.tend_once(NOW_MS + 200_000).expect("tended");
    assert_eq!(site.files("predictions").len(), 2);
}
