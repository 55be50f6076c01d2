//! The rules that a program can check: the codemap and the arrows of `ARCHITECTURE.md`, one line for each
//! dependency, and the size of files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell::{command, output, root};

/// Lines of a source file. Over it there are two things in the file.
const LINES_MAX: usize = 1000;

/// Bytes of a source file.
const BYTES_MAX: u64 = 256 * 1024;

/// Checks everything and reports all that is wrong at once.
pub(crate) fn run() -> Result<()> {
    let wrong = problems()?;
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "{} rules are broken:\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    );
}

fn problems() -> Result<Vec<String>> {
    let files = tracked()?;
    let read = |path: &str| {
        std::fs::read_to_string(root().join(path)).with_context(|| format!("reading `{path}`"))
    };
    let mut wrong = Vec::new();
    check_codemap(&read("ARCHITECTURE.md")?, &files, &mut wrong);
    check_arrows(&read("ARCHITECTURE.md")?, &mut wrong)?;
    check_dependencies(
        &read("docs/dependencies.md")?,
        &read("Cargo.toml")?,
        &mut wrong,
    );
    check_sizes(&files, &mut wrong)?;
    Ok(wrong)
}

fn tracked() -> Result<Vec<PathBuf>> {
    let listed =
        output(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    Ok(listed
        .lines()
        .map(PathBuf::from)
        .filter(|it| root().join(it).is_file())
        .collect())
}

/// The cells of every row of the table below a heading.
fn table<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    page.lines()
        .skip_while(|line| line.trim() != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Words in backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Every folder of the first two levels that holds tracked files has a line, and every line a folder.
fn check_codemap(page: &str, files: &[PathBuf], wrong: &mut Vec<String>) {
    let mut actual = BTreeSet::new();
    for file in files {
        let parts: Vec<String> = file
            .parent()
            .unwrap_or(Path::new(""))
            .components()
            .map(|it| it.as_os_str().to_string_lossy().into_owned())
            .collect();
        match &parts[..] {
            [] => {}
            [top] if top.starts_with('.') => {}
            [top, rest @ ..] => {
                let deep = matches!(top.as_str(), "crates" | "examples");
                match rest.first() {
                    Some(second) if deep => actual.insert(format!("{top}/{second}")),
                    _ if top.starts_with('.') => false,
                    _ => actual.insert(top.clone()),
                };
            }
        }
    }
    let rows = table(page, "## Codemap");
    let named: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| quoted(row.first()?).into_iter().next())
        .collect();
    for missing in actual.difference(&named) {
        wrong.push(format!(
            "ARCHITECTURE.md: the codemap has no line for `{missing}`"
        ));
    }
    for gone in named.difference(&actual) {
        wrong.push(format!(
            "ARCHITECTURE.md: the codemap names `{gone}`, which is not there"
        ));
    }
}

/// Each crate uses only the crates of ours that its line allows, and all of them.
fn check_arrows(page: &str, wrong: &mut Vec<String>) -> Result<()> {
    let rows = table(page, "## Arrows");
    let crates: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| quoted(row.first()?).into_iter().next())
        .collect();
    for folder in std::fs::read_dir(root().join("crates"))? {
        let folder = folder?.path();
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let Some(row) = rows.iter().find(|row| quoted(row[0]).contains(&name)) else {
            wrong.push(format!(
                "ARCHITECTURE.md: the arrows have no line for `{name}`"
            ));
            continue;
        };
        let allowed = quoted(row.get(1).copied().unwrap_or_default());
        let mut section = "";
        let mut used = BTreeSet::new();
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section == "[dependencies]" && crates.contains(dependency) {
                used.insert(dependency.to_owned());
            }
        }
        for extra in used.difference(&allowed) {
            wrong.push(format!(
                "`{name}` uses `{extra}`, which ARCHITECTURE.md does not allow"
            ));
        }
        for unused in allowed.difference(&used) {
            wrong.push(format!("ARCHITECTURE.md: `{name}` does not use `{unused}`"));
        }
    }
    Ok(())
}

/// Every dependency of the workspace has a line that says what it gives.
fn check_dependencies(page: &str, manifest: &str, wrong: &mut Vec<String>) {
    let mut section = "";
    let mut used = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[workspace.dependencies]"
            && !line.contains("path =")
            && let Some((name, _)) = line.split_once('=')
        {
            used.insert(name.trim().to_owned());
        }
    }
    let named: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(quoted)
        .collect();
    for missing in used.difference(&named) {
        wrong.push(format!("docs/dependencies.md has no line for `{missing}`"));
    }
    for gone in named.difference(&used) {
        wrong.push(format!(
            "docs/dependencies.md names `{gone}`, which nothing depends on"
        ));
    }
}

fn check_sizes(files: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    for file in files {
        let path = root().join(file);
        let shown = file.display();
        if std::fs::metadata(&path)?.len() > BYTES_MAX
            && file.extension().is_some_and(|it| it == "rs" || it == "py")
        {
            wrong.push(format!("`{shown}` is larger than {BYTES_MAX} bytes"));
        }
        let generated = file.ends_with("wire/src/proto/inference.rs");
        if file.extension().is_some_and(|it| it == "rs") && !generated {
            let lines = std::fs::read_to_string(&path)?.lines().count();
            if lines > LINES_MAX {
                wrong.push(format!(
                    "`{shown}` has {lines} lines; over {LINES_MAX} it is two files"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let wrong = super::problems().expect("the tree can be read");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
