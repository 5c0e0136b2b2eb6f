//! `ttnn.topk` over the last dimension: the largest elements of each row and their columns, the first among equals first.

use bitnetc_plan::op::TopK;

use crate::DeviceError;
use crate::host::movement::expect;
use crate::host::run::Run;
use crate::host::tensor::{Data, HostTensor};

pub fn execute(_: &TopK, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [values, places]| top_k(x.tensor(0)?, values, places))
}

fn top_k(input: &HostTensor, values: &mut HostTensor, places: &mut HostTensor) -> Result<(), DeviceError> {
    let (rows, columns, kept) = (input.rows(), input.columns(), values.columns());
    let fits = kept <= columns && values.rows() == rows && places.rows() == rows && places.columns() == kept;
    expect(0, input, fits, || format!("{rows} rows of {kept} or more"))?;
    let x = input.bf16(0)?;
    let (Data::Bf16(values), Data::Integer(places)) = (&mut values.data, &mut places.data) else {
        return Err(input.unexpected(0, "bf16, for values in bf16 and integers"));
    };
    let mut order: Vec<u32> = Vec::with_capacity(columns);
    let results = values.chunks_exact_mut(kept).zip(places.chunks_exact_mut(kept));
    for (row, (values, places)) in x.chunks_exact(columns).zip(results) {
        let larger = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
        order.clear();
        order.extend(0..columns as u32);
        if kept < columns {
            order.select_nth_unstable_by(kept, larger);
        }
        order[..kept].sort_unstable_by(larger);
        places.copy_from_slice(&order[..kept]);
        values.iter_mut().zip(&order).for_each(|(value, place)| *value = row[*place as usize]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    #[test]
    fn the_largest_come_first_and_the_first_of_equals() {
        let x = tensor(&[1, 1, 2, 4], DType::Bf16, &[3.0, -4.0, 3.0, 0.0, -1.0, 1.0, 5.0, 1.0]);
        let mut best = tensor(&[1, 1, 2, 3], DType::Bf16, &[]);
        let mut places = tensor(&[1, 1, 2, 3], DType::U16, &[]);
        top_k(&x, &mut best, &mut places).unwrap();
        assert_eq!(values(&best), [3.0, 3.0, 0.0, 5.0, 1.0, 1.0]);
        assert_eq!(places.integers(0).unwrap(), [0, 2, 3, 2, 1, 3]);
    }
}
