#include "shim.h"

#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "bitnetc-ttnn/bridge.rs.h"

namespace bitnetc::python {

namespace {

Api api;
bool started = false;
std::atomic<std::size_t> live{0};

[[noreturn]] void fail(const std::string& type, const std::string& message) {
    throw std::runtime_error(type + "\n" + message);
}

class Gil {
public:
    Gil() : state_(api.PyGILState_Ensure()) {}
    ~Gil() { api.PyGILState_Release(state_); }
    Gil(const Gil&) = delete;
    Gil& operator=(const Gil&) = delete;

private:
    int state_;
};

// A reference inside one function that already holds the GIL.
class Local {
public:
    explicit Local(PyObject* owned) : object_(owned) {}
    ~Local() { api.Py_DecRef(object_); }
    Local(const Local&) = delete;
    Local& operator=(const Local&) = delete;
    PyObject* get() const { return object_; }

private:
    PyObject* object_;
};

std::string utf8(PyObject* unicode) {
    Local bytes(unicode == nullptr ? nullptr : api.PyUnicode_AsUTF8String(unicode));
    char* data = nullptr;
    std::ptrdiff_t size = 0;
    if (bytes.get() == nullptr || api.PyBytes_AsStringAndSize(bytes.get(), &data, &size) != 0) {
        api.PyErr_Clear();
        return "(text that is not valid Unicode)";
    }
    return std::string(data, static_cast<std::size_t>(size));
}

[[noreturn]] void fail_with_python_error() {
    PyObject* type = nullptr;
    PyObject* value = nullptr;
    PyObject* trace = nullptr;
    api.PyErr_Fetch(&type, &value, &trace);
    if (type == nullptr) {
        fail("SystemError", "a Python call failed without an exception");
    }
    api.PyErr_NormalizeException(&type, &value, &trace);
    Local owned_type(type), owned_value(value), owned_trace(trace);
    Local name(api.PyObject_GetAttrString(type, "__name__"));
    Local text(value == nullptr ? nullptr : api.PyObject_Str(value));
    api.PyErr_Clear();
    std::string type_name = utf8(name.get());
    fail(type_name, text.get() == nullptr ? "(an exception without text)" : utf8(text.get()));
}

std::unique_ptr<Handle> take(PyObject* owned) {
    if (owned == nullptr) {
        fail_with_python_error();
    }
    return std::make_unique<Handle>(owned);
}

bool is_a(PyObject* object, PyObject* type) {
    const int answer = api.PyObject_IsInstance(object, type);
    if (answer < 0) {
        fail_with_python_error();
    }
    return answer == 1;
}

PyObject* text_object(rust::Str text) {
    return api.PyUnicode_FromStringAndSize(text.data(), static_cast<std::ptrdiff_t>(text.size()));
}

}  // namespace

Handle::Handle(PyObject* owned) noexcept : object_(owned) { live.fetch_add(1, std::memory_order_relaxed); }

Handle::~Handle() {
    Gil gil;
    api.Py_DecRef(object_);
    live.fetch_sub(1, std::memory_order_relaxed);
}

void start(rust::Str libpython, rust::Str program) {
    if (started) {
        fail("", "a Python interpreter already runs in this process");
    }
    try {
        api = load_api(std::string(libpython));
    } catch (const std::runtime_error& error) {
        fail("", error.what());
    }
    // The program's path is how Python finds its library and a virtual
    // environment's packages. It must stay valid for the life of the process.
    wchar_t* wide = api.Py_DecodeLocale(std::string(program).c_str(), nullptr);
    if (wide == nullptr) {
        fail("", "the interpreter's path cannot be decoded in this locale");
    }
    api.Py_SetProgramName(wide);
    // 0: signal handlers stay the host program's.
    api.Py_InitializeEx(0);
    if (api.Py_IsInitialized() == 0) {
        fail("", "Python did not start");
    }
    api.PyEval_SaveThread();
    started = true;
}

void set_environment(rust::Str name, rust::Str value) {
    if (setenv(std::string(name).c_str(), std::string(value).c_str(), 1) != 0) {
        fail("", std::string("setenv: ") + std::strerror(errno));
    }
}

void unset_environment(rust::Str name) {
    if (unsetenv(std::string(name).c_str()) != 0) {
        fail("", std::string("unsetenv: ") + std::strerror(errno));
    }
}

void load_before(rust::Str library) {
    if (dlopen(std::string(library).c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
        const char* reason = dlerror();
        fail("", reason != nullptr ? reason : "dlopen failed");
    }
}

bool defines(rust::Str library, rust::Str symbol) noexcept {
    const std::string name(library);
    // Without a name dlopen answers for the global scope.
    void* loaded = dlopen(name.empty() ? nullptr : name.c_str(), RTLD_NOW | RTLD_NOLOAD);
    return loaded != nullptr && dlsym(loaded, std::string(symbol).c_str()) != nullptr;
}

std::unique_ptr<Handle> import_module(rust::Str name) {
    Gil gil;
    return take(api.PyImport_ImportModule(std::string(name).c_str()));
}

std::unique_ptr<Handle> attribute(const Handle& object, rust::Str name) {
    Gil gil;
    return take(api.PyObject_GetAttrString(object.get(), std::string(name).c_str()));
}

std::unique_ptr<Handle> call(const Handle& callee, const Handle& arguments, const Handle& keywords) {
    Gil gil;
    return take(api.PyObject_Call(callee.get(), arguments.get(), keywords.get()));
}

std::unique_ptr<Handle> share(const Handle& object) {
    Gil gil;
    api.Py_IncRef(object.get());
    return take(object.get());
}

std::unique_ptr<Handle> make_none() {
    Gil gil;
    api.Py_IncRef(api._Py_NoneStruct);
    return take(api._Py_NoneStruct);
}

std::unique_ptr<Handle> make_bool(bool value) {
    Gil gil;
    return take(api.PyBool_FromLong(value ? 1 : 0));
}

std::unique_ptr<Handle> make_int(std::int64_t value) {
    Gil gil;
    return take(api.PyLong_FromLongLong(value));
}

std::unique_ptr<Handle> make_float(double value) {
    Gil gil;
    return take(api.PyFloat_FromDouble(value));
}

std::unique_ptr<Handle> make_str(rust::Str value) {
    Gil gil;
    return take(text_object(value));
}

std::unique_ptr<Handle> make_list() {
    Gil gil;
    return take(api.PyList_New(0));
}

std::unique_ptr<Handle> make_dict() {
    Gil gil;
    return take(api.PyDict_New());
}

void list_append(const Handle& list, const Handle& item) {
    Gil gil;
    if (api.PyList_Append(list.get(), item.get()) != 0) {
        fail_with_python_error();
    }
}

std::unique_ptr<Handle> list_to_tuple(const Handle& list) {
    Gil gil;
    return take(api.PyList_AsTuple(list.get()));
}

void dict_set(const Handle& dict, rust::Str key, const Handle& value) {
    Gil gil;
    Local name(text_object(key));
    if (name.get() == nullptr || api.PyDict_SetItem(dict.get(), name.get(), value.get()) != 0) {
        fail_with_python_error();
    }
}

Kind kind(const Handle& object) {
    Gil gil;
    PyObject* raw = object.get();
    if (raw == api._Py_NoneStruct) {
        return Kind::None;
    }
    // bool is a subclass of int, so it is asked for first.
    if (is_a(raw, api.PyBool_Type)) {
        return Kind::Bool;
    }
    if (is_a(raw, api.PyLong_Type)) {
        return Kind::Int;
    }
    if (is_a(raw, api.PyFloat_Type)) {
        return Kind::Float;
    }
    if (is_a(raw, api.PyUnicode_Type)) {
        return Kind::Str;
    }
    if (is_a(raw, api.PyList_Type)) {
        return Kind::List;
    }
    if (is_a(raw, api.PyTuple_Type)) {
        return Kind::Tuple;
    }
    return Kind::Other;
}

bool as_bool(const Handle& object) {
    Gil gil;
    const int answer = api.PyObject_IsTrue(object.get());
    if (answer < 0) {
        fail_with_python_error();
    }
    return answer == 1;
}

std::int64_t as_int(const Handle& object) {
    Gil gil;
    const long long value = api.PyLong_AsLongLong(object.get());
    if (value == -1 && api.PyErr_Occurred() != nullptr) {
        fail_with_python_error();
    }
    return value;
}

double as_float(const Handle& object) {
    Gil gil;
    const double value = api.PyFloat_AsDouble(object.get());
    if (value == -1.0 && api.PyErr_Occurred() != nullptr) {
        fail_with_python_error();
    }
    return value;
}

rust::String as_str(const Handle& object) {
    Gil gil;
    Local text(api.PyObject_Str(object.get()));
    if (text.get() == nullptr) {
        fail_with_python_error();
    }
    return rust::String::lossy(utf8(text.get()));
}

std::size_t length(const Handle& object) {
    Gil gil;
    const std::ptrdiff_t size = api.PySequence_Size(object.get());
    if (size < 0) {
        fail_with_python_error();
    }
    return static_cast<std::size_t>(size);
}

std::unique_ptr<Handle> item(const Handle& object, std::size_t index) {
    Gil gil;
    return take(api.PySequence_GetItem(object.get(), static_cast<std::ptrdiff_t>(index)));
}

std::size_t identity(const Handle& object) noexcept { return reinterpret_cast<std::size_t>(object.get()); }

std::size_t live_handles() noexcept { return live.load(std::memory_order_relaxed); }

}  // namespace bitnetc::python
