//! The one error of this crate: an operand whose shape or content a kernel cannot take.

/// Why a numeric routine refused its operands. What it was to write is of no meaning then: shapes are checked before anything is written,
/// contents (a page, an activation that is no int8) as they are reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumericsError {
    /// A buffer does not hold what its shape says.
    #[error("{what} has {got} elements; its shape needs {want}")]
    Length {
        /// The operand.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length its shape asks for.
        want: usize,
    },
    /// Two operands, or an operand and a configuration, disagree about a dimension.
    #[error("{what}: {got} where {want} was expected")]
    Dimension {
        /// The dimension.
        what: &'static str,
        /// The operand given.
        got: usize,
        /// The value that agrees with the other operand.
        want: usize,
    },
    /// A dimension is not a multiple of what the kernel needs.
    #[error("{what} is {got}, which {multiple} does not divide")]
    Multiple {
        /// The dimension.
        what: &'static str,
        /// The operand given.
        got: usize,
        /// The number that has to divide it.
        multiple: usize,
    },
    /// A weight matrix given as ternary holds something else than -u, 0 and +u.
    #[error("weight [{k}, {n}] is {value}, not ternary in units of {unit}")]
    NotTernary {
        /// Row (input feature).
        k: usize,
        /// Column (output feature).
        n: usize,
        /// The value found there.
        value: String,
        /// The magnitude of the matrix's nonzero values.
        unit: String,
    },
    /// An activation given as int8 is not an integer from -128 to 127.
    #[error("activation [{row}, {k}] is {value}, not an integer from -128 to 127")]
    NotInt8 {
        /// Row.
        row: usize,
        /// Input feature.
        k: usize,
        /// The value found there.
        value: String,
    },
    /// A page table names a block that the cache does not have.
    #[error("page table of user {user} names block {block}; the cache has {blocks} blocks")]
    Page {
        /// The user whose row is wrong.
        user: usize,
        /// The block named.
        block: i64,
        /// Blocks in the cache.
        blocks: usize,
    },
    /// A position lies outside the cache.
    #[error("position {position} of user {user} lies outside the context of {context}")]
    Position {
        /// The user.
        user: usize,
        /// The position asked for.
        position: i64,
        /// Positions the cache can hold.
        context: usize,
    },
}

/// `Ok` if `got == want`, else [`NumericsError::Length`].
pub(crate) fn check_len(what: &'static str, got: usize, want: usize) -> Result<(), NumericsError> {
    if got == want { Ok(()) } else { Err(NumericsError::Length { what, got, want }) }
}

/// `Ok` if `got == want`, else [`NumericsError::Dimension`].
pub(crate) fn check_dim(what: &'static str, got: usize, want: usize) -> Result<(), NumericsError> {
    if got == want { Ok(()) } else { Err(NumericsError::Dimension { what, got, want }) }
}

/// `Ok` if `multiple` divides `got` and `got` is not 0, else [`NumericsError::Multiple`].
pub(crate) fn check_multiple(what: &'static str, got: usize, multiple: usize) -> Result<(), NumericsError> {
    if multiple != 0 && got != 0 && got.is_multiple_of(multiple) {
        Ok(())
    } else {
        Err(NumericsError::Multiple { what, got, multiple })
    }
}
