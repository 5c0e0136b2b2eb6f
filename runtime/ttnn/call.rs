//! Calls of TT-NN's Python API as data. The same data are executed through the shim and printed as Python source, so that what a person
//! reads is what is run.
//!
//! A program is a list of [`Statement`]s, `targets = callee(args, kwargs)`. Arguments are literals, names of earlier results, attributes of
//! `ttnn` such as `bfloat16`, or nested calls, which is how config objects are written:
//! ```text
//! qkv = ttnn.linear(h, wqkv, memory_config=ttnn.L1_WIDTH_SHARDED_MEMORY_CONFIG, dtype=ttnn.bfloat16)
//! ```
//! Executing resolves names in a [`Scope`]; nothing is looked up in Python's own globals. [`crate::print`] writes the same as source.

use std::collections::HashMap;

use crate::error::TtnnError;
use crate::python::{Interpreter, Object, Value};

/// An argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float; prints with as many digits as give the same number back.
    Float(f64),
    /// A string.
    Str(String),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `(a, b)`.
    Tuple(Vec<Expr>),
    /// A result of an earlier statement, or an input of the scope.
    Name(String),
    /// An attribute below `ttnn`: `bfloat16`.
    Path(String),
    /// A nested call.
    Call(Box<PyCall>),
}

impl Expr {
    /// A name.
    pub fn name(name: impl Into<String>) -> Expr {
        Expr::Name(name.into())
    }

    /// `ttnn.<path>`.
    pub fn ttnn(path: impl Into<String>) -> Expr {
        Expr::Path(path.into())
    }

    /// A list of integers.
    pub fn ints(values: impl IntoIterator<Item = u32>) -> Expr {
        Expr::List(values.into_iter().map(|v| Expr::Int(i64::from(v))).collect())
    }
}

impl From<PyCall> for Expr {
    fn from(call: PyCall) -> Self {
        Expr::Call(Box::new(call))
    }
}

impl From<bool> for Expr {
    fn from(value: bool) -> Self {
        Expr::Bool(value)
    }
}

impl From<u32> for Expr {
    fn from(value: u32) -> Self {
        Expr::Int(i64::from(value))
    }
}

impl From<f64> for Expr {
    fn from(value: f64) -> Self {
        Expr::Float(value)
    }
}

/// The module that a function is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// `ttnn`.
    Ttnn,
    /// Bitnetc's own functions, which hand its kernels to TT-NN: `kernels.rs`.
    Kernels,
}

/// One call of a function or class of TT-NN, or of a function that hands TT-NN a kernel of bitnetc's own.
#[derive(Debug, Clone, PartialEq)]
pub struct PyCall {
    /// Where the function is.
    pub module: Module,
    /// Its path in the module: `experimental.paged_update_cache`.
    pub path: String,
    /// Positional arguments.
    pub args: Vec<Expr>,
    /// Keyword arguments, printed in this order.
    pub kwargs: Vec<(String, Expr)>,
}

impl PyCall {
    /// `ttnn.<path>()`.
    pub fn ttnn(path: impl Into<String>) -> PyCall {
        PyCall { module: Module::Ttnn, path: path.into(), args: Vec::new(), kwargs: Vec::new() }
    }

    /// A call of a function of `kernels.rs`.
    pub fn kernels(path: impl Into<String>) -> PyCall {
        PyCall { module: Module::Kernels, ..PyCall::ttnn(path) }
    }

    /// Adds a positional argument.
    #[must_use]
    pub fn arg(mut self, value: impl Into<Expr>) -> PyCall {
        self.args.push(value.into());
        self
    }

    /// Adds a keyword argument.
    #[must_use]
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Into<Expr>) -> PyCall {
        self.kwargs.push((name.into(), value.into()));
        self
    }

    /// Adds a keyword argument when there is a value.
    #[must_use]
    pub fn maybe(self, name: impl Into<String>, value: Option<impl Into<Expr>>) -> PyCall {
        match value {
            Some(value) => self.kwarg(name, value),
            None => self,
        }
    }

    /// The callee as printed: `ttnn.linear`.
    pub fn name(&self) -> String {
        match self.module {
            Module::Ttnn => format!("ttnn.{}", self.path),
            Module::Kernels => self.path.clone(),
        }
    }

    /// Executes the call.
    ///
    /// # Errors
    /// An undefined name, or what Python or TT-NN raises.
    pub fn execute(&self, interpreter: &Interpreter, scope: &Scope) -> Result<Object, TtnnError> {
        let name = self.name();
        let callee = match self.module {
            Module::Ttnn => interpreter.ttnn(),
            Module::Kernels => interpreter.kernels()?,
        };
        let callee = callee.attribute(&self.path)?;
        let value = |expr: &Expr| expr.evaluate(interpreter, scope, &name);
        let args = self.args.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let kwargs = self
            .kwargs
            .iter()
            .map(|(key, expr)| Ok((key.as_str(), value(expr)?)))
            .collect::<Result<Vec<_>, TtnnError>>()?;
        Ok(callee.call(&name, &args, &kwargs)?)
    }
}

impl Expr {
    /// The value of the expression; `call` is the call it is an argument of.
    fn evaluate(&self, interpreter: &Interpreter, scope: &Scope, call: &str) -> Result<Value, TtnnError> {
        let all = |items: &[Expr]| -> Result<Vec<Value>, TtnnError> {
            items.iter().map(|item| item.evaluate(interpreter, scope, call)).collect()
        };
        Ok(match self {
            Expr::None => Value::None,
            Expr::Bool(v) => Value::Bool(*v),
            Expr::Int(v) => Value::Int(*v),
            Expr::Float(v) => Value::Float(*v),
            Expr::Str(v) => Value::Str(v.clone()),
            Expr::List(items) => Value::List(all(items)?),
            Expr::Tuple(items) => Value::Tuple(all(items)?),
            Expr::Name(name) => scope.get(call, name)?.into(),
            Expr::Path(path) => interpreter.ttnn().attribute(path)?.into(),
            Expr::Call(nested) => nested.execute(interpreter, scope)?.into(),
        })
    }
}

/// Named values a program works on.
#[derive(Debug, Default)]
pub struct Scope {
    values: HashMap<String, Object>,
}

impl Scope {
    /// Defines or redefines a name.
    pub fn set(&mut self, name: impl Into<String>, value: Object) {
        self.values.insert(name.into(), value);
    }

    /// Forgets a name and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Object> {
        self.values.remove(name)
    }

    /// A name's value; `call` is named in the error.
    ///
    /// # Errors
    /// [`TtnnError::Undefined`].
    pub fn get(&self, call: &str, name: &str) -> Result<&Object, TtnnError> {
        self.values.get(name).ok_or_else(|| TtnnError::Undefined { call: call.to_owned(), name: name.to_owned() })
    }
}

/// `targets = call`; no target throws the result away, several unpack it.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Names for the results.
    pub targets: Vec<String>,
    /// The call.
    pub call: PyCall,
}

impl Statement {
    /// A statement with targets.
    pub fn new<T: Into<String>>(targets: impl IntoIterator<Item = T>, call: PyCall) -> Statement {
        Statement { targets: targets.into_iter().map(Into::into).collect(), call }
    }

    /// Executes the call and defines its targets.
    ///
    /// # Errors
    /// As [`PyCall::execute`]; a number of results other than the number of targets.
    pub fn execute(&self, interpreter: &Interpreter, scope: &mut Scope) -> Result<(), TtnnError> {
        let result = self.call.execute(interpreter, scope)?;
        match self.targets.as_slice() {
            [] => {}
            [target] => scope.set(target, result),
            targets => {
                let results = if result.is_sequence()? { result.items()? } else { vec![result] };
                if results.len() != targets.len() {
                    let (results, targets) = (results.len(), targets.len());
                    return Err(TtnnError::ResultCount { call: self.call.name(), results, targets });
                }
                for (target, value) in targets.iter().zip(results) {
                    scope.set(target, value);
                }
            }
        }
        Ok(())
    }
}
