use domain::event::EventKind;
use domain::signature::Rows;
use domain::{Alias, Digest, Reference, Selector, Signature};
use serde_json::json;

use super::*;

/// Runs lines `command arguments => answer` against one registry; the number of the line is the time.
async fn check(script: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a new registry");
    for (number, line) in script.lines().enumerate() {
        let line = line.trim();
        let Some((command, want)) = line.split_once("=>") else {
            assert_eq!(line, "", "a line is `command => answer`");
            continue;
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        let got = run(&registry, &words, number as i64).await;
        let got = got.unwrap_or_else(|refusal| refusal.to_string());
        assert_eq!(got, want.trim(), "line {number}: {line}");
    }
    registry.close().await;
}

async fn run(registry: &Registry, words: &[&str], now: i64) -> Result<String, Refusal> {
    let change = Change {
        at: UnixMillis(now),
        who: "ann".to_owned(),
        why: "because".to_owned(),
    };
    let target = |text: &str| -> Result<(domain::ModelName, Version), Refusal> {
        let reference: Reference = text.parse()?;
        let Selector::Version(version) = reference.selector else {
            panic!("`{text}` names no version")
        };
        Ok((reference.model, version))
    };
    let show = |version: Option<Version>| version.map_or("none".to_owned(), |it| it.to_string());
    let answer = match words {
        ["push", model, content] => {
            let pushed = registry
                .create_version(new_version(model, content, change))
                .await?;
            match pushed {
                Pushed::New(version) => format!("new {version}"),
                Pushed::Existing(version) => format!("existing {version}"),
            }
        }
        ["verify", text] => {
            let (model, version) = target(text)?;
            let report = json!({"rows": 20});
            registry
                .set_state(&model, version, State::Verified, &report, &change)
                .await?;
            "ok".to_owned()
        }
        ["fail", text] => {
            let (model, version) = target(text)?;
            let report = json!({"rows": 0});
            registry
                .set_state(&model, version, State::Pushed, &report, &change)
                .await?;
            "ok".to_owned()
        }
        ["traffic", text] => {
            let (model, version) = target(text)?;
            format!(
                "was {}",
                show(registry.set_traffic(&model, version, &change).await?)
            )
        }
        ["alias", alias, text] => {
            let (model, version) = target(text)?;
            let alias: Alias = alias.parse()?;
            let was = registry.set_alias(&model, &alias, version, &change).await?;
            format!("was {}", show(was))
        }
        ["measure", text, body] => {
            let (model, version) = target(text)?;
            let baseline = BaselineRecord {
                made_at: change.at,
                source: "train.parquet".to_owned(),
                rows: 7,
                body: body.as_bytes().to_vec(),
            };
            registry
                .set_baseline(&model, version, &baseline, &change)
                .await?;
            "ok".to_owned()
        }
        ["measure", text] => {
            let (model, version) = target(text)?;
            match registry.baseline(&model, version).await? {
                None => "none".to_owned(),
                Some(it) => format!(
                    "{} of {} rows from {} at {}",
                    String::from_utf8_lossy(&it.body),
                    it.rows,
                    it.source,
                    it.made_at.0
                ),
            }
        }
        ["know", model, names, rows @ ..] => {
            let row = |it: &&str| {
                let mut fields = it.split(',').map(str::to_owned);
                (fields.next().unwrap_or_default(), fields.collect())
            };
            let table = domain::attributes::Table {
                names: names.split(',').map(str::to_owned).collect(),
                rows: rows.iter().map(row).collect(),
            };
            let model = model.parse()?;
            let before = registry.last_event(&model).await?;
            let told = registry.set_attributes(&model, &table, &change).await?;
            assert_eq!(told, registry.attributes(&model).await?);
            assert!(registry.last_event(&model).await? > before);
            "ok".to_owned()
        }
        ["known", model] => {
            let model = model.parse()?;
            let mut shown = Vec::new();
            for AttributeSummary { name, keys } in registry.attributes(&model).await? {
                let mut of = registry.attribute(&model, &name).await?;
                of.sort();
                let of: Vec<String> = of.iter().map(|it| format!("{}={}", it.0, it.1)).collect();
                shown.push(format!("{name} of {keys}: {}", of.join(" ")));
            }
            shown.join("; ")
        }
        ["forget", model] => {
            registry.remove_attributes(&model.parse()?, &change).await?;
            "ok".to_owned()
        }
        ["unalias", model, alias] => {
            let was = registry
                .remove_alias(&model.parse()?, &alias.parse()?, &change)
                .await?;
            format!("was {was}")
        }
        ["resolve", text] => registry.resolve(&text.parse()?).await?.to_string(),
        ["remove", text] if text.contains(':') => {
            let (model, version) = target(text)?;
            registry.remove_version(&model, version, &change).await?;
            "ok".to_owned()
        }
        ["remove", model] => {
            registry.remove_model(&model.parse()?, &change).await?;
            "ok".to_owned()
        }
        ["models", after, limit] => {
            let after = after.parse().ok();
            let limit = limit.parse().expect("a number");
            let models = registry.models(after.as_ref(), limit).await?;
            let shown = models.iter().map(|it| {
                let (latest, traffic) = (show(it.latest), show(it.traffic));
                format!(
                    "{} {} latest {latest} traffic {traffic}",
                    it.name, it.versions
                )
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        ["versions", model, after, limit] => {
            let limit = limit.parse().expect("a number");
            let versions = registry
                .versions(&model.parse()?, after.parse().ok(), limit)
                .await?;
            let shown = versions
                .iter()
                .map(|it| format!("{} {} {}", it.version, it.state.name(), it.created_at.0));
            shown.collect::<Vec<_>>().join(", ")
        }
        ["files", text] => {
            let (model, version) = target(text)?;
            let record = registry.version(&model, version).await?;
            let files: Vec<String> = record
                .files
                .iter()
                .map(|it| format!("{} {}", it.path, it.size))
                .collect();
            let report = record.report.map_or("none".to_owned(), |it| it.to_string());
            format!("{} report {report}", files.join(", "))
        }
        ["history", model, alias] => {
            let history = registry
                .alias_history(&model.parse()?, &alias.parse()?, None, 10)
                .await?;
            let shown = history
                .iter()
                .map(|it| format!("{}->{} {}", show(it.from), show(it.to), it.change.at.0));
            shown.collect::<Vec<_>>().join(", ")
        }
        ["events", model] => {
            let events = registry
                .events_of(&model.parse()?, EventId::START, 100)
                .await?;
            let shown: Vec<&str> = events.iter().map(|it| it.kind.as_str()).collect();
            shown.join(" ")
        }
        _ => panic!("no command {words:?}"),
    };
    Ok(answer)
}

pub(super) fn new_version(model: &str, content: &str, change: Change) -> NewVersion {
    let path = |text: &str| text.parse().expect("a plain path");
    let mut digest = [0; 32];
    digest[..content.len()].copy_from_slice(content.as_bytes());
    let file = |name| File {
        path: path(name),
        digest: Digest::new(digest),
        size: content.len() as u64,
    };
    NewVersion {
        model: model.parse().expect("a plain name"),
        files: vec![file("model.onnx"), file("data/weights.bin")],
        main: path("model.onnx"),
        manifest: "{}".to_owned(),
        signature: Signature {
            inputs: vec![],
            outputs: vec![],
            rows: Rows::Whole,
            task: None,
        },
        source: "model.onnx".to_owned(),
        change,
    }
}

#[tokio::test]
async fn versions_are_numbered_and_the_same_package_is_the_same_version() {
    check(
        "
        push credit a => new 1
        push credit b => new 2
        push credit a => existing 1
        push price a => new 1
        push Credit c => model name `Credit` is not one: another model has it in other letter case
        versions credit - 10 => 1 pushed 1, 2 pushed 2
        versions credit 1 10 => 2 pushed 2
        versions credit - 1 => 1 pushed 1
        versions nobody - 1 => no model `nobody`
        files credit:1 => data/weights.bin 1, model.onnx 1 report none
        files credit:3 => no version `credit:3`
        models - 10 => credit 2 latest 2 traffic none, price 1 latest 1 traffic none
        models credit 10 => price 1 latest 1 traffic none
        ",
    )
    .await;
}

#[tokio::test]
async fn only_a_verified_version_takes_traffic() {
    check(
        "
        push credit a => new 1
        push credit b => new 2
        resolve credit => `credit` is not ready: none of its versions has its traffic
        traffic credit:1 => `credit:1` cannot take traffic: it has not reproduced its examples
        fail credit:1 => ok
        files credit:1 => data/weights.bin 1, model.onnx 1 report {\"rows\":0}
        verify credit:1 => ok
        files credit:1 => data/weights.bin 1, model.onnx 1 report {\"rows\":20}
        fail credit:1 => `credit:1` is verified and stays so; push a new version
        traffic credit:1 => was none
        resolve credit => 1
        verify credit:2 => ok
        traffic credit:2 => was 1
        traffic credit:2 => was 2
        resolve credit => 2
        traffic credit:3 => no version `credit:3`
        traffic price:1 => no model `price`
        resolve price => no model `price`
        events credit => version_created version_created version_state version_state traffic version_state traffic
        ",
    )
    .await;
}

#[tokio::test]
async fn an_alias_and_its_history_move_together() {
    check(
        "
        push credit a => new 1
        push credit b => new 2
        resolve credit@champion => no alias `credit@champion`
        alias champion credit:1 => was none
        alias champion credit:2 => was 1
        alias champion credit:2 => was 2
        alias champion credit:9 => no version `credit:9`
        resolve credit@champion => 2
        unalias credit champion => was 2
        unalias credit champion => no alias `credit@champion`
        history credit champion => 2->none 9, 1->2 5, none->1 4
        events credit => version_created version_created alias alias alias
        ",
    )
    .await;
}

#[tokio::test]
async fn what_serves_is_not_removed_and_numbers_are_not_used_again() {
    check(
        "
        push credit a => new 1
        push credit b => new 2
        verify credit:1 => ok
        traffic credit:1 => was none
        alias next credit:2 => was none
        remove credit:1 => `credit:1` cannot be removed: it has the model's traffic
        remove credit:2 => `credit:2` cannot be removed: alias `next` names it
        unalias credit next => was 2
        remove credit:2 => ok
        remove credit:2 => no version `credit:2`
        resolve credit:2 => no version `credit:2`
        push credit b => new 3
        alias next credit:3 => was none
        models - 10 => credit 2 latest 3 traffic 1
        remove credit => ok
        remove credit => no model `credit`
        models - 10 =>
        resolve credit => no model `credit`
        push credit a => new 4
        resolve credit => `credit` is not ready: none of its versions has its traffic
        history credit next => 3->none 15, none->3 13, 2->none 8, none->2 5
        models - 10 => credit 1 latest 4 traffic none
        ",
    )
    .await;
}

#[tokio::test]
async fn files_that_cannot_lie_in_one_folder_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a registry");
    let change = || Change {
        at: UnixMillis(1),
        who: String::new(),
        why: String::new(),
    };
    let mut twice = new_version("m", "a", change());
    twice.files.push(twice.files[0].clone());
    let mut nested = new_version("m", "a", change());
    nested.files[0].path = "data".parse().expect("a plain path");
    let mut headless = new_version("m", "a", change());
    headless.files.remove(0);
    for (new, want) in [
        (
            twice,
            "the list of files cannot be read: `model.onnx` is there twice",
        ),
        (
            nested,
            "the list of files cannot be read: `data` is a file and the folder of `data/weights.bin`",
        ),
        (
            headless,
            "the list of files cannot be read: the model `model.onnx` is not in it",
        ),
    ] {
        let got = registry
            .create_version(new)
            .await
            .map_err(|it| it.to_string());
        assert_eq!(got, Err(want.to_owned()));
    }
}

#[tokio::test]
async fn two_pushes_at_once_get_two_numbers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a registry");
    let contents: Vec<String> = (0..20).map(|it| format!("c{it}")).collect();
    let pushes = contents.iter().map(|content| {
        let change = Change {
            at: UnixMillis(1),
            who: String::new(),
            why: String::new(),
        };
        registry.create_version(new_version("m", content, change))
    });
    let mut numbers: Vec<u32> = futures::future::join_all(pushes)
        .await
        .into_iter()
        .map(|it| it.expect("a version").version().number())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_change_that_is_cut_off_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a registry");
    let change = Change {
        at: UnixMillis(1),
        who: String::new(),
        why: String::new(),
    };
    let alias: Alias = "champion".parse().expect("an alias");
    let model: domain::ModelName = "m".parse().expect("a name");
    for content in ["a", "b"] {
        let new = new_version("m", content, change.clone());
        registry.create_version(new).await.expect("a version");
    }
    // Dropped after each number of steps it can be dropped at, until it comes to its end. A commit
    // that was on its way may still happen, so both places are read at one moment.
    for steps in 0.. {
        let version = Version::new(1 + steps % 2).expect("1 or 2");
        let mut moving = Box::pin(registry.set_alias(&model, &alias, version, &change));
        let mut ended = false;
        for _ in 0..steps {
            ended = futures::poll!(moving.as_mut()).is_ready();
            if ended {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(moving);
        let (named, told): (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT number FROM aliases),
                    (SELECT to_number FROM alias_history ORDER BY id DESC LIMIT 1)",
        )
        .fetch_one(&registry.readers)
        .await
        .expect("both");
        assert_eq!(named, told, "cut off after {steps} steps");
        if ended {
            break;
        }
    }
}

#[tokio::test]
async fn a_rare_kind_of_event_is_found_among_many_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a registry");
    let mut db = registry.begin().await.expect("begun");
    for at in 0..1200 {
        let event = NewEvent {
            at: UnixMillis(at),
            model: if at % 2 == 0 { "m" } else { "n" }.parse().expect("a name"),
            kind: match at {
                3 => EventKind::Alias,
                8 => EventKind::VersionState,
                _ => EventKind::Traffic,
            },
            detail: json!({}),
        };
        super::events::append(&mut db, event)
            .await
            .expect("written");
    }
    db.commit().await.expect("committed");
    let ask = async |model: Option<&str>, kinds: &[EventKind], order, limit| -> Vec<i64> {
        let model = model.map(|it| it.parse().expect("a name"));
        let asked = EventsAsked {
            model: model.as_ref(),
            kinds: &kinds.iter().copied().collect(),
            within: (UnixMillis(0), UnixMillis(i64::MAX)),
            order,
            limit,
        };
        let events = registry.events_asked(&asked).await.expect("events");
        events.iter().map(|it| it.at.0).collect()
    };
    let newest = |before| Order::Newest {
        before: EventId(before),
    };
    let oldest = |after| Order::Oldest {
        after: EventId(after),
    };
    let (alias, state, traffic) = (
        EventKind::Alias,
        EventKind::VersionState,
        EventKind::Traffic,
    );
    assert_eq!(ask(None, &[alias], newest(i64::MAX), 10).await, [3]);
    assert_eq!(ask(Some("m"), &[alias], newest(i64::MAX), 10).await, [0; 0]);
    let both = [alias, state];
    assert_eq!(ask(None, &both, newest(i64::MAX), 10).await, [8, 3]);
    assert_eq!(ask(None, &both, oldest(0), 1).await, [3]);
    assert_eq!(
        ask(None, &both, newest(9), 10).await,
        [3],
        "ids are from 1 on"
    );
    let mixed = [alias, traffic];
    assert_eq!(ask(Some("n"), &mixed, oldest(0), 3).await, [1, 3, 5]);
    assert_eq!(ask(None, &[], newest(10), 3).await, [8, 7, 6]);
}

#[tokio::test]
async fn the_history_cannot_be_rewritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a registry");
    let event = NewEvent {
        at: UnixMillis(7),
        model: "m".parse().expect("a name"),
        kind: EventKind::Alias,
        detail: json!({"a": 1}),
    };
    registry.append_event(event).await.expect("written");
    for statement in ["UPDATE events SET at = 1", "DELETE FROM events"] {
        assert!(
            sqlx::query(statement)
                .execute(&registry.writer)
                .await
                .is_err()
        );
        assert!(
            sqlx::query(statement)
                .execute(&registry.readers)
                .await
                .is_err()
        );
    }
    let events = registry.events(EventId::START, 10).await.expect("events");
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].at, &events[0].detail),
        (UnixMillis(7), &json!({"a": 1}))
    );
}

#[tokio::test]
async fn every_connection_is_set_as_it_must_be() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a registry");
    for pool in [&registry.writer, &registry.readers] {
        for (pragma, want) in [
            ("PRAGMA journal_mode", "wal"),
            ("PRAGMA synchronous", "2"),
            ("PRAGMA foreign_keys", "1"),
            ("PRAGMA trusted_schema", "0"),
            ("PRAGMA cell_size_check", "1"),
            ("PRAGMA mmap_size", "0"),
        ] {
            let row = sqlx::query(pragma).fetch_one(pool).await.expect(pragma);
            let got = sqlx::Row::try_get_unchecked::<String, _>(&row, 0).expect(pragma);
            assert_eq!(got, want, "{pragma}");
        }
    }
}

#[tokio::test]
async fn a_registry_from_the_future_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("registry.db");
    let registry = Registry::open(&path).await.expect("a registry");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', 1, x'00', 0)",
    )
    .execute(&registry.writer)
    .await
    .expect("written");
    registry.close().await;
    let got = Registry::open(&path).await.err().map(|it| it.to_string());
    let known = MIGRATIONS.iter().map(|it| it.version).max().expect("one");
    let want = format!(
        "storage failed: the registry has format 9999, this program knows formats up to {known}: it was \
         written by a newer Windlass"
    );
    assert_eq!(got, Some(want));
}

#[tokio::test]
async fn a_file_that_is_no_registry_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("registry.db");
    std::fs::write(
        &path,
        "not a database, but long enough to be taken for one".repeat(40),
    )
    .expect("written");
    let got = Registry::open(&path)
        .await
        .err()
        .map(|it| it.to_string())
        .unwrap_or_default();
    assert!(got.contains("the registry's file is damaged"), "{got}");
}

#[tokio::test]
async fn a_baseline_goes_with_its_version() {
    check(
        "
        measure credit:1 x => no model `credit`
        push credit a => new 1
        push credit b => new 2
        measure credit:1 => none
        measure credit:1 x => ok
        measure credit:1 => x of 7 rows from train.parquet at 5
        measure credit:1 y => ok
        measure credit:1 => y of 7 rows from train.parquet at 7
        measure credit:2 => none
        measure credit:3 z => no version `credit:3`
        remove credit:1 => ok
        measure credit:1 => none
        ",
    )
    .await;
}

#[tokio::test]
async fn what_was_told_last_of_a_key_holds_and_goes_with_the_model() {
    let names: Vec<String> = (0..17).map(|it| format!("n{it}")).collect();
    let values = vec!["v"; 17].join(",");
    check(&format!(
        "
        know credit Sex ann,f => no model `credit`
        push credit a => new 1
        known credit =>
        know credit Sex,Home ann,f,own bob,m, => ok
        known credit => Home of 1: ann=own; Sex of 2: ann=f bob=m
        know credit Sex ann, eve,f bob,x => ok
        known credit => Home of 1: ann=own; Sex of 2: bob=x eve=f
        know credit {} ann,{values} => the number of a model's attributes is 19, at most 16 is taken
        known credit => Home of 1: ann=own; Sex of 2: bob=x eve=f
        forget credit => ok
        known credit =>
        know credit Sex ann,f => ok
        remove credit => ok
        push credit a => new 2
        known credit =>
        ",
        names.join(",")
    ))
    .await;
}
