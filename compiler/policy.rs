//! Precision policies: the precision that is asked of each role in each phase. The `precision` pass may lower it where a proof allows.
//!
//! | policy | decode | prefill | activations |
//! |---|---|---|---|
//! | `balanced` | ternary gate and up bfp4 LoFi, all else bfp8 HiFi2 | HiFi4 | bf16 |
//! | `exact` | ternary bfp4 LoFi with fp32 sums, LM head bf16 HiFi4 with f32 logits | the same | int8 per token |
//! | `fast` | ternary bfp4 LoFi, LM head bfp8 HiFi2 | the same | bf16 |
//! | `fastest` | as `fast`, LM head bfp4 HiFi2 | the same | bf16 |
//!
//! Four bits hold ternary weights without loss. Of the dense weights of layers no policy makes so little: rounded to bfp4 in gate and up
//! alone, the logits of a small dense model correlate by 0.992 with the model's, in bfp8 by 0.9995. What `fastest` rounds are the LM
//! head and the KV cache, each of which costs less than 0.01 bits per byte on the small model: the measurements are in docs/numerics.md.
//!
//! Weights have one data type in both phases, since both read the same tensors; but weights of two bits are read for one tile of rows
//! alone, and longer prefills have a copy in bfp4. The KV cache is bf16 under `exact`, bfp4 under `fastest`, else bfp8.

use std::fmt;
use std::str::FromStr;

use bitnetc_plan::{DType, Fidelity, TILE};

use crate::graph::{PhaseKind, Role};

/// A named set of choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// The hand-tuned settings BitNet on TT-NN is known to work with.
    #[default]
    Balanced,
    /// The W1.58A8 function without loss in its matrix products.
    Exact,
    /// The least work per token.
    Fast,
    /// The fewest bytes per token: what costs less than 0.01 bits per byte is rounded further.
    Fastest,
}

impl Policy {
    /// All policies.
    pub const ALL: [Policy; 4] = [Policy::Balanced, Policy::Exact, Policy::Fast, Policy::Fastest];

    /// Whether activations are rounded to int8 per token, as the model was trained.
    pub const fn int8_activations(self) -> bool {
        matches!(self, Policy::Exact)
    }

    /// Data type of the KV cache.
    pub const fn cache(self) -> DType {
        match self {
            Policy::Exact => DType::Bf16,
            Policy::Balanced | Policy::Fast => DType::Bfp8,
            Policy::Fastest => DType::Bfp4,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Balanced => "balanced",
            Policy::Exact => "exact",
            Policy::Fast => "fast",
            Policy::Fastest => "fastest",
        })
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(s: &str) -> Result<Self, PolicyError> {
        Policy::ALL.into_iter().find(|p| p.to_string() == s).ok_or_else(|| PolicyError::Policy(s.to_string()))
    }
}

/// How one matrix product (or attention) is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Precision {
    /// Data type of the weight; of the KV cache for attention.
    pub weight: DType,
    /// Multiplier phases.
    pub fidelity: Fidelity,
    /// Sums in fp32.
    pub fp32_dest_acc: bool,
}

/// `role=dtype/fidelity`, for one phase or both: `down=bfp8/HiFi4`, `decode:o=bfp4/LoFi`, `lm_head=/HiFi2/fp32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    text: String,
    decode: bool,
    prefill: bool,
    role: Role,
    weight: Option<DType>,
    fidelity: Option<Fidelity>,
    fp32_dest_acc: Option<bool>,
}

/// Roles that have a precision, by the names used in overrides.
pub const ROLES: [(&str, Role); 7] = [
    ("qkv", Role::Qkv),
    ("sdpa", Role::Sdpa),
    ("o", Role::O),
    ("gate", Role::Gate),
    ("up", Role::Up),
    ("down", Role::Down),
    ("lm_head", Role::LmHead),
];

/// Why a policy or an override is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No such policy.
    #[error("no policy `{0}`: there are balanced, exact, fast and fastest")]
    Policy(String),
    /// Not of the form.
    #[error("`{text}`: {what}; write role=dtype/fidelity, as in down=bfp8/HiFi2 or prefill:o=/HiFi4/fp32")]
    Override {
        /// As given.
        text: String,
        /// The part that is refused, and the forms that are accepted.
        what: String,
    },
}

/// Which side of an override is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The phase or the role.
    Role(String),
    /// Data type, fidelity or accumulation.
    Precision(String),
}

impl Override {
    /// The form of an override's right side.
    pub const FORM: &str = "dtype/fidelity, as in bfp8/HiFi2 or /HiFi4/fp32";

    /// An override of `role`, which may name a phase first, by `precision`: what stands left and right of `=`.
    ///
    /// # Errors
    /// The side that is wrong.
    pub fn new(role: &str, precision: &str) -> Result<Self, Wrong> {
        let text = format!("{role}={precision}");
        let (phase, role) = role.split_once(':').map_or((None, role), |(p, r)| (Some(p), r));
        let (decode, prefill) = match phase {
            None => (true, true),
            Some("decode") => (true, false),
            Some("prefill") => (false, true),
            Some(other) => return Err(Wrong::Role(format!("no phase `{other}`: decode or prefill"))),
        };
        let found = ROLES.iter().find(|(name, _)| *name == role).map(|(_, r)| *r);
        let no_role = || Wrong::Role(format!("no role `{role}`: {}", ROLES.map(|(n, _)| n).join(", ")));
        let role = found.ok_or_else(no_role)?;
        let (weight, fidelity, fp32_dest_acc) = (None, None, None);
        let mut parsed = Override { text, decode, prefill, role, weight, fidelity, fp32_dest_acc };
        for (at, word) in precision.split('/').enumerate().filter(|(_, w)| !w.is_empty()) {
            parsed.word(at, word).map_err(Wrong::Precision)?;
        }
        if parsed.weight.is_some() && !(decode && prefill) {
            let what = "both phases read the same weights, so a data type cannot be set for one";
            return Err(Wrong::Precision(what.into()));
        }
        Ok(parsed)
    }

    /// Takes the `at`th word of the right side.
    fn word(&mut self, at: usize, word: &str) -> Result<(), String> {
        match (at, word) {
            (0, _) => {
                let dtype = weight_dtype(word);
                let dtype = dtype.ok_or_else(|| format!("no weight type `{word}`: bf16, bfp8, bfp4 or bfp2"))?;
                if dtype == DType::Bfp2 && matches!(self.role, Role::Sdpa | Role::LmHead) {
                    return Err("two bits hold the ternary weights of layers alone: bf16, bfp8 or bfp4".into());
                }
                self.weight = Some(dtype);
            }
            (1, _) => {
                let found = fidelity(word);
                let none = || format!("no fidelity `{word}`: LoFi, HiFi2, HiFi3 or HiFi4");
                self.fidelity = Some(found.ok_or_else(none)?);
            }
            (2, "fp32") => self.fp32_dest_acc = Some(true),
            (2, "bf16") => self.fp32_dest_acc = Some(false),
            _ => return Err(format!("`{word}` is one word too many, or no accumulation (fp32 or bf16)")),
        }
        Ok(())
    }
}

impl FromStr for Override {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let wrong = |what: String| PolicyError::Override { text: text.to_string(), what };
        let (role, precision) = text.split_once('=').ok_or_else(|| wrong("there is no `=`".into()))?;
        Override::new(role, precision).map_err(|(Wrong::Role(what) | Wrong::Precision(what))| wrong(what))
    }
}

fn weight_dtype(word: &str) -> Option<DType> {
    [DType::Bf16, DType::Bfp8, DType::Bfp4, DType::Bfp2].into_iter().find(|d| d.to_string() == word)
}

fn fidelity(word: &str) -> Option<Fidelity> {
    [Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi3, Fidelity::HiFi4]
        .into_iter()
        .find(|f| f.to_string().eq_ignore_ascii_case(word))
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The precision that `policy` asks of `role` in `phase`, after `overrides`, of which later ones win.
pub fn asked(policy: Policy, overrides: &[Override], phase: PhaseKind, role: Role, ternary: bool) -> Precision {
    let mut precision = policy_asks(policy, phase, role, ternary);
    let decode = matches!(phase, PhaseKind::Decode { .. });
    for o in overrides.iter().filter(|o| o.role == role && if decode { o.decode } else { o.prefill }) {
        precision.weight = o.weight.unwrap_or(precision.weight);
        precision.fidelity = o.fidelity.unwrap_or(precision.fidelity);
        precision.fp32_dest_acc = o.fp32_dest_acc.unwrap_or(precision.fp32_dest_acc);
    }
    if precision.weight == DType::Bfp2 && phase.rows() > TILE {
        precision.weight = DType::Bfp4;
    }
    precision
}

fn policy_asks(policy: Policy, phase: PhaseKind, role: Role, ternary: bool) -> Precision {
    let decode = matches!(phase, PhaseKind::Decode { .. });
    let of = |weight, fidelity, fp32_dest_acc| Precision { weight, fidelity, fp32_dest_acc };
    if role == Role::Sdpa {
        let fidelity = if policy == Policy::Exact || (policy == Policy::Balanced && !decode) {
            Fidelity::HiFi4
        } else {
            Fidelity::HiFi2
        };
        return of(policy.cache(), fidelity, policy == Policy::Exact);
    }
    match policy {
        Policy::Exact if ternary => of(DType::Bfp4, Fidelity::LoFi, true),
        Policy::Exact => of(DType::Bf16, Fidelity::HiFi4, true),
        Policy::Fast | Policy::Fastest if ternary => of(DType::Bfp4, Fidelity::LoFi, false),
        Policy::Fastest if role == Role::LmHead => of(DType::Bfp4, Fidelity::HiFi2, false),
        Policy::Fast | Policy::Fastest => of(DType::Bfp8, Fidelity::HiFi2, false),
        Policy::Balanced => {
            let light = ternary && matches!(role, Role::Gate | Role::Up);
            let weight = if light { DType::Bfp4 } else { DType::Bfp8 };
            let fidelity = match (decode, light) {
                (false, _) => Fidelity::HiFi4,
                (true, true) => Fidelity::LoFi,
                (true, false) => Fidelity::HiFi2,
            };
            of(weight, fidelity, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_reach_the_phase_they_name() {
        let set: Vec<Override> = ["down=bfp4", "decode:o=/HiFi4/fp32"].iter().map(|s| s.parse().unwrap()).collect();
        let decode = PhaseKind::Decode { batch: 1 };
        let prefill = PhaseKind::Prefill { tokens: 64 };
        assert_eq!(asked(Policy::Balanced, &set, decode, Role::Down, true).weight, DType::Bfp4);
        assert_eq!(asked(Policy::Balanced, &set, decode, Role::Down, true).fidelity, Fidelity::HiFi2);
        let o = asked(Policy::Balanced, &set, decode, Role::O, true);
        assert_eq!((o.fidelity, o.fp32_dest_acc), (Fidelity::HiFi4, true));
        assert!(!asked(Policy::Balanced, &set, prefill, Role::O, true).fp32_dest_acc);
        let two_bits = ["up=bfp2".parse().unwrap()];
        let weight = |phase| asked(Policy::Balanced, &two_bits, phase, Role::Up, true).weight;
        assert_eq!([weight(decode), weight(prefill)], [DType::Bfp2, DType::Bfp4]);
    }

    #[test]
    fn no_policy_rounds_dense_weights_of_layers_to_four_bits() {
        let phases = [PhaseKind::Decode { batch: 1 }, PhaseKind::Prefill { tokens: 32 }];
        for (policy, phase) in Policy::ALL.into_iter().flat_map(|policy| phases.map(|phase| (policy, phase))) {
            for (name, role) in ROLES {
                let dense = asked(policy, &[], phase, role, false);
                let rounded = policy == Policy::Fastest && matches!(role, Role::LmHead | Role::Sdpa);
                assert_eq!(dense.weight == DType::Bfp4, rounded, "{policy} {name}");
                assert_ne!(dense.fidelity, Fidelity::LoFi, "{policy} {name}");
            }
        }
    }

    #[test]
    fn a_bad_override_says_what_would_be_right() {
        for (text, part) in [
            ("down", "there is no `=`"),
            ("downs=bfp4", "no role `downs`: qkv"),
            ("down=bfp5", "no weight type `bfp5`"),
            ("down=bfp4/HiFi5", "no fidelity `HiFi5`"),
            ("down=bfp4/HiFi2/f64", "`f64`"),
            ("decode:down=bfp4", "same weights"),
            ("lm_head=bfp2", "ternary weights of layers"),
            ("train:down=/LoFi", "no phase `train`"),
        ] {
            let error = text.parse::<Override>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!("best".parse::<Policy>().is_err());
    }
}
