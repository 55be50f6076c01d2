//! The Parquet files of sealed rows and the catalog that lists them.
//!
//! R1. A file belongs to the ledger when the catalog names it. The catalog is replaced whole, by a rename; a
//!     file that it does not name was not finished, or is not needed any more, and is removed at the start.
//! R2. A file is never changed. What replaces it is written under another name.
//! R3. The catalog has each file's checksum. A file is checked before it is first read by this process; one
//!     that fails is set aside, reported, and not read.
//! R4. A file that the catalog names no more stays for [`GRACE`], for readers that saw the one before.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Refusal;
use domain::retention::Keep;
use serde::{Deserialize, Serialize};

use crate::failure;
use crate::layout::{Layout, heard_of};

/// How long a file stays that is not needed any more: longer than any question takes.
pub(crate) const GRACE: Duration = Duration::from_secs(120);

const FORMAT: u32 = 1;
const CATALOG: &str = "catalog.json";
/// Where files that are not what they were go.
pub(crate) const QUARANTINE: &str = "quarantine";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Predictions of one layout and day.
    Predictions,
    /// Labels by prediction id, of predictions of one day.
    Labels,
    /// Labels by the caller's own id or by key.
    TextLabels,
}

/// A Parquet file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path below the ledger's folder.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whose rows they are.
    pub model: String,
    /// The place of its layout in the catalog; of predictions only.
    pub(crate) layout: usize,
    /// The day of its predictions, counted from 1970-01-01.
    pub day: i64,
    /// How many rows.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
    pub(crate) crc: u32,
    /// The first and the last id, in hexadecimal digits.
    pub(crate) ids: (String, String),
    /// The times of the first and the last row, in microseconds since 1970.
    pub times_us: (i64, i64),
    /// When the last request had ended; of predictions only, and of files that were written since it is noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_us: Option<i64>,
}

/// What was found wrong and set aside, or given up, since the folder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Bytes of records that were being written when the process ended: nobody was told that they are safe.
    pub torn_bytes: u64,
    /// Records whose checksum is wrong.
    pub records: u64,
    /// Rows in them, as far as it can be told.
    pub rows: u64,
    /// Parquet files whose checksum is wrong.
    pub files: u64,
    /// Rows in those.
    pub file_rows: u64,
}

/// Everything sealed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Catalog {
    format: u32,
    /// Segments up to this one are sealed.
    pub(crate) sealed: u64,
    /// The number of the next file.
    next_file: u64,
    /// The last label's number.
    pub(crate) label_number: i64,
    pub(crate) layouts: Vec<Arc<Layout>>,
    pub(crate) files: Vec<Arc<Entry>>,
    #[serde(default)]
    pub(crate) damage: Damage,
    /// Rows that were removed because they were old or too many.
    #[serde(default)]
    pub(crate) expired_rows: u64,
    /// For how long the rows of a model are kept, as was last said; also of models that are not served now.
    #[serde(default)]
    pub(crate) keep: BTreeMap<String, Keep>,
}

impl Catalog {
    /// The place of a layout, which is added where it is new.
    pub(crate) fn place_of(&mut self, layout: &Arc<Layout>) -> usize {
        if let Some(place) = self.layouts.iter().position(|it| it == layout) {
            return place;
        }
        self.layouts.push(Arc::clone(layout));
        self.layouts.len() - 1
    }

    /// The models that have rows here.
    pub(crate) fn models(&self) -> BTreeSet<&str> {
        self.files.iter().map(|it| it.model.as_str()).collect()
    }

    /// For how long rows are kept: what nobody heard, and what was posted, as long as the model's own.
    pub(crate) fn keep_of(&self, table: &str) -> Keep {
        self.keep.get(heard_of(table)).copied().unwrap_or_default()
    }

    pub(crate) fn file_number(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file
    }
}

/// The files of a ledger.
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    catalog: Arc<Catalog>,
    /// Names of files that were checked.
    checked: HashSet<String>,
    /// Names of files that are not needed any more, and when they may go.
    doomed: Vec<(String, i64)>,
}

impl Files {
    /// Reads the catalog and removes what it does not name.
    pub(crate) fn open(folder: &Path) -> Result<Self, Refusal> {
        let path = folder.join(CATALOG);
        let catalog = match std::fs::read(&path) {
            Ok(bytes) => read_catalog(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Catalog {
                format: FORMAT,
                ..Catalog::default()
            },
            Err(error) => return Err(failure::of_io("reading the ledger's catalog", &error)),
        };
        let files = Self {
            folder: folder.to_owned(),
            state: Mutex::new(State {
                catalog: Arc::new(catalog),
                checked: HashSet::new(),
                doomed: Vec::new(),
            }),
        };
        files.remove_unnamed()?;
        Ok(files)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the volume has room for.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let volume = rustix::fs::statvfs(&self.folder).ok()?;
        volume.f_bavail.checked_mul(volume.f_frsize)
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.lock().catalog)
    }

    /// The catalog together with what `also` gives: nothing changes between the two.
    pub(crate) fn catalog_and<T>(&self, also: impl FnOnce() -> T) -> (Arc<Catalog>, T) {
        let state = self.lock();
        (Arc::clone(&state.catalog), also())
    }

    /// Replaces the catalog by what `change` makes of it, and then does `and`, before anybody sees either.
    /// Files that are named no more go after a while.
    pub(crate) fn change(
        &self,
        now_ms: i64,
        change: impl FnOnce(&mut Catalog),
        and: impl FnOnce(),
    ) -> Result<(), Refusal> {
        let mut state = self.lock();
        let mut catalog = Catalog::clone(&state.catalog);
        change(&mut catalog);
        self.write(&catalog)?;
        let kept: HashSet<&str> = catalog.files.iter().map(|it| it.name.as_str()).collect();
        let gone: Vec<String> = state
            .catalog
            .files
            .iter()
            .filter(|it| !kept.contains(it.name.as_str()))
            .map(|it| it.name.clone())
            .collect();
        let grace = i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX);
        state
            .doomed
            .extend(gone.into_iter().map(|name| (name, now_ms + grace)));
        state.catalog = Arc::new(catalog);
        and();
        Ok(())
    }

    fn write(&self, catalog: &Catalog) -> Result<(), Refusal> {
        // Records of strings and numbers cannot fail to serialise.
        let bytes = serde_json::to_vec(catalog).unwrap_or_default();
        let temporary = self.folder.join("catalog.tmp");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, self.folder.join(CATALOG))?;
            sync_folder(&self.folder)
        });
        written.map_err(|error| failure::of_io("writing the ledger's catalog", &error))
    }

    /// A number for a new file; it is remembered when the file is.
    pub(crate) fn file_number(&self) -> u64 {
        let mut state = self.lock();
        Arc::make_mut(&mut state.catalog).file_number()
    }

    /// Removes files whose time has come. Gives how many.
    pub(crate) fn remove_doomed(&self, now_ms: i64) -> usize {
        let mut state = self.lock();
        let (gone, kept) = std::mem::take(&mut state.doomed)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, at)| *at <= now_ms);
        state.doomed = kept;
        drop(state);
        for (name, _) in &gone {
            if let Err(error) = std::fs::remove_file(self.folder.join(name)) {
                // At the next start it is not named, and removed then.
                tracing::warn!(name, %error, "a file of the ledger was not removed");
            }
        }
        gone.len()
    }

    /// R3. A file that fails is moved away and its entry removed.
    pub(crate) fn check(&self, entry: &Entry, now_ms: i64) -> Result<(), Refusal> {
        if self.lock().checked.contains(&entry.name) {
            return Ok(());
        }
        self.check_again(entry, now_ms)
    }

    /// The same, also for a file that was checked before.
    pub(crate) fn check_again(&self, entry: &Entry, now_ms: i64) -> Result<(), Refusal> {
        let path = self.folder.join(&entry.name);
        match checksum(&path) {
            Ok(crc) if crc == entry.crc => {
                self.lock().checked.insert(entry.name.clone());
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // A disk that does not answer says nothing about what it holds.
            Err(error) => {
                return Err(failure::of_io(format!("reading `{}`", entry.name), &error));
            }
        }
        tracing::error!(
            name = entry.name,
            rows = entry.rows,
            "a file of the ledger is damaged; it is set aside"
        );
        let aside = self.folder.join(QUARANTINE);
        let name = entry.name.replace('/', "_");
        let moved =
            std::fs::create_dir_all(&aside).and_then(|()| std::fs::rename(&path, aside.join(name)));
        if let Err(error) = moved {
            tracing::warn!(%error, "the damaged file could not be moved");
        }
        self.change(
            now_ms,
            |catalog| {
                catalog.files.retain(|it| it.name != entry.name);
                catalog.damage.files += 1;
                catalog.damage.file_rows += entry.rows;
            },
            || {},
        )?;
        // It has no file any more that could be removed later.
        self.lock().doomed.retain(|(name, _)| *name != entry.name);
        Err(damaged(entry))
    }

    fn remove_unnamed(&self) -> Result<(), Refusal> {
        let catalog = self.catalog();
        let named: HashSet<PathBuf> = catalog
            .files
            .iter()
            .map(|it| self.folder.join(&it.name))
            .collect();
        for kind in ["predictions", "labels"] {
            let mut folders = vec![self.folder.join(kind)];
            while let Some(folder) = folders.pop() {
                let Ok(entries) = std::fs::read_dir(&folder) else {
                    continue;
                };
                for path in entries.filter_map(|it| Some(it.ok()?.path())) {
                    if path.is_dir() {
                        folders.push(path);
                    } else if !named.contains(&path) {
                        std::fs::remove_file(&path)
                            .map_err(|error| failure::of_io("tidying the ledger", &error))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is said of a damaged file.
pub(crate) fn damaged(entry: &Entry) -> Refusal {
    Refusal::StorageFailed {
        what: format!(
            "`{}` of the ledger is damaged: its {} rows were set aside in `ledger/{QUARANTINE}`",
            entry.name, entry.rows
        ),
    }
}

fn read_catalog(bytes: &[u8]) -> Result<Catalog, Refusal> {
    let failed = |why: String| Refusal::StorageFailed {
        what: format!("the ledger's catalog cannot be read: {why}"),
    };
    let catalog: Catalog =
        serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
    if catalog.format != FORMAT {
        let format = catalog.format;
        return Err(failed(format!(
            "it has format {format}, this Windlass reads {FORMAT}; it was written by another version"
        )));
    }
    Ok(catalog)
}

/// Makes a folder's names survive a loss of power.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn checksum(path: &Path) -> std::io::Result<u32> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buffer[..read]);
    }
}

/// Counts and checks what is written through it.
pub(crate) struct Checked {
    file: File,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl Checked {
    /// A new file, in place of one that was not finished.
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(Self {
            file: File::create(path)?,
            hasher: crc32fast::Hasher::new(),
            bytes: 0,
        })
    }

    /// Brings the file and its name to the disk. Gives its bytes and checksum.
    pub(crate) fn finish(self, path: &Path) -> std::io::Result<(u64, u32)> {
        self.file.sync_all()?;
        let mut folder = path.parent();
        // The folders may be new too: `predictions/model=M/day=D`.
        for _ in 0..3 {
            if let Some(it) = folder {
                sync_folder(it)?;
                folder = it.parent();
            }
        }
        Ok((self.bytes, self.hasher.finalize()))
    }
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
