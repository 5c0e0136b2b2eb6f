//! What `run`, `eval`, `compare` and `bench` have in common: a plan, its weights, a device, a tokenizer.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bitnetc_compiler::model::import::{self, ImportError};
use bitnetc_compiler::model::{self, Model};
use bitnetc_plan::format;
use bitnetc_plan::{Defect, Plan, VerifiedPlan};
use bitnetc_runtime::host::{Numerics, uncompared};
use bitnetc_runtime::weights::WeightError;
use bitnetc_runtime::weights::gguf::{self, Described, Gguf};
use bitnetc_runtime::{Device, LoadOptions, Session, Weights};
use bitnetc_ttnn::note;
use clap::ValueEnum;
use miette::{IntoDiagnostic, WrapErr, miette};

use crate::chosen::Chosen;
use crate::kind::{self, Kind};
use crate::render::Progress;
use crate::text::json;
use crate::{input, recompile};

/// The model that comes with bitnetc, weights included.
pub const SMALL_MODEL: &str = "tiny-shakespeare";

/// What to run and where its weights are.
#[derive(Debug, Clone, clap::Args)]
pub struct Source {
    /// A plan, or a model to be planned: a shipped model's name or a RON file [default: tiny-shakespeare, whose weights come along]
    #[arg(add = clap_complete::engine::ArgValueCompleter::new(crate::completions::models))]
    pub plan: Option<String>,
    /// A checkpoint directory, a .gguf, or a file made by `bitnetc pack`
    #[arg(long, value_name = "DIR|FILE")]
    pub weights: Option<PathBuf>,
    #[command(flatten)]
    pub choices: Chosen,
}

/// The difference of fast numerics to exact ones, at most, over the policies and phases of the small model and the 88 tokens of
/// `graphs/tiny-shakespeare/golden.json`: `bitnetc eval --numerics fast --against exact --tokens FILE`.
const FAST_DIFFERS: &str =
    "logits of tiny-shakespeare differ from exact ones by 0.06 rms, PCC 0.9999, most likely token the same in 95 %";

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
            NumericsChoice::Fast => format!("fast numerics: {FAST_DIFFERS}"),
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
        if model::find(name).is_some() || !(input::is_stdin(path) || path.exists()) {
            return Ok(None);
        }
        match Kind::of(name) {
            Kind::Model => return Ok(None),
            Kind::Plan | Kind::Other => {}
            Kind::Shipped
            | Kind::Checkpoint
            | Kind::Folder
            | Kind::Json
            | Kind::Gguf
            | Kind::Safetensors
            | Kind::Pointer => return kind::misplaced(name, "a plan or a model file").map_or(Ok(None), Err),
        }
        let contents = input::read(path).into_diagnostic().wrap_err_with(|| format!("cannot read {name}"))?;
        // What came through a pipe could not be looked at before.
        if Kind::of_bytes(contents.bytes(), path) == Kind::Model {
            return Ok(None);
        }
        let plan = format::read_bytes(contents.bytes()).into_diagnostic();
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
            let help = "give a checkpoint directory, a .gguf or a packed file with --weights; `bitnetc synth` makes a random one";
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
        let name = path.to_string_lossy();
        if path.is_file()
            && !gguf::is_gguf(&path)
            && let Some(report) = kind::misplaced(&name, "a folder of weights, a .gguf or a packed file")
        {
            return Err(report);
        }
        let weights = Weights::open(&path).into_diagnostic()?;
        if path.is_dir() {
            belongs(plan, json(&path.join("config.json"))?, "config.json beside the weights")?;
            self.agrees(plan, &path)?;
        } else if gguf::is_gguf(&path) {
            let described = Gguf::open(&path).and_then(|gguf| Described::of(&gguf)).into_diagnostic()?;
            belongs(plan, Some(described.config), "the metadata of the weights")?;
        }
        for note in weights.notes() {
            remark!("note: {note}");
        }
        Ok(weights)
    }

    /// Refuses a folder whose config describes another function than the shipped model that is run: tensors of the same names and shapes
    /// would be taken from it. A person's own model file may differ from the config on purpose, which is a warning.
    fn agrees(&self, plan: &Plan, folder: &Path) -> miette::Result<()> {
        if !folder.join("config.json").is_file() {
            return Ok(());
        }
        let shipped = recompile::find_model(plan, None).ok();
        let own = || self.planned().ok().filter(Option::is_none).and_then(|_| input::model(self.name()).ok());
        let (model, is_shipped) = match shipped {
            Some(model) => (model, true),
            None => match own() {
                Some(model) => (model, false),
                None => return Ok(()),
            },
        };
        let differs = match import::directory(folder) {
            Ok(imported) => import::differences(&model, &imported.model).into_iter().next(),
            Err(error @ ImportError::Unsupported(_)) => Some(error.to_string()),
            // Of files that cannot be used the weights tell more.
            Err(_) => None,
        };
        let Some(differs) = differs else { return Ok(()) };
        if is_shipped {
            let help = format!("`bitnetc import {} -o model.ron` makes a model file of the folder", folder.display());
            return Err(miette!(
                help = help,
                "the weights' folder is of another model than `{}`: {differs}",
                model.name
            ));
        }
        remark!("warning: the weights' folder differs from `{}`: {differs}", self.name());
        Ok(())
    }
}

/// Refuses a checkpoint whose config, where there is one, tells of other layers or another vocabulary than the plan's: tensors of the same
/// names and shapes would be taken from it.
fn belongs(plan: &Plan, config: Option<serde_json::Value>, place: &str) -> miette::Result<()> {
    let Some(config) = config.filter(serde_json::Value::is_object) else { return Ok(()) };
    for (field, want) in [("num_hidden_layers", plan.model.layers), ("vocab_size", plan.model.vocab)] {
        if let Some(found) = config[field].as_u64().filter(|&found| found != u64::from(want)) {
            return Err(miette!("{place} says {field} {found}; `{}` has {want}", plan.model.name));
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

/// Loads a plan onto a device, telling a terminal how far it is.
///
/// # Errors
/// Whatever loading refuses.
pub fn session<D: Device>(
    device: D,
    plan: VerifiedPlan,
    weights: &Weights,
    options: &LoadOptions,
) -> miette::Result<Session<D>> {
    let progress = Progress::bytes("loading weights");
    let session = Session::load(plan, weights, device, options, |done, all| progress.at(done, all));
    drop(progress);
    session.into_diagnostic()
}

/// The flag that Ctrl-C sets.
static INTERRUPT: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The flag that Ctrl-C sets. Work that does not look at it for [`PATIENCE`] is ended, as is all work at a second Ctrl-C: a layer takes its
/// time, and a slow disk keeps a write from looking. Neither leaves anything behind, since a file that is not whole has no name.
///
/// A supervised process leaves the ending to its supervisor, which knows whether TT-NN is at work.
///
/// # Errors
/// When the signal cannot be caught.
pub fn interrupted_soon() -> miette::Result<Arc<AtomicBool>> {
    if let Some(flag) = INTERRUPT.get() {
        return Ok(Arc::clone(flag));
    }
    let flag = Arc::clone(INTERRUPT.get_or_init(Arc::default));
    let set = Arc::clone(&flag);
    if note::is_supervised() {
        ctrlc::set_handler(|| {}).into_diagnostic()?;
        std::thread::spawn(move || {
            while note::interrupts() == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            set.store(true, Ordering::Relaxed);
        });
        return Ok(flag);
    }
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        std::thread::spawn(|| {
            std::thread::sleep(PATIENCE);
            std::process::exit(INTERRUPTED.into());
        });
    })
    .into_diagnostic()?;
    Ok(flag)
}

/// True once Ctrl-C was pressed.
pub fn is_interrupted() -> bool {
    note::interrupts() > 0 || INTERRUPT.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Time that work is given to end by itself.
pub const PATIENCE: Duration = Duration::from_millis(700);

/// The exit code that shells expect of what Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// The result of a long write; one that Ctrl-C ended ends the program.
///
/// # Errors
/// Whatever else is wrong with the weights or the file system.
pub fn written<T>(result: Result<T, WeightError>) -> miette::Result<T> {
    if let Err(error @ WeightError::Interrupted { .. }) = &result {
        eprintln!("{error}");
        std::process::exit(INTERRUPTED.into());
    }
    result.into_diagnostic()
}

/// Whether to go on with something that Ctrl-C ends.
pub fn unless(interrupted: &AtomicBool) -> ControlFlow<()> {
    if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
