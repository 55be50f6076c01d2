use futures::stream;

use super::*;

const MANY: i64 = i64::MAX;

async fn blobs(folder: &Path) -> Blobs {
    Blobs::open(folder, 10_000_000).expect("a data folder")
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

fn chunks(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, Refusal>> {
    let chunks: Vec<_> = bytes
        .chunks(7)
        .map(|it| Ok(Bytes::copy_from_slice(it)))
        .collect();
    stream::iter(chunks)
}

/// Every file under a folder, by its path in it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let path = path
                    .strip_prefix(folder)
                    .expect("below")
                    .display()
                    .to_string();
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_was_put_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = blobs(folder.path()).await;
    let content = b"hello, blob".repeat(1000);
    let name = digest(&content);
    assert_eq!(blobs.has(name).await, Ok(false));
    assert_eq!(
        blobs.get(name).await,
        Err(Refusal::UnknownBlob {
            digest: name.to_string()
        })
    );
    for _ in 0..2 {
        let blob = blobs.put(name, chunks(&content)).await.expect("stored");
        assert_eq!((blob.digest, blob.size), (name, content.len() as u64));
    }
    assert_eq!(blobs.has(name).await, Ok(true));
    assert_eq!(blobs.get(name).await.expect("there"), content);
    let text = name.to_string();
    assert_eq!(
        files(folder.path()),
        [format!("blobs/{}/{text}", &text[..2])]
    );

    let source = folder.path().join("source");
    std::fs::write(&source, b"from a file").expect("written");
    let blob = blobs
        .put_file(File::open(&source).expect("open"))
        .await
        .expect("stored");
    assert_eq!(blob.digest, digest(b"from a file"));
    assert_eq!(digest_of(&mut File::open(&source).expect("open")), Ok(blob));
    assert_eq!(blobs.get(blob.digest).await.expect("there"), "from a file");
}

#[tokio::test]
async fn empty_content_is_content() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = blobs(folder.path()).await;
    blobs.put(digest(b""), chunks(b"")).await.expect("stored");
    assert_eq!(blobs.get(digest(b"")).await.expect("there"), "");
}

#[tokio::test]
async fn other_content_than_was_said_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = blobs(folder.path()).await;
    let got = blobs.put(digest(b"a"), chunks(b"b")).await;
    let (want, other) = (digest(b"a").to_string(), digest(b"b").to_string());
    let what = "the content".to_owned();
    assert_eq!(
        got,
        Err(Refusal::DigestMismatch {
            what,
            want,
            got: other
        })
    );
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn content_over_the_limit_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = Blobs::open(folder.path(), 10).expect("a data folder");
    blobs
        .put(digest(&[1; 10]), chunks(&[1; 10]))
        .await
        .expect("at the limit");
    let got = blobs.put(digest(&[2; 11]), chunks(&[2; 11])).await;
    let what = "a file of a model";
    assert_eq!(
        got,
        Err(Refusal::TooLarge {
            what,
            limit: 10,
            got: None
        })
    );
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_put_that_is_cut_off_is_never_seen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = blobs(folder.path()).await;
    let content = vec![5; 3 * PIECE_BYTES];
    let endless = stream::iter([Ok(Bytes::from(content.clone()))]).chain(stream::pending());
    {
        let mut put = std::pin::pin!(blobs.put(digest(&content), endless));
        while files(&folder.path().join("tmp")).is_empty() {
            assert!(futures::poll!(put.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(blobs.has(digest(&content)).await, Ok(false));
    }
    // The caller went away; a piece that was just being written may still be, then its file goes too.
    while !files(folder.path()).is_empty() {
        tokio::task::yield_now().await;
    }
    let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err(Refusal::Cancelled)]);
    assert_eq!(
        blobs.put(digest(b"x"), broken).await,
        Err(Refusal::Cancelled)
    );
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_kill_left_is_cleared_and_what_was_stored_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    {
        let blobs = blobs(folder.path()).await;
        blobs
            .put(digest(b"kept"), chunks(b"kept"))
            .await
            .expect("stored");
        // As a killed process leaves it: no destructor runs.
        std::mem::forget(blobs.stage().await.expect("a file"));
        std::mem::forget(blobs.scratch().await.expect("a folder"));
        assert_eq!(files(&folder.path().join("tmp")).len(), 1);
    }
    let blobs = blobs(folder.path()).await;
    assert_eq!(
        std::fs::read_dir(folder.path().join("tmp"))
            .expect("there")
            .count(),
        0
    );
    assert_eq!(blobs.get(digest(b"kept")).await.expect("there"), "kept");
}

#[tokio::test]
async fn one_changed_byte_is_found_and_mended_by_the_next_put() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = blobs(folder.path()).await;
    let content = b"weights".repeat(100);
    let name = digest(&content);
    blobs.put(name, chunks(&content)).await.expect("stored");
    let path = staged::place_of(&folder.path().join("blobs"), name);
    let mut rotten = content.clone();
    rotten[333] ^= 1;
    std::fs::write(&path, &rotten).expect("written");

    let mismatch = Refusal::DigestMismatch {
        what: "stored content".to_owned(),
        want: name.to_string(),
        got: digest(&rotten).to_string(),
    };
    assert_eq!(blobs.get(name).await, Err(mismatch.clone()));
    let copy = folder.path().join("copy");
    assert_eq!(blobs.copy_into(name, &copy).await, Err(mismatch));
    assert!(!copy.exists());

    blobs.put(name, chunks(&content)).await.expect("stored");
    blobs.copy_into(name, &copy).await.expect("copied");
    assert_eq!(std::fs::read(&copy).expect("there"), content);
    let again = blobs.copy_into(name, &copy).await;
    assert!(
        matches!(again, Err(Refusal::StorageFailed { .. })),
        "{again:?}"
    );
    assert_eq!(std::fs::read(&copy).expect("still there"), content);
}

#[tokio::test]
async fn a_sweep_takes_what_is_old_and_not_referred_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = blobs(folder.path()).await;
    let age = |content: &[u8]| {
        let path = staged::place_of(&folder.path().join("blobs"), digest(content));
        let file = File::options().write(true).open(path).expect("there");
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1000);
        file.set_modified(old).expect("set");
    };
    for content in [b"used", b"free", b"told", b"sent", b"new."] {
        blobs
            .put(digest(content), chunks(content))
            .await
            .expect("stored");
    }
    for content in [b"used", b"free", b"told", b"sent"] {
        age(content);
    }
    std::fs::write(folder.path().join("blobs/README"), "not a blob").expect("written");
    let referenced = HashSet::from([digest(b"used")]);
    assert_eq!(blobs.sweep(&referenced, UnixMillis(1000)).await, Ok(vec![]));
    // Who was told that it is there, or sent it again, finds it there.
    assert_eq!(blobs.has(digest(b"told")).await, Ok(true));
    blobs
        .put(digest(b"sent"), chunks(b"sent"))
        .await
        .expect("stored");
    let free = Blob {
        digest: digest(b"free"),
        size: 4,
    };
    assert_eq!(
        blobs.sweep(&referenced, UnixMillis(1001)).await,
        Ok(vec![free])
    );
    assert_eq!(blobs.has(digest(b"free")).await, Ok(false));
    assert_eq!(files(&folder.path().join("blobs")).len(), 5);
    assert_eq!(
        blobs
            .sweep(&HashSet::new(), UnixMillis(MANY))
            .await
            .map(|it| it.len()),
        Ok(4)
    );
}
