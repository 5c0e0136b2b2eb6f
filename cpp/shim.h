// The C++ side of runtime/ttnn/bridge.rs: generic calls into an embedded Python.
//
// Every function takes the GIL itself and may be called from any thread once
// `start` has returned. A failure is thrown as std::runtime_error whose text is
// the Python exception's type name, a newline, and its message; failures of the
// loader have an empty type name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "python_api.h"
#include "rust/cxx.h"

namespace bitnetc::python {

enum class Kind : std::uint8_t;

// One owned reference. Destroying it gives the reference back under the GIL.
class Handle {
public:
    explicit Handle(PyObject* owned) noexcept;
    ~Handle();
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    PyObject* get() const noexcept { return object_; }

private:
    PyObject* object_;
};

// Loads libpython and starts the interpreter as if `program` (a python
// executable, in a virtual environment or not) had been run. Once per process.
void start(rust::Str libpython, rust::Str program);

// setenv and unsetenv. C++ libraries read the environment through getenv, so
// Python's os.environ alone would not reach them.
void set_environment(rust::Str name, rust::Str value);
void unset_environment(rust::Str name);

// Loads a library whose functions go before those of all libraries loaded later.
void load_before(rust::Str library);
// Whether a loaded library, or any in the global scope when it has no name, defines a symbol.
bool defines(rust::Str library, rust::Str symbol) noexcept;

std::unique_ptr<Handle> import_module(rust::Str name);
std::unique_ptr<Handle> attribute(const Handle& object, rust::Str name);
// `arguments` is a list or tuple, `keywords` a dict.
std::unique_ptr<Handle> call(const Handle& callee, const Handle& arguments, const Handle& keywords);
std::unique_ptr<Handle> share(const Handle& object);

std::unique_ptr<Handle> make_none();
std::unique_ptr<Handle> make_bool(bool value);
std::unique_ptr<Handle> make_int(std::int64_t value);
std::unique_ptr<Handle> make_float(double value);
std::unique_ptr<Handle> make_str(rust::Str value);
std::unique_ptr<Handle> make_list();
std::unique_ptr<Handle> make_dict();
void list_append(const Handle& list, const Handle& item);
std::unique_ptr<Handle> list_to_tuple(const Handle& list);
void dict_set(const Handle& dict, rust::Str key, const Handle& value);

Kind kind(const Handle& object);
bool as_bool(const Handle& object);
std::int64_t as_int(const Handle& object);
double as_float(const Handle& object);
// str(object)
rust::String as_str(const Handle& object);
std::size_t length(const Handle& object);
std::unique_ptr<Handle> item(const Handle& object, std::size_t index);

// Python's id(object).
std::size_t identity(const Handle& object) noexcept;

// Handles alive in this process, for leak tests.
std::size_t live_handles() noexcept;

}  // namespace bitnetc::python
