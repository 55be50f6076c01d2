//! The files of a package, still where their owner has them.

use std::fs::File;
use std::path::{Path, PathBuf};

use domain::Refusal;
use domain::limits::Limits;

use super::Package;
use super::folder::{Folder, open_below};
use crate::PackagePath;

/// A file that belongs to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// Where it lies in the package.
    pub path: PackagePath,
    /// How many bytes it had when it was looked at.
    pub size: u64,
    pub(super) root: PathBuf,
    pub(super) below: PackagePath,
    /// How many names it has on its disk.
    pub(super) names: u64,
}

impl PackageFile {
    /// Where it is on its owner's disk, to be shown.
    pub fn source(&self) -> PathBuf {
        self.below.within(&self.root)
    }

    /// Opens it. It may have changed since it was looked at; it is a plain file still, below the
    /// folder that its owner named, or this is refused.
    pub fn open(&self) -> Result<File, Refusal> {
        open_below(&self.root, &self.below)
    }
}

impl Package {
    /// The files besides the model become exactly the external data that the model says it needs
    /// (`location`s, relative to the model) and the examples. What else lies in its folder, papers and
    /// tables, is left out. A location that is not a plain file beside the model is refused.
    pub fn keep_external(&mut self, locations: &[String], limits: &Limits) -> Result<(), Refusal> {
        let main = self.file(&self.main)?.clone();
        let examples = self.manifest.examples.as_ref().map(|it| it.file.clone());
        let mut kept: Vec<PackageFile> = self
            .files
            .iter()
            .filter(|it| it.path == main.path || Some(it.path.as_str()) == examples.as_deref())
            .cloned()
            .collect();
        for location in locations {
            let outside = || Refusal::ExternalDataOutside {
                location: location.clone(),
            };
            let plain: PackagePath = location.parse().map_err(|_| outside())?;
            let path = beside(&main.path, &plain)?;
            if kept.iter().any(|it| it.path == path) {
                continue;
            }
            let on_disk = beside(&main.below, &plain)?;
            let root = Folder::open(&main.root, limits)?;
            let mut file = root.file(&on_disk).map_err(|refusal| match refusal {
                Refusal::UnknownPath { .. }
                | Refusal::InvalidModel { .. }
                | Refusal::ExternalDataOutside { .. } => outside(),
                refusal => refusal,
            })?;
            file.path = path;
            kept.push(file);
        }
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        self.files = kept;
        self.check_files(limits)
    }

    /// The file with this path in the package.
    pub fn file(&self, path: &PackagePath) -> Result<&PackageFile, Refusal> {
        let found = self.files.iter().find(|it| it.path == *path);
        found.ok_or_else(|| Refusal::UnknownPath {
            path: path.to_string(),
        })
    }

    /// Refuses too many files, and weights that have a second name: that one may be anybody's file,
    /// and who may write there changes the model.
    pub(super) fn check_files(&self, limits: &Limits) -> Result<(), Refusal> {
        let examples = self.manifest.examples.as_ref().map(|it| it.file.as_str());
        for file in &self.files {
            let external = file.path != self.main && Some(file.path.as_str()) != examples;
            if external && file.names > 1 {
                return Err(Refusal::ExternalDataOutside {
                    location: file.path.to_string(),
                });
            }
        }
        if self.files.len() as u64 > limits.files_max {
            return Err(Refusal::TooLarge {
                what: "the number of files in a model's folder",
                limit: limits.files_max,
                got: Some(self.files.len() as u64),
            });
        }
        Ok(())
    }
}

/// The path of what lies at `path` seen from the folder of `file`.
fn beside(file: &PackagePath, path: &PackagePath) -> Result<PackagePath, Refusal> {
    match Path::new(file.as_str()).parent() {
        Some(parent) if parent != Path::new("") => format!("{}/{path}", parent.display()).parse(),
        _ => Ok(path.clone()),
    }
}
