//! Price of the column of the largest element of each row: the same kernel as the next token's.

use bitnetc_plan::op::BestColumn;

use super::{Kernel, Priced, arg_max};

pub fn kernel(_: &BestColumn, priced: &Priced<'_>) -> Kernel {
    arg_max::search(priced)
}
