//! Pages made from the code: completions, the manual, and the tables of `docs/`, which a test compares
//! with the files.

mod manifest;

use std::fmt::Write;

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;
use crate::{environment, exit};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    windlass completions bash > ~/.local/share/bash-completion/completions/windlass\n  \
    windlass completions zsh > ~/.zfunc/_windlass")]
pub(crate) struct CompletionsArgs {
    /// Whose completions
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  windlass man | man -l -\n  windlass man serve | man -l -")]
pub(crate) struct ManArgs {
    /// A command, for the page of its own
    command: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DocsArgs {
    /// Which page
    page: Page,
}

/// A page of `docs/` that is printed from the code.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    Cli,
    Limits,
    Metrics,
    Codes,
    Manifest,
    ManifestSchema,
}

/// Runs `windlass completions`.
pub(crate) fn completions(output: Output, args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "windlass", &mut bytes);
    output.bytes(&bytes)
}

/// Runs `windlass man`.
pub(crate) fn man(output: Output, args: &ManArgs) -> anyhow::Result<()> {
    let mut command = Cli::command();
    if let Some(name) = &args.command {
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| {
            let message = format!("no command `{name}`");
            Failure::usage(message, "`windlass --help` lists them")
        })?;
        // Once a process; clap wants names that live as long as it.
        let page: &'static str = format!("windlass-{name}").leak();
        command = command.name(page).version(env!("CARGO_PKG_VERSION"));
    }
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command).render(&mut bytes)?;
    output.bytes(&bytes)
}

/// Runs `windlass docs`.
pub(crate) fn run(output: Output, args: &DocsArgs) -> anyhow::Result<()> {
    let page = match args.page {
        Page::Cli => cli(),
        Page::Limits => limits(),
        Page::Metrics => metrics(),
        Page::Codes => codes(),
        Page::Manifest => manifest::page(&domain::manifest::schema()),
        Page::ManifestSchema => {
            let schema = domain::manifest::schema();
            format!("{}\n", serde_json::to_string_pretty(&schema)?)
        }
    };
    output.bytes(page.as_bytes())
}

fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cells = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = cells(headers.iter().map(|it| (*it).to_owned()).collect());
    text.push_str(&cells(headers.iter().map(|_| "---".to_owned()).collect()));
    text.extend(rows.into_iter().map(cells));
    text
}

fn code(text: impl std::fmt::Display) -> String {
    format!("`{text}`")
}

/// The head of a page. Whoever would mend it by hand should know better.
fn titled(title: &str, argument: &str, text: &str) -> String {
    let about = format!(
        "<!-- `windlass docs {argument}` prints this page; `cargo xtask docs` writes it. -->"
    );
    format!("# {title}\n\n{about}\n\n{text}")
}

fn limits() -> String {
    let rows = domain::limits::ALL.iter().map(|it| {
        let default = format!("{} {}", it.default, it.unit);
        vec![
            code(it.name),
            default,
            it.least.to_string(),
            it.about.to_owned(),
        ]
    });
    let about = "Set one with `windlass serve --limit NAME=VALUE`, as often as needed.";
    let table = table(&["name", "default", "least", "what it bounds"], rows);
    titled("Limits", "limits", &format!("{about}\n\n{table}"))
}

fn metrics() -> String {
    let rows = server::docs::metrics().into_iter().map(|it| {
        vec![
            code(it.name),
            it.kind.to_owned(),
            it.labels.to_owned(),
            it.about.to_owned(),
        ]
    });
    let table = table(&["name", "kind", "labels", "what it tells"], rows);
    titled(
        "Metrics",
        "metrics",
        &format!("At `/metrics`, as Prometheus reads them.\n\n{table}"),
    )
}

fn codes() -> String {
    let rows = wire::code::ALL.iter().map(|it| {
        let retry = it
            .retry_after_s
            .map_or_else(|| "no".to_owned(), |s| format!("after {s} s"));
        let exit = exit::Exit::of_status(it.http).number();
        vec![
            code(it.name),
            it.http.to_string(),
            format!("{:?} ({})", it.grpc, it.grpc.number()),
            retry,
            exit.to_string(),
        ]
    });
    let table = table(&["code", "HTTP", "gRPC", "try again", "exit status"], rows);
    let about = "Every refusal has a code, which is never renamed. It is in the header `windlass-code`, in \
                 the errors of `/api/v1`, and in what the command line prints with `--json`.";
    titled("Codes", "codes", &format!("{about}\n\n{table}"))
}

fn cli() -> String {
    let mut text = String::new();
    let mut root = Cli::command();
    root.build();
    let general: Vec<Vec<String>> = flags(&root).filter(|it| !is_own(&it[0])).collect();
    for command in root.get_subcommands().filter(|it| !it.is_hide_set()) {
        describe(command, "windlass", &mut text);
    }
    text.push_str("## Flags of every command\n\n");
    text.push_str(&table(&["flag", "what it does"], general));
    text.push_str("\n## Environment\n\n");
    let rows = environment::ALL
        .iter()
        .map(|it| vec![code(it.name), it.about.to_owned()]);
    text.push_str(&table(&["variable", "what it does"], rows));
    text.push_str("\n## Exit status\n\n");
    let rows = exit::ALL
        .iter()
        .map(|(exit, about)| vec![exit.number().to_string(), (*about).to_owned()]);
    text.push_str(&table(&["status", "meaning"], rows));
    titled("Command line", "cli", &text)
}

fn is_own(flag: &str) -> bool {
    flag.contains("--help") || flag.contains("--version")
}

fn describe(command: &Command, parent: &str, text: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = write!(text, "## `{name}`\n\n{about}.\n\n");
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    if !command.has_subcommands() {
        let _ = write!(text, "```text\n{usage}\n```\n\n");
    }
    let rows: Vec<Vec<String>> = flags(&command).filter(|it| !is_own(&it[0])).collect();
    if !rows.is_empty() {
        let _ = writeln!(text, "{}", table(&["argument", "what it does"], rows));
    }
    for nested in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        describe(nested, &name, text);
    }
}

/// The flags and arguments of a command; those of every command stand only under the root.
fn flags(command: &Command) -> impl Iterator<Item = Vec<String>> {
    let is_root = command.get_name() == "windlass";
    let shown = command.get_arguments().filter(move |it| !it.is_hide_set());
    shown
        .filter(move |it| is_root || !it.is_global_set())
        .map(|it| {
            let help = it
                .get_long_help()
                .or(it.get_help())
                .map(ToString::to_string);
            let help = help
                .unwrap_or_default()
                .replace('\n', " ")
                .replace('|', "\\|");
            vec![code(it.to_string().replace('|', "\\|")), help]
        })
}
