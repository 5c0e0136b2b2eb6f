//! Reading a file that a person names: once, from its first byte to its last, and never more than a cap.
//!
//! A pipe can be read only once and a device may never end, so a reader does not ask a file's length, does not open it twice, and stops
//! at a cap that is far above any real input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::units;

/// Most bytes of an input that is read whole: a model, a plan, a target, a config, a tokenizer, a text.
pub const MOST_BYTES: u64 = 64 << 20;

/// The bytes of a file.
///
/// # Errors
/// An error of the file system; [`io::ErrorKind::FileTooLarge`], which tells the cap, for more than [`MOST_BYTES`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    File::open(path).and_then(read_from)
}

/// The bytes of a stream to its end.
///
/// # Errors
/// As for [`read()`].
pub fn read_from(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        let what = format!("larger than {}, the most that is read", units::bytes(MOST_BYTES));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As for [`read()`], and [`io::ErrorKind::InvalidData`] for bytes that are no UTF-8.
pub fn text(path: &Path) -> io::Result<String> {
    utf8(read(path)?)
}

/// The mark of byte order that some editors write before a text, and that is no part of it.
pub const MARK: char = '\u{feff}';

/// Bytes as text, without a [`MARK`] before it.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for bytes that are no UTF-8, with the place of the first.
pub fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("no UTF-8 text: byte {at} begins no character"))
    })?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused_with_the_cap() {
        let error = read_from(io::repeat(b' ')).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("67.1 MB"), "{error}");
        assert_eq!(read_from(&b"text"[..]).unwrap(), b"text");
        assert_eq!(utf8("\u{feff}a\u{feff}".into()).unwrap(), "a\u{feff}");
        assert!(utf8(vec![b'a', 0xff]).unwrap_err().to_string().contains("byte 1"));
    }
}
