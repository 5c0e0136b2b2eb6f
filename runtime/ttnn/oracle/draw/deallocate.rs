//! `ttnn.deallocate` has no draws: it takes any tensor and returns nothing, and the addresses that later calls get after it are checked
//! where a whole plan is replayed ([`crate::replay()`]).

use super::Rule;

pub const RULES: &[Rule] = &[];
