//! Tensors in system shared memory, for callers on the same machine who were allowed to use it.
//!
//! A region is a file in `/dev/shm`, read and written in place with plain file calls: what a caller does to
//! its own region meanwhile can spoil its own answer and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use domain::Refusal;
use wire::oip::Region;

/// A region that a caller registered.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    /// The name of the file in `/dev/shm`, as the caller gave it.
    pub(crate) key: String,
    pub(crate) offset: u64,
    pub(crate) byte_size: u64,
    file: Arc<File>,
}

/// Regions by the names they were registered under.
pub(crate) struct SharedMemory {
    allowed: bool,
    regions: Mutex<BTreeMap<String, Registered>>,
}

/// Regions that may be registered at a time; each holds a file open.
const REGIONS_MAX: usize = 1024;

impl SharedMemory {
    pub(crate) fn new(allowed: bool) -> Self {
        Self {
            allowed,
            regions: Mutex::default(),
        }
    }

    /// Whether callers may use it.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed
    }

    fn check_allowed(&self) -> Result<(), Refusal> {
        if self.allowed {
            return Ok(());
        }
        Err(Refusal::Unsupported {
            what: "system shared memory".to_owned(),
            hint: "start the server with `--system-shared-memory` to allow it".to_owned(),
        })
    }

    /// Registers a region under a name.
    pub(crate) fn register(
        &self,
        name: &str,
        key: &str,
        offset: u64,
        byte_size: u64,
    ) -> Result<(), Refusal> {
        self.check_allowed()?;
        let malformed = |why: String| Refusal::Malformed {
            what: "the shared memory region",
            why,
        };
        let bare = key.trim_start_matches('/');
        let plain = !bare.is_empty()
            && bare.len() <= 255
            && !bare.contains(['/', '\\', '\0'])
            && !bare.starts_with('.');
        if !plain || name.is_empty() || name.len() > 255 {
            return Err(malformed(format!(
                "key `{key}` is not the name of a region"
            )));
        }
        let end = offset
            .checked_add(byte_size)
            .filter(|_| byte_size > 0)
            .ok_or_else(|| malformed(format!("{byte_size} bytes at {offset} are not a piece")))?;
        // The error says no more than that: what lies in /dev/shm is not the caller's to learn.
        let absent = |_| malformed(format!("no region with key `{key}` can be opened"));
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOFOLLOW;
        let path = Path::new("/dev/shm").join(bare);
        let opened = rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
        let file = File::from(opened.map_err(std::io::Error::from).map_err(absent)?);
        let metadata = file.metadata().map_err(absent)?;
        if !metadata.is_file() || metadata.len() < end {
            return Err(malformed(format!(
                "the region with key `{key}` has fewer than {end} bytes"
            )));
        }
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if regions.contains_key(name) {
            let why = format!("shared memory region `{name}` is registered already");
            return Err(Refusal::Conflict { why });
        }
        if regions.len() >= REGIONS_MAX {
            let limit = REGIONS_MAX as u64;
            return Err(Refusal::Overloaded {
                what: "shared memory regions",
                limit,
            });
        }
        let key = key.to_owned();
        let registered = Registered {
            key,
            offset,
            byte_size,
            file: Arc::new(file),
        };
        regions.insert(name.to_owned(), registered);
        Ok(())
    }

    /// Forgets a region, or all of them. One that nobody registered is forgotten already.
    pub(crate) fn unregister(&self, name: Option<&str>) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        match name {
            Some(name) => drop(regions.remove(name)),
            None => regions.clear(),
        }
    }

    /// The regions by name; one or all.
    pub(crate) fn status(&self, name: Option<&str>) -> Result<Vec<(String, Registered)>, Refusal> {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        match name {
            None => Ok(regions
                .iter()
                .map(|(name, it)| (name.clone(), it.clone()))
                .collect()),
            Some(name) => {
                let found = regions.get(name).ok_or_else(|| Refusal::UnknownRegion {
                    region: name.to_owned(),
                })?;
                Ok(vec![(name.to_owned(), found.clone())])
            }
        }
    }

    /// The bytes of a piece of a region.
    pub(crate) fn read(&self, piece: &Region, bytes_max: u64) -> Result<Vec<u8>, Refusal> {
        let (region, start) = self.locate(piece)?;
        if piece.byte_size > bytes_max {
            return Err(Refusal::TooLarge {
                what: "the shared memory of an input",
                limit: bytes_max,
                got: Some(piece.byte_size),
            });
        }
        let mut bytes = vec![0; usize::try_from(piece.byte_size).unwrap_or(usize::MAX)];
        region
            .file
            .read_exact_at(&mut bytes, start)
            .map_err(|_| shrunk(&piece.name))?;
        Ok(bytes)
    }

    /// Writes an output into a piece of a region.
    pub(crate) fn write(&self, output: &str, piece: &Region, bytes: &[u8]) -> Result<(), Refusal> {
        let (region, start) = self.locate(piece)?;
        if bytes.len() as u64 > piece.byte_size {
            let (size, room) = (bytes.len(), piece.byte_size);
            return Err(Refusal::Malformed {
                what: "the request",
                why: format!("output `{output}` is {size} bytes, its shared memory has {room}"),
            });
        }
        region
            .file
            .write_all_at(bytes, start)
            .map_err(|_| shrunk(&piece.name))
    }

    fn locate(&self, piece: &Region) -> Result<(Registered, u64), Refusal> {
        self.check_allowed()?;
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let region = regions
            .get(&piece.name)
            .ok_or_else(|| unknown(&piece.name))?;
        let end = piece.offset.checked_add(piece.byte_size);
        let start = region.offset.checked_add(piece.offset);
        match (end, start) {
            (Some(end), Some(start)) if end <= region.byte_size => Ok((region.clone(), start)),
            _ => Err(Refusal::Malformed {
                what: "the request",
                why: format!(
                    "{} bytes at {} are not within region `{}` of {} bytes",
                    piece.byte_size, piece.offset, piece.name, region.byte_size
                ),
            }),
        }
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::Malformed {
        what: "the request",
        why: format!("no shared memory region `{name}` is registered"),
    }
}

fn shrunk(name: &str) -> Refusal {
    Refusal::Malformed {
        what: "the request",
        why: format!("shared memory region `{name}` is shorter than when it was registered"),
    }
}
