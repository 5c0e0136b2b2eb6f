//! Terms: functions of one token, told apart by what they compute and not by how it was written down.

use std::collections::HashMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::scale::{Factor, Scale};
use crate::weight::Content;

/// A vector of numbers as a function of a token and of those before it. It is named by a hash of its [`Node`], so that equal terms are
/// equal in every phase, every plan and every model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Term([u8; 16]);

impl Term {
    /// The name in hexadecimal.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A matrix of the checkpoint, as far as its elements are concerned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stored {
    /// Its name, `{layer}` standing for the layer.
    pub tensor: String,
    /// How its elements are read.
    pub content: Content,
}

/// Consecutive elements of a term, times a factor; or zeros.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Multiplies the elements.
    pub scale: Scale,
    /// The term; `None` for zeros.
    pub of: Option<Term>,
    /// The first element.
    pub start: i64,
    /// Elements.
    pub len: u32,
}

/// Consecutive elements of two terms whose products are summed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Multiplies the products.
    pub scale: Scale,
    /// Term and first element on the side of the queries.
    pub query: (Term, i64),
    /// Term and first element on the side of the keys.
    pub key: (Term, i64),
    /// Elements.
    pub len: u32,
}

/// The outermost operation of a term. Where nothing else is said, element `i` is made of the operands' elements `i`; a `shift` is the
/// difference of the second operand's number from the first's, whose numbers the result has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Node {
    /// Every element is 1.
    One,
    /// The residual stream at the start of a layer.
    Carry,
    /// The token's row of a table.
    Lookup {
        /// `[vocabulary, width]`.
        table: Stored,
        /// The row of the first token.
        first: u32,
    },
    /// A vector of the checkpoint, the same for every token.
    Constant {
        /// Its name.
        tensor: String,
    },
    /// Elements in this order.
    Vector(Vec<Entry>),
    /// Elements in any order, without zeros.
    Set(Vec<Entry>),
    /// Element `i` is row `i` of the matrix times the input.
    Product {
        /// `[out, in]`.
        matrix: Stored,
        /// A [`Node::Vector`].
        input: Term,
    },
    /// `of / sqrt(mean(over^2) + epsilon)`.
    Norm {
        /// A [`Node::Set`].
        over: Term,
        /// Added to the mean square.
        epsilon: Scale,
        /// What is divided.
        of: Term,
    },
    /// `-x`.
    Negative(Term),
    /// `max(x, 0)`.
    Relu(Term),
    /// `x^2`.
    Square(Term),
    /// `|x|`.
    Abs(Term),
    /// `1 / x`.
    Recip(Term),
    /// `s*x * sigmoid(s*x)`.
    Silu(Term, Scale),
    /// `s*x` rounded half to even.
    Round(Term, Scale),
    /// `max(x, bound)`.
    Max(Term, Scale),
    /// `s*x` within two bounds, which are written with seven significant digits.
    Clamp(Term, Scale, [String; 2]),
    /// The largest element of a [`Node::Set`] of a row.
    RowMax(Term),
    /// `a + scale * b`.
    Sum {
        /// First by name.
        a: Term,
        /// Second by name.
        b: Term,
        /// Of `b`.
        shift: i64,
        /// Multiplies `b`.
        scale: Scale,
    },
    /// `a * b`.
    Mul {
        /// First by name.
        a: Term,
        /// Second by name.
        b: Term,
        /// Of `b`.
        shift: i64,
    },
    /// `of` times an element of a row's term.
    TimesRow {
        /// What is multiplied.
        of: Term,
        /// The row's term.
        row: Term,
        /// Its element.
        at: i64,
    },
    /// A coordinate of `(a, b)` turned by the token's position times a rate: `a cos - b sin`, or `b cos + a sin`.
    Turn {
        /// First coordinate before.
        a: Term,
        /// Second coordinate before.
        b: Term,
        /// Of `b`.
        shift: i64,
        /// A [`Node::Rates`] or [`Node::RatesByLength`].
        rates: Term,
        /// Of the number of the rate.
        rate: i64,
        /// Whether it is the second coordinate.
        second: bool,
    },
    /// Radians per position, each with seven significant digits.
    Rates(Vec<String>),
    /// Radians per position that depend on the tokens of the sequence.
    RatesByLength {
        /// A [`Node::Rates`].
        short: Term,
        /// The longest sequence that turns by them.
        beyond: u32,
        /// The [`Node::Rates`] of longer ones.
        long: Term,
    },
    /// Times powers of numbers of the row. It stands where a row is read by the rows after it, which have other such numbers.
    Scaled(Term, Vec<(Factor, i32)>),
    /// The softmax, over this token and those before it, of `scale` times the products of its queries with their keys.
    Scores {
        /// Products that are summed, in the order of their names.
        pairs: Vec<Pair>,
        /// Multiplies the sum. Numbers of a row in it are the query's.
        scale: Scale,
    },
    /// The sum over those tokens of what they have in `of`, weighted by the scores.
    Attend {
        /// A [`Node::Scores`].
        scores: Term,
        /// What is summed.
        of: Term,
    },
}

/// Every term that was made, by its name.
#[derive(Debug, Default)]
pub struct Terms(HashMap<Term, Node>);

impl Terms {
    /// The term of a node.
    pub fn make(&mut self, node: Node) -> Term {
        let term = Term(name(&node));
        self.0.entry(term).or_insert(node);
        term
    }

    /// The node of a term.
    pub fn node(&self, term: Term) -> Option<&Node> {
        self.0.get(&term)
    }
}

fn name(node: &Node) -> [u8; 16] {
    // Writing to memory does not fail, and nodes hold nothing that has no bytes; a failure would leave a name that equals no other's.
    let bytes = rmp_serde::to_vec(node).unwrap_or_default();
    let mut name = [0; 16];
    name.copy_from_slice(&Sha256::digest(bytes)[..16]);
    name
}
