//! Fuzzes for a fixed count with libFuzzer, on the stable compiler: coverage is switched on by flags,
//! without sanitizers.

use anyhow::Result;

use crate::shell::{self, cache, cargo};

/// Inputs for each target in continuous integration.
pub(crate) const RUNS: u32 = 20_000;

const TARGETS: [&str; 5] = [
    "json_body",
    "binary_extension",
    "protobuf_request",
    "parquet_body",
    "onnx_loader",
];

/// What `cargo fuzz --sanitizer none` passes.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks";

/// Runs every target. A crash leaves its input under `fuzz/artifacts`.
pub(crate) fn run(runs: u32) -> Result<()> {
    let target = cache()?.join("target-fuzz");
    let artifacts = shell::root().join("fuzz/artifacts/");
    std::fs::create_dir_all(&artifacts)?;
    for name in TARGETS {
        let corpus = cache()?.join("corpus").join(name);
        std::fs::create_dir_all(&corpus)?;
        // The target is named, so that the flags hold for the code under test and not for build scripts.
        let triple = host()?;
        let mut fuzz = cargo(&[
            "run",
            "--quiet",
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
        ]);
        fuzz.args(["--target", &triple, "--bin", name, "--"]);
        fuzz.arg(format!("-runs={runs}")).args([
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=2048",
        ]);
        fuzz.arg(format!("-artifact_prefix={}", artifacts.display()));
        fuzz.arg(&corpus)
            .arg(shell::root().join("fuzz/seeds").join(name));
        shell::run(
            fuzz.env("RUSTFLAGS", FLAGS)
                .env("CARGO_TARGET_DIR", &target),
        )?;
    }
    Ok(())
}

fn host() -> Result<String> {
    let version = shell::output(shell::command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|it| it.strip_prefix("host: "));
    Ok(anyhow::Context::context(host, "rustc names no host")?.to_owned())
}
