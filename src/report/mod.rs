//! Pages for a browser: a plan as pictures, and the differences between two plans.
//!
//! A page is one file that needs no network. What it shows is data: one JSON block with the document of `inspect --json` (or `diff --json`)
//! and what only the pictures need. How it is shown stands in `page/`, plain HTML, CSS and JavaScript.

mod decisions;
mod document;
mod graph;
mod layout;
mod page;

use std::path::{Path, PathBuf};

use bitnetc_plan::{Defect, Plan, Verified};
use miette::{IntoDiagnostic as _, WrapErr as _, miette};
use serde_json::Value;

use crate::recompile::Recompiled;
use crate::render::units::bytes;
use crate::{inspect, output};
use page::Page;

/// Where a page goes.
#[derive(Debug, Clone, clap::Args)]
pub struct Destination {
    /// Write a page for a browser, one file without any links to others, `-` for stdout
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show the page in the browser
    #[arg(long)]
    open: bool,
}

impl Destination {
    /// Whether a page is wanted.
    pub const fn is_wanted(&self) -> bool {
        self.html.is_some() || self.open
    }

    /// Writes the page, tells where it is, and shows it if that was asked for.
    ///
    /// # Errors
    /// When it cannot be written, or no browser can be started.
    pub fn deliver(&self, page: &str) -> miette::Result<()> {
        let path = match &self.html {
            Some(path) if output::is_stdout(path) && self.open => {
                return Err(miette!(help = "give a file's name, or leave --html out", "a browser cannot read stdout"));
            }
            Some(path) => {
                output::write_text(path, page)?;
                path.clone()
            }
            None => temporary(page).into_diagnostic().wrap_err("cannot write a temporary file")?,
        };
        if !output::is_stdout(&path) {
            remark!("{}: {}, open it in a browser", path.display(), bytes(page.len() as u64));
        }
        if self.open { show(&path) } else { Ok(()) }
    }
}

/// A file for this page alone. It stays, because the browser reads it after this program has ended.
fn temporary(page: &str) -> std::io::Result<PathBuf> {
    let file = tempfile::Builder::new().prefix("bitnetc-").suffix(".html").tempfile()?;
    std::fs::write(file.path(), page)?;
    Ok(file.keep().map_err(|error| error.error)?.1)
}

fn show(path: &Path) -> miette::Result<()> {
    // A relative name might be taken for an option or for an address.
    let shown = std::path::absolute(path).into_diagnostic()?;
    open::that_detached(shown)
        .map_err(|error| miette!(help = format!("open {} yourself", path.display()), "cannot start a browser: {error}"))
}

/// The page of a plan. `again` is the plan compiled again, which has the decisions, or the reason why it could not be.
///
/// # Errors
/// When the plan is no document: a defect of bitnetc.
pub fn of_plan(
    plan: &Plan,
    verified: &Result<Verified<'_>, Vec<Defect>>,
    again: Result<&Recompiled, String>,
) -> miette::Result<String> {
    let document = document::Document {
        plan: inspect::with_memory(plan, verified.as_ref().ok()),
        report: document::Report::of(plan, verified.as_ref().err().map_or(0, Vec::len), again),
    };
    page::assemble(Page::Plan, &serde_json::to_string(&document).into_diagnostic()?)
}

/// The page of the differences between two plans, from the document of `diff --json`.
///
/// # Errors
/// When that is no document: a defect of bitnetc.
pub fn of_difference(document: &Value) -> miette::Result<String> {
    page::assemble(Page::Difference, &serde_json::to_string(document).into_diagnostic()?)
}
