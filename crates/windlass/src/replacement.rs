//! A file that is written in one step: whoever looks sees the old one or the whole new one.

use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// What shall take a file's place. Dropped before [`Replacement::persist`], it leaves that file as it was.
pub(crate) struct Replacement {
    /// To be written to.
    pub(crate) file: NamedTempFile,
    path: PathBuf,
}

impl Replacement {
    /// Nothing yet, in the folder in which `path` is.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        Ok(Self {
            file: NamedTempFile::new_in(folder).map_err(|error| failed(path, &error))?,
            path: path.to_owned(),
        })
    }

    /// Puts it in its place.
    pub(crate) fn persist(self) -> Result<(), Failure> {
        let Self { file, path } = self;
        file.persist(&path).map_err(|error| failed(&path, &error))?;
        Ok(())
    }
}

/// Writes a file that is in memory.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut replacement = Replacement::of(path)?;
    let written = replacement.file.write_all(bytes);
    written.map_err(|error| failed(path, &error))?;
    Ok(replacement.persist()?)
}

/// That a file cannot be written.
pub(crate) fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    let message = format!("`{}` cannot be written: {error}", path.display());
    Failure::refused(
        message,
        "name a file in a folder that is there and is yours",
    )
}
