//! Prediction and answer, compared and counted.

use std::fmt;

use bitnetc_plan::ttnn::Violation;

use super::ask::Reply;
use super::predict::Prediction;
use super::{Facts, Question};

/// How a claim failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub enum Kind {
    /// The rule accepts, TT-NN refuses: what must never be.
    Refused,
    /// The rule refuses in TT-NN's name, TT-NN accepts.
    Accepted,
    /// Other tensors are returned.
    Outputs,
    /// Other L1 addresses.
    Addresses,
    /// Other bytes of circular buffers.
    CircularBuffers,
    /// Another number of device programs.
    Programs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Refused => "legal by the rule, refused by TT-NN",
            Kind::Accepted => "illegal by the rule, accepted by TT-NN",
            Kind::Outputs => "other results",
            Kind::Addresses => "other L1 addresses",
            Kind::CircularBuffers => "other circular-buffer bytes",
            Kind::Programs => "another number of programs",
        })
    }
}

/// A claim that failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Disagreement {
    /// The draw, counted from 1 within its rule.
    pub draw: u32,
    /// How it failed.
    pub kind: Kind,
    /// The call and its operands.
    pub question: String,
    /// The rule's prediction.
    pub predicted: String,
    /// TT-NN's answer.
    pub found: String,
}

/// Draws that a rule leaves out on purpose, for one constraint of its own.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// The constraint's id.
    pub constraint: String,
    /// The calls to which the rule is limited, with the numbers of the first such draw.
    pub only: String,
    /// Draws.
    pub draws: u32,
    /// Of these, accepted by TT-NN.
    pub accepted: u32,
}

/// The result of one rule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RuleReport {
    /// Name of the rule: the call, and for some its program config.
    pub rule: String,
    /// Questions asked.
    pub draws: u32,
    /// Predicted and found legal, equal in every fact.
    pub both_accept: u32,
    /// Predicted and found illegal.
    pub both_refuse: u32,
    /// No claim: the rule is narrower than TT-NN.
    pub unclaimed: u32,
    /// Of these, accepted by TT-NN.
    pub unclaimed_accepted: u32,
    /// These draws by the constraint they break, in the order they came up.
    pub left_out: Vec<LeftOut>,
    /// Claims that failed.
    pub disagreements: Vec<Disagreement>,
}

impl RuleReport {
    pub(super) fn new(rule: &str) -> Self {
        RuleReport {
            rule: rule.into(),
            draws: 0,
            both_accept: 0,
            both_refuse: 0,
            unclaimed: 0,
            unclaimed_accepted: 0,
            left_out: Vec::new(),
            disagreements: Vec::new(),
        }
    }

    /// Draws about which the rule says something.
    pub fn claims(&self) -> u32 {
        self.draws - self.unclaimed
    }

    /// Claims that hold.
    pub fn agreed(&self) -> u32 {
        self.both_accept + self.both_refuse
    }

    /// Calls that the rule calls legal and TT-NN refuses.
    pub fn wrongly_legal(&self) -> usize {
        self.disagreements.iter().filter(|d| d.kind == Kind::Refused).count()
    }

    fn leave_out(&mut self, broken: Option<&Violation>, accepted: bool) {
        self.unclaimed += 1;
        self.unclaimed_accepted += u32::from(accepted);
        let constraint = broken.map_or_else(String::new, Violation::id);
        let known = self.left_out.iter().position(|known| known.constraint == constraint);
        let at = known.unwrap_or_else(|| {
            let only = broken.map_or_else(String::new, Violation::hint);
            self.left_out.push(LeftOut { constraint, only, draws: 0, accepted: 0 });
            self.left_out.len() - 1
        });
        self.left_out[at].draws += 1;
        self.left_out[at].accepted += u32::from(accepted);
    }

    pub(super) fn count(&mut self, question: &Question, prediction: Prediction, reply: Reply) {
        let (kind, predicted, found) = match (prediction, reply) {
            (Prediction::Unclaimed(broken), reply) => {
                self.leave_out(broken.as_ref(), matches!(reply, Reply::Accepted(_)));
                return;
            }
            (Prediction::Refused(_), Reply::Refused(_)) => {
                self.both_refuse += 1;
                return;
            }
            (Prediction::Refused(why), Reply::Accepted(_)) => (Kind::Accepted, why, "accepted".into()),
            (Prediction::Accepted(_), Reply::Refused(words)) => (Kind::Refused, "accepted".into(), words),
            (Prediction::Accepted(predicted), Reply::Accepted(found)) => match difference(&predicted, &found) {
                Some(difference) => difference,
                None => {
                    self.both_accept += 1;
                    return;
                }
            },
        };
        self.disagreements.push(Disagreement {
            draw: self.draws,
            kind,
            question: question.to_string(),
            predicted,
            found,
        });
    }
}

/// The first fact that differs.
fn difference(predicted: &Facts, found: &Facts) -> Option<(Kind, String, String)> {
    let specs = |facts: &Facts| facts.outputs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let addresses = |facts: &Facts| format!("{:?}", facts.addresses);
    if predicted.outputs != found.outputs {
        return Some((Kind::Outputs, specs(predicted), specs(found)));
    }
    if predicted.circular_buffers != found.circular_buffers {
        let (a, b) = (predicted.circular_buffers, found.circular_buffers);
        return Some((Kind::CircularBuffers, a.to_string(), b.to_string()));
    }
    if predicted.programs != found.programs {
        return Some((Kind::Programs, predicted.programs.to_string(), found.programs.to_string()));
    }
    (predicted.addresses != found.addresses).then(|| (Kind::Addresses, addresses(predicted), addresses(found)))
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Place(spec) => write!(f, "{spec}"),
            Question::Call { op, operands } => {
                write!(f, "{}", serde_json::to_string(op).map_err(|_| fmt::Error)?)?;
                operands.iter().enumerate().try_for_each(|(i, spec)| write!(f, "\n    x{i}: {spec}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bitnetc_plan::ttnn::{Constraint, Source};
    use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

    use super::*;

    fn facts(circular_buffers: u64) -> Facts {
        let outputs = vec![TensorSpec::tile([1, 1, 32, 64], DType::Bf16, MemoryConfig::L1)];
        Facts { outputs, addresses: vec![4096], circular_buffers, programs: 1 }
    }

    fn counted(cases: impl IntoIterator<Item = (Prediction, Reply)>) -> RuleReport {
        let question = Question::Place(TensorSpec::tile([1, 1, 32, 64], DType::Bf16, MemoryConfig::L1));
        let mut report = RuleReport::new("placement");
        for (prediction, reply) in cases {
            report.draws += 1;
            report.count(&question, prediction, reply);
        }
        report
    }

    #[test]
    fn claims_agree_only_when_every_fact_is_equal() {
        let mut moved = facts(100);
        moved.addresses = vec![8192];
        let mut cast = facts(100);
        cast.outputs[0].dtype = DType::F32;
        let report = counted([
            (Prediction::Accepted(facts(100)), Reply::Accepted(facts(100))),
            (Prediction::Accepted(facts(100)), Reply::Accepted(facts(164))),
            (Prediction::Accepted(facts(100)), Reply::Accepted(moved)),
            (Prediction::Accepted(facts(100)), Reply::Accepted(cast)),
            (Prediction::Accepted(facts(100)), Reply::Refused("no".into())),
            (Prediction::Refused("no".into()), Reply::Accepted(facts(100))),
            (Prediction::Refused("no".into()), Reply::Refused("other words".into())),
        ]);
        assert_eq!((report.both_accept, report.both_refuse, report.agreed(), report.claims()), (1, 1, 2, 7));
        let kinds: Vec<_> = report.disagreements.iter().map(|d| d.kind).collect();
        assert_eq!(kinds, [Kind::CircularBuffers, Kind::Addresses, Kind::Outputs, Kind::Refused, Kind::Accepted]);
        assert_eq!(report.wrongly_legal(), 1);
    }

    #[test]
    fn what_a_rule_leaves_out_is_no_claim() {
        const fn own(name: &'static str, hint: &'static str) -> Constraint {
            Constraint { rule: "r", name, source: Source::Bitnetc(""), holds: "", text: "", hint }
        }
        static SHARD: Constraint = own("SHARD", "shards of {rows}");
        static FLOAT: Constraint = own("FLOAT", "bf16 or f32");
        let shards = |rows: u32| Prediction::Unclaimed(Some(Violation::new(&SHARD, &[("rows", &rows)])));
        let report = counted([
            (shards(32), Reply::Accepted(facts(0))),
            (Prediction::Unclaimed(Some(Violation::new(&FLOAT, &[]))), Reply::Accepted(facts(0))),
            (shards(64), Reply::Refused("no".into())),
        ]);
        assert_eq!((report.claims(), report.unclaimed, report.unclaimed_accepted), (0, 3, 2));
        let reasons: Vec<_> =
            report.left_out.iter().map(|l| (l.constraint.as_str(), l.only.as_str(), l.draws, l.accepted)).collect();
        assert_eq!(reasons, [("r.shard", "shards of 32", 2, 1), ("r.float", "bf16 or f32", 1, 1)]);
        assert!(report.disagreements.is_empty());
    }
}
