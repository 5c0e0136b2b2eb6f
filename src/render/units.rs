//! Numbers as a person reads them.

pub use bitnetc_plan::units::{bytes, thousands};

/// `12.4 us`, `8.31 ms`, `1.20 s`.
pub fn time(us: f64) -> String {
    match us {
        us if us < 999.95 => format!("{us:.1} us"),
        us if us < 999_995.0 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// `17.03 ms, 14.2 to 18.1`: a predicted time and the band it lies in.
pub fn banded(us: f64, (least, most): (f64, f64)) -> String {
    let (scale, decimals) = match us {
        us if us < 999.95 => (1.0, 0),
        us if us < 999_995.0 => (1e3, 1),
        _ => (1e6, 1),
    };
    format!("{}, {:.decimals$} to {:.decimals$}", time(us), least / scale, most / scale)
}

/// `61 %`.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", 100.0 * part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_are_scaled() {
        assert_eq!(time(12.36), "12.4 us");
        assert_eq!(time(8_310.0), "8.31 ms");
        assert_eq!(time(999.96), "1.00 ms");
        assert_eq!(banded(17_030.0, (14_220.0, 18_050.0)), "17.03 ms, 14.2 to 18.1");
        assert_eq!(banded(120.0, (99.6, 140.4)), "120.0 us, 100 to 140");
        assert_eq!(banded(2_500_000.0, (2_400_000.0, 2_600_000.0)), "2.50 s, 2.4 to 2.6");
        assert_eq!(percent(61, 100), "61 %");
        assert_eq!(percent(0, 0), "0 %");
    }
}
