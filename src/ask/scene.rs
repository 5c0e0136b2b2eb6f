//! Where a question comes from: a call alone, or one among the tensors of a plan.

use std::collections::HashMap;

use bitnetc_plan::{Op, Phase, Plan, Ref, TensorSpec};
use bitnetc_ttnn::emit;
use miette::miette;
use ron::extensions::Extensions;

use super::arguments::Known;
use super::call::{self, Question};
use super::parse::{self, Expr, Kind, Mistake};
use crate::input;
use crate::inspect::Selection;

/// The text of a question and the tensors that it may name.
pub struct Scene<'a> {
    text: String,
    grid: (u32, u32),
    step: Option<Op>,
    specs: HashMap<Ref, TensorSpec>,
    names: HashMap<String, Ref>,
    plan: Option<&'a Plan>,
}

impl<'a> Scene<'a> {
    /// The question in `text`: a call, a step of the plan, or `phase/step`.
    ///
    /// # Errors
    /// The plan has no such phase or step.
    pub fn new(
        plan: Option<&'a Plan>,
        phase: Option<Selection>,
        text: &str,
        grid: (u32, u32),
    ) -> miette::Result<Scene<'a>> {
        let (specs, names) = (HashMap::new(), HashMap::new());
        let mut scene = Scene { text: text.to_owned(), grid, step: None, specs, names, plan };
        let Some(plan) = plan else { return Ok(scene) };
        let is_call = text.contains('(');
        let (phase, name) = match text.split_once('/') {
            Some((phase, step)) if !is_call => (Some(phase.parse().map_err(|e: String| miette!("{e}"))?), step),
            _ => (phase, text),
        };
        let at = phase.map_or(Ok(vec![0]), |selection| selection.phases(plan))?;
        let phase = at.first().and_then(|at| plan.phases.get(*at)).ok_or_else(|| miette!("the plan has no phase"))?;
        scene.know(phase);
        if !is_call {
            let step = phase.steps().find(|step| step.name == name).ok_or_else(|| {
                let names: Vec<_> = phase.steps().map(|step| step.name.as_str()).collect();
                let help = input::did_you_mean(name, &names);
                miette!(help = help.trim_end().to_owned(), "{} has no step `{name}`", phase.kind)
            })?;
            scene.step = Some(step.op.clone());
        }
        Ok(scene)
    }

    fn know(&mut self, phase: &Phase) {
        let values = phase.steps().flat_map(|step| &step.outputs);
        self.specs.extend(values.map(|value| (Ref::Value(value.name.clone()), value.spec.clone())));
        self.names = emit::identifiers(phase);
    }

    /// The question.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn spec(&self, operand: &Ref) -> Option<TensorSpec> {
        match operand {
            Ref::Value(_) => self.specs.get(operand).cloned(),
            Ref::Weight(name) => self.plan?.weight(name).map(|weight| weight.spec.clone()),
            Ref::Buffer(name) => self.plan?.buffer(name).map(|buffer| buffer.spec.clone()),
        }
    }

    /// The question.
    ///
    /// # Errors
    /// The first mistake in the text.
    pub fn question(&self) -> Result<Question, Mistake> {
        match &self.step {
            Some(op) => self.typed(op.clone(), &[], 0..self.text.len()),
            None => match self.text.trim_start().starts_with(char::is_uppercase) {
                true => self.ron(),
                false => self.python(),
            },
        }
    }

    fn python(&self) -> Result<Question, Mistake> {
        let expr = parse::line(&self.text, self.grid)?;
        match expr.kind {
            Kind::Call(call) => call::question(&call, expr.span, self),
            Kind::Number(_) | Kind::List(_) | Kind::Name(_) | Kind::Memory(_) | Kind::Tensor(..) => {
                Err(Mistake::new(expr.span, "this is no call", "linear(a[1,1,32,2560] bf16 L1, ...)"))
            }
        }
    }

    /// A call in RON, and after `where` the specs of its operands.
    fn ron(&self) -> Result<Question, Mistake> {
        const WHERE: &str = " where ";
        let (call, operands) = self.text.split_once(WHERE).unwrap_or((&self.text, ""));
        // As in plan files.
        let options = ron::Options::default()
            .with_default_extension(Extensions::IMPLICIT_SOME)
            .with_default_extension(Extensions::UNWRAP_NEWTYPES)
            .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        let op: Op = options.from_str(call).map_err(|error| {
            let start = offset(call, error.span.start.line, error.span.start.col);
            let end = offset(call, error.span.end.line, error.span.end.col).max(start);
            Mistake::new(start..end, error.code.to_string(), "")
        })?;
        // The rest is read as the arguments of a call of no name, at its own place in the text.
        let blank: String = call.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        let padding = " ".repeat(call.len() - blank.len() + WHERE.len() - 2);
        let given = match parse::line(&format!("{blank}{padding}x({operands})"), self.grid)?.kind {
            Kind::Call(call) => call.args,
            Kind::Number(_) | Kind::List(_) | Kind::Name(_) | Kind::Memory(_) | Kind::Tensor(..) => Vec::new(),
        };
        self.typed(op, &given, 0..call.len())
    }

    /// A typed call with the specs of its operands, from `given` or the plan.
    fn typed(&self, op: Op, given: &[Expr], span: std::ops::Range<usize>) -> Result<Question, Mistake> {
        let spec = |operand: &&Ref| {
            let found = given.iter().find_map(|expr| match &expr.kind {
                Kind::Tensor(name, spec) if name == operand.name() => Some(spec.clone()),
                Kind::Number(_)
                | Kind::List(_)
                | Kind::Name(_)
                | Kind::Memory(_)
                | Kind::Tensor(..)
                | Kind::Call(_) => None,
            });
            found.or_else(|| self.spec(operand)).ok_or_else(|| {
                let help = format!("after the call: where {operand}[1,1,32,2560] bf16 DRAM, ...");
                Mistake::new(span.clone(), format!("nothing is known of `{operand}`"), help)
            })
        };
        let operands = op.operands().iter().map(spec).collect::<Result<_, _>>()?;
        Ok(Question { op, operands })
    }
}

impl Known for Scene<'_> {
    fn grid(&self) -> (u32, u32) {
        self.grid
    }

    fn tensor(&self, name: &str) -> Option<(Ref, TensorSpec)> {
        let operand = self.names.get(name)?;
        Some((operand.clone(), self.spec(operand)?))
    }
}

/// The byte at a line and column, both counted from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let within = text[before..].char_indices().nth(column.saturating_sub(1)).map_or(text.len() - before, |(at, _)| at);
    before + within
}
