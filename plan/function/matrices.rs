//! Matrix products, tables and vectors of the checkpoint, with the order and the padding that a plan's weights have.

use std::rc::Rc;

use super::Unclear;
use super::columns::{Columns, Run};
use super::node::{Node, Stored, Term, Terms};
use super::scale::Scale;
use crate::weight::{Matrix, Vector};
use crate::{Padding, Scalar};

/// Consecutive elements of a checkpoint tensor's side, or zeros.
struct Piece {
    /// The first element; `None` for zeros.
    from: Option<u32>,
    len: u32,
}

/// The elements of a side of `len`, in the order in which the card has them: see [`Matrix::outputs`] and [`Matrix::rotated`].
fn pieces(len: u32, padding: Option<Padding>, rotated: u32) -> Result<Vec<Piece>, Unclear> {
    let Some(Padding { groups, from, to }) = padding else {
        return Ok(vec![Piece { from: Some(0), len }]);
    };
    if groups.checked_mul(from) != Some(len) || to < from || rotated > from || rotated > 0 && len > 1 << 18 {
        return Err(Unclear::new(format!("{groups} groups of {from} padded to {to} for {len} elements"), ""));
    }
    let mut found = Vec::new();
    for group in 0..groups {
        let first = group * from;
        found.extend((0..rotated).map(|e| Piece { from: Some(first + e / 2 + e % 2 * (rotated / 2)), len: 1 }));
        found.push(Piece { from: Some(first + rotated), len: from - rotated });
        found.push(Piece { from: None, len: to - from });
    }
    Ok(found)
}

/// Elements of a term in the order of a side; `first` is the term's element that the side begins with.
fn ordered(term: Term, scale: &Scale, first: u32, pieces: Vec<Piece>) -> Columns {
    let mut columns = Columns::default();
    let scale = Rc::new(scale.clone());
    for Piece { from, len } in pieces {
        let start = i64::from(first) + i64::from(from.unwrap_or(0));
        columns.push(Run { scale: Rc::clone(&scale), of: from.map(|_| term), start, len });
    }
    columns
}

/// `x` times matrices that stand side by side: a matmul's result.
///
/// # Errors
/// An input that is not as wide as the matrices are high.
pub fn product(terms: &mut Terms, x: &Columns, matrices: &[Matrix]) -> Result<Columns, Unclear> {
    let mut result = Columns::default();
    for matrix in matrices {
        let [out, input] = matrix.shape;
        let mut inputs = Columns::default();
        let mut at = 0;
        // The rows that are padding multiply whatever the input has there by zero.
        for piece in pieces(input, matrix.inputs, 0)? {
            if piece.from.is_some() {
                inputs.append(&x.slice(at, piece.len)?);
            }
            at += piece.len;
        }
        if at != x.len() {
            return Err(Unclear::new(format!("{} columns times {at} rows", x.len()), "equally many"));
        }
        let rows = pieces(out, matrix.outputs, matrix.rotated)?;
        let Some((scale, input)) = inputs.vector(terms) else {
            result.append(&Columns::zeros(rows.iter().map(|piece| piece.len).sum()));
            continue;
        };
        let stored = Stored { tensor: matrix.tensor.clone(), content: matrix.content };
        let term = terms.make(Node::Product { matrix: stored, input });
        let first = matrix.rows.map_or(0, |(first, _)| first);
        result.append(&ordered(term, &scale, first, rows));
    }
    result.bounded()
}

/// The rows of a table that belong to the tokens.
///
/// # Errors
/// A table whose rows are not in the order of the tokens.
pub fn lookup(terms: &mut Terms, table: &Matrix) -> Result<Columns, Unclear> {
    if table.rotated > 0 || table.outputs.is_some() {
        return Err(Unclear::new("tokens are looked up in a table of another order", "rows as they are stored"));
    }
    let stored = Stored { tensor: table.tensor.clone(), content: table.content };
    let first = table.rows.map_or(0, |(first, _)| first);
    let term = terms.make(Node::Lookup { table: stored, first });
    Ok(ordered(term, &Scale::one(), 0, pieces(table.shape[1], table.inputs, 0)?))
}

/// A vector of the checkpoint, as it is stored.
pub fn constant(terms: &mut Terms, tensor: &str, len: u32) -> Columns {
    Columns::of(terms.make(Node::Constant { tensor: tensor.to_owned() }), len)
}

/// Vectors of the checkpoint one after the other.
///
/// # Errors
/// Groups that do not divide one of them.
pub fn vectors(terms: &mut Terms, vectors: &[Vector]) -> Result<Columns, Unclear> {
    let mut columns = Columns::default();
    for Vector { tensor, len, rotated, padding, factor, scales } in vectors {
        let term = terms.make(Node::Constant { tensor: tensor.clone() });
        let powers = scales.iter().map(|(matrix, power)| (matrix.tensor.clone(), *power)).collect();
        let scale = Scale::from(&Scalar { value: *factor, scales: powers });
        columns.append(&ordered(term, &scale, 0, pieces(*len, *padding, *rotated)?));
    }
    columns.bounded()
}

/// Ones.
pub fn ones(terms: &mut Terms, len: u32) -> Columns {
    let mut columns = Columns::default();
    columns.push(Run { scale: Rc::new(Scale::one()), of: Some(terms.make(Node::One)), start: 0, len });
    columns
}
