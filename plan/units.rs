//! Sizes as a person reads them, in refusals and in tables.

/// `847,232`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.21 GB`, `847 kB`, `96 B`: decimal units, as the bandwidths they are divided by.
pub fn bytes(n: u64) -> String {
    let scaled = |unit: f64, name: &str| {
        let value = n as f64 / unit;
        let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        format!("{value:.decimals$} {name}")
    };
    match n {
        0..1_000 => format!("{n} B"),
        1_000..999_500 => scaled(1e3, "kB"),
        999_500..999_500_000 => scaled(1e6, "MB"),
        _ => scaled(1e9, "GB"),
    }
}

/// A size that may be off by one byte only, as in a file that was cut: `1.34 MB (1,344,512 B)`.
pub fn exact_bytes(n: u64) -> String {
    if n < 1_000 { bytes(n) } else { format!("{} ({} B)", bytes(n), thousands(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_228_864), "1,228,864");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_210_000_000), "1.21 GB");
        assert_eq!(bytes(999_999), "1.00 MB");
        assert_eq!(bytes(12_345_678), "12.3 MB");
        assert_eq!((exact_bytes(8), exact_bytes(1_344_512)), ("8 B".into(), "1.34 MB (1,344,512 B)".into()));
    }
}
