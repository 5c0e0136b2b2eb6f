//! Constants that no checkpoint holds: rotary embedding's.

use bitnetc_plan::Source;
use bitnetc_plan::weight::RotaryFunction;

/// Element of the matrix that turns a row `(a, b, ..)` into `(-b, a, ..)`.
pub(super) fn transform(row: u32, column: u32) -> f32 {
    match (row % 2, column) {
        (0, c) if c == row + 1 => 1.0,
        (1, c) if c + 1 == row => -1.0,
        _ => 0.0,
    }
}

/// A table of `columns` numbers for each position, as a [`Source::RotaryTable`] says; empty of another source.
///
/// # Errors
/// More frequencies than pairs of columns.
pub(super) fn rotary_table(columns: u32, source: &Source) -> Result<Vec<f32>, String> {
    let Source::RotaryTable { function, positions, frequencies, amplitude, long } = source else {
        return Ok(Vec::new());
    };
    let columns = columns as usize;
    if 2 * frequencies.len() > columns {
        return Err(format!("{} frequencies for {columns} columns", frequencies.len()));
    }
    let mut table = Vec::with_capacity(*positions as usize * columns);
    for position in 0..*positions {
        let long = long.as_ref().filter(|long| long.holds(position, *positions));
        let frequencies = long.map_or(frequencies, |long| &long.frequencies);
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

#[cfg(test)]
mod tests {
    use super::*;
    use bitnetc_plan::weight::LongAngles;

    /// Of a table for decode each row is of the sequence that it ends, of a prompt's all are of the prompt.
    #[test]
    fn long_sequences_turn_by_frequencies_of_their_own() {
        let sines = |positions, one_sequence| {
            let long = Some(LongAngles { beyond: 2, frequencies: vec![0.25], one_sequence });
            let (function, frequencies, amplitude) = (RotaryFunction::Sin, vec![0.5], 2.0);
            let source = Source::RotaryTable { function, positions, frequencies, amplitude, long };
            rotary_table(2, &source).unwrap().into_iter().step_by(2).collect::<Vec<f32>>()
        };
        let angle = |x: f64| (2.0 * x.sin()) as f32;
        assert_eq!(sines(4, false), [0.0, angle(0.5), angle(0.5), angle(0.75)]);
        assert_eq!(sines(4, true), [0.0, angle(0.25), angle(0.5), angle(0.75)]);
        assert_eq!(sines(2, true), [0.0, angle(0.5)]);
    }
}
