//! Mock cards: boards that TT-NN takes a machine without a card for, each described by a cluster descriptor.
//!
//! A plan's card has a mock when a chip of its family can be harvested so that its grid and DRAM banks remain. The shipped boards have
//! descriptors of their own; others are made of those by naming other rows or columns as missing. TT-NN opens chips of which at most two
//! rows (Wormhole) or columns (Blackhole) are harvested, and on Blackhole at most one DRAM bank (`core_descriptor.cpp`, `cluster.cpp`).

use bitnetc_plan::{Arch, Card};

use crate::error::TtnnError;

/// A mock board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MockCard {
    board: Board,
    /// Rows or columns of cores that are missing.
    harvested: u32,
}

/// The boards that descriptors are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Board {
    N150,
    N300,
    P100,
    P150,
}

/// Most rows or columns that TT-NN takes for harvested.
const MOST_HARVESTED: u32 = 2;

impl Board {
    const ALL: [Board; 4] = [Board::N150, Board::N300, Board::P100, Board::P150];

    const fn name(self) -> &'static str {
        match self {
            Board::N150 => "n150",
            Board::N300 => "n300",
            Board::P100 => "p100",
            Board::P150 => "p150",
        }
    }

    const fn arch(self) -> Arch {
        match self {
            Board::N150 | Board::N300 => Arch::Wormhole,
            Board::P100 | Board::P150 => Arch::Blackhole,
        }
    }

    const fn banks(self) -> u32 {
        match self {
            Board::N150 | Board::N300 => 12,
            Board::P100 => 7,
            Board::P150 => 8,
        }
    }

    /// Rows or columns that its own descriptor says are missing. On the n300, dispatch takes no row of the first chip's cores: see
    /// [`MockCard::slow_dispatch`].
    const fn harvested(self) -> u32 {
        match self {
            Board::N150 => 1,
            Board::N300 | Board::P100 | Board::P150 => 2,
        }
    }

    /// Worker cores when so many rows or columns are missing.
    const fn grid(self, harvested: u32) -> (u32, u32) {
        match self {
            Board::N150 => (8, 9 - harvested),
            Board::N300 => (8, 10 - harvested),
            Board::P100 | Board::P150 => (13 - harvested, 10),
        }
    }

    const fn descriptor(self) -> &'static str {
        match self {
            Board::N150 => include_str!("mock/n150.yaml"),
            Board::N300 => include_str!("mock/n300.yaml"),
            Board::P100 => include_str!("mock/p100.yaml"),
            Board::P150 => include_str!("mock/p150.yaml"),
        }
    }
}

impl MockCard {
    /// Wormhole, one chip: 8x8 cores, 12 DRAM banks.
    pub const N150: MockCard = MockCard { board: Board::N150, harvested: Board::N150.harvested() };
    /// Wormhole, two chips of which the first is used: 8x8 cores, 12 DRAM banks.
    pub const N300: MockCard = MockCard { board: Board::N300, harvested: Board::N300.harvested() };
    /// Blackhole: 11x10 cores, 7 DRAM banks.
    pub const P100: MockCard = MockCard { board: Board::P100, harvested: Board::P100.harvested() };
    /// Blackhole: 11x10 cores, 8 DRAM banks.
    pub const P150: MockCard = MockCard { board: Board::P150, harvested: Board::P150.harvested() };
    /// The shipped boards.
    pub const SHIPPED: [MockCard; 4] = [MockCard::N150, MockCard::N300, MockCard::P100, MockCard::P150];

    /// The board of a name among the shipped ones.
    ///
    /// # Errors
    /// [`TtnnError::UnknownMock`] lists the names there are.
    pub fn named(name: &str) -> Result<MockCard, TtnnError> {
        MockCard::SHIPPED
            .into_iter()
            .find(|mock| mock.board.name() == name)
            .ok_or_else(|| TtnnError::UnknownMock { name: name.into() })
    }

    /// The mock of a card: the shipped board of its name if that has the card's grid and banks, otherwise a chip of its family that is
    /// harvested to them.
    ///
    /// # Errors
    /// [`TtnnError::NoMock`] when no harvesting leaves such a chip.
    pub fn of(card: &Card) -> Result<MockCard, TtnnError> {
        let fits = |mock: &MockCard| {
            mock.board.arch() == card.arch && mock.board.banks() == card.dram.banks && mock.grid() == card.grid
        };
        let shipped = MockCard::named(&card.name).ok().filter(fits);
        let single = [Board::N150, Board::P150, Board::P100];
        let harvested = single
            .into_iter()
            .flat_map(|board| (0..=MOST_HARVESTED).map(move |harvested| MockCard { board, harvested }));
        shipped.into_iter().chain(harvested).find(fits).ok_or_else(|| TtnnError::NoMock {
            arch: card.arch,
            found: figures(card.grid, card.dram.banks),
            there: of_family(card.arch),
        })
    }

    /// The board's name, with the grid when it is another than the shipped board's.
    pub fn name(self) -> String {
        let (name, (columns, rows)) = (self.board.name(), self.grid());
        if self.harvested == self.board.harvested() { name.into() } else { format!("{name} of {columns}x{rows} cores") }
    }

    /// Worker cores: columns, rows.
    pub const fn grid(self) -> (u32, u32) {
        self.board.grid(self.harvested)
    }

    /// The cluster descriptor that TT-NN reads.
    pub fn descriptor(self) -> String {
        let mask = |harvested| match harvested {
            0 => 0,
            1 => 64,
            _ => 192,
        };
        let line = |harvested| format!(" harvest_mask: {}\n", mask(harvested));
        self.board.descriptor().replace(&line(self.board.harvested()), &line(self.harvested))
    }

    /// On the n300, fast dispatch on a mock takes a row of cores that a real board keeps free for it.
    pub(crate) const fn slow_dispatch(self) -> bool {
        matches!(self.board, Board::N300)
    }
}

fn figures(grid: (u32, u32), banks: u32) -> String {
    format!("{}x{} cores and {banks} DRAM banks", grid.0, grid.1)
}

/// What harvesting can leave of a chip.
fn of_family(arch: Arch) -> String {
    let board = match arch {
        Arch::Wormhole => Board::N150,
        Arch::Blackhole => Board::P150,
    };
    let grids = (0..=MOST_HARVESTED).map(|harvested| board.grid(harvested)).map(|(x, y)| format!("{x}x{y}"));
    let banks = match arch {
        Arch::Wormhole => "12",
        Arch::Blackhole => "7 or 8",
    };
    format!("{} cores and {banks} DRAM banks", grids.collect::<Vec<_>>().join(", "))
}

/// The shipped mock boards' names, for messages.
pub(crate) fn names() -> String {
    Board::ALL.map(Board::name).join(", ")
}

#[cfg(test)]
mod tests {
    use bitnetc_plan::TtnnRelease;
    use bitnetc_plan::card::Dram;

    use super::*;

    fn card(name: &str, arch: Arch, grid: (u32, u32), banks: u32) -> Card {
        let chip = TtnnRelease::latest().chip(arch);
        let dram = Dram { banks, base: 64, bank_bytes: 1 << 30, alignment: 32, readers_per_bank: 1 };
        Card { name: name.into(), arch, grid, l1: chip.l1, dram }
    }

    #[test]
    fn every_mock_is_found_by_its_name_and_describes_its_board() {
        for mock in MockCard::SHIPPED {
            assert_eq!(MockCard::named(&mock.name()).unwrap(), mock);
            assert_eq!(mock.descriptor(), mock.board.descriptor());
            assert!(mock.descriptor().contains(&format!("board_type: {}", mock.name())));
            let of = card(&mock.name(), mock.board.arch(), mock.grid(), mock.board.banks());
            assert_eq!(MockCard::of(&of).unwrap(), mock);
        }
    }

    #[test]
    fn a_card_of_another_harvesting_gets_a_descriptor_of_its_own() {
        for (arch, grid, banks, name, mask) in [
            (Arch::Wormhole, (8, 7), 12, "n150 of 8x7 cores", " harvest_mask: 192\n"),
            (Arch::Wormhole, (8, 9), 12, "n150 of 8x9 cores", " harvest_mask: 0\n"),
            (Arch::Wormhole, (8, 8), 12, "n150", " harvest_mask: 64\n"),
            (Arch::Blackhole, (12, 10), 8, "p150 of 12x10 cores", " harvest_mask: 64\n"),
            (Arch::Blackhole, (13, 10), 7, "p100 of 13x10 cores", " harvest_mask: 0\n"),
        ] {
            // The name says nothing about the figures.
            for named in ["mine", "n300", "p150"] {
                let mock = MockCard::of(&card(named, arch, grid, banks)).unwrap();
                if mock != MockCard::N300 {
                    assert_eq!(mock.name(), name);
                    assert!(mock.descriptor().contains(mask), "{name}: {}", mock.descriptor());
                }
            }
        }
    }

    #[test]
    fn a_chip_that_no_harvesting_leaves_is_told_with_those_there_are() {
        for (arch, grid, banks, there) in [
            (Arch::Wormhole, (8, 6), 12, "8x9, 8x8, 8x7 cores and 12"),
            (Arch::Wormhole, (7, 8), 12, "8x9, 8x8, 8x7 cores and 12"),
            (Arch::Blackhole, (11, 10), 6, "13x10, 12x10, 11x10 cores and 7 or 8"),
        ] {
            let error = MockCard::of(&card("n150", arch, grid, banks)).unwrap_err().to_string();
            assert!(error.contains(there) && error.contains(&format!("{}x{}", grid.0, grid.1)), "{error}");
        }
    }

    #[test]
    fn an_unknown_mock_lists_the_known_ones() {
        let error = MockCard::named("n200").unwrap_err().to_string();
        assert!(error.contains("\"n200\"") && error.contains("n150, n300, p100, p150"), "{error}");
    }
}
