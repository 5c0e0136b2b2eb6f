//! Constants that no checkpoint holds: rotary embedding's.

use bitnetc_plan::weight::RotaryFunction;

/// Element of the matrix that turns a row `(a, b, ..)` into `(-b, a, ..)`.
pub(super) fn transform(row: u32, column: u32) -> f32 {
    match (row % 2, column) {
        (0, c) if c == row + 1 => 1.0,
        (1, c) if c + 1 == row => -1.0,
        _ => 0.0,
    }
}

/// A table `[positions, columns]`, as [`bitnetc_plan::Source::RotaryTable`] says.
///
/// # Errors
/// More frequencies than pairs of columns.
pub(super) fn rotary_table(
    columns: u32,
    function: RotaryFunction,
    positions: u32,
    frequencies: &[f64],
    amplitude: f64,
) -> Result<Vec<f32>, String> {
    let columns = columns as usize;
    if 2 * frequencies.len() > columns {
        return Err(format!("{} frequencies for {columns} columns", frequencies.len()));
    }
    let mut table = Vec::with_capacity(positions as usize * columns);
    for position in 0..positions {
        for column in 0..columns {
            let value = frequencies.get(column / 2).map(|f| f * f64::from(position));
            table.push(match (function, value) {
                (RotaryFunction::Cos, Some(angle)) => (angle.cos() * amplitude) as f32,
                (RotaryFunction::Sin, Some(angle)) => (angle.sin() * amplitude) as f32,
                (RotaryFunction::Cos, None) => 1.0,
                (RotaryFunction::Sin, None) => 0.0,
            });
        }
    }
    Ok(table)
}
