//! The errors of running a plan.

use bitnetc_numerics::NumericsError;

use crate::weights::WeightError;

/// Why a device refused a step. The failed step leaves no result that a later step could read. (Errors whose message contains the cause
/// have no `source`, or the cause would be printed twice.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Nothing is in a slot that a step reads: the value was freed, or never made.
    #[error("operand {operand} is not on the device")]
    Empty {
        /// Which operand, counted from 0.
        operand: usize,
    },
    /// An operand is not what the op computes with.
    #[error("operand {operand} is {got}; {want} was expected")]
    Operand {
        /// Which operand, counted from 0.
        operand: usize,
        /// A description of the operand.
        got: String,
        /// The operand that would be right.
        want: String,
    },
    /// A step has slots for another number of results than its op makes.
    #[error("the step takes {given} results; its op makes {made}")]
    Results {
        /// Slots of the step.
        given: usize,
        /// Results of the op.
        made: usize,
    },
    /// Shapes or numbers the kernels refuse.
    #[error(transparent)]
    Numerics(#[from] NumericsError),
    /// Weights that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// An index that points out of a table.
    #[error("{what} is {got}; it must be less than {limit}")]
    Range {
        /// The name of the value that is out of range.
        what: &'static str,
        /// Its value.
        got: i64,
        /// The first value too large.
        limit: u64,
    },
    /// The library that drives the device refused, in its own words.
    #[error(transparent)]
    Library(Box<dyn std::error::Error + Send + Sync>),
    /// A person asked for an end while there was work left.
    #[error("interrupted")]
    Interrupted,
    /// A read is ended, and none was begun.
    #[error("no read is under way")]
    NoRead,
    /// Something a trace does not allow, or a trace that is not there.
    #[error("trace: {0}")]
    Trace(String),
}

/// Why a plan could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The plan lacks something the runtime needs.
    #[error("the plan has no {0}")]
    Lacks(String),
    /// More tensors in all layers and phases than can be numbered.
    #[error("the plan has more tensors in all its layers than can be numbered")]
    TooManySlots,
    /// A device refused a step.
    #[error("{phase}, step `{step}`: {error}")]
    Step {
        /// The phase.
        phase: String,
        /// The step, and its layer where it has one.
        step: String,
        /// Why.
        error: Box<DeviceError>,
    },
    /// A device refused something outside of any step.
    #[error("{doing}: {error}")]
    Device {
        /// The action that failed.
        doing: String,
        /// Why.
        error: Box<DeviceError>,
    },
    /// More prompts than the plan has users.
    #[error("{prompts} prompts, but the plan decodes {batch} users at once; {}", if *prompts > 32 { "no plan decodes more than 32: give fewer".into() } else { format!("plan with --batch {prompts}") })]
    Batch {
        /// Prompts given.
        prompts: usize,
        /// Users of the plan.
        batch: u32,
    },
    /// A prompt that cannot be run.
    #[error("prompt {prompt}: {why}")]
    Prompt {
        /// Which one, counted from 0.
        prompt: usize,
        /// Why.
        why: String,
    },
    /// Sampling parameters out of range.
    #[error("{what} is {got}; it must be {want}")]
    Sampling {
        /// The parameter.
        what: &'static str,
        /// Its value.
        got: String,
        /// The operand that would be right.
        want: &'static str,
    },
    /// A page table that is not a permutation of the cache's blocks.
    #[error("page table: {0}")]
    PageTable(String),
}

impl RuntimeError {
    /// [`RuntimeError::Device`] while `doing` something.
    pub(crate) fn device(doing: impl Into<String>) -> impl FnOnce(DeviceError) -> Self {
        let doing = doing.into();
        move |error| RuntimeError::Device { doing, error: Box::new(error) }
    }
}
