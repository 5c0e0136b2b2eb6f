//! Selection of the calls that end a phase: the next token is picked of the logits, and decode counts its positions up.
//!
//! A plan that draws tokens on the card searches the 32 likeliest of each user, seeds the random numbers of users whose text begins, and draws.
//! Prefill takes the likeliest token in either plan: its logits are there for a host that draws the first token of a text.

use bitnetc_plan::ttnn::CANDIDATES;
use bitnetc_plan::{BufferRole, DType, Layout, MemoryConfig, TILE, TensorSpec};

use super::{SelectError, Selector};
use crate::graph::{NodeId, Section};
use crate::schedule::{Input, Kind};

impl Selector<'_> {
    /// Whether this phase draws its tokens.
    pub(super) fn draws(&self) -> bool {
        self.setting.sample && self.decode()
    }

    pub(super) fn argmax(&mut self, node: NodeId, section: Section) -> Result<(), SelectError> {
        let logits = self.input(node, 0)?;
        if !self.decode() {
            let tokens = self.integers("first_tokens", vec![1, 1, TILE], DType::U32, BufferRole::FirstTokens)?;
            self.call(node, section, Kind::ArgMax, vec![logits, tokens], vec![]);
            return Ok(());
        }
        let tokens = self.tokens()?;
        if self.draws() {
            self.draw(node, section, logits, tokens)?;
        } else {
            self.call(node, section, Kind::ArgMax, vec![logits, tokens], vec![]);
        }
        let positions = self.positions()?;
        self.helper("positions.next", section, Kind::PlusOne { skip_negative: true }, vec![positions], vec![]);
        if !self.rotary.is_empty() {
            let rotary = self.rotary_positions()?;
            let kind = Kind::PlusOne { skip_negative: false };
            self.helper("rotary_positions.next", section, kind, vec![rotary], vec![]);
        }
        Ok(())
    }

    /// Draws each user's token among its likeliest.
    fn draw(&mut self, node: NodeId, section: Section, logits: Input, tokens: Input) -> Result<(), SelectError> {
        let vocab = self.width(&logits);
        if vocab < 2 * TILE || !vocab.is_multiple_of(TILE) {
            let what = format!(
                "a token cannot be drawn on the card: TT-NN searches a vocabulary of whole tiles, and {vocab} is no multiple of 32 from 64 on"
            );
            return Err(self.unsupported(node, what, "plan without --sample, and the host draws"));
        }
        let logits = self.in_bf16(logits);
        let name = self.graph.node(node).name.clone();
        let shape = vec![1, 1, self.rows(), CANDIDATES];
        let likeliest = self.schedule.value(format!("{name}.values"), shape.clone(), DType::Bf16);
        let places = self.schedule.value(format!("{name}.tokens"), shape, DType::U32);
        self.schedule.values[places].layout = Layout::RowMajor;
        self.helper(&format!("{name}.likeliest"), section, Kind::TopK, vec![logits], vec![likeliest, places]);
        let users = vec![self.rows()];
        let seeds = self.integers("seeds", users.clone(), DType::U32, BufferRole::Seeds)?;
        let generators = self.integers("generators", users.clone(), DType::U32, BufferRole::Generators)?;
        self.helper(&format!("{name}.seed"), section, Kind::Seed, vec![seeds, generators], vec![]);
        let k = self.integers("top_k", users.clone(), DType::U32, BufferRole::TopK)?;
        let share = |role| (TensorSpec::row_major(users.clone(), DType::Bf16, MemoryConfig::DRAM), role);
        let (spec, role) = share(BufferRole::TopP);
        let p = self.buffer("top_p", false, spec, role)?;
        let (spec, role) = share(BufferRole::InverseTemperature);
        let temperature = self.buffer("inverse_temperature", false, spec, role)?;
        let inputs = vec![Input::Value(likeliest), Input::Value(places), k, p, temperature, tokens];
        self.call(node, section, Kind::Sample, inputs, vec![]);
        Ok(())
    }

    /// The logits in the data type that the search takes; rounded where they are finer, which only a draw can bear.
    fn in_bf16(&mut self, logits: Input) -> Input {
        let Input::Value(id) = logits else { return logits };
        let value = self.schedule.values[id].clone();
        if value.dtype == DType::Bf16 {
            return logits;
        }
        let rounded = self.schedule.value(format!("{}.bf16", value.name), value.shape, DType::Bf16);
        self.helper(
            &format!("{}.round", value.name),
            Section::Epilogue,
            Kind::Typecast,
            vec![Input::Value(id)],
            vec![rounded],
        );
        Input::Value(rounded)
    }
}
