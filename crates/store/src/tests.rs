use super::*;

async fn open(folder: &Path) -> Result<Store, Refusal> {
    Store::open(folder, &Limits::default()).await
}

#[tokio::test]
async fn a_folder_has_one_server() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("data");
    assert_eq!(Store::running(&folder), None);
    let first = open(&folder).await.expect("a new folder");
    assert_eq!(Store::running(&folder), None, "it has not said where it is");
    let shown = folder.display();
    let advice = "stop it or give this one another folder";
    let refused = |holder: &str| {
        let why = format!("data folder `{shown}` is in use by {holder}; {advice}");
        Some(Refusal::Conflict { why })
    };
    assert_eq!(open(&folder).await.err(), refused("another server"));

    first.announce("http://127.0.0.1:8080").expect("written");
    assert_eq!(
        Store::running(&folder).as_deref(),
        Some("http://127.0.0.1:8080")
    );
    assert_eq!(
        open(&folder).await.err(),
        refused("the server at `http://127.0.0.1:8080`")
    );
    first.announce("http://[::1]:1").expect("written");
    assert_eq!(Store::running(&folder).as_deref(), Some("http://[::1]:1"));

    first.close().await;
    assert_eq!(Store::running(&folder), None);
    let second = open(&folder).await.expect("free again");
    assert_eq!(Store::running(&folder), None, "what the first said is gone");
    second.close().await;
}

#[tokio::test]
async fn a_folder_is_its_owners_alone_and_laid_out_as_described() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("deep/data");
    let store = open(&folder).await.expect("a new folder");
    let mode = std::fs::metadata(&folder)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0);
    for name in ["registry.db", "blobs", "tmp", "lock"] {
        assert!(folder.join(name).exists(), "{name}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_said_so() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let file = parent.path().join("file");
    std::fs::write(&file, "").expect("written");
    let got = open(&file.join("data"))
        .await
        .err()
        .map(|it| it.to_string())
        .unwrap_or_default();
    assert!(got.starts_with("storage failed: making folder `"), "{got}");
}

#[test]
fn a_full_disk_is_told_apart() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let refusal = failure::of_io("writing a blob", &full);
    assert_eq!(refusal.to_string(), "the disk is full: writing a blob");
    let error = object_store::Error::Generic {
        store: "test",
        source: Box::new(std::io::Error::from_raw_os_error(28)),
    };
    let refusal = failure::of_object("listing blobs", &error);
    assert_eq!(refusal.to_string(), "the disk is full: listing blobs");
}

#[tokio::test]
async fn a_full_registry_is_told_apart() {
    let options = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true);
    let mut db = sqlx::ConnectOptions::connect(&options)
        .await
        .expect("in memory");
    for statement in ["PRAGMA max_page_count = 2", "CREATE TABLE t (a)"] {
        sqlx::query(statement)
            .execute(&mut db)
            .await
            .expect(statement);
    }
    let error = sqlx::query("INSERT INTO t VALUES (zeroblob(100000))")
        .execute(&mut db)
        .await
        .expect_err("two pages are not enough");
    let refusal = failure::of_sql(error);
    assert_eq!(
        refusal.to_string(),
        "the disk is full: writing the registry"
    );
}
