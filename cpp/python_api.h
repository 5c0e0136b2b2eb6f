// CPython's stable ABI, looked up in a libpython chosen at run time.
//
// Nothing here needs Python's headers: objects stay opaque and only functions and
// singletons that PEP 384 promises for every 3.x are used, so one binary serves
// every interpreter that TT-NN has a wheel for.
#pragma once

#include <cstddef>
#include <string>

namespace bitnetc::python {

struct PyObject;
struct PyThreadState;

// name, result, parameters
#define BITNETC_PYTHON_FUNCTIONS(X)                                        \
    X(Py_DecodeLocale, wchar_t*, (const char*, std::size_t*))              \
    X(Py_SetProgramName, void, (const wchar_t*))                           \
    X(Py_InitializeEx, void, (int))                                        \
    X(Py_IsInitialized, int, ())                                           \
    X(PyEval_SaveThread, PyThreadState*, ())                               \
    X(PyGILState_Ensure, int, ())                                          \
    X(PyGILState_Release, void, (int))                                     \
    X(Py_IncRef, void, (PyObject*))                                        \
    X(Py_DecRef, void, (PyObject*))                                        \
    X(PyErr_Fetch, void, (PyObject**, PyObject**, PyObject**))             \
    X(PyErr_NormalizeException, void, (PyObject**, PyObject**, PyObject**))\
    X(PyErr_Clear, void, ())                                               \
    X(PyErr_Occurred, PyObject*, ())                                       \
    X(PyImport_ImportModule, PyObject*, (const char*))                     \
    X(PyObject_GetAttrString, PyObject*, (PyObject*, const char*))         \
    X(PyObject_Call, PyObject*, (PyObject*, PyObject*, PyObject*))         \
    X(PyObject_Str, PyObject*, (PyObject*))                                \
    X(PyObject_IsInstance, int, (PyObject*, PyObject*))                    \
    X(PyObject_IsTrue, int, (PyObject*))                                   \
    X(PyBool_FromLong, PyObject*, (long))                                  \
    X(PyLong_FromLongLong, PyObject*, (long long))                         \
    X(PyLong_AsLongLong, long long, (PyObject*))                           \
    X(PyFloat_FromDouble, PyObject*, (double))                             \
    X(PyFloat_AsDouble, double, (PyObject*))                               \
    X(PyUnicode_FromStringAndSize, PyObject*, (const char*, std::ptrdiff_t)) \
    X(PyUnicode_AsUTF8String, PyObject*, (PyObject*))                      \
    X(PyBytes_AsStringAndSize, int, (PyObject*, char**, std::ptrdiff_t*))  \
    X(PySequence_Size, std::ptrdiff_t, (PyObject*))                        \
    X(PySequence_GetItem, PyObject*, (PyObject*, std::ptrdiff_t))          \
    X(PyList_New, PyObject*, (std::ptrdiff_t))                             \
    X(PyList_Append, int, (PyObject*, PyObject*))                          \
    X(PyList_AsTuple, PyObject*, (PyObject*))                              \
    X(PyDict_New, PyObject*, ())                                           \
    X(PyDict_SetItem, int, (PyObject*, PyObject*, PyObject*))

// Objects that live inside libpython. The exported symbol is the object itself.
#define BITNETC_PYTHON_OBJECTS(X) \
    X(_Py_NoneStruct)             \
    X(PyBool_Type)                \
    X(PyLong_Type)                \
    X(PyFloat_Type)               \
    X(PyUnicode_Type)             \
    X(PyList_Type)                \
    X(PyTuple_Type)

// The resolved table. Filled once by `load_api`, read-only afterwards.
struct Api {
#define BITNETC_FIELD(name, result, parameters) result(*name) parameters = nullptr;
    BITNETC_PYTHON_FUNCTIONS(BITNETC_FIELD)
#undef BITNETC_FIELD
#define BITNETC_FIELD(name) PyObject* name = nullptr;
    BITNETC_PYTHON_OBJECTS(BITNETC_FIELD)
#undef BITNETC_FIELD
};

// Opens `libpython` for every later extension module (RTLD_GLOBAL) and fills the
// table. Throws std::runtime_error with the loader's own words.
Api load_api(const std::string& libpython);

}  // namespace bitnetc::python
