//! Executes verified plans.
//!
//! | module | holds |
//! |---|---|
//! | [`weights`] | constant tensors from checkpoints and packed files |

pub mod weights;
