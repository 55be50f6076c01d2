//! Gets the pinned ONNX Runtime out of its wheel.
//!
//! R1. The wheel is fetched by the machine's own pip, by name, version and digest, so that its mirrors
//!     and proxies are used and nobody between can change it.
//! R2. One wheel for each kind of machine, whatever Python is there: the library in it does not need any.
//! R3. The library's own digest is checked too, before it takes its place in one step.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use domain::Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::failure::Failure;
use crate::runtime::installed;

/// The version that the tests run with.
pub(crate) const VERSION: &str = "1.31.1";

/// What is pinned for one kind of machine.
struct Pin {
    architecture: &'static str,
    platform: &'static str,
    wheel: &'static str,
    library: &'static str,
}

const PINS: &[Pin] = &[
    Pin {
        architecture: "x86_64",
        platform: "manylinux_2_28_x86_64",
        wheel: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        library: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    },
    Pin {
        architecture: "aarch64",
        platform: "manylinux_2_28_aarch64",
        wheel: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        library: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    },
];

/// The Python whose wheels are taken; any would do (R2).
const PYTHON: &str = "3.12";

#[derive(Debug, Default, Args)]
pub(crate) struct InstallArgs {
    /// Takes the library out of this wheel in place of fetching one, for machines without a network.
    /// Any version is taken; its digest is printed, not checked.
    #[arg(long, value_name = "FILE")]
    wheel: Option<PathBuf>,
    /// Gets this version in place of the tested one. Its digest is printed, not checked: pip's own check
    /// against its index is the only one.
    #[arg(long, value_name = "VERSION", conflicts_with = "wheel")]
    version: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Installed {
    pub(crate) library: PathBuf,
    sha256: String,
    /// Whether it is the pinned one.
    tested: bool,
    /// Whether it was there already.
    unchanged: bool,
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did = if self.unchanged {
            "is already at"
        } else {
            "installed at"
        };
        write!(f, "ONNX Runtime {did} {}", self.library.display())?;
        if !self.tested {
            write!(
                f,
                "\nnot the tested version {VERSION}; sha256 {}",
                self.sha256
            )?;
        }
        Ok(())
    }
}

/// Puts the library into the data folder.
pub(crate) fn install(context: &Context, args: &InstallArgs) -> anyhow::Result<Installed> {
    let target = installed(&context.data_dir);
    let folder = target.parent().unwrap_or(&context.data_dir).to_owned();
    let pin = pin_for(std::env::consts::OS, std::env::consts::ARCH)?;
    let pinned = args.wheel.is_none() && args.version.as_deref().is_none_or(|it| it == VERSION);
    if pinned && target.is_file() && digest(&target)? == pin.library {
        let sha256 = pin.library.to_owned();
        return Ok(Installed {
            library: target,
            sha256,
            tested: true,
            unchanged: true,
        });
    }
    fs::create_dir_all(&folder).with_context(|| format!("making folder `{}`", folder.display()))?;
    // In the folder it will end in, so that the last step is a rename and nothing is left behind.
    let scratch = tempfile::Builder::new()
        .prefix(".install-")
        .tempdir_in(&folder)?;
    let wheel = match &args.wheel {
        Some(wheel) => wheel.clone(),
        None => {
            let version = args.version.as_deref().unwrap_or(VERSION);
            let bytes = if pinned { " (24 MB)" } else { "" };
            context.output.note(&format!(
                "getting ONNX Runtime {version} with pip{bytes} ..."
            ));
            let wanted = Wanted {
                version,
                pin,
                pinned,
            };
            fetch(&wanted, scratch.path(), context.output.draws())?
        }
    };
    let library = unpack(&wheel, scratch.path())?;
    let sha256 = digest(&library)?;
    if pinned && sha256 != pin.library {
        let message = format!(
            "the library in the wheel has digest {sha256}, want {}",
            pin.library
        );
        let hint = "the package index gave another file; nothing was installed";
        return Err(Failure::refused(message, hint).into());
    }
    File::open(&library)?.sync_all()?;
    fs::rename(&library, &target)
        .with_context(|| format!("putting the library at `{}`", target.display()))?;
    File::open(&folder)?.sync_all()?;
    let tested = sha256 == pin.library;
    Ok(Installed {
        library: target,
        sha256,
        tested,
        unchanged: false,
    })
}

fn pin_for(system: &str, architecture: &str) -> Result<&'static Pin, Failure> {
    let pin = PINS
        .iter()
        .find(|it| system == "linux" && it.architecture == architecture);
    pin.ok_or_else(|| {
        let message = format!("no ONNX Runtime is pinned for {system} on {architecture}");
        Failure::refused(
            message,
            "install it yourself and name its file with `--runtime`",
        )
    })
}

/// Which wheel is to be fetched.
struct Wanted<'a> {
    version: &'a str,
    pin: &'static Pin,
    /// Whether it is the one whose digest is built in.
    pinned: bool,
}

/// Has pip put the wheel into `folder`, and draw its own progress where somebody looks.
fn fetch(wanted: &Wanted<'_>, folder: &Path, draws: bool) -> anyhow::Result<PathBuf> {
    let Wanted {
        version,
        pin,
        pinned,
    } = *wanted;
    let requirements = folder.join("requirements.txt");
    let hash = if pinned {
        format!(" --hash=sha256:{}", pin.wheel)
    } else {
        String::new()
    };
    fs::write(&requirements, format!("onnxruntime=={version}{hash}\n"))?;
    let wheels = folder.join("wheels");
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-input",
    ])
    .args(["--no-deps", "--only-binary=:all:", "--implementation=cp"])
    .args(["--python-version", PYTHON, "--platform", pin.platform])
    .arg("--dest")
    .arg(&wheels)
    .arg("-r")
    .arg(&requirements);
    if pinned {
        pip.arg("--require-hashes");
    }
    // Its standard output tells people how far it is; ours is for answers.
    pip.stdout(if draws {
        Stdio::from(std::io::stderr())
    } else {
        Stdio::null()
    });
    pip.stderr(Stdio::piped());
    let hint = "`python3 -m pip` must work; or get the wheel elsewhere and use `--wheel FILE`";
    let output = pip
        .spawn()
        .and_then(Child::wait_with_output)
        .map_err(|error| Failure::not_now(format!("python3 cannot be run: {error}"), hint))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        return Err(Failure::not_now(format!("pip could not get the wheel: {said}"), hint).into());
    }
    let mut files = fs::read_dir(&wheels)?
        .filter_map(Result::ok)
        .map(|it| it.path());
    let wheel = files.find(|it| it.extension().is_some_and(|it| it == "whl"));
    wheel.with_context(|| "pip said that it got the wheel, and there is none".to_owned())
}

/// Takes the library out of a wheel, which is a zip file.
fn unpack(wheel: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let name = wheel.display();
    let file = File::open(wheel).map_err(|error| {
        Failure::not_found(
            format!("wheel `{name}` cannot be opened: {error}"),
            "check the path",
        )
    })?;
    let not_one = |why: String| {
        let message = format!("`{name}` is not a wheel of ONNX Runtime: {why}");
        Failure::refused(message, "give an `onnxruntime-*.whl` for Linux")
    };
    let mut archive = zip::ZipArchive::new(file).map_err(|error| not_one(error.to_string()))?;
    let inside = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|it| it.starts_with("onnxruntime/capi/libonnxruntime.so"))
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| not_one("it holds no `onnxruntime/capi/libonnxruntime.so`".to_owned()))?;
    let mut entry = archive
        .by_name(&inside)
        .map_err(|error| not_one(error.to_string()))?;
    let library = folder.join("libonnxruntime.so");
    std::io::copy(&mut entry, &mut File::create(&library)?)
        .with_context(|| format!("unpacking `{inside}`"))?;
    Ok(library)
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(Digest::new(hasher.finalize().into()).to_string());
        }
        hasher.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_two_digests() {
        for pin in PINS {
            assert!(pin.wheel.parse::<Digest>().is_ok(), "{}", pin.architecture);
            assert!(
                pin.library.parse::<Digest>().is_ok(),
                "{}",
                pin.architecture
            );
        }
        assert!(pin_for("linux", "aarch64").is_ok());
        let failure = pin_for("linux", "riscv64").err().expect("it is not pinned");
        assert_eq!(
            failure.message,
            "no ONNX Runtime is pinned for linux on riscv64"
        );
    }

    #[test]
    fn a_file_that_is_no_wheel_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let wheel = folder.path().join("x.whl");
        fs::write(&wheel, "not a zip").expect("written");
        let error = unpack(&wheel, folder.path()).expect_err("it is none");
        assert!(
            error.to_string().contains("is not a wheel of ONNX Runtime"),
            "{error}"
        );
    }
}
