//! Elementwise functions, sums and products of columns.
//!
//! Whatever multiplies all elements of a run is kept beside the term and not in it, and is carried through every function that allows
//! it: so a scale that was folded away, a row's quantisation that was undone early, or a relu before a positive factor instead of after
//! it, give the same term.

use std::rc::Rc;

use super::Unclear;
use super::columns::{Columns, Run};
use super::node::{Node, Term, Terms};
use super::scale::{Factor, Scale, written};
use crate::Unary;

/// Columns that differ from row to row by one number: a tensor of a single column.
fn is_row_number(x: &Columns) -> bool {
    x.len() == 1
}

fn one(terms: &mut Terms, scale: Scale, len: u32) -> Run {
    Run { scale: Rc::new(scale), of: Some(terms.make(Node::One)), start: 0, len }
}

/// A function applied to every column.
///
/// # Errors
/// A function that has no number at zero columns.
pub fn unary(terms: &mut Terms, function: &Unary, x: &Columns) -> Result<Columns, Unclear> {
    let row = is_row_number(x);
    x.map(|run| match run.of {
        Some(term) => Ok(of_term(terms, function, run, term, row)),
        None => at_zero(terms, function, run),
    })
}

fn of_term(terms: &mut Terms, function: &Unary, run: &Run, term: Term, row: bool) -> Run {
    let one_term = terms.make(Node::One);
    let scale = &run.scale;
    let made = |scale: Scale, of: Term| Run { scale: Rc::new(scale), of: Some(of), ..run.clone() };
    match function {
        Unary::MulScalar(by) => made(scale.times(&by.into()), term),
        Unary::Relu => {
            let signed = sign(terms, scale, term);
            made(scale.magnitude(), terms.make(Node::Relu(signed)))
        }
        Unary::Abs => made(scale.magnitude(), terms.make(Node::Abs(term))),
        Unary::Square if term == one_term => made(scale.pow(2), term),
        Unary::Square => made(scale.pow(2), terms.make(Node::Square(term))),
        Unary::Power(power) if term == one_term => made(scale.pow(i32::try_from(*power).unwrap_or(i32::MAX)), term),
        Unary::Power(power) => {
            let powers = 1..*power;
            powers.fold(run.clone(), |result, _| product_of(terms, (&result, result.of.unwrap_or(term)), (run, term)))
        }
        Unary::Recip if term == one_term => made(scale.pow(-1), term),
        Unary::Recip => made(scale.pow(-1), terms.make(Node::Recip(term))),
        Unary::Silu => made(Scale::one(), terms.make(Node::Silu(term, (**scale).clone()))),
        Unary::Round => made(Scale::one(), terms.make(Node::Round(term, (**scale).clone()))),
        Unary::Clamp(low, high) => {
            let bounds = [low, high].map(|bound| written(f64::from(*bound)));
            made(Scale::one(), terms.make(Node::Clamp(term, (**scale).clone(), bounds)))
        }
        Unary::MaxScalar(bound) => {
            let signed = sign(terms, scale, term);
            let size = scale.magnitude();
            let bound = Scale::from(bound).over(&size);
            let positive = bound.is_positive();
            let max = terms.make(Node::Max(signed, bound));
            // A number of a row that is above zero is a factor of the row.
            if row && positive {
                return one(terms, size.times(&Scale::factor(Factor::Row(max))), run.len);
            }
            made(size, max)
        }
    }
}

/// The term, or its negative where the scale is below zero.
fn sign(terms: &mut Terms, scale: &Scale, term: Term) -> Term {
    if scale.is_positive() {
        return term;
    }
    terms.make(Node::Negative(term))
}

fn at_zero(terms: &mut Terms, function: &Unary, run: &Run) -> Result<Run, Unclear> {
    match function {
        Unary::Relu | Unary::Square | Unary::Silu | Unary::MulScalar(_) | Unary::Round | Unary::Clamp(..) => {
            Ok(run.clone())
        }
        Unary::Abs | Unary::Power(_) => Ok(run.clone()),
        Unary::MaxScalar(bound) if bound.value > 0.0 => Ok(one(terms, bound.into(), run.len)),
        Unary::MaxScalar(_) | Unary::Recip => Err(Unclear::new("a function of columns that are zero", "numbers")),
    }
}

/// The sum of two tensors.
///
/// # Errors
/// Tensors of different widths.
pub fn add(terms: &mut Terms, a: &Columns, b: &Columns) -> Result<Columns, Unclear> {
    let mut sum = Columns::default();
    for (a, b) in a.zip(b)? {
        sum.push(match (a.of, b.of) {
            (_, None) => a,
            (None, Some(_)) => b,
            (Some(x), Some(y)) => sum_of(terms, (&a, x), (&b, y)),
        });
    }
    Ok(sum)
}

fn sum_of(terms: &mut Terms, a: (&Run, Term), b: (&Run, Term)) -> Run {
    if a.1 == b.1
        && a.0.start == b.0.start
        && let Some(scale) = a.0.scale.plus(&b.0.scale)
    {
        return Run { scale: Rc::new(scale), ..a.0.clone() };
    }
    let ((a, x), (b, y)) = if (a.1, a.0.start) <= (b.1, b.0.start) { (a, b) } else { (b, a) };
    let node = Node::Sum { a: x, b: y, shift: b.start - a.start, scale: b.scale.over(&a.scale) };
    Run { of: Some(terms.make(node)), ..a.clone() }
}

/// The product of two tensors; the second may have one column, which then multiplies all.
///
/// # Errors
/// Tensors of different widths.
pub fn mul(terms: &mut Terms, a: &Columns, b: &Columns) -> Result<Columns, Unclear> {
    if is_row_number(b) && !is_row_number(a) {
        return a.map(|run| Ok(times_row(terms, run, &b.runs()[0])));
    }
    let mut product = Columns::default();
    for (a, b) in a.zip(b)? {
        product.push(match (a.of, b.of) {
            (Some(x), Some(y)) => product_of(terms, (&a, x), (&b, y)),
            (None, _) => a,
            (Some(_), None) => b,
        });
    }
    Ok(product)
}

fn times_row(terms: &mut Terms, run: &Run, row: &Run) -> Run {
    let one = terms.make(Node::One);
    match (run.of, row.of) {
        (None, _) => run.clone(),
        (Some(_), None) => Run { of: None, ..run.clone() },
        (Some(_), Some(factor)) if factor == one => Run { scale: Rc::new(run.scale.times(&row.scale)), ..run.clone() },
        (Some(of), Some(factor)) => {
            let node = Node::TimesRow { of, row: factor, at: row.start };
            Run { scale: Rc::new(run.scale.times(&row.scale)), of: Some(terms.make(node)), ..run.clone() }
        }
    }
}

fn product_of(terms: &mut Terms, a: (&Run, Term), b: (&Run, Term)) -> Run {
    let one = terms.make(Node::One);
    let scale = Rc::new(a.0.scale.times(&b.0.scale));
    if b.1 == one {
        return Run { scale, ..a.0.clone() };
    }
    if a.1 == one {
        return Run { scale, ..b.0.clone() };
    }
    if (a.1, a.0.start) == (b.1, b.0.start) {
        return Run { scale, of: Some(terms.make(Node::Square(a.1))), ..a.0.clone() };
    }
    let ((a, x), (b, y)) = if (a.1, a.0.start) <= (b.1, b.0.start) { (a, b) } else { (b, a) };
    let node = Node::Mul { a: x, b: y, shift: b.start - a.start };
    Run { scale, of: Some(terms.make(node)), ..a.clone() }
}

/// The largest element of each row, as a tensor of one column.
pub fn row_max(terms: &mut Terms, x: &Columns) -> Result<Columns, Unclear> {
    let Some((scale, set, real)) = x.set(terms) else { return Ok(Columns::zeros(1)) };
    let magnitudes =
        x.runs().iter().filter_map(|run| run.of).all(|term| matches!(terms.node(term), Some(Node::Abs(_))));
    if !scale.is_positive() || real != x.len() && !magnitudes {
        return Err(Unclear::new("the largest of numbers and of columns of padding", "magnitudes, or no padding"));
    }
    Ok(Columns::of(terms.make(Node::RowMax(set)), 1).scaled(&scale))
}

/// `x / sqrt(mean(x^2) + epsilon)` over all columns, zeros counted.
///
/// Of `n` columns of which `w` are no padding the mean is `w/n` of theirs; and `s*x` has `s^2` times the mean square of `x`. So the result
/// is that of the norm of `x` over its own columns with `epsilon * n / (w * s^2)`, times `sqrt(n/w)`.
///
/// # Errors
/// Nothing to normalise.
pub fn norm(terms: &mut Terms, x: &Columns, epsilon: &Scale) -> Result<Columns, Unclear> {
    let nothing = || Unclear::new("a norm of zeros", "numbers");
    let (unit, over, real) = x.set(terms).ok_or_else(nothing)?;
    let share = f64::from(x.len()) / f64::from(real);
    let epsilon = epsilon.over(&unit.pow(2)).times(&Scale::number(share));
    let back = Scale::number(share.sqrt()).over(&unit.magnitude());
    x.scaled(&back).map(|run| {
        let Some(of) = run.of else { return Ok(run.clone()) };
        let node = Node::Norm { over, epsilon: epsilon.clone(), of };
        Ok(Run { of: Some(terms.make(node)), ..run.clone() })
    })
}
