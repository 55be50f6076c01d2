//! The files of the log.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use domain::Refusal;

use super::AHEAD_BYTES;
use super::frame::whole_bytes;
use super::map::Map;
use crate::index::{About, Index};
use crate::{failure, lock, read};

/// Bytes that an index reads at once, at first: they stay in a core's cache, and their memory is used again.
const READ_BYTES: usize = 256 << 10;

/// A file of the log.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(super) file: File,
    pub(super) map: Map,
    index: Arc<Mutex<Index>>,
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
                index: Arc::default(),
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
            index: Arc::clone(&self.index),
        })
    }
}

/// A part of the log that can be read: a segment's bytes up to the last whole record.
#[derive(Clone)]
pub(crate) struct Readable {
    pub(crate) number: u64,
    file: Arc<File>,
    pub(crate) end: usize,
    index: Arc<Mutex<Index>>,
}

impl Readable {
    /// Pieces that have all records of some models, each from the beginning of a record to the end of one; of predictions
    /// those that `may` have what is wanted.
    pub(crate) fn pieces_of(
        &self,
        wanted: impl Fn(&str) -> bool,
        may: impl Fn(&About) -> bool,
    ) -> Result<Pieces, Refusal> {
        let ranges = self.indexed()?.pieces(self.end, wanted, may);
        let mut bytes = vec![0; ranges.iter().map(Range::len).sum()];
        let mut rest = &mut bytes[..];
        let mut ends = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (piece, behind) = rest.split_at_mut(range.len());
            self.fill(piece, range.start)?;
            rest = behind;
            ends.push(ends.last().copied().unwrap_or(0) + range.len());
        }
        Ok(Pieces { bytes, ends })
    }

    /// Whether there are predictions of a model within a range of time.
    pub(crate) fn has(&self, model: &str, range: read::Range) -> Result<bool, Refusal> {
        let times = self.indexed()?.times_us(model);
        Ok(times.is_some_and(|it| range.meets(it)))
    }

    /// The models that there are records of.
    pub(crate) fn models(&self) -> Result<Vec<String>, Refusal> {
        Ok(self.indexed()?.models().map(str::to_owned).collect())
    }

    /// The index, up to the end at least.
    fn indexed(&self) -> Result<MutexGuard<'_, Index>, Refusal> {
        let mut index = lock(&self.index);
        let mut bytes = Vec::new();
        let mut most = READ_BYTES;
        while index.to() < self.end {
            let rest = self.end - index.to();
            bytes.resize(rest.min(most), 0);
            self.fill(&mut bytes, index.to())?;
            match whole_bytes(&bytes) {
                // What is no record is looked for behind, as far as it takes; and so is the end of a great one.
                0 if bytes.len() < rest => most = most.saturating_mul(2),
                _ if bytes.len() == rest => index.extend(&bytes),
                whole => index.extend(&bytes[..whole]),
            }
        }
        Ok(index)
    }

    fn fill(&self, bytes: &mut [u8], at: usize) -> Result<(), Refusal> {
        self.file
            .read_exact_at(bytes, at as u64)
            .map_err(|error| failure::of_io(format!("reading `log/{}`", self.number), &error))
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Replaces what `bytes` holds.
    pub(crate) fn read(&self, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        bytes.resize(self.end, 0);
        self.fill(bytes, 0)
    }
}

/// Parts of a segment, one behind the other.
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    /// Each of them.
    pub(crate) fn all(&self) -> Vec<&[u8]> {
        let begins = std::iter::once(&0).chain(&self.ends);
        let ranges = begins.zip(&self.ends);
        ranges.map(|(from, to)| &self.bytes[*from..*to]).collect()
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
        index: Arc::default(),
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
