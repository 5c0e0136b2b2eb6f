// Stands in for the command queue of TT-NN's mock cards, on which traces and events
// crash otherwise. A shared library of its own; see runtime/ttnn/queue.rs.
//
// On a mock a program's kernel binaries have no buffer, so the commands of a trace
// ask a null pointer for its address; the queue in host memory has room for a few
// bytes, so replays and waits write past its end; and nothing is kept of the commands
// of a trace, so it is empty. TT-NN calls the three functions below through the dynamic
// linker, which takes the first definition in the global scope: this one, when it is
// loaded there before TT-NN is imported.
//
// The names are TT-NN's own, mangled, so they hold for the releases that list them
// (plan/release). Nothing here is for a card or a simulator.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace {

// More than TT-NN reserves at once. Pages that nobody touches take no memory.
constexpr std::size_t queue_bytes = std::size_t{64} << 20;
constexpr std::size_t queue_alignment = 4096;

// A function of TT-NN's. Its library is loaded when anything calls those below.
template <typename Function>
Function* real(const char* name) {
    void* library = dlopen("libtt_metal.so", RTLD_NOW | RTLD_NOLOAD);
    void* found = library == nullptr ? nullptr : dlsym(library, name);
    if (found == nullptr) {
        std::abort();
    }
    return reinterpret_cast<Function*>(found);
}

}  // namespace

extern "C" {

// By this name a process that drives a card finds that the library is in its way.
extern const char bitnetc_queue_stand_in;
const char bitnetc_queue_stand_in = 1;

// tt::tt_metal::Buffer::address() const
std::uint32_t _ZNK2tt8tt_metal6Buffer7addressEv(const void* self) {
    static auto* const address = real<std::uint32_t(const void*)>("_ZNK2tt8tt_metal6Buffer7addressEv");
    return self == nullptr ? 0 : address(self);
}

// tt::tt_metal::SystemMemoryManager::issue_queue_reserve(unsigned, unsigned char)
void* _ZN2tt8tt_metal19SystemMemoryManager19issue_queue_reserveEjh(void*, std::uint32_t, std::uint8_t) {
    static void* const queue = std::aligned_alloc(queue_alignment, queue_bytes);
    return queue;
}

// tt::tt_metal::SystemMemoryManager::issue_queue_push_back(unsigned, unsigned char).
// While a trace is captured, its commands go to a vector of 32-bit words that becomes
// the trace's buffer: here it gets their length, so that TT-NN sizes and places the
// trace as on a card. Nobody will read the words.
void _ZN2tt8tt_metal19SystemMemoryManager21issue_queue_push_backEjh(void* self, std::uint32_t bytes, std::uint8_t cq) {
    static auto* const captures = real<bool(const void*)>("_ZNK2tt8tt_metal19SystemMemoryManager15get_bypass_modeEv");
    static auto* const trace =
        real<std::vector<std::uint32_t>&(void*)>("_ZN2tt8tt_metal19SystemMemoryManager15get_bypass_dataEv");
    static auto* const push_back = real<void(void*, std::uint32_t, std::uint8_t)>(
        "_ZN2tt8tt_metal19SystemMemoryManager21issue_queue_push_backEjh");
    if (captures(self)) {
        auto& words = trace(self);
        words.resize(words.size() + bytes / sizeof(std::uint32_t));
    } else {
        push_back(self, bytes, cq);
    }
}

}  // extern "C"
