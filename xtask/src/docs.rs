//! The tables in `docs/` that the code prints.

use anyhow::{Result, bail};

use crate::shell::{command, output, root, windlass};

/// A page and the argument of `windlass docs` that prints it.
const PAGES: [(&str, &str); 6] = [
    ("docs/limits.md", "limits"),
    ("docs/metrics.md", "metrics"),
    ("docs/codes.md", "codes"),
    ("docs/cli.md", "cli"),
    ("docs/manifest.md", "manifest"),
    ("docs/windlass.schema.json", "manifest-schema"),
];

/// Writes every page anew.
pub(crate) fn write() -> Result<()> {
    let binary = windlass()?;
    for (page, argument) in PAGES {
        let text = output(command(&binary).args(["docs", argument]))?;
        std::fs::write(root().join(page), text)?;
        println!("{page}");
    }
    Ok(())
}

/// Fails when a page is not what the code prints.
pub(crate) fn check() -> Result<()> {
    let binary = windlass()?;
    for (page, argument) in PAGES {
        let want = output(command(&binary).args(["docs", argument]))?;
        let got = std::fs::read_to_string(root().join(page)).unwrap_or_default();
        if got != want {
            bail!("`{page}` is not what the code says; `cargo xtask docs` writes it anew");
        }
    }
    Ok(())
}
