//! Executes verified plans.
