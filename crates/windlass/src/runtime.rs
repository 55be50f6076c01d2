//! ONNX Runtime: which library is used, and getting the pinned one.

pub(crate) mod install;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use domain::Refusal;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// The file's name, without the version that its makers put behind it.
const LIBRARY: &str = "libonnxruntime.so";

/// Where distributions and the library's own packages put it.
const SYSTEM: &[&str] = &[
    "/usr/local/lib",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/opt/onnxruntime/lib",
];

#[derive(Debug, Args)]
pub(crate) struct RuntimeArgs {
    #[command(subcommand)]
    command: RuntimeCommand,
}

#[derive(Debug, Subcommand)]
enum RuntimeCommand {
    /// Gets the ONNX Runtime that this Windlass was tested with and puts it into the data folder.
    ///
    /// The library comes out of its official package on PyPI, through this machine's own `pip`, so that
    /// mirrors and proxies work as they do for pip. The package and the library in it are checked against
    /// digests that are built into Windlass. Once it is there, nothing is fetched again.
    Install(install::InstallArgs),
    /// Says which library is used, and why that one.
    Show,
}

/// What made a library the one that is used, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    Flag,
    Environment,
    DataFolder,
    System,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "`--runtime` names it",
            Self::Environment => "WINDLASS_ONNXRUNTIME names it",
            Self::DataFolder => "`windlass runtime install` put it into the data folder",
            Self::System => "it is installed on this machine",
        })
    }
}

/// The library that is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    pub(crate) library: PathBuf,
    pub(crate) reason: Reason,
}

/// Where [`candidates`] looks.
pub(crate) struct Places<'a> {
    pub(crate) flag: Option<&'a Path>,
    pub(crate) environment: Option<&'a Path>,
    pub(crate) data_dir: &'a Path,
    pub(crate) system: &'a [&'a str],
}

/// Where the data folder keeps the library.
pub(crate) fn installed(data_dir: &Path) -> PathBuf {
    data_dir.join("runtime").join(LIBRARY)
}

/// Every place that the library may be at, in the order in which it is looked for; whether it is there
/// is asked when it is needed, so that it can be installed under a running server. One that was named is
/// the only one, and must be there: another in its place could answer differently.
pub(crate) fn candidates(places: &Places<'_>) -> Result<Vec<Found>, Failure> {
    let named = [
        (places.flag, Reason::Flag),
        (places.environment, Reason::Environment),
    ];
    for (path, reason) in named {
        let Some(path) = path else { continue };
        let library = if path.is_dir() {
            path.join(LIBRARY)
        } else {
            path.to_owned()
        };
        if !library.is_file() {
            let message = format!("no ONNX Runtime at `{}`, and {reason}", library.display());
            let hint = "name the file `libonnxruntime.so`, or leave it out";
            return Err(Failure::not_found(message, hint));
        }
        return Ok(vec![Found { library, reason }]);
    }
    let own = installed(places.data_dir);
    let mut all = vec![Found {
        library: own,
        reason: Reason::DataFolder,
    }];
    let system = places
        .system
        .iter()
        .map(|folder| in_folder(Path::new(folder)));
    all.extend(system.map(|library| Found {
        library,
        reason: Reason::System,
    }));
    Ok(all)
}

/// `libonnxruntime.so`, or where there is none the last by name of `libonnxruntime.so.*`.
fn in_folder(folder: &Path) -> PathBuf {
    let plain = folder.join(LIBRARY);
    if plain.is_file() {
        return plain;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let versioned = entries
        .filter_map(Result::ok)
        .map(|it| it.path())
        .filter(|path| {
            let name = path.file_name().and_then(|it| it.to_str());
            name.is_some_and(|it| it.starts_with("libonnxruntime.so.")) && path.is_file()
        });
    versioned.max().unwrap_or(plain)
}

/// The places for this command line.
pub(crate) fn candidates_for(context: &Context) -> Result<Vec<Found>, Failure> {
    candidates(&Places {
        flag: context.runtime.as_deref(),
        environment: context.environment.runtime.as_deref().map(Path::new),
        data_dir: &context.data_dir,
        system: SYSTEM,
    })
}

/// The library that is used, where there is one.
pub(crate) fn find_for(context: &Context) -> Result<Option<Found>, Failure> {
    Ok(candidates_for(context)?
        .into_iter()
        .find(|it| it.library.is_file()))
}

/// Runs `windlass runtime`.
pub(crate) fn run(context: &Context, args: RuntimeArgs) -> anyhow::Result<()> {
    match args.command {
        RuntimeCommand::Install(args) => {
            let installed = install::install(context, &args)?;
            context
                .output
                .answer(&installed, install::Installed::to_string)
        }
        RuntimeCommand::Show => {
            let Some(found) = find_for(context)? else {
                let all = candidates_for(context)?;
                let looked: Vec<String> = all
                    .iter()
                    .map(|it| format!("`{}`", it.library.display()))
                    .collect();
                let looked = looked.join(", ");
                return Err(Refusal::RuntimeMissing { looked }.into());
            };
            let show = |it: &Found| format!("{}\nused because {}", it.library.display(), it.reason);
            context.output.answer(&found, show)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_looked_for_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(&path, "").expect("written");
            path
        };
        let data_dir = folder.path().join("data");
        let system_dir = folder.path().join("system").display().to_string();
        let system = [system_dir.as_str()];
        let check = |flag: Option<&Path>, environment: Option<&Path>, want| {
            let all = candidates(&Places {
                flag,
                environment,
                data_dir: &data_dir,
                system: &system,
            });
            let found = all.map(|all| {
                let first = all.into_iter().find(|it| it.library.is_file());
                first.map(|it| (it.library, it.reason))
            });
            assert_eq!(found.map_err(|it| it.message), want);
        };
        check(None, None, Ok(None));
        let newer = at("system/libonnxruntime.so.1.31.1");
        at("system/libonnxruntime.so.1.30.0");
        check(None, None, Ok(Some((newer, Reason::System))));
        let own = at("data/runtime/libonnxruntime.so");
        check(None, None, Ok(Some((own, Reason::DataFolder))));
        let (a, b) = (at("a/libonnxruntime.so"), at("b/mine.so"));
        let want = Ok(Some((a, Reason::Environment)));
        check(None, Some(&folder.path().join("a")), want);
        check(
            Some(&b),
            Some(Path::new("/nowhere")),
            Ok(Some((b.clone(), Reason::Flag))),
        );
        let want = "no ONNX Runtime at `/nowhere`, and `--runtime` names it";
        check(Some(Path::new("/nowhere")), None, Err(want.to_owned()));
    }
}
