//! `ttnn.deallocate`.

use super::constraint::constraints;
use super::{Answer, Outcome};
use crate::op::Deallocate;
use crate::{Card, TensorSpec};

constraints! { "deallocate", "", also []; }

/// Anything can be freed; whether it is used afterwards is [`crate::verify()`]'s to say.
pub(super) fn check(_args: &Deallocate, _given: &[&TensorSpec], _card: &Card) -> Answer {
    Ok(Outcome::default())
}
