//! Runs programs and says which.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};

/// The root of the checkout that this is run for. Checkouts that share a target folder share this program, so where it
/// was compiled tells nothing.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let own =
            variable("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        own.parent().unwrap_or(Path::new(".")).to_owned()
    });
    &ROOT
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place here that reads the environment"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

/// Where downloads, virtual environments and fixtures are kept between runs.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match variable("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(variable("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("windlass"))
}

/// A program, run in the checkout.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Cargo, as this program was built by it.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = command(env!("CARGO"));
    command.args(arguments);
    command
}

/// Runs it and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("`{shown}` did not start"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// What it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .output()
        .with_context(|| format!("`{shown}` did not start"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` ended with {}: {error}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no text"))
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The debug build of the binary.
pub(crate) fn windlass() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--package", "windlass"]))?;
    let metadata = output(&mut cargo(&["metadata", "--format-version=1", "--no-deps"]))?;
    let key = "\"target_directory\":\"";
    let start = metadata
        .find(key)
        .context("cargo metadata names no target folder")?
        + key.len();
    let length = metadata[start..]
        .find('"')
        .context("cargo metadata is cut off")?;
    Ok(Path::new(&metadata[start..start + length]).join("debug/windlass"))
}
