//! Where a file lies inside a package.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use domain::Refusal;

/// The longest path inside a package, in bytes.
const PATH_BYTES_MAX: usize = 512;
/// The deepest a file lies inside a package, in folders and its own name.
const PATH_DEPTH_MAX: usize = 16;

/// A relative path that cannot leave the folder it is joined to: plain names with `/` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackagePath(String);

impl PackagePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its names, outermost first; at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last of its names.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Where it is when the package lies in `folder`.
    pub fn within(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }

    /// The folders it lies in, innermost first.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.rmatch_indices('/').map(|(at, _)| &self.0[..at])
    }
}

impl FromStr for PackagePath {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: &'static str| {
            Err(Refusal::InvalidName {
                what: "file path",
                name: text.chars().take(80).collect(),
                why,
            })
        };
        if text.len() > PATH_BYTES_MAX {
            return refuse("it is longer than 512 bytes");
        }
        if text.contains(|c: char| c.is_control() || matches!(c, '\\' | ':')) {
            return refuse("it holds a backslash, a colon or a control character");
        }
        let mut depth = 0;
        for name in text.split('/') {
            depth += 1;
            match name {
                "" => return refuse("it is empty, begins or ends with `/`, or has `//`"),
                "." | ".." => return refuse("it has a `.` or `..` in it"),
                _ => {}
            }
        }
        if depth > PATH_DEPTH_MAX {
            return refuse("it is more than 16 names deep");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PackagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_package_are_refused() {
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
        ] {
            assert!(text.parse::<PackagePath>().is_err(), "{text:?}");
        }
        assert!(
            "a/".repeat(16)
                .as_str()
                .trim_end_matches('/')
                .parse::<PackagePath>()
                .is_ok()
        );
        assert!(
            "a/".repeat(17)
                .as_str()
                .trim_end_matches('/')
                .parse::<PackagePath>()
                .is_err()
        );
        assert!("a".repeat(513).parse::<PackagePath>().is_err());
    }

    #[test]
    fn a_path_names_the_folders_it_lies_in() {
        let path: PackagePath = "a/b/c.bin".parse().expect("a plain path");
        assert_eq!(path.parents().collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(path.components().collect::<Vec<_>>(), ["a", "b", "c.bin"]);
        assert_eq!(path.file_name(), "c.bin");
    }
}
