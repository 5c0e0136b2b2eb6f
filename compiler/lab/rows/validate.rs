//! Bounds of the figures in a file of rows. They are checked so that prices cannot overflow and a typing error is reported.

use bitnetc_plan::TILE;

use super::{CallRow, Measured, PrefillRow, RowsError, StepRow};

/// The largest width and position accepted from a file. Prices of larger ones would overflow.
const MOST: u32 = 1 << 20;

struct Check<'a> {
    path: &'a str,
    row: &'a str,
}

impl Check<'_> {
    fn that(&self, ok: bool, field: &'static str, found: String, expected: &'static str) -> Result<(), RowsError> {
        let (path, row) = (self.path.to_string(), self.row.to_string());
        if ok { Ok(()) } else { Err(RowsError::Range { path, row, field, found, expected }) }
    }

    fn width(&self, field: &'static str, found: u32) -> Result<(), RowsError> {
        self.that((1..=MOST).contains(&found), field, found.to_string(), "1 to 1048576")
    }

    fn tiles(&self, field: &'static str, found: u32) -> Result<(), RowsError> {
        self.width(field, found)?;
        self.that(found.is_multiple_of(TILE), field, found.to_string(), "a multiple of 32")
    }

    fn few(&self, field: &'static str, found: u32, expected: &'static str, most: u32) -> Result<(), RowsError> {
        self.that((1..=most).contains(&found), field, found.to_string(), expected)
    }

    fn users(&self, found: u32) -> Result<(), RowsError> {
        self.few("users", found, "1 to 32 users", 32)
    }

    fn heads(&self, users: u32, heads: u32, head_dim: u32) -> Result<(), RowsError> {
        self.users(users)?;
        self.few("heads", heads, "1 to 256", 256)?;
        self.tiles("head_dim", head_dim)?;
        self.few("head_dim", head_dim, "32 to 1024", 1024)
    }
}

impl StepRow {
    pub(super) fn validate(&self, path: &str) -> Result<(), RowsError> {
        let check = Check { path, row: &self.model };
        let measured = self.tokens_per_s;
        check.that(
            measured.is_finite() && measured > 0.0,
            "tokens_per_s",
            measured.to_string(),
            "a positive number",
        )?;
        check.few("batch", self.batch, "1 to 32 users", 32)?;
        check.few("readers", self.readers, "1 to 3 readers", 3)?;
        let position = self.position.unwrap_or(0);
        check.that(position < MOST, "position", position.to_string(), "0 to 1048575")?;
        let set = |e: bitnetc_compiler::policy::PolicyError| RowsError::Set {
            path: path.to_string(),
            row: self.model.clone(),
            reason: e.to_string(),
        };
        self.overrides().map(|_| ()).map_err(set)
    }
}

impl PrefillRow {
    pub(super) fn validate(&self, path: &str) -> Result<(), RowsError> {
        let check = Check { path, row: &self.model };
        check.that(self.ms.is_finite() && self.ms > 0.0, "ms", self.ms.to_string(), "a positive number")?;
        check.tiles("tokens", self.tokens)?;
        let set = |e: bitnetc_compiler::policy::PolicyError| RowsError::Set {
            path: path.to_string(),
            row: self.model.clone(),
            reason: e.to_string(),
        };
        self.overrides().map(|_| ()).map_err(set)
    }
}

impl CallRow {
    pub(super) fn validate(&self, path: &str) -> Result<(), RowsError> {
        let check = Check { path, row: &self.what };
        let (least, most) = self.us;
        check.that(
            least > 0.0 && most >= least && most.is_finite(),
            "us",
            format!("{:?}", self.us),
            "0 < least <= most",
        )?;
        match self.call {
            Measured::Linear { inner, columns, chunks, .. } => {
                check.tiles("inner", inner)?;
                check.tiles("columns", columns)?;
                check.few("chunks", chunks, "1 to 64", 64)
            }
            Measured::Norm { columns, cores, .. } => {
                check.tiles("columns", columns)?;
                let tiles = columns / TILE;
                let expected = "0, or a number of cores that divides the row's tiles";
                check.that(cores == 0 || tiles.is_multiple_of(cores), "cores", cores.to_string(), expected)
            }
            Measured::Attention { users, heads, kv_heads, head_dim, position, chunk, grid, .. } => {
                check.heads(users, heads, head_dim)?;
                check.tiles("chunk", chunk)?;
                check.few("grid", grid.0, "1 to 64 columns", 64)?;
                check.few("grid", grid.1, "1 to 64 rows", 64)?;
                check.few("kv_heads", kv_heads, "1 to 256", 256)?;
                check.that(position < MOST, "position", position.to_string(), "0 to 1048575")
            }
            Measured::CreateHeads { users, heads, kv_heads, head_dim } => {
                check.heads(users, heads, head_dim)?;
                check.few("kv_heads", kv_heads, "1 to 256", 256)
            }
            Measured::RotateFused { users, heads, head_dim }
            | Measured::CacheUpdate { users, kv_heads: heads, head_dim }
            | Measured::ConcatHeads { users, heads, head_dim }
            | Measured::JoinHeads { users, heads, head_dim } => check.heads(users, heads, head_dim),
            Measured::ToSharded { columns }
            | Measured::ToInterleaved { columns }
            | Measured::Reshard { columns }
            | Measured::Add { columns }
            | Measured::MulSilu { columns }
            | Measured::Embedding { columns }
            | Measured::Untilize { columns } => check.tiles("columns", columns),
            Measured::ArgMax { columns, rows, cores } => {
                check.tiles("columns", columns)?;
                check.few("rows", rows, "1 to 1024", 1024)?;
                check.that(cores <= 4096, "cores", cores.to_string(), "up to 4096")
            }
            Measured::PlusOne => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rows;

    #[test]
    fn a_wrong_row_is_one_clear_error() {
        let refused = |text: &str| Rows::parse("mine.ron", text).unwrap_err().to_string();
        let step = |rest: &str| refused(&format!("(steps: [(model: \"m\", target: \"n150\", {rest})])"));
        for (text, part) in [
            (step("tokens_per_s: 0"), "mine.ron: m: tokens_per_s is 0, expected a positive number"),
            (step("tokens_per_s: 1, batch: 33"), "batch is 33"),
            (step("tokens_per_s: 1, position: 4294967295"), "position is 4294967295"),
            (step("tokens_per_s: 1, set: [\"down=bfp5\"]"), "no weight type `bfp5`"),
            (step("tokens: 1"), "mine.ron:1:"),
        ] {
            assert!(text.contains(part), "{text}");
        }
        let call =
            |call: &str| refused(&format!("(calls: [(what: \"c\", target: \"n150\", us: (1, 2), call: {call})])"));
        for (text, part) in [
            (call("Add(columns: 33)"), "columns is 33, expected a multiple of 32"),
            (call("Norm(columns: 2560, cores: 7)"), "cores is 7"),
            (call("RotateFused(users: 0, heads: 1, head_dim: 32)"), "users is 0"),
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            refused("(calls: [(what: \"c\", target: \"n150\", us: (2, 1), call: PlusOne)])")
                .contains("us is (2.0, 1.0)")
        );
    }
}
