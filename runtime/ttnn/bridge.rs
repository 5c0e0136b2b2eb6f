//! The boundary between Rust and cpp/: references to Python objects, and the few operations on them that the shim offers.
//!
//! Everything above this file uses [`crate::Object`] and [`crate::Value`]; nothing else calls these functions.

#[cxx::bridge(namespace = "bitnetc::python")]
pub(crate) mod ffi {
    /// The kinds of Python objects that conversions distinguish.
    #[repr(u8)]
    enum Kind {
        None,
        Bool,
        Int,
        Float,
        Str,
        List,
        Tuple,
        Other,
    }

    unsafe extern "C++" {
        include!("shim.h");

        /// One owned reference to a Python object.
        type Handle;

        fn start(libpython: &str, program: &str) -> Result<()>;
        fn set_environment(name: &str, value: &str) -> Result<()>;
        fn unset_environment(name: &str) -> Result<()>;

        fn load_before(library: &str) -> Result<()>;
        fn defines(library: &str, symbol: &str) -> bool;

        fn import_module(name: &str) -> Result<UniquePtr<Handle>>;
        fn attribute(object: &Handle, name: &str) -> Result<UniquePtr<Handle>>;
        fn call(callee: &Handle, arguments: &Handle, keywords: &Handle) -> Result<UniquePtr<Handle>>;
        fn share(object: &Handle) -> Result<UniquePtr<Handle>>;

        fn make_none() -> Result<UniquePtr<Handle>>;
        fn make_bool(value: bool) -> Result<UniquePtr<Handle>>;
        fn make_int(value: i64) -> Result<UniquePtr<Handle>>;
        fn make_float(value: f64) -> Result<UniquePtr<Handle>>;
        fn make_str(value: &str) -> Result<UniquePtr<Handle>>;
        fn make_list() -> Result<UniquePtr<Handle>>;
        fn make_dict() -> Result<UniquePtr<Handle>>;
        fn list_append(list: &Handle, item: &Handle) -> Result<()>;
        fn list_to_tuple(list: &Handle) -> Result<UniquePtr<Handle>>;
        fn dict_set(dict: &Handle, key: &str, value: &Handle) -> Result<()>;

        fn kind(object: &Handle) -> Result<Kind>;
        fn as_bool(object: &Handle) -> Result<bool>;
        fn as_int(object: &Handle) -> Result<i64>;
        fn as_float(object: &Handle) -> Result<f64>;
        fn as_str(object: &Handle) -> Result<String>;
        fn length(object: &Handle) -> Result<usize>;
        fn item(object: &Handle, index: usize) -> Result<UniquePtr<Handle>>;

        fn identity(object: &Handle) -> usize;
        fn live_handles() -> usize;
    }
}

// SAFETY: only the shim reads what a handle points to, and it takes the GIL for every operation, destruction included; the
// pointer in the handle never changes.
unsafe impl Send for ffi::Handle {}
// SAFETY: a shared reference to a handle can only be given to functions of the shim, each of which takes the GIL first.
unsafe impl Sync for ffi::Handle {}
