//! Measurements of a plan on a card, program by program, beside what the cost model predicts for its steps.
//!
//! | file | says |
//! |---|---|
//! | a profile of `bitnetc run --profile` | which program was which step; where TT-NN's real-time profiler is active, when each began and ended |
//! | `ops_perf_results_*.csv` of tt-metal's Tracy build, or its `cpp_device_perf_report.csv` | how long the kernels of each program took |
//!
//! A CSV beside the profile of the same run is joined by the number of the program: `GLOBAL CALL COUNT` is 1024 times that number and the
//! chip. A CSV alone is joined by the order of its rows (`sequence.rs`).
//!
//! What is measured is the time of a program's kernels, from the go to done. A plan's prediction also has the gap to the next program, which
//! depends on the dispatch and not on the step; so kernels are compared with kernels.

mod fit;
mod read;
mod sequence;
mod steps;

use std::collections::HashMap;

use bitnetc_compiler::target::Target;
use bitnetc_plan::{PhaseKind, Plan, Profile, Section};

pub use fit::{Fit, fit};
pub use read::read;
pub use steps::{PlannedStep, of as planned};

/// The contents of one file.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Of `bitnetc run --profile`.
    Profile(Profile),
    /// Rows of a CSV, one for each run of a program.
    Rows(Vec<Row>),
}

/// One run of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The number of the program; `None` where the file does not tell.
    pub program: Option<u64>,
    /// The replay of a trace that it belongs to, in the file's own words.
    pub replay: String,
    /// TT-NN's name of the op's class.
    pub code: String,
    /// Time of its kernels in microseconds.
    pub us: f64,
}

/// The reasons for which measurements cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A CSV that cannot be read.
    #[error("{path}: {reason}")]
    Malformed {
        /// As given.
        path: String,
        /// The mistake, with its line.
        reason: String,
    },
    /// A column that is needed.
    #[error(
        "{path} has no column {column}: it is no ops_perf_results or cpp_device_perf_report of tt-metal, and no profile of `bitnetc run --profile`"
    )]
    Column {
        /// As given.
        path: String,
        /// The column.
        column: &'static str,
    },
    /// The profile of another plan.
    #[error("{path} was taken of {found}, but the plan is of {wanted}")]
    OtherPlan {
        /// As given.
        path: String,
        /// The model, card or step of the profile.
        found: String,
        /// The plan's.
        wanted: String,
    },
    /// More profiles than one, or none with a CSV that cannot be matched.
    #[error("{0}")]
    Join(String),
    /// The plan does not verify.
    #[error("step `{0}` of the plan is not sound: `bitnetc check` says why")]
    Unsound(String),
}

/// A step of a plan and its measurements.
#[derive(Debug, Clone)]
pub struct Measured<'a> {
    /// The step.
    pub planned: PlannedStep<'a>,
    /// Microseconds of each of its runs in any layer, all programs together.
    pub runs: Vec<f64>,
}

impl Measured<'_> {
    /// The mean of all runs.
    pub fn mean(&self) -> f64 {
        self.runs.iter().sum::<f64>() / self.runs.len().max(1) as f64
    }

    /// The shortest and the longest run.
    pub fn range(&self) -> (f64, f64) {
        self.runs.iter().fold((f64::INFINITY, 0.0), |(least, most), run| (least.min(*run), most.max(*run)))
    }
}

/// Program number to place: a step of the plan, by its index, and which of its programs.
type Places = HashMap<u64, (usize, u64)>;

/// Joins measurements to the steps of a plan; steps that were not measured are left out. Attention of decode is priced at `position`.
///
/// # Errors
/// Measurements of another plan, or that cannot be joined to its steps.
pub fn join<'a>(
    plan: &'a Plan,
    sources: &[(String, Source)],
    target: &Target,
    position: u32,
) -> Result<Vec<Measured<'a>>, ProfileError> {
    let planned = steps::of(plan, target, position)?;
    let mut places = Places::new();
    let mut rows = Vec::new();
    let mut profiles = 0;
    for (path, source) in sources {
        match source {
            Source::Profile(profile) => {
                profiles += 1;
                place(path, profile, plan, &planned, &mut places)?;
                let row = |r: &bitnetc_plan::profile::Record| Row {
                    program: Some(r.id),
                    replay: String::new(),
                    code: String::new(),
                    us: r.end_us - r.start_us,
                };
                // A plan runs on the first chip alone.
                rows.extend(profile.records.iter().filter(|r| r.chip == 0).map(row));
            }
            Source::Rows(given) => rows.extend(given.iter().cloned()),
        }
    }
    if profiles > 1 {
        let why = "programs are numbered anew in each run: give one profile, and the CSV of its run if there is one";
        return Err(ProfileError::Join(why.into()));
    }
    let runs =
        if profiles == 1 { by_number(&rows, &places) } else { sequence::runs(&rows, &planned, plan.model.layers)? };
    let mut measured: Vec<Measured<'a>> =
        planned.into_iter().map(|planned| Measured { planned, runs: Vec::new() }).collect();
    for (step, us) in runs {
        measured[step].runs.push(us);
    }
    measured.retain(|step| !step.runs.is_empty());
    if measured.is_empty() {
        let why = match profiles {
            1 => {
                "no time in these files is of a program of the profile: where TT-NN's real-time profiler is not active, give the CSV of the same run beside it"
            }
            _ => "no part of these rows is a phase of the plan",
        };
        return Err(ProfileError::Join(why.into()));
    }
    Ok(measured)
}

/// Notes which programs are which step.
fn place(
    path: &str,
    profile: &Profile,
    plan: &Plan,
    planned: &[PlannedStep<'_>],
    places: &mut Places,
) -> Result<(), ProfileError> {
    let other = |found: String, wanted: String| ProfileError::OtherPlan { path: path.into(), found, wanted };
    if profile.digest != plan.model.digest {
        return Err(other("another model, or another version of it".into(), format!("`{}`", plan.model.name)));
    }
    if profile.card != plan.card.name {
        return Err(other(profile.card.clone(), plan.card.name.clone()));
    }
    let index: HashMap<(PhaseKind, bool, &str), usize> = planned
        .iter()
        .enumerate()
        .map(|(at, p)| ((p.phase, p.section == Section::Layer, p.step.name.as_str()), at))
        .collect();
    for call in &profile.calls {
        let key = (call.phase, call.layer.is_some(), call.step.as_str());
        let Some(at) = index.get(&key) else {
            let found = format!("a plan with a step `{}` in {}", call.step, call.phase);
            return Err(other(found, "other steps: give the plan that was run".into()));
        };
        for program in 0..call.programs {
            places.insert(call.id + program, (*at, program));
        }
    }
    Ok(())
}

/// Runs of steps, by the numbers of their programs. The programs of a step are added up, run by run.
fn by_number(rows: &[Row], places: &Places) -> Vec<(usize, f64)> {
    let mut sums: HashMap<(u64, usize), f64> = HashMap::new();
    let mut times: HashMap<u64, usize> = HashMap::new();
    for row in rows {
        let Some((program, (_, part))) = row.program.and_then(|id| Some((id, *places.get(&id)?))) else { continue };
        // The how-manieth run of this program: a replay runs all programs of a step once.
        let run = times.entry(program).or_default();
        *sums.entry((program - part, *run)).or_default() += row.us;
        *run += 1;
    }
    let mut runs: Vec<_> = sums.into_iter().collect();
    runs.sort_by_key(|(key, _)| *key);
    runs.into_iter().filter_map(|((first, _), us)| Some((places.get(&first)?.0, us))).collect()
}

#[cfg(test)]
mod tests;
