//! The logits that a plan's are compared with.

use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;

use miette::{IntoDiagnostic as _, WrapErr as _, miette};
use safetensors::{Dtype, SafeTensors};

use super::reference::Reference;
use crate::input;

/// The computations that a plan can be compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// The f32 evaluator of the model's logical graph.
    Reference,
    /// The host device with exact numerics, on the same plan.
    Exact,
    /// A file of logits, as `--logits` writes them.
    File(PathBuf),
}

impl FromStr for Against {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "reference" => Against::Reference,
            "exact" => Against::Exact,
            path => Against::File(path.into()),
        })
    }
}

impl std::fmt::Display for Against {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Against::Reference => f.write_str("the f32 reference"),
            Against::Exact => f.write_str("exact numerics"),
            Against::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The logits to compare with.
pub enum Expected<'a> {
    /// Computed when they are needed.
    Reference(&'a Reference<'a>),
    /// Those of each window, `[tokens, vocabulary]`.
    Given(Vec<Rc<Vec<f32>>>),
}

impl Expected<'_> {
    /// Reads a file of tensors `logits.N`, for `windows` windows.
    ///
    /// # Errors
    /// A file that cannot be read or has not as many tensors of f32.
    pub fn read(path: &std::path::Path, windows: usize) -> miette::Result<Self> {
        let contents =
            input::read(path).into_diagnostic().wrap_err_with(|| format!("cannot read {}", path.display()))?;
        let tensors = SafeTensors::deserialize(contents.bytes())
            .map_err(|error| miette!("{}: {error}; it should be a file of `eval --logits`", path.display()))?;
        let window = |index: usize| {
            let name = format!("logits.{index}");
            let tensor = tensors.tensor(&name).map_err(|error| miette!("{}: {error}", path.display()))?;
            if tensor.dtype() != Dtype::F32 {
                return Err(miette!("{}: `{name}` is {:?}; it should be F32", path.display(), tensor.dtype()));
            }
            Ok(Rc::new(tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()))
        };
        Ok(Expected::Given((0..windows).map(window).collect::<miette::Result<_>>()?))
    }

    /// Logits of window `index`, whose tokens these are.
    ///
    /// # Errors
    /// Any error of the evaluator; another number of logits.
    pub fn logits(&self, index: usize, tokens: &[u32], vocab: usize) -> miette::Result<Rc<Vec<f32>>> {
        let logits = match self {
            Expected::Reference(reference) => reference.logits(tokens)?,
            Expected::Given(windows) => Rc::clone(&windows[index]),
        };
        let (got, want) = (logits.len(), tokens.len() * vocab);
        if got != want {
            return Err(miette!("window {index} has {want} logits; {got} are given to compare with"));
        }
        Ok(logits)
    }
}
