#include "python_api.h"

#include <dlfcn.h>

#include <stdexcept>

namespace bitnetc::python {

namespace {

void* symbol(void* library, const char* name) {
    dlerror();
    void* address = dlsym(library, name);
    if (address == nullptr) {
        const char* reason = dlerror();
        throw std::runtime_error(reason != nullptr ? reason : std::string("no symbol ") + name);
    }
    return address;
}

}  // namespace

Api load_api(const std::string& libpython) {
    // Extension modules do not link libpython themselves: they expect its symbols
    // in the global scope, as an ordinary `python` executable gives them.
    void* library = dlopen(libpython.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) {
        const char* reason = dlerror();
        throw std::runtime_error(reason != nullptr ? reason : "dlopen failed");
    }
    Api api;
#define BITNETC_RESOLVE(name, result, parameters) \
    api.name = reinterpret_cast<result(*) parameters>(symbol(library, #name));
    BITNETC_PYTHON_FUNCTIONS(BITNETC_RESOLVE)
#undef BITNETC_RESOLVE
#define BITNETC_RESOLVE(name) api.name = static_cast<PyObject*>(symbol(library, #name));
    BITNETC_PYTHON_OBJECTS(BITNETC_RESOLVE)
#undef BITNETC_RESOLVE
    return api;
}

}  // namespace bitnetc::python
