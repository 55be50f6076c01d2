//! A folder that its owner named, and what may be touched below it (R1, R2).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use domain::limits::Limits;
use domain::{ModelName, Refusal};
use rustix::fs::{Mode, OFlags};

use super::PackageFile;
use crate::{PackagePath, failure};

/// The longest file of settings that is read, in bytes.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// What lies at a path below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    File,
    Folder,
    Missing,
}

/// A folder, by the one its owner named and the way from there.
#[derive(Clone)]
pub(super) struct Folder<'a> {
    root: PathBuf,
    below: Option<PackagePath>,
    limits: &'a Limits,
}

impl<'a> Folder<'a> {
    pub(super) fn open(path: &Path, limits: &'a Limits) -> Result<Self, Refusal> {
        // A relative path, or one with links in it, must mean the same when the files are opened.
        let root = std::fs::canonicalize(path)
            .map_err(|error| failure::of_io(format!("reading `{}`", path.display()), &error))?;
        Ok(Self {
            root,
            below: None,
            limits,
        })
    }

    /// The folder that a file lies in, and the file's name there.
    pub(super) fn around(path: &Path, limits: &'a Limits) -> Result<(Self, PackagePath), Refusal> {
        let Some(name) = path.file_name() else {
            return Err(Refusal::UnknownPath {
                path: path.display().to_string(),
            });
        };
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        Ok((Self::open(parent, limits)?, name.to_string_lossy().parse()?))
    }

    /// A file that its owner named: it may be a link (R1). It keeps the name it was given.
    pub(super) fn named(path: &Path, limits: &'a Limits) -> Result<PackageFile, Refusal> {
        let target = std::fs::canonicalize(path)
            .map_err(|error| failure::of_io(format!("reading `{}`", path.display()), &error))?;
        let (folder, name) = Self::around(&target, limits)?;
        let mut file = folder.file(&name)?;
        (_, file.path) = Self::around(path, limits)?;
        Ok(file)
    }

    pub(super) fn below(&self, path: &PackagePath) -> Result<Self, Refusal> {
        Ok(Self {
            root: self.root.clone(),
            below: Some(self.path_in_root(path)?),
            limits: self.limits,
        })
    }

    pub(super) fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// A name in this folder as a path.
    pub(super) fn path(&self, name: &str) -> Result<PackagePath, Refusal> {
        name.parse()
    }

    /// The name that the folder's own suggests for a model.
    pub(super) fn model_name(&self) -> ModelName {
        let name = match &self.below {
            Some(below) => below.file_name().to_owned(),
            None => match self.root.file_name() {
                Some(name) => name.to_string_lossy().into_owned(),
                None => String::new(),
            },
        };
        model_name(&name)
    }

    pub(super) fn has_file(&self, name: &str) -> bool {
        name.parse()
            .is_ok_and(|path| self.kind(&path) == Ok(Kind::File))
    }

    /// What lies there. A link, a device or a pipe is refused.
    pub(super) fn kind(&self, path: &PackagePath) -> Result<Kind, Refusal> {
        match std::fs::symlink_metadata(self.on_disk(path)) {
            Ok(metadata) => kind_of(path.as_str(), metadata.file_type()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kind::Missing),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(Kind::Missing),
            Err(error) => Err(failure::of_io(format!("reading `{path}`"), &error)),
        }
    }

    /// What lies directly in the folder, sorted by name, what is hidden left out.
    pub(super) fn entries(&self) -> Result<Vec<(PackagePath, Kind)>, Refusal> {
        let folder = match &self.below {
            Some(below) => below.within(&self.root),
            None => self.root.clone(),
        };
        let failed = |error| failure::of_io(format!("reading `{}`", folder.display()), &error);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            self.check_count(entries.len() + 1)?;
            let Some(name) = name.to_str() else {
                return Err(Refusal::InvalidName {
                    what: "file path",
                    name: name.to_string_lossy().chars().take(80).collect(),
                    why: "it is not UTF-8",
                });
            };
            let kind = kind_of(name, entry.file_type().map_err(failed)?)?;
            entries.push((name.parse()?, kind));
        }
        entries.sort();
        Ok(entries)
    }

    /// Every file in the folder and in those in it, sorted by path, what is hidden left out.
    pub(super) fn files(&self) -> Result<Vec<PackageFile>, Refusal> {
        let mut files = Vec::new();
        let mut folders: Vec<Option<PackagePath>> = vec![None];
        let mut seen = 0;
        while let Some(next) = folders.pop() {
            let folder = match &next {
                Some(next) => self.below(next)?,
                None => self.clone(),
            };
            for (name, kind) in folder.entries()? {
                seen += 1;
                self.check_count(seen)?;
                let path = match &next {
                    Some(next) => format!("{next}/{name}").parse()?,
                    None => name,
                };
                match kind {
                    Kind::File => files.push(self.file(&path)?),
                    Kind::Folder => folders.push(Some(path)),
                    Kind::Missing => {}
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// One file, measured.
    pub(super) fn file(&self, path: &PackagePath) -> Result<PackageFile, Refusal> {
        let file = open_below(&self.root, &self.path_in_root(path)?)?;
        let metadata = file
            .metadata()
            .map_err(|error| failure::of_io(format!("reading `{path}`"), &error))?;
        let size = metadata.size();
        if size > self.limits.blob_bytes_max {
            return Err(Refusal::TooLarge {
                what: "a file of a model",
                limit: self.limits.blob_bytes_max,
                got: Some(size),
            });
        }
        Ok(PackageFile {
            path: path.clone(),
            size,
            root: self.root.clone(),
            below: self.path_in_root(path)?,
            names: metadata.nlink(),
        })
    }

    /// The text of a file of settings.
    pub(super) fn text(&self, path: &PackagePath) -> Result<String, Refusal> {
        let file = open_below(&self.root, &self.path_in_root(path)?)?;
        let mut bytes = Vec::new();
        file.take(TEXT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| failure::of_io(format!("reading `{path}`"), &error))?;
        if bytes.len() as u64 > TEXT_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what: "a file of settings",
                limit: TEXT_BYTES_MAX,
                got: None,
            });
        }
        String::from_utf8(bytes).map_err(|_| Refusal::InvalidManifest {
            field: path.to_string(),
            why: "it is not UTF-8 text".to_owned(),
        })
    }

    fn check_count(&self, count: usize) -> Result<(), Refusal> {
        if count as u64 > self.limits.files_max {
            return Err(Refusal::TooLarge {
                what: "the number of files in a model's folder",
                limit: self.limits.files_max,
                got: None,
            });
        }
        Ok(())
    }

    fn path_in_root(&self, path: &PackagePath) -> Result<PackagePath, Refusal> {
        match &self.below {
            Some(below) => format!("{below}/{path}").parse(),
            None => Ok(path.clone()),
        }
    }

    fn on_disk(&self, path: &PackagePath) -> PathBuf {
        match &self.below {
            Some(below) => path.within(&below.within(&self.root)),
            None => path.within(&self.root),
        }
    }
}

/// What of a file's or folder's name can be a model's.
pub(super) fn model_name(text: &str) -> ModelName {
    let kept = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().map(kept).take(128).collect();
    let name = name
        .trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
        .trim_end_matches(['.', '-']);
    name.parse()
        .unwrap_or_else(|_| "model".parse().expect("`model` is a model's name"))
}

/// Opens a regular file, and no link on the way to it from the root.
pub(super) fn open_below(root: &Path, path: &PackagePath) -> Result<File, Refusal> {
    let failed = |error: rustix::io::Errno| match error {
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => not_plain(path.as_str(), "a link"),
        rustix::io::Errno::NOENT => Refusal::UnknownPath {
            path: path.within(root).display().to_string(),
        },
        error => failure::of_io(format!("reading `{path}`"), &error.into()),
    };
    let steps = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let named = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let mut at = rustix::fs::open(root, named, Mode::empty()).map_err(failed)?;
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        // A pipe would wait for its writer; it is refused below.
        let last = if names.peek().is_some() {
            OFlags::DIRECTORY
        } else {
            OFlags::NONBLOCK
        };
        at = rustix::fs::openat(&at, name, steps | last, Mode::empty()).map_err(failed)?;
    }
    let file = File::from(at);
    let metadata = file
        .metadata()
        .map_err(|error| failure::of_io(format!("reading `{path}`"), &error))?;
    if !metadata.is_file() {
        return Err(not_plain(path.as_str(), "not a plain file"));
    }
    Ok(file)
}

fn kind_of(name: &str, kind: std::fs::FileType) -> Result<Kind, Refusal> {
    if kind.is_file() {
        return Ok(Kind::File);
    }
    if kind.is_dir() {
        return Ok(Kind::Folder);
    }
    let what = if kind.is_symlink() {
        "a link"
    } else {
        "not a plain file"
    };
    Err(not_plain(name, what))
}

/// Links lead out of the folder, or in circles; pipes and devices never end.
fn not_plain(path: &str, what: &str) -> Refusal {
    if path.ends_with(".onnx") {
        let why = format!("`{path}` is {what}");
        return Refusal::InvalidModel { why };
    }
    Refusal::ExternalDataOutside {
        location: path.to_owned(),
    }
}
