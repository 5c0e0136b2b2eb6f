//! Tensors of a phase: their columns, and which rows they have.

use std::rc::Rc;

use super::Unclear;
use super::columns::Columns;
use super::node::Term;
use crate::weight::RotaryFunction;

/// The tokens that the rows of a tensor belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsOf {
    /// The token that each user is at, user after user, and again.
    Users,
    /// The tokens of a prompt.
    Prompt,
    /// The 32 tokens of a prompt among which the last is.
    LastTile,
    /// No token: every row is the same.
    Any,
}

/// The rows of a tensor. Rows after the last of them are padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The tokens they belong to.
    pub of: RowsOf,
    /// The number of the first.
    pub first: u32,
    /// How many they are.
    pub count: u32,
}

impl Rows {
    /// `count` rows from the first.
    pub const fn new(of: RowsOf, count: u32) -> Self {
        Rows { of, first: 0, count }
    }

    /// The rows that both tensors have.
    ///
    /// # Errors
    /// Rows of different tokens.
    pub fn with(self, other: Rows) -> Result<Rows, Unclear> {
        match (self.of, other.of) {
            (_, RowsOf::Any) => Ok(self),
            (RowsOf::Any, _) => Ok(other),
            (a, b) if a == b && self.first == other.first => Ok(Rows { count: self.count.min(other.count), ..self }),
            (RowsOf::Users | RowsOf::Prompt | RowsOf::LastTile, _) => {
                Err(Unclear::new(format!("rows of {self} beside those of {other}"), "rows of the same tokens"))
            }
        }
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rows { of, first, count } = *self;
        let of = match of {
            RowsOf::Users => "users",
            RowsOf::Prompt => "tokens of the prompt",
            RowsOf::LastTile => "tokens around the last",
            RowsOf::Any => "any tokens",
        };
        write!(f, "{of} {first}..{}", first.saturating_add(count))
    }
}

/// Where heads are among the dimensions of a tensor whose columns stand for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[.., rows, columns]`.
    Flat,
    /// `[1, rows, heads, width]`.
    ByRow(u32),
    /// `[1, heads, rows, width]`.
    ByHead(u32),
}

/// Content of a tensor.
#[derive(Debug, Clone)]
pub enum Content {
    /// Functions of the rows' tokens, of all heads side by side.
    Columns(Rc<Columns>),
    /// Cosines or sines of the rows' positions.
    Angles(Angles),
    /// The matrix that exchanges adjacent columns and negates one.
    Transform,
    /// The largest numbers of each row of these columns, or where they are.
    Best(Best, Rc<Columns>),
    /// A stage on the way to the largest of these columns, by way of the largest of groups of so many.
    Grouped(Stage, Rc<Columns>, u32),
    /// The number of each user, times a number.
    Users(u32),
}

/// What is found of each user's groups of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The columns, a row for each group.
    Groups,
    /// The largest of each group, a row for each.
    Maxima,
    /// The same, a column for each group of each user.
    Row,
    /// The same, a row for each user.
    UsersMaxima,
    /// The number of the first group that holds the largest.
    Group,
    /// The number of that group's row among those of all users.
    GroupRow,
    /// The columns of that group.
    Found,
    /// The place of the largest among them.
    Place,
    /// The number of that group's first column.
    First,
    /// The number of the first column that holds the largest.
    Column,
}

/// A property of the largest numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Best {
    /// The numbers.
    Values,
    /// Their columns.
    Places,
}

/// A table of cosines or sines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Angles {
    /// Which.
    pub function: RotaryFunction,
    /// The frequencies, as a term.
    pub rates: Term,
    /// How many they are. Each has two adjacent columns; those after them hold the cosine and sine of 0.
    pub count: u32,
    /// Multiplies them.
    pub amplitude: f64,
}

/// A tensor of a phase.
#[derive(Debug, Clone)]
pub struct Value {
    /// The tokens of its rows.
    pub rows: Rows,
    /// Where its heads are.
    pub layout: Layout,
    /// Its content.
    pub content: Content,
}

impl Value {
    /// A matrix of rows.
    pub fn flat(rows: Rows, columns: Columns) -> Self {
        Value { rows, layout: Layout::Flat, content: Content::Columns(Rc::new(columns)) }
    }

    /// The same rows and heads with other columns.
    pub fn with(&self, columns: Columns) -> Self {
        Value { content: Content::Columns(Rc::new(columns)), ..self.clone() }
    }

    /// The columns.
    ///
    /// # Errors
    /// A table of angles or the rotary matrix.
    pub fn columns(&self) -> Result<&Columns, Unclear> {
        match &self.content {
            Content::Columns(columns) => Ok(columns),
            Content::Angles(_) | Content::Transform => Err(Unclear::new("rotary tables are no numbers of a model", "")),
            Content::Users(_) => Err(Unclear::new("numbers of users are no numbers of a model", "")),
            Content::Grouped(..) | Content::Best(..) => {
                Err(Unclear::new("the largest numbers of a row are used up by the token that is drawn", ""))
            }
        }
    }

    /// The columns of a matrix.
    ///
    /// # Errors
    /// Heads that are not side by side.
    pub fn matrix(&self) -> Result<&Columns, Unclear> {
        match self.layout {
            Layout::Flat => self.columns(),
            Layout::ByRow(_) | Layout::ByHead(_) => Err(Unclear::new("heads lie apart", "heads side by side")),
        }
    }
}
