//! A decode step as a list of calls, each with its predicted cost.

use bitnetc_compiler::ttnn::cost::Price;
use bitnetc_plan::Cost;

/// A call, or several of a kind, with its predicted cost.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedCall {
    /// A name for tables.
    pub name: String,
    /// How often it runs in a step.
    pub times: u32,
    /// Predicted cost of one run.
    pub cost: Cost,
}

/// A decode step: what the card does, call by call, and what the host does around it.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedStep {
    /// Calls on the card.
    pub calls: Vec<PricedCall>,
    /// Microseconds of host work that the card waits for.
    pub host_us: f64,
}

impl PricedStep {
    /// Predicted microseconds on the card.
    pub fn device_us(&self) -> f64 {
        self.calls.iter().map(|c| Price::of(&c.cost).times(u64::from(c.times))).sum::<Price>().us()
    }

    /// Predicted tokens per second of one user.
    pub fn tokens_per_s(&self) -> f64 {
        1e6 / (self.device_us() + self.host_us)
    }
}
