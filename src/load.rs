//! What `run`, `eval`, `compare` and `bench` have in common: a plan, its weights, a device, a tokenizer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bitnetc_compiler::model::{self, Model};
use bitnetc_plan::format;
use bitnetc_plan::{Defect, Plan, VerifiedPlan};
use bitnetc_runtime::host::{Numerics, uncompared};
use bitnetc_runtime::{Device, HostDevice, LoadOptions, Session, Weights};
use clap::ValueEnum;
use miette::{IntoDiagnostic, WrapErr, miette};

use crate::chosen::Chosen;
use crate::recompile;
use crate::text::json;

/// The model that comes with bitnetc, weights included.
pub const SMALL_MODEL: &str = "tiny-shakespeare";

/// What to run and where its weights are.
#[derive(Debug, Clone, clap::Args)]
pub struct Source {
    /// A plan, or a model to be planned: a shipped model's name or a RON file [default: tiny-shakespeare, whose weights come along]
    pub plan: Option<String>,
    /// A checkpoint directory, or a file made by `bitnetc pack`
    #[arg(long, value_name = "DIR|FILE")]
    pub weights: Option<PathBuf>,
    #[command(flatten)]
    pub choices: Chosen,
}

/// How the host device computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NumericsChoice {
    /// Bit for bit as TT-NN's kernels, what accuracy is to be measured with
    Exact,
    /// In fp32: many times faster, and closer to the real numbers than a card is
    Fast,
}

impl NumericsChoice {
    /// The numerics `plan` was run with, and which of its calls they were not compared for.
    pub fn named(self, plan: &Plan) -> String {
        match self {
            NumericsChoice::Fast => "fast numerics".into(),
            NumericsChoice::Exact => {
                let reasons: BTreeSet<_> = uncompared(plan).into_values().collect();
                let but: String = reasons.iter().map(|reason| format!(", but {reason}")).collect();
                format!("exact numerics{but}")
            }
        }
    }
}

impl From<NumericsChoice> for Numerics {
    fn from(choice: NumericsChoice) -> Numerics {
        match choice {
            NumericsChoice::Exact => Numerics::Exact,
            NumericsChoice::Fast => Numerics::Fast,
        }
    }
}

impl Source {
    /// The plan or model named.
    pub fn name(&self) -> &str {
        self.plan.as_deref().unwrap_or(SMALL_MODEL)
    }

    /// The plan in the file named; `None` where a model is named.
    ///
    /// # Errors
    /// A file that is no model, and no plan of this format either.
    pub fn planned(&self) -> miette::Result<Option<Plan>> {
        let (name, path) = (self.name(), Path::new(self.name()));
        // What is not there is a model's name, misspelt.
        if model::find(name).is_some() || !path.exists() || is_model(path) {
            return Ok(None);
        }
        let plan = format::read(path).into_diagnostic();
        plan.map(Some).wrap_err_with(|| format!("{name} is no model and cannot be used as a plan"))
    }

    /// The plan: read and verified, or compiled with the choices given.
    ///
    /// # Errors
    /// A plan that does not verify; a file that is neither plan nor model, a model that cannot be planned; choices beside a plan, which has
    /// made its own.
    pub fn plan(&self) -> miette::Result<VerifiedPlan> {
        let name = self.name();
        match (self.planned()?, self.choices.given.as_slice()) {
            (None, _) => Ok(self.choices.compile(name)?.plan),
            (Some(plan), []) => VerifiedPlan::new(plan).map_err(|defects| unverified(&defects)),
            (Some(_), given) => {
                let (flags, help) =
                    (given.join(", "), "leave them out, or give the model to have it planned with them");
                Err(miette!(help = help, "`{name}` is a plan already: {flags} would change nothing"))
            }
        }
    }

    /// The model of a plan: the one named beside it, the one it was just compiled of, or the shipped one with its digest.
    ///
    /// # Errors
    /// A model that is not the plan's; none that is.
    pub fn model(&self, plan: &Plan, named: Option<&str>) -> miette::Result<Model> {
        let own = if self.planned()?.is_none() { Some(self.name()) } else { None };
        recompile::find_model(plan, named.or(own))
    }

    /// Where the weights are.
    ///
    /// # Errors
    /// When nothing was said and the model does not come with weights.
    pub fn weights_path(&self, plan: &Plan) -> miette::Result<PathBuf> {
        if let Some(path) = &self.weights {
            return Ok(path.clone());
        }
        if plan.model.name != SMALL_MODEL {
            let help =
                "give a checkpoint directory or a packed file with --weights; `bitnetc synth` makes a random one";
            return Err(miette!(help = help, "no weights for `{}`", plan.model.name));
        }
        let beside = Path::new("graphs").join(SMALL_MODEL);
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join(&beside);
        [beside, built].into_iter().find(|p| p.is_dir()).ok_or_else(|| {
            miette!(help = "run from the repository, or give --weights", "graphs/{SMALL_MODEL} is not here")
        })
    }

    /// The weights.
    ///
    /// # Errors
    /// When there are none, they cannot be opened, or the config beside them is another model's.
    pub fn weights(&self, plan: &Plan) -> miette::Result<Weights> {
        let path = self.weights_path(plan)?;
        let weights = Weights::open(&path).into_diagnostic()?;
        if path.is_dir() {
            belongs(plan, &path.join("config.json"))?;
        }
        Ok(weights)
    }
}

/// True for a model's file: RON text that begins with the word `Model`, comments and attributes apart. A plan begins otherwise.
fn is_model(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1 << 16).read_to_end(&mut start));
    read.is_ok() && begins_with_model(&String::from_utf8_lossy(&start))
}

fn begins_with_model(text: &str) -> bool {
    let mut text = text.trim_start();
    loop {
        let rest = if text.starts_with("//") || text.starts_with("#!") {
            text.split_once('\n')
        } else if text.starts_with("/*") {
            text.split_once("*/")
        } else {
            break text.starts_with("Model");
        };
        text = rest.map_or("", |(_, rest)| rest.trim_start());
    }
}

/// Refuses a checkpoint whose config, where there is one, tells of other layers or another vocabulary than the plan's: tensors of the same
/// names and shapes would be taken from it.
fn belongs(plan: &Plan, config: &Path) -> miette::Result<()> {
    let Some(config) = json(config)?.filter(serde_json::Value::is_object) else { return Ok(()) };
    for (field, want) in [("num_hidden_layers", plan.model.layers), ("vocab_size", plan.model.vocab)] {
        if let Some(found) = config[field].as_u64().filter(|&found| found != u64::from(want)) {
            return Err(miette!(
                "config.json beside the weights says {field} {found}; `{}` has {want}",
                plan.model.name
            ));
        }
    }
    Ok(())
}

/// The first defect of a plan; `bitnetc check` lists them all.
fn unverified(defects: &[Defect]) -> miette::Report {
    let first = defects.first().map_or_else(String::new, ToString::to_string);
    let more = match defects.len() {
        0 | 1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    miette!("the plan does not verify: {first}{more}")
}

/// Loads a plan onto the host, telling a terminal how far it is.
///
/// # Errors
/// Whatever loading refuses.
pub fn session(
    plan: VerifiedPlan,
    weights: &Weights,
    numerics: Numerics,
    options: &LoadOptions,
) -> miette::Result<Session<HostDevice>> {
    let device = HostDevice::new(plan.card.arch, numerics);
    session_on(device, plan, weights, options)
}

/// Loads a plan onto a device, telling a terminal how far it is.
///
/// # Errors
/// Whatever loading refuses.
pub fn session_on<D: Device>(
    device: D,
    plan: VerifiedPlan,
    weights: &Weights,
    options: &LoadOptions,
) -> miette::Result<Session<D>> {
    let mut progress = Progress::new("loading weights");
    let session = Session::load(plan, weights, device, options, |done, all| progress.at(done as u64, all as u64));
    progress.end();
    session.into_diagnostic()
}

/// A line on stderr that counts, when stderr is a terminal.
pub struct Progress {
    what: &'static str,
    shown: Option<u64>,
    terminal: bool,
}

impl Progress {
    /// Nothing yet.
    pub fn new(what: &'static str) -> Self {
        Progress { what, shown: None, terminal: std::io::stderr().is_terminal() }
    }

    /// `done` of `all`.
    pub fn at(&mut self, done: u64, all: u64) {
        let percent = done * 100 / all.max(1);
        if self.terminal && self.shown != Some(percent) {
            self.shown = Some(percent);
            // A terminal that takes no progress takes no harm.
            let _ = write!(std::io::stderr(), "\r{} {percent:3} %", self.what);
        }
    }

    /// Takes the line away.
    pub fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r{:width$}\r", "", width = self.what.len() + 6);
        }
    }
}

/// The flag that Ctrl-C sets. A second Ctrl-C ends the program at once.
///
/// # Errors
/// When the signal cannot be caught.
pub fn interrupted() -> miette::Result<Arc<AtomicBool>> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(Arc::clone(flag));
    }
    let flag = Arc::clone(FLAG.get_or_init(Arc::default));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .into_diagnostic()?;
    Ok(flag)
}

/// Whether to go on with something that Ctrl-C ends.
pub fn unless(interrupted: &AtomicBool) -> ControlFlow<()> {
    if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_told_by_its_first_word() {
        for model in ["Model(", "// Model\n\nModel (", "/* a\nb */ #![enable(implicit_some)]\nModel("] {
            assert!(begins_with_model(model), "{model}");
        }
        for other in ["(\n  format: 1,", "// Model", "/* Model", "", "Plan(model: Model("] {
            assert!(!begins_with_model(other), "{other}");
        }
    }
}
