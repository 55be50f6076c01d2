//! Every call of the registry at 100 and at 100 000 versions. The aim: within twice the time.
//! Half of the versions are one model's, the others are a model's each, so lists of both kinds are long.

use std::path::Path;

use divan::Bencher;
use domain::limits::Limits;
use domain::signature::Rows;
use domain::{Alias, Digest, ModelName, Reference, Signature, Version};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use store::registry::{Change, EventId, File, NewVersion, State, UnixMillis};
use store::{Registry, Store};
use tokio::runtime::Runtime;

const SIZES: [u32; 2] = [100, 100_000];
/// Enough for the median to stand still on a machine that does other things too.
const SAMPLES: u32 = 1000;

fn main() {
    divan::main();
}

/// A store with so many versions, and where the calls of one benchmark run.
struct Filled {
    runtime: Runtime,
    store: Store,
    model: ModelName,
    middle: Version,
    _folder: tempfile::TempDir,
}

impl Filled {
    fn new(versions: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let store = runtime.block_on(async {
            let limits = Limits::default();
            let open = || Store::open(folder.path(), &limits);
            open().await.expect("a store").close().await;
            fill(&folder.path().join("registry.db"), versions).await;
            open().await.expect("a store")
        });
        let half = versions / 2;
        let middle = Version::new(half / 2).expect("above 0");
        let filled = Self {
            runtime,
            store,
            model: "big".parse().expect("a name"),
            middle,
            _folder: folder,
        };
        filled.runtime.block_on(async {
            let (registry, model) = (&filled.store.registry, &filled.model);
            let (report, change) = (serde_json::json!({}), change());
            for number in [half / 2, half / 2 + 1] {
                let version = Version::new(number).expect("above 0");
                let verified = State::Verified;
                let done = registry.set_state(model, version, verified, &report, &change);
                done.await.expect("verified");
            }
            let alias: Alias = "champion".parse().expect("an alias");
            let set = registry.set_alias(model, &alias, middle, &change);
            set.await.expect("set");
            let given = registry.set_traffic(model, middle, &change);
            given.await.expect("given");
        });
        filled
    }

    fn bench<T>(
        &self,
        bencher: Bencher,
        call: impl AsyncFn(&Registry, &ModelName) -> Result<T, domain::Refusal> + Sync,
    ) {
        let (registry, model) = (&self.store.registry, &self.model);
        bencher.bench_local(|| {
            let done = self.runtime.block_on(call(registry, model));
            done.expect("the call is right")
        });
    }
}

/// Written past the registry's own calls, each of which waits for the disk.
async fn fill(path: &Path, versions: u32) {
    let mut db = SqliteConnectOptions::new()
        .filename(path)
        .pragma("synchronous", "OFF")
        .connect()
        .await
        .expect("the registry's file");
    let signature = r#"{"format":1,"inputs":[],"outputs":[],"rows":"whole","task":null}"#;
    for statement in [
        "BEGIN",
        "CREATE TEMP TABLE n AS
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n",
        "INSERT INTO models (id, name, created_at, last_number, version_count)
         VALUES (1, 'big', 0, ?1 / 2, ?1 / 2)",
        "INSERT INTO models (id, name, created_at, last_number, version_count)
         SELECT i + 1, printf('m%07d', i), 0, 1, 1 FROM n WHERE i <= ?1 / 2",
        "INSERT INTO versions
         (model_id, number, digest, main, manifest, signature, source, state, created_at)
         SELECT CASE WHEN i <= ?1 / 2 THEN 1 ELSE i - ?1 / 2 + 1 END,
                CASE WHEN i <= ?1 / 2 THEN i ELSE 1 END,
                randomblob(32), 'model.onnx', '{}', ?2, 'model.onnx', 'pushed', i
         FROM n",
        "INSERT INTO files SELECT id, 'model.onnx', randomblob(32), 1 FROM versions",
        "INSERT INTO files SELECT id, 'examples.json', randomblob(32), 1 FROM versions",
        "INSERT INTO events (at, model, kind, detail) SELECT i, 'big', 'filled', '{}' FROM n",
        "COMMIT",
    ] {
        let query = sqlx::query(statement);
        let query = if statement.contains("?1") { query.bind(versions) } else { query };
        let query = if statement.contains("?2") { query.bind(signature) } else { query };
        query.execute(&mut db).await.expect(statement);
    }
    sqlx::Connection::close(db).await.expect("closed");
}

fn change() -> Change {
    Change {
        at: UnixMillis(1),
        who: "bench".to_owned(),
        why: "to see how long it takes".to_owned(),
    }
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn resolve_traffic(bencher: Bencher, versions: u32) {
    let reference: Reference = "big".parse().expect("a reference");
    Filled::new(versions).bench(bencher, async |it, _| it.resolve(&reference).await);
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn resolve_version(bencher: Bencher, versions: u32) {
    let filled = Filled::new(versions);
    let text = format!("big:{}", filled.middle);
    let reference: Reference = text.parse().expect("a reference");
    filled.bench(bencher, async |it, _| it.resolve(&reference).await);
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn resolve_alias(bencher: Bencher, versions: u32) {
    let reference: Reference = "big@champion".parse().expect("a reference");
    Filled::new(versions).bench(bencher, async |it, _| it.resolve(&reference).await);
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn version(bencher: Bencher, versions: u32) {
    let filled = Filled::new(versions);
    filled.bench(bencher, async |it, model| {
        it.version(model, filled.middle).await
    });
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn model(bencher: Bencher, versions: u32) {
    Filled::new(versions).bench(bencher, async |it, model| it.model(model).await);
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn versions_20_from_the_middle(bencher: Bencher, versions: u32) {
    let filled = Filled::new(versions);
    let after = Some(filled.middle);
    filled.bench(bencher, async |it, model| {
        it.versions(model, after, 20).await
    });
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn models_20_from_the_middle(bencher: Bencher, versions: u32) {
    let after: ModelName = format!("m{:07}", versions / 4).parse().expect("a name");
    Filled::new(versions).bench(bencher, async |it, _| it.models(Some(&after), 20).await);
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn aliases(bencher: Bencher, versions: u32) {
    Filled::new(versions).bench(bencher, async |it, model| it.aliases(model, None, 20).await);
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn alias_history(bencher: Bencher, versions: u32) {
    let alias: Alias = "champion".parse().expect("an alias");
    Filled::new(versions).bench(bencher, async |it, model| {
        it.alias_history(model, &alias, None, 20).await
    });
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn events_20_from_the_middle(bencher: Bencher, versions: u32) {
    let after = EventId(i64::from(versions / 2));
    Filled::new(versions).bench(bencher, async |it, model| {
        it.events_of(model, after, 20).await
    });
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn set_traffic(bencher: Bencher, versions: u32) {
    let filled = Filled::new(versions);
    let next = Version::new(filled.middle.number() + 1).expect("above 0");
    filled.bench(bencher, async |it, model| {
        it.set_traffic(model, next, &change()).await?;
        it.set_traffic(model, filled.middle, &change()).await
    });
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn set_alias(bencher: Bencher, versions: u32) {
    let alias: Alias = "champion".parse().expect("an alias");
    let filled = Filled::new(versions);
    let next = Version::new(filled.middle.number() + 1).expect("above 0");
    filled.bench(bencher, async |it, model| {
        it.set_alias(model, &alias, next, &change()).await?;
        it.set_alias(model, &alias, filled.middle, &change()).await
    });
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn set_state(bencher: Bencher, versions: u32) {
    let filled = Filled::new(versions);
    let report = serde_json::json!({"rows": 20});
    filled.bench(bencher, async |it, model| {
        let verified = State::Verified;
        it.set_state(model, filled.middle, verified, &report, &change())
            .await
    });
}

#[divan::bench(args = SIZES, sample_count = SAMPLES)]
fn create_and_remove_version(bencher: Bencher, versions: u32) {
    let filled = Filled::new(versions);
    let main: store::PackagePath = "model.onnx".parse().expect("a path");
    let signature = Signature {
        inputs: vec![],
        outputs: vec![],
        rows: Rows::Whole,
        task: None,
    };
    filled.bench(bencher, async |it, model| {
        let new = NewVersion {
            model: model.clone(),
            files: vec![File {
                path: main.clone(),
                digest: Digest::new([7; 32]),
                size: 1,
            }],
            main: main.clone(),
            manifest: "{}".to_owned(),
            signature: signature.clone(),
            source: "model.onnx".to_owned(),
            change: change(),
        };
        let version = it.create_version(new).await?.version();
        it.remove_version(model, version, &change()).await
    });
}
