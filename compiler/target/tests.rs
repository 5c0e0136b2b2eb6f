use bitnetc_plan::card::{Dram, L1};

use super::*;

#[test]
fn every_shipped_target_loads_under_its_own_name() {
    for name in NAMES {
        assert_eq!(Target::find(name).unwrap().card.name, name);
    }
}

#[test]
fn a_target_is_read_as_it_was_written() {
    for name in NAMES {
        let target = Target::find(name).unwrap();
        assert_eq!(parse(&target.to_ron().unwrap()).unwrap(), target);
    }
}

fn parse(text: &str) -> Result<Target, TargetError> {
    Target::parse(text, "t.ron", TtnnRelease::latest())
}

#[test]
fn a_cards_file_comes_before_the_release() {
    let n150 = SHIPPED[0].1;
    let own = "l1: (base: 1024, end: 2048, alignment: 32), dram: (base: 64, bank_bytes: 4096, alignment: 64, readers_per_bank: 2, ";
    let card = parse(&n150.replace("dram: (", own)).unwrap().card;
    assert_eq!(card.l1, L1 { base: 1024, end: 2048, alignment: 32 });
    assert_eq!(card.dram, Dram { banks: 12, base: 64, bank_bytes: 4096, alignment: 64, readers_per_bank: 2 });
    let card = parse(&n150.replace("banks: 12", "banks: 11, bank_bytes: 1000000")).unwrap().card;
    assert_eq!((card.dram.bank_bytes, card.l1), (1_000_000, TtnnRelease::latest().wormhole.l1));
}

#[test]
fn a_bad_target_is_one_clear_error() {
    assert!(Target::find("n151").unwrap_err().to_string().contains("shipped are n150, n300, p100, p150"));
    assert!(matches!(Target::find("no/such.ron"), Err(TargetError::Read { .. })));
    let n150 = SHIPPED[0].1;
    let text = n150.replace("grid: (8, 8)", "grid: (0, 8)");
    assert!(parse(&text).unwrap_err().to_string().contains("card.grid is (0, 8)"));
    let text = n150.replace("grid:", "gird:");
    assert!(parse(&text).unwrap_err().to_string().starts_with("t.ron:7"));
}

#[test]
fn a_card_that_cannot_be_is_refused_by_its_field() {
    let n150 = SHIPPED[0].1;
    let own = |figures: &str| parse(&n150.replace("dram: (", figures)).map(|_| ()).unwrap_err().to_string();
    for (figures, field) in [
        ("dram: (bank_bytes: 0, ", "card.dram.bank_bytes is 0"),
        ("dram: (bank_bytes: 18446744073709551615, ", "card.dram.bank_bytes"),
        ("dram: (base: 18446744073709551615, ", "card.dram.base"),
        ("dram: (alignment: 0, ", "card.dram.alignment is 0"),
        ("dram: (alignment: 24, ", "card.dram.alignment is 24"),
        ("dram: (readers_per_bank: 0, ", "card.dram.readers_per_bank is 0"),
        ("l1: (base: 2048, end: 2048, alignment: 16), dram: (", "card.l1 is 2048..2048"),
        ("l1: (base: 1024, end: 2048, alignment: 0), dram: (", "card.l1.alignment is 0"),
        ("l1: (base: 1024, end: 2048, alignment: 8), dram: (", "card.l1.alignment is 8"),
    ] {
        let error = own(figures);
        assert!(error.contains(field), "{error}");
    }
    for grid in ["(8, 0)", "(65, 8)"] {
        let error = parse(&n150.replace("grid: (8, 8)", &format!("grid: {grid}"))).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(&format!("card.grid is {grid}")), "{error}");
    }
}

#[test]
fn every_figure_of_the_cost_model_is_checked() {
    let target = Target::find("n150").unwrap();
    let figures = target.cost.figures();
    assert_eq!(figures.len(), 71, "{figures:?}");
    for (path, _) in &figures {
        let field = path.rsplit('.').next().unwrap();
        for bad in ["NaN", "inf", "-1.0"] {
            let counts = ["_block", "_tiles", "run_ahead"].iter().any(|unit| field.ends_with(unit));
            let figure = if counts { "0" } else { bad };
            if figure == "0" && field == "uncrowded_tiles" {
                continue;
            }
            let text = with(SHIPPED[0].1, path, figure);
            let error = parse(&text).map(|_| ()).expect_err(path).to_string();
            assert!(error.contains(path.as_str()), "{error}");
        }
    }
    let text = with(SHIPPED[0].1, "cost.attention.core_gb_per_s", "0.0");
    assert!(parse(&text).unwrap_err().to_string().contains("expected a positive number"));
}

#[test]
fn a_band_surrounds_its_figure() {
    let n150 = SHIPPED[0].1;
    for band in [
        "(0.72, 0.8, 1.05)",
        "(0.72, 0.6, 0.7)",
        "(0.0, 0.0, 1.0)",
        "(0.72, 0.6)",
        "(0.72, -0.1, 1.0)",
        "(NaN, 0.6, 1.0)",
    ] {
        let error = parse(&with(n150, "cost.gap_us", band)).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("t.ron:") && !error.contains("range"), "{band}: {error}");
    }
}

#[test]
fn constants_move_to_the_ends_of_their_bands_one_by_one() {
    let mut target = Target::find("n150").unwrap();
    let gap = |target: &Target| {
        let moved = target.bands.moved(&target.cost);
        let gap = moved.iter().find(|m| m.path == "cost.gap_us").unwrap();
        let ends = gap.ends.clone().map(|cost| {
            let value = cost.gap_us;
            assert_eq!(Calibration { gap_us: target.cost.gap_us, ..cost }, target.cost);
            value
        });
        (moved.len(), ends)
    };
    let (all, ends) = gap(&target);
    assert_eq!((all > 40, ends), (true, [0.6, 1.05]));
    // A constant that a fit has moved keeps its band in proportion, in the file, too.
    target.cost.gap_us *= 2.0;
    assert_eq!(gap(&target).1, [1.2, 2.1]);
    assert_eq!(gap(&parse(&target.to_ron().unwrap()).unwrap()).1, [1.2, 2.1]);
}

/// The file with another value of one field.
fn with(text: &str, path: &str, value: &str) -> String {
    let mut at = 0;
    for name in path.split('.').skip(1) {
        at += text[at..].find(&format!("{name}: ")).unwrap() + name.len() + 2;
    }
    // A figure with a band stands in parentheses.
    let end = match text[at..].strip_prefix('(') {
        Some(band) => at + 2 + band.find(')').unwrap(),
        None => at + text[at..].find([',', ')']).unwrap(),
    };
    format!("{}{value}{}", &text[..at], &text[end..])
}
