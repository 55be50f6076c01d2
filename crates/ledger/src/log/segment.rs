//! The files of the log.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Refusal;

use super::AHEAD_BYTES;
use super::map::Map;
use crate::failure;

/// A file of the log.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(super) file: File,
    pub(super) map: Map,
}

impl Segment {
    /// A new file of `bytes`, its name in the folder, and its first room; on disk.
    pub(super) fn create(folder: &Path, number: u64, bytes: usize) -> io::Result<Self> {
        let path = path_of(folder, number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let made = Map::create(&file, bytes).and_then(|map| {
            map.prepare(&file, 0..AHEAD_BYTES.min(bytes))?;
            // The length, and the name in the folder.
            file.sync_all()?;
            File::open(folder)?.sync_all()?;
            Ok(map)
        });
        match made {
            Ok(map) => Ok(Self {
                number,
                path,
                file,
                map,
            }),
            Err(error) => {
                // It holds nothing. Where it cannot be removed it is found empty at the next start.
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Up to `end`.
    pub(super) fn readable(&self, end: usize) -> Result<Readable, Refusal> {
        let file = self
            .file
            .try_clone()
            .map_err(|error| failure::of_io("reading the log", &error))?;
        Ok(Readable {
            number: self.number,
            file: Arc::new(file),
            end,
        })
    }
}

/// A part of the log that can be read: a segment's bytes up to the last whole record.
#[derive(Clone)]
pub(crate) struct Readable {
    pub(crate) number: u64,
    file: Arc<File>,
    pub(crate) end: usize,
}

impl Readable {
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Replaces what `bytes` holds.
    pub(crate) fn read(&self, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        bytes.resize(self.end, 0);
        self.file
            .read_exact_at(bytes, 0)
            .map_err(|error| failure::of_io(format!("reading `log/{}`", self.number), &error))
    }
}

/// A segment of an earlier process.
pub(crate) fn open_old(path: &Path, number: u64) -> Result<Readable, Refusal> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (len, file) =
        opened.map_err(|error| failure::of_io(format!("opening `{}`", path.display()), &error))?;
    Ok(Readable {
        number,
        file: Arc::new(file),
        end: usize::try_from(len).unwrap_or(usize::MAX),
    })
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.log"))
}

/// The numbers of the segments in a folder, ascending, with their files.
pub(crate) fn segments_in(folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or("");
        if let Some(number) = name.strip_suffix(".log").and_then(|it| it.parse().ok()) {
            all.insert(number, path);
        }
    }
    Ok(all)
}
