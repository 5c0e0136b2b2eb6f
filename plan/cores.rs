//! Sets of worker cores, TT-NN's `CoreRangeSet`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A rectangle of cores, both corners included; `(x, y)`, x to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoreRange {
    /// Upper left core.
    pub start: (u32, u32),
    /// Lower right core.
    pub end: (u32, u32),
}

impl CoreRange {
    /// Number of cores; 0 when the corners are swapped.
    pub fn len(&self) -> u32 {
        self.size().map_or(0, |(width, height)| width.saturating_mul(height))
    }

    /// Columns and rows; `None` when the corners are swapped.
    fn size(&self) -> Option<(u32, u32)> {
        let side = |start: u32, end: u32| Some(end.checked_sub(start)?.saturating_add(1));
        Some((side(self.start.0, self.end.0)?, side(self.start.1, self.end.1)?))
    }

    /// True when the corners are swapped.
    pub fn is_empty(&self) -> bool {
        self.end.0 < self.start.0 || self.end.1 < self.start.1
    }

    fn overlaps(&self, other: &CoreRange) -> bool {
        self.start.0 <= other.end.0
            && other.start.0 <= self.end.0
            && self.start.1 <= other.end.1
            && other.start.1 <= self.end.1
    }
}

/// Disjoint rectangles of cores. Shards are laid over them in order, row-major in each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Cores(pub Vec<CoreRange>);

impl Cores {
    /// `width` x `height` cores with the upper left one at `(x, y)`; both sizes at least 1.
    pub fn rectangle(x: u32, y: u32, width: u32, height: u32) -> Self {
        let end = (x.saturating_add(width.max(1) - 1), y.saturating_add(height.max(1) - 1));
        Cores(vec![CoreRange { start: (x, y), end }])
    }

    /// The first `count` cores of a `grid` (columns, rows), row by row, as TT-NN's `num_cores_to_corerangeset(row_wise=True)`.
    pub fn row_major(count: u32, grid: (u32, u32)) -> Self {
        Cores::row_major_from(0, count, grid)
    }

    /// `count` cores of a `grid` row by row, after skipping the first `skip`.
    pub fn row_major_from(skip: u32, count: u32, grid: (u32, u32)) -> Self {
        let mut ranges: Vec<CoreRange> = Vec::new();
        let (mut at, end) = (skip, skip + count);
        while at < end {
            let (x, y) = (at % grid.0, at / grid.0);
            let row_end = end.min((y + 1) * grid.0);
            let range = CoreRange { start: (x, y), end: (x + row_end - at - 1, y) };
            match ranges.last_mut() {
                // Full rows join into one rectangle, as TT-NN merges them.
                Some(last) if last.start.0 == range.start.0 && last.end.0 == range.end.0 && last.end.1 + 1 == y => {
                    last.end.1 = y;
                }
                _ => ranges.push(range),
            }
            at = row_end;
        }
        Cores(ranges)
    }

    /// Number of cores.
    pub fn len(&self) -> u32 {
        self.0.iter().map(CoreRange::len).fold(0, u32::saturating_add)
    }

    /// True without any core.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cores in shard order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().flat_map(|r| (r.start.1..=r.end.1).flat_map(move |y| (r.start.0..=r.end.0).map(move |x| (x, y))))
    }

    /// Columns and rows of the smallest grid from `(0,0)` that holds every core.
    pub fn extent(&self) -> (u32, u32) {
        let w = self.0.iter().map(|r| r.end.0.saturating_add(1)).max().unwrap_or(0);
        let h = self.0.iter().map(|r| r.end.1.saturating_add(1)).max().unwrap_or(0);
        (w, h)
    }

    /// `(x, y, width, height)` when the set is one rectangle.
    pub fn as_rectangle(&self) -> Option<(u32, u32, u32, u32)> {
        match self.0.as_slice() {
            [r] => r.size().map(|(width, height)| (r.start.0, r.start.1, width, height)),
            _ => None,
        }
    }

    /// True when no core is in both sets.
    pub fn is_disjoint(&self, other: &Cores) -> bool {
        self.0.iter().all(|a| other.0.iter().all(|b| !a.overlaps(b)))
    }

    /// True when every range is well formed, ranges do not overlap, and all lie in `grid` (columns, rows).
    pub fn fits(&self, grid: (u32, u32)) -> bool {
        let inside = self.0.iter().all(|r| !r.is_empty() && r.end.0 < grid.0 && r.end.1 < grid.1);
        let apart = self.0.iter().enumerate().all(|(i, a)| self.0[i + 1..].iter().all(|b| !a.overlaps(b)));
        inside && apart && !self.0.is_empty()
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((0, 0, w, h)) = self.as_rectangle() {
            return write!(f, "{w}x{h}");
        }
        for (i, r) in self.0.iter().enumerate() {
            let sep = if i > 0 { "+" } else { "" };
            write!(f, "{sep}({},{})-({},{})", r.start.0, r.start.1, r.end.0, r.end.1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_major_joins_full_rows() {
        assert_eq!(Cores::row_major(16, (8, 8)), Cores::rectangle(0, 0, 8, 2));
        let thirty = Cores::row_major(30, (8, 8));
        assert_eq!(thirty.len(), 30);
        assert_eq!(thirty.0.len(), 2);
        assert_eq!(thirty.iter().last(), Some((5, 3)));
    }

    #[test]
    fn the_next_cores_are_disjoint_from_the_first() {
        let (q, k) = (Cores::row_major(5, (8, 8)), Cores::row_major_from(5, 5, (8, 8)));
        assert!(q.is_disjoint(&k));
        assert!(!q.is_disjoint(&Cores::row_major(1, (8, 8))));
        assert_eq!(k.iter().next(), Some((5, 0)));
    }

    #[test]
    fn ranges_no_card_has_are_counted_without_overflow() {
        let most = CoreRange { start: (0, 0), end: (u32::MAX, u32::MAX) };
        let many = Cores(vec![most; 2]);
        assert_eq!((most.len(), many.len(), many.extent()), (u32::MAX, u32::MAX, (u32::MAX, u32::MAX)));
        assert_eq!(Cores(vec![most]).as_rectangle(), Some((0, 0, u32::MAX, u32::MAX)));
        assert!(!many.fits((8, 8)) && !many.is_disjoint(&Cores::rectangle(u32::MAX, u32::MAX, 2, 2)));
        let swapped = CoreRange { start: (3, 3), end: (2, 4) };
        assert_eq!((swapped.len(), Cores(vec![swapped]).as_rectangle()), (0, None));
    }

    #[test]
    fn fits_refuses_overlap_and_overflow() {
        assert!(Cores::rectangle(0, 0, 8, 8).fits((8, 8)));
        assert!(!Cores::rectangle(1, 0, 8, 8).fits((8, 8)));
        let twice = Cores(vec![CoreRange { start: (0, 0), end: (1, 1) }, CoreRange { start: (1, 1), end: (2, 2) }]);
        assert!(!twice.fits((8, 8)));
    }
}
