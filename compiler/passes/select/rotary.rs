//! Selection of the calls for the rotary embedding: the tables, looked up once per step in decode, and the rotation of q and k.

use bitnetc_plan::weight::RotaryFunction;
use bitnetc_plan::{Cores, DType};

use super::weights;
use super::{SelectError, Selector};
use crate::graph::{NodeId, Rope, Section, Value};
use crate::schedule::{HeadCores, Input, Kind};

impl Selector<'_> {
    pub(super) fn rope(&mut self, node: NodeId, section: Section, rope: &Rope) -> Result<(), SelectError> {
        let (q, k) = (self.input(node, 0)?, self.input(node, 1)?);
        let head_dim = self.width(&q);
        let known = self.rotary.iter().find(|(of, width, _)| of == rope && *width == head_dim);
        let [cos, sin, transform] = match known {
            Some((.., rotary)) => rotary.clone(),
            None => self.rotary_tables(rope, head_dim)?,
        };
        let mut outputs = Vec::new();
        for (input, suffix) in [(&q, "q"), (&k, "k")] {
            let Input::Value(before) = input else {
                return Err(self.unsupported(node, "a rotation of no value", "feed it queries and keys"));
            };
            let shape = self.schedule.values[*before].shape.clone();
            outputs.push(self.schedule.value(format!("{}.{suffix}", self.graph.node(node).name), shape, DType::Bf16));
        }
        if self.decode() && self.setting.heads == HeadCores::Disjoint {
            self.call(node, section, Kind::RotaryFused, vec![q, k, cos, sin, transform], outputs);
            return Ok(());
        }
        for ((input, suffix), id) in [(q, "q"), (k, "k")].into_iter().zip(&outputs) {
            let name = format!("{}.{suffix}", self.graph.node(node).name);
            let inputs = vec![input, cos.clone(), sin.clone(), transform.clone()];
            self.helper(&name, section, Kind::Rotary, inputs, vec![*id]);
        }
        for (output, id) in outputs.into_iter().enumerate() {
            self.ids.insert(Value { node, output }, id);
        }
        Ok(())
    }

    /// The tables of cosines and sines and the transformation matrix. Decode looks up the users' rows once per step; prefill reads whole
    /// tables.
    fn rotary_tables(&mut self, rope: &Rope, head_dim: u32) -> Result<[Input; 3], SelectError> {
        let family = match self.rotary.len() {
            0 => "rotary".to_string(),
            further => format!("rotary.{further}"),
        };
        let [cos, sin] = [("cos", RotaryFunction::Cos), ("sin", RotaryFunction::Sin)]
            .map(|(name, function)| self.rotary_table(&format!("{family}.{name}"), function, rope, head_dim));
        let cores = self.decode().then(|| Cores::row_major(self.rotary_copies() * self.rows(), self.setting.card.grid));
        let transform = self.weight(weights::rotary_transform(cores))?;
        let rotary = [cos?, sin?, transform];
        self.rotary.push((rope.clone(), head_dim, rotary.clone()));
        Ok(rotary)
    }

    /// One table: in decode the rows of this step's positions, in prefill all of its tokens.
    fn rotary_table(
        &mut self,
        name: &str,
        function: RotaryFunction,
        rope: &Rope,
        head_dim: u32,
    ) -> Result<Input, SelectError> {
        let rows = self.rows();
        let context = self.graph.context as u32;
        if !self.decode() {
            let name = format!("{name}.{rows}");
            return self.weight(weights::rotary_table(&name, function, rope, context, head_dim, Some(rows)));
        }
        let positions = self.rotary_positions()?;
        let table = self.weight(weights::rotary_table(name, function, rope, context, head_dim, None))?;
        let shape = vec![1, self.rotary_copies() * rows, 1, head_dim];
        let name = format!("{name}.rows");
        let out = self.schedule.value(name.clone(), shape, DType::Bf16);
        self.helper(&name, Section::Prologue, Kind::RotaryRows, vec![positions, table], vec![out]);
        Ok(Input::Value(out))
    }
}
