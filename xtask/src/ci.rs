//! All of continuous integration, one step after another, cheapest first.

use anyhow::Result;

use crate::shell::{self, cache, cargo, command, root, windlass};
use crate::{docs, fuzz, setup, tidy};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("formatting", || {
        shell::run(&mut cargo(&["fmt", "--all", "--check"]))
    }),
    ("tidy", tidy::run),
    ("what tests need", setup::run),
    ("lints", || {
        let mut clippy = cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]);
        shell::run(&mut clippy)
    }),
    ("tests", tests),
    ("documentation of the code", || {
        let mut doc = cargo(&[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ]);
        shell::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("tables of the documentation", docs::check),
    ("licences, bans and sources of dependencies", deny),
    ("fuzzing, for a fixed count", || fuzz::run(fuzz::RUNS)),
    (
        "the numerics beside the packages that define them",
        stats_tests,
    ),
    ("the demo", demo),
    ("real clients", client_tests),
    ("the console, in a browser", || console_tests(&[])),
    ("the ledger, with kills and faults", || ledger_tests(KILLS)),
];

/// How often a server that records is killed. More on request: `cargo xtask ledger-tests 10000`.
pub(crate) const KILLS: u64 = 200;

/// Runs every step; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    for (index, (name, step)) in STEPS.iter().enumerate() {
        println!("\n=== {}/{} {name}", index + 1, STEPS.len());
        step().map_err(|error| error.context(format!("step `{name}`")))?;
    }
    println!("\nall {} steps passed", STEPS.len());
    Ok(())
}

/// A program of tests that hangs is ended, so that the step fails and what it printed names the test.
fn tests() -> Result<()> {
    shell::run(&mut cargo(&[
        "--config",
        "target.'cfg(unix)'.runner = ['timeout', '--kill-after=10', '900']",
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
    ]))
}

fn deny() -> Result<()> {
    let mut deny = command(setup::cargo_deny()?);
    // The advisories live on a host of their own, which is not asked from here: `cargo deny check
    // advisories` on a machine that reaches it.
    deny.args([
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    shell::run(&mut deny)
}

fn demo() -> Result<()> {
    shell::run(
        command(windlass()?)
            .arg("--data-dir")
            .arg(cache()?)
            .args(["demo", "--exit", "--fast"]),
    )
}

/// The clients' tests, in virtual environments of their own.
pub(crate) fn client_tests() -> Result<()> {
    python_tests("tests/clients/run.py", &[])
}

/// The ledger's tests, with the server killed so many times.
pub(crate) fn ledger_tests(kills: u64) -> Result<()> {
    python_tests("tests/ledger/run.py", &["--kills", &kills.to_string()])
}

/// The console's tests, in a real browser. `arguments` may ask for pictures of the pages.
pub(crate) fn console_tests(arguments: &[&str]) -> Result<()> {
    python_tests("tests/console/run.py", arguments)
}

/// The numerics' comparisons with SciPy, scikit-learn and others.
pub(crate) fn stats_tests() -> Result<()> {
    shell::run(command("python3").arg(root().join("crates/stats/tests/run.py")))
}

fn python_tests(script: &str, arguments: &[&str]) -> Result<()> {
    let mut tests = command("python3");
    tests
        .arg(root().join(script))
        .arg("--windlass")
        .arg(windlass()?)
        .args(arguments);
    let library = cache()?.join("runtime/libonnxruntime.so");
    shell::run(tests.env("WINDLASS_ONNXRUNTIME", library))
}
