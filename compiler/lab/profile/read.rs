//! Files of measurements: a profile as JSON, or a CSV whose columns are found by their names, since releases of tt-metal add and move them.

use bitnetc_plan::{Profile, profile};
use serde::Deserialize as _;

use super::{ProfileError, Row, Source};

/// Columns, each with its other names.
const CALL: [&str; 1] = ["GLOBAL CALL COUNT"];
const CODE: [&str; 2] = ["OP CODE", "OP NAME"];
const KERNEL: [&str; 1] = ["DEVICE KERNEL DURATION [ns]"];
const KIND: [&str; 1] = ["OP TYPE"];
const DEVICE: [&str; 1] = ["DEVICE ID"];
const REPLAY: [&str; 1] = ["METAL TRACE REPLAY SESSION ID"];

/// A `GLOBAL CALL COUNT` is so many times the number of the program, and the chip.
const CHIPS: u64 = 1024;

/// What a file's text says; `path` is for its errors.
///
/// # Errors
/// A text that is neither; a CSV without the columns that are needed, or with figures that are none.
pub fn read(path: &str, text: &str) -> Result<Source, ProfileError> {
    let malformed = |reason: String| ProfileError::Malformed { path: path.into(), reason };
    if text.trim_start().starts_with('{') {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
        if value["format"] != profile::FORMAT {
            return Err(malformed(format!("format {}; this bitnetc reads \"{}\"", value["format"], profile::FORMAT)));
        }
        return Profile::deserialize(value).map(Source::Profile).map_err(|e| malformed(e.to_string()));
    }
    rows(path, text).map(Source::Rows)
}

fn rows(path: &str, text: &str) -> Result<Vec<Row>, ProfileError> {
    let malformed = |reason: String| ProfileError::Malformed { path: path.into(), reason };
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| malformed(e.to_string()))?.clone();
    let find = |names: &[&str]| headers.iter().position(|header| names.contains(&header));
    let need = |names: &[&'static str]| find(names).ok_or(ProfileError::Column { path: path.into(), column: names[0] });
    let (code, kernel, call) = (need(&CODE)?, need(&KERNEL)?, find(&CALL));
    let (kind, device, replay) = (find(&KIND), find(&DEVICE), find(&REPLAY));
    let (mut rows, mut first_device) = (Vec::new(), None);
    for record in reader.records() {
        let record = record.map_err(|e| malformed(e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: Option<usize>| column.and_then(|column| record.get(column)).unwrap_or_default();
        // Signposts and work of the host are rows, too; and so are those of other devices.
        let is_op = kind.is_none() || cell(kind) == "tt_dnn_device";
        let time = cell(Some(kernel));
        if !is_op || time.is_empty() || *first_device.get_or_insert_with(|| cell(device).to_owned()) != cell(device) {
            continue;
        }
        let number = |column: &str, text: &str| -> Result<f64, ProfileError> {
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            number.ok_or_else(|| malformed(format!("line {line}: {column} is {text:?}, expected a number")))
        };
        let program = match cell(call) {
            "" => None,
            text => Some(number(CALL[0], text)? as u64 / CHIPS),
        };
        rows.push(Row {
            program,
            replay: cell(replay).to_owned(),
            code: cell(Some(code)).to_owned(),
            us: number(KERNEL[0], time)? / 1000.0,
        });
    }
    Ok(rows)
}
