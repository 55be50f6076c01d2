//! What a push brings.

use std::collections::HashSet;

use domain::{Digest, ModelName, Refusal, Signature, Version};
use sha2::{Digest as _, Sha256};

use super::Change;
use crate::PackagePath;

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Where it lies in the package.
    pub path: PackagePath,
    /// Its content.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

/// A version that is to be. Its blobs must be stored already, each one written or asked for
/// ([`Blobs::has`](crate::Blobs::has)) since the push began.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVersion {
    /// Under which name.
    pub model: ModelName,
    /// Its files, in any order.
    pub files: Vec<File>,
    /// Which of them is the model.
    pub main: PackagePath,
    /// What its owner says about it: `windlass.yaml`, as it is to be read again.
    pub manifest: String,
    /// What it takes and gives.
    pub signature: Signature,
    /// Where it came from, for people: `model.onnx`, `Triton repository`.
    pub source: String,
    /// Who pushes it, when and why.
    pub change: Change,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// A new version.
    New(Version),
    /// The same package is this version already; nothing was changed.
    Existing(Version),
}

impl Pushed {
    /// The version that the package is.
    pub fn version(self) -> Version {
        match self {
            Self::New(version) | Self::Existing(version) => version,
        }
    }
}

impl NewVersion {
    /// The digest of the package.
    pub fn digest(&self) -> Digest {
        digest_of_package(&self.files, &self.main, &self.manifest)
    }

    /// Refuses files that could not lie in one folder together, and a model that is not among them.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let refuse = |why: String| {
            let what = "the list of files";
            Err(Refusal::Malformed { what, why })
        };
        let mut paths = HashSet::new();
        for file in &self.files {
            if !paths.insert(file.path.as_str()) {
                return refuse(format!("`{}` is there twice", file.path));
            }
        }
        for file in &self.files {
            if let Some(parent) = file.path.parents().find(|parent| paths.contains(parent)) {
                return refuse(format!(
                    "`{parent}` is a file and the folder of `{}`",
                    file.path
                ));
            }
        }
        if !paths.contains(self.main.as_str()) {
            return refuse(format!("the model `{}` is not in it", self.main));
        }
        Ok(())
    }
}

/// The SHA-256 over what makes a package what it is: each file's digest, size and path, sorted by path;
/// which one is the model; and the digest of the manifest. One line each, so that no two packages read
/// the same (a path has no line break in it).
pub fn digest_of_package(files: &[File], main: &PackagePath, manifest: &str) -> Digest {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hasher = Sha256::new();
    hasher.update("windlass package 1\n");
    for File { path, digest, size } in sorted {
        hasher.update(format!("file {digest} {size} {path}\n"));
    }
    hasher.update(format!("main {main}\n"));
    let manifest = Digest::new(Sha256::digest(manifest).into());
    hasher.update(format!("manifest {manifest}\n"));
    Digest::new(hasher.finalize().into())
}
