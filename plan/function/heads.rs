//! Rotary embedding and attention, whose heads are columns side by side.

use std::rc::Rc;

use super::Unclear;
use super::columns::{Columns, Run};
use super::node::{Node, Pair, Term, Terms};
use super::scale::{Scale, written};

/// Most heads side by side, and most columns of one. Models have a tenth of that.
const MOST_HEADS: u32 = 1 << 10;
const MOST_COLUMNS: u32 = 1 << 12;

/// The parts of equal width that heads are, one after another.
///
/// # Errors
/// Columns that are not so many heads, or more than any model has.
pub fn each(columns: &Columns, heads: u32) -> Result<Vec<Columns>, Unclear> {
    let width = columns.len() / heads.max(1);
    if !(1..=MOST_HEADS).contains(&heads) || width > MOST_COLUMNS || !columns.len().is_multiple_of(heads) {
        let what = format!("{} columns for {heads} heads", columns.len());
        return Err(Unclear::new(what, format!("up to {MOST_HEADS} heads of up to {MOST_COLUMNS} columns")));
    }
    (0..heads).map(|head| columns.slice(head * width, width)).collect()
}

/// The term of rotary frequencies, in radians per position, and of those of sequences that are longer than so many tokens.
pub fn rates(terms: &mut Terms, frequencies: &[f64], long: Option<(u32, &[f64])>) -> Term {
    let mut list = |rates: &[f64]| terms.make(Node::Rates(rates.iter().map(|rate| written(*rate)).collect()));
    let short = list(frequencies);
    let Some((beyond, long)) = long.map(|(beyond, rates)| (beyond, list(rates))) else { return short };
    terms.make(Node::RatesByLength { short, beyond, long })
}

/// Two columns of a head that are the coordinates of a point.
#[derive(Debug, Clone, Copy)]
pub struct Coordinates {
    /// Column of the first.
    pub a: usize,
    /// Column of the second.
    pub b: usize,
    /// Number of the rate that they turn with.
    pub rate: usize,
}

/// One column.
type Cell = (Rc<Scale>, Option<Term>, i64);

/// The head with its points turned; columns in no pair stay.
///
/// # Errors
/// A pair of which one coordinate is padding or has another factor.
pub fn turn(
    terms: &mut Terms,
    head: &Columns,
    pairs: impl Iterator<Item = Coordinates>,
    rates: Term,
    amplitude: f64,
) -> Result<Columns, Unclear> {
    let cell = |run: &Run, at: u32| (Rc::clone(&run.scale), run.of, run.start + i64::from(at));
    let cells: Vec<Cell> = head.runs().iter().flat_map(|run| (0..run.len).map(move |at| cell(run, at))).collect();
    let mut turned = cells.clone();
    let mut last = [None, None];
    let mut scales: Option<(Rc<Scale>, Rc<Scale>)> = None;
    for Coordinates { a, b, rate } in pairs {
        let outside = || Unclear::new("a pair outside of the head", "");
        let ((scale, x, start), (other, y, end)) =
            (cells.get(a).ok_or_else(outside)?, cells.get(b).ok_or_else(outside)?);
        let (x, y) = match (x, y) {
            (Some(x), Some(y)) if Rc::ptr_eq(scale, other) || scale.is_close(other) => (*x, *y),
            (None, None) => continue,
            (Some(_) | None, Some(_)) | (Some(_), None) => {
                return Err(Unclear::new("two columns that turn together are no pair", "the two columns of a pair"));
            }
        };
        let by = match &scales {
            Some((from, to)) if Rc::ptr_eq(from, scale) => Rc::clone(to),
            Some(_) | None => Rc::new(scale.times(&Scale::number(amplitude))),
        };
        scales = Some((Rc::clone(scale), Rc::clone(&by)));
        for (at, second) in [(a, false), (b, true)] {
            let node = Node::Turn { a: x, b: y, shift: end - start, rates, rate: rate as i64 - start, second };
            turned[at] = (Rc::clone(&by), Some(made(terms, &mut last[usize::from(second)], node)), *start);
        }
    }
    let mut columns = Columns::default();
    turned.into_iter().for_each(|(scale, of, start)| columns.push(Run { scale, of, start, len: 1 }));
    Ok(columns)
}

/// The term of a node, which is mostly the last one.
fn made(terms: &mut Terms, last: &mut Option<(Node, Term)>, node: Node) -> Term {
    if let Some((known, term)) = last
        && *known == node
    {
        return *term;
    }
    let term = terms.make(node.clone());
    *last = Some((node, term));
    term
}

/// The same columns with the numbers of their row in the term: for keys and values, which are read by the rows after them.
pub fn of_own_row(terms: &mut Terms, x: &Columns) -> Result<Columns, Unclear> {
    x.map(|run| {
        let (scale, rows) = run.scale.split_rows();
        Ok(match run.of {
            Some(of) if !rows.is_empty() => {
                Run { scale: Rc::new(scale), of: Some(terms.make(Node::Scaled(of, rows))), ..run.clone() }
            }
            Some(_) | None => run.clone(),
        })
    })
}

/// Causal attention of `heads` query heads over the keys and values of `kv_heads`, all side by side.
///
/// # Errors
/// Columns that are no such heads.
pub fn attend(
    terms: &mut Terms,
    [q, k, v]: [&Columns; 3],
    (heads, kv_heads): (u32, u32),
    scale: &Scale,
) -> Result<Columns, Unclear> {
    let (k, v) = (of_own_row(terms, k)?, of_own_row(terms, v)?);
    let (q, k, v) = (each(q, heads)?, each(&k, kv_heads)?, each(&v, kv_heads)?);
    if !heads.is_multiple_of(kv_heads) {
        return Err(Unclear::new(format!("{heads} heads of queries and {kv_heads} of keys"), "heads in groups"));
    }
    let group = (heads / kv_heads) as usize;
    let mut attended = Columns::default();
    for (head, q) in q.iter().enumerate() {
        let (k, v) = (&k[head / group], &v[head / group]);
        let scores = scores(terms, q, k, scale)?;
        attended.append(&v.map(|run| {
            let of = run.of.map(|of| terms.make(Node::Attend { scores, of }));
            Ok(Run { of, ..run.clone() })
        })?);
    }
    attended.bounded()
}

fn scores(terms: &mut Terms, q: &Columns, k: &Columns, scale: &Scale) -> Result<Term, Unclear> {
    let mut products = Vec::new();
    for (q, k) in q.zip(k)? {
        if let (Some(x), Some(y)) = (q.of, k.of) {
            products.push(((x, q.start), (y, k.start), q.len, (q.scale, k.scale)));
        }
    }
    products.sort_by_key(|(query, key, ..)| (*query, *key));
    let unit = products.first().map_or_else(Scale::one, |(.., (q, k))| q.times(k));
    let mut pairs: Vec<Pair> = Vec::new();
    let mut last: Option<(Rc<Scale>, Rc<Scale>, Scale)> = None;
    for (query, key, len, (q, k)) in products {
        let own = match last {
            Some((a, b, own)) if Rc::ptr_eq(&a, &q) && Rc::ptr_eq(&b, &k) => own,
            Some(_) | None => q.times(&k).over(&unit),
        };
        last = Some((q, k, own.clone()));
        if let Some(before) = pairs.last_mut() {
            let end = i64::from(before.len);
            let continues =
                (before.query.0, before.query.1 + end) == query && (before.key.0, before.key.1 + end) == key;
            if continues && before.scale.is_close(&own) {
                before.len += len;
                continue;
            }
        }
        pairs.push(Pair { scale: own, query, key, len });
    }
    Ok(terms.make(Node::Scores { pairs, scale: unit.times(scale) }))
}
