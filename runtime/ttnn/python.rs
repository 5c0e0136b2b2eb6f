//! The embedded interpreter: starting it, calling it, and values that cross.
//!
//! A process starts one interpreter and keeps it until it ends: neither CPython's extension modules nor TT-NN survive being started twice.
//! Objects may be used from any thread; the shim takes the GIL for every operation.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use cxx::UniquePtr;

use crate::bridge::ffi;
use crate::environment::PythonEnv;
use crate::error::{PythonError, TtnnError};
use crate::{kernels, note, record};

/// An owned reference to a Python object. Cloning takes another reference; dropping gives it back.
pub struct Object {
    handle: UniquePtr<ffi::Handle>,
}

/// A value passed to Python or got back from it.
#[derive(Debug, Clone)]
pub enum Value {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// `int` of at most 64 bits.
    Int(i64),
    /// `float`.
    Float(f64),
    /// `str`.
    Str(String),
    /// `list`.
    List(Vec<Value>),
    /// `tuple`.
    Tuple(Vec<Value>),
    /// Anything else: tensors, devices, config objects, functions.
    Object(Object),
}

/// Set when TT-NN has given up waiting for the card.
static HANGS: AtomicBool = AtomicBool::new(false);

/// True when the card has stopped answering in this process.
pub(crate) fn card_hangs() -> bool {
    HANGS.load(Ordering::Relaxed)
}

fn done<T>(context: &str, result: Result<T, cxx::Exception>) -> Result<T, PythonError> {
    result.map_err(|thrown| PythonError::from_shim(context, thrown.what()))
}

fn own(context: &str, result: Result<UniquePtr<ffi::Handle>, cxx::Exception>) -> Result<Object, PythonError> {
    done(context, result).map(|handle| Object { handle })
}

impl Object {
    /// The attribute at a dotted path: `object.attribute("a.b")` is `object.a.b`.
    ///
    /// # Errors
    /// Python's `AttributeError`, naming the path.
    pub fn attribute(&self, path: &str) -> Result<Object, PythonError> {
        let mut names = path.split('.');
        let first = names.next().unwrap_or_default();
        let mut object = own(path, ffi::attribute(&self.handle, first))?;
        for name in names {
            object = own(path, ffi::attribute(&object.handle, name))?;
        }
        Ok(object)
    }

    /// Calls the object. `context` names the call in an error.
    ///
    /// # Errors
    /// The exception that the callee raises.
    pub fn call(&self, context: &str, args: &[Value], kwargs: &[(&str, Value)]) -> Result<Object, PythonError> {
        let list = own(context, ffi::make_list())?;
        for arg in args {
            done(context, ffi::list_append(&list.handle, &Object::from_value(arg)?.handle))?;
        }
        let tuple = own(context, ffi::list_to_tuple(&list.handle))?;
        let dict = own(context, ffi::make_dict())?;
        for (name, value) in kwargs {
            done(context, ffi::dict_set(&dict.handle, name, &Object::from_value(value)?.handle))?;
        }
        let under_way = note::call(context);
        let result = own(context, ffi::call(&self.handle, &tuple.handle, &dict.handle));
        drop(under_way);
        if result.as_ref().is_err_and(PythonError::is_hang) {
            HANGS.store(true, Ordering::Relaxed);
        }
        let result = result?;
        record::note(context, args, kwargs, &result);
        Ok(result)
    }

    /// Python's `id(object)`: the same for every reference to one object.
    pub(crate) fn identity(&self) -> usize {
        ffi::identity(&self.handle)
    }

    /// Calls the attribute at a dotted path.
    ///
    /// # Errors
    /// A missing attribute, or whatever the callee raises.
    pub fn call_method(&self, path: &str, args: &[Value], kwargs: &[(&str, Value)]) -> Result<Object, PythonError> {
        self.attribute(path)?.call(path, args, kwargs)
    }

    /// The Python object of a value.
    ///
    /// # Errors
    /// Only when Python is out of memory.
    pub fn from_value(value: &Value) -> Result<Object, PythonError> {
        match value {
            Value::None => own("None", ffi::make_none()),
            Value::Bool(v) => own("bool", ffi::make_bool(*v)),
            Value::Int(v) => own("int", ffi::make_int(*v)),
            Value::Float(v) => own("float", ffi::make_float(*v)),
            Value::Str(v) => own("str", ffi::make_str(v)),
            Value::List(items) => Object::list(items),
            Value::Tuple(items) => {
                let list = Object::list(items)?;
                own("tuple", ffi::list_to_tuple(&list.handle))
            }
            Value::Object(object) => own("reference", ffi::share(&object.handle)),
        }
    }

    fn list(items: &[Value]) -> Result<Object, PythonError> {
        let list = own("list", ffi::make_list())?;
        for item in items {
            done("list", ffi::list_append(&list.handle, &Object::from_value(item)?.handle))?;
        }
        Ok(list)
    }

    /// The object as a value: plain data converted, lists and tuples item by item, everything else kept as an object.
    ///
    /// # Errors
    /// An integer beyond 64 bits.
    pub fn to_value(&self) -> Result<Value, PythonError> {
        Ok(match done("kind", ffi::kind(&self.handle))? {
            ffi::Kind::None => Value::None,
            ffi::Kind::Bool => Value::Bool(done("bool", ffi::as_bool(&self.handle))?),
            ffi::Kind::Int => Value::Int(self.to_int()?),
            ffi::Kind::Float => Value::Float(self.to_float()?),
            ffi::Kind::Str => Value::Str(self.to_text()?),
            ffi::Kind::List => Value::List(self.values()?),
            ffi::Kind::Tuple => Value::Tuple(self.values()?),
            _ => Value::Object(self.clone_reference()?),
        })
    }

    fn values(&self) -> Result<Vec<Value>, PythonError> {
        self.items()?.iter().map(Object::to_value).collect()
    }

    /// The items of a sequence.
    ///
    /// # Errors
    /// `TypeError` when the object is no sequence.
    pub fn items(&self) -> Result<Vec<Object>, PythonError> {
        let length = done("len", ffi::length(&self.handle))?;
        (0..length).map(|i| own("item", ffi::item(&self.handle, i))).collect()
    }

    /// True for a list or a tuple.
    ///
    /// # Errors
    /// Only what Python's `isinstance` may raise.
    pub fn is_sequence(&self) -> Result<bool, PythonError> {
        let kind = done("kind", ffi::kind(&self.handle))?;
        Ok(kind == ffi::Kind::List || kind == ffi::Kind::Tuple)
    }

    /// True for `None`.
    ///
    /// # Errors
    /// Only what Python's `isinstance` may raise.
    pub fn is_none(&self) -> Result<bool, PythonError> {
        Ok(done("kind", ffi::kind(&self.handle))? == ffi::Kind::None)
    }

    /// Truth as Python's `bool(object)`.
    ///
    /// # Errors
    /// The exception that the object's `__bool__` raises.
    pub fn to_bool(&self) -> Result<bool, PythonError> {
        done("bool", ffi::as_bool(&self.handle))
    }

    /// An integer of at most 64 bits.
    ///
    /// # Errors
    /// `TypeError` or `OverflowError`.
    pub fn to_int(&self) -> Result<i64, PythonError> {
        done("int", ffi::as_int(&self.handle))
    }

    /// A float.
    ///
    /// # Errors
    /// `TypeError`.
    pub fn to_float(&self) -> Result<f64, PythonError> {
        done("float", ffi::as_float(&self.handle))
    }

    /// `str(object)`.
    ///
    /// # Errors
    /// The exception that the object's `__str__` raises.
    pub fn to_text(&self) -> Result<String, PythonError> {
        done("str", ffi::as_str(&self.handle))
    }

    /// Another reference to the same object.
    ///
    /// # Errors
    /// Never in practice: taking a reference does not allocate in Python.
    pub fn clone_reference(&self) -> Result<Object, PythonError> {
        own("reference", ffi::share(&self.handle))
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        match self.clone_reference() {
            Ok(object) => object,
            Err(error) => unreachable!("taking a reference to a live object cannot fail: {error}"),
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_text().unwrap_or_else(|error| error.to_string());
        write!(f, "Object({text})")
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(object)
    }
}

impl From<&Object> for Value {
    fn from(object: &Object) -> Self {
        Value::Object(object.clone())
    }
}

/// Number of Python references that [`Object`]s of this process hold: constant over any balanced piece of work.
pub fn live_objects() -> usize {
    ffi::live_handles()
}

/// The running interpreter with TT-NN imported.
#[derive(Debug)]
pub struct Interpreter {
    executable: PathBuf,
    ttnn: Object,
    json: Object,
    kernels: OnceLock<Object>,
}

static RUNNING: OnceLock<Interpreter> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// Variables that keep TT-NN's start from printing and from leaving files behind. A variable the user has set stays as it is.
pub(crate) const QUIET: [(&str, &str); 4] = [
    // Errors reach us as exceptions; the log would repeat them on stdout.
    ("TT_LOGGER_LEVEL", "off"),
    ("LOGURU_LEVEL", "ERROR"),
    ("TT_METAL_DISABLE_BACKTRACE", "1"),
    // The bundled Open MPI leaves 16 MB in shared memory for every process that ends; one process has nobody to share with.
    ("OMPI_MCA_btl", "self"),
];

impl Interpreter {
    /// Starts `env`'s interpreter and imports TT-NN, or returns the one that runs already.
    ///
    /// Where torch is missing, an empty module with a `Tensor` class takes its name: TT-NN's Python wrappers ask whether arguments are torch
    /// tensors while a graph is captured.
    ///
    /// # Errors
    /// libpython cannot be loaded, TT-NN cannot be imported, or another interpreter runs.
    pub fn start(env: &PythonEnv) -> Result<&'static Interpreter, TtnnError> {
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = RUNNING.get() {
            return if running.executable == env.executable {
                Ok(running)
            } else {
                Err(TtnnError::InterpreterRuns { running: running.executable.clone(), wanted: env.executable.clone() })
            };
        }
        let interpreter = Interpreter::boot(env)?;
        Ok(RUNNING.get_or_init(|| interpreter))
    }

    /// Whether one runs in this process.
    pub(crate) fn runs() -> bool {
        RUNNING.get().is_some()
    }

    fn boot(env: &PythonEnv) -> Result<Interpreter, TtnnError> {
        for (name, value) in QUIET {
            if std::env::var_os(name).is_none() {
                done(name, ffi::set_environment(name, value))?;
            }
        }
        let started = ffi::start(&env.libpython.display().to_string(), &env.executable.display().to_string());
        done("", started)
            .map_err(|error| TtnnError::Library { library: env.libpython.clone(), reason: error.message })?;
        own("site", ffi::import_module("site"))?.call_method(
            "addsitedir",
            &[Value::Str(env.site_packages.display().to_string())],
            &[],
        )?;
        let importing = note::call("import ttnn");
        let ttnn = own("import ttnn", ffi::import_module("ttnn"))?;
        drop(importing);
        let json = own("import json", ffi::import_module("json"))?;
        stand_in_for_torch()?;
        Ok(Interpreter { executable: env.executable.clone(), ttnn, json, kernels: OnceLock::new() })
    }

    /// The `ttnn` module.
    pub fn ttnn(&self) -> &Object {
        &self.ttnn
    }

    /// The module of `kernels.rs`, made when it is first asked for.
    ///
    /// # Errors
    /// Whatever its source raises.
    pub fn kernels(&self) -> Result<&Object, PythonError> {
        match self.kernels.get() {
            Some(module) => Ok(module),
            None => {
                let module = self.module("bitnetc_kernels", &format!("import ttnn\n{}", kernels::python()))?;
                Ok(self.kernels.get_or_init(|| module))
            }
        }
    }

    /// `json.dumps(object)`: one conversion for deep structures of plain data.
    ///
    /// # Errors
    /// `TypeError` when the object holds anything else.
    pub fn to_json(&self, object: &Object) -> Result<String, PythonError> {
        self.json.call_method("dumps", &[object.into()], &[])?.to_text()
    }

    /// A new module of this source. It is the caller's alone: nothing can import it.
    ///
    /// # Errors
    /// Whatever the source raises.
    pub fn module(&self, name: &str, source: &str) -> Result<Object, PythonError> {
        let module = self.import("types")?.call_method("ModuleType", &[Value::Str(name.into())], &[])?;
        let names = module.attribute("__dict__")?;
        self.import("builtins")?.call_method("exec", &[Value::Str(source.into()), names.into()], &[])?;
        Ok(module)
    }

    /// Imports a module.
    ///
    /// # Errors
    /// `ModuleNotFoundError` and whatever the module's own code raises.
    pub fn import(&self, name: &str) -> Result<Object, PythonError> {
        own(&format!("import {name}"), ffi::import_module(name))
    }
}

fn stand_in_for_torch() -> Result<(), PythonError> {
    let find = own("import importlib.util", ffi::import_module("importlib.util"))?;
    if !find.call_method("find_spec", &[Value::Str("torch".into())], &[])?.is_none()? {
        return Ok(());
    }
    let types = own("import types", ffi::import_module("types"))?;
    let torch = types.call_method("ModuleType", &[Value::Str("torch".into())], &[])?;
    let tensor = types.call_method("new_class", &[Value::Str("Tensor".into())], &[])?;
    torch.call_method("__setattr__", &[Value::Str("Tensor".into()), tensor.into()], &[])?;
    let sys = own("import sys", ffi::import_module("sys"))?;
    sys.call_method("modules.__setitem__", &[Value::Str("torch".into()), torch.into()], &[])?;
    Ok(())
}

/// Sets a variable for TT-NN's C++ libraries.
pub(crate) fn set_variable(name: &str, value: &str) -> Result<(), PythonError> {
    done(name, ffi::set_environment(name, value))
}

/// Unsets a variable for TT-NN's C++ libraries.
pub(crate) fn unset_variable(name: &str) -> Result<(), PythonError> {
    done(name, ffi::unset_environment(name))
}
