//! How TT-NN hands out the cores of a set: `num_cores_to_corerangeset_in_subcoregrids(row_wise=True)` of `work_split.cpp`.

use crate::{CoreRange, Cores};

/// `count` cores of `cores`, after the first `skip`, row by row in each range; rows of equal extent that follow each other are joined.
/// `None` when there are not so many.
pub(super) fn take(cores: &Cores, skip: u32, count: u32) -> Option<Cores> {
    let (mut skip, mut left) = (skip, count);
    let mut taken: Vec<CoreRange> = Vec::new();
    for range in &cores.0 {
        if range.is_empty() {
            continue;
        }
        let width = range.end.0 - range.start.0 + 1;
        for y in range.start.1..=range.end.1 {
            let passed = skip.min(width);
            skip -= passed;
            let here = (width - passed).min(left);
            left -= here;
            if here > 0 {
                let x = range.start.0 + passed;
                append(&mut taken, CoreRange { start: (x, y), end: (x + here - 1, y) });
            }
        }
    }
    (left == 0).then_some(Cores(taken))
}

fn append(ranges: &mut Vec<CoreRange>, row: CoreRange) {
    match ranges.last_mut() {
        Some(last) if last.start.0 == row.start.0 && last.end.0 == row.end.0 && last.end.1 + 1 == row.start.1 => {
            last.end.1 = row.end.1;
        }
        _ => ranges.push(row),
    }
}

/// The place of `core` in the order of the set.
pub(super) fn position(cores: &Cores, core: (u32, u32)) -> Option<u32> {
    cores.iter().zip(0u32..).find_map(|(c, at)| (c == core).then_some(at))
}

/// True when the sets hold the same cores in the same order, however they are cut into ranges.
pub(super) fn same_order(a: impl Iterator<Item = (u32, u32)>, b: impl Iterator<Item = (u32, u32)>) -> bool {
    a.eq(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cores: Option<Cores>) -> String {
        let ranges = cores.unwrap().0;
        let texts: Vec<String> =
            ranges.iter().map(|r| format!("{},{}-{},{}", r.start.0, r.start.1, r.end.0, r.end.1)).collect();
        texts.join(" ")
    }

    /// Read from the mock: where q and k of `nlp_create_qkv_heads_decode` land.
    #[test]
    fn cores_are_those_tt_nn_assigns() {
        let wormhole = Cores::rectangle(0, 0, 8, 8);
        assert_eq!(text(take(&wormhole, 0, 5)), "0,0-4,0");
        assert_eq!(text(take(&wormhole, 5, 5)), "5,0-7,0 0,1-1,1");
        assert_eq!(text(take(&wormhole, 16, 16)), "0,2-7,3");
        let blackhole = Cores::rectangle(0, 0, 11, 10);
        assert_eq!(text(take(&blackhole, 0, 32)), "0,0-10,1 0,2-9,2");
        assert_eq!(text(take(&blackhole, 32, 32)), "10,2-10,2 0,3-10,4 0,5-8,5");
        let inner = Cores::rectangle(1, 1, 7, 6);
        assert_eq!(text(take(&inner, 0, 16)), "1,1-7,2 1,3-2,3");
        assert_eq!(text(take(&inner, 16, 16)), "3,3-7,3 1,4-7,4 1,5-4,5");
        let ten = Cores::row_major(10, (8, 8));
        assert_eq!(text(take(&ten, 5, 5)), "5,0-7,0 0,1-1,1");
        assert_eq!(take(&ten, 6, 5), None);
    }
}
