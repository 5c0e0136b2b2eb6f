// Stands in for the command queue of TT-NN's mock cards, on which traces and events
// crash otherwise. A shared library of its own; see runtime/ttnn/queue.rs.
//
// On a mock a program's kernel binaries have no buffer, so the commands of a trace
// ask a null pointer for its address; and the queue in host memory has room for a few
// bytes, so replays and waits write past its end. TT-NN calls the two functions below
// through the dynamic linker, which takes the first definition in the global scope:
// this one, when it is loaded there before TT-NN is imported.
//
// The names are TT-NN's own, mangled, so they hold for the releases that list them
// (plan/release). Nothing here is for a card or a simulator.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace {

// More than TT-NN reserves at once. Pages that nobody touches take no memory.
constexpr std::size_t queue_bytes = std::size_t{64} << 20;
constexpr std::size_t queue_alignment = 4096;

using Address = std::uint32_t (*)(const void*);

// TT-NN's own function. Its library is loaded when anything calls this one.
Address real_address() {
    void* library = dlopen("libtt_metal.so", RTLD_NOW | RTLD_NOLOAD);
    void* found = library == nullptr ? nullptr : dlsym(library, "_ZNK2tt8tt_metal6Buffer7addressEv");
    if (found == nullptr) {
        std::abort();
    }
    return reinterpret_cast<Address>(found);
}

}  // namespace

extern "C" {

// By this name a process that drives a card finds that the library is in its way.
extern const char bitnetc_queue_stand_in;
const char bitnetc_queue_stand_in = 1;

// tt::tt_metal::Buffer::address() const
std::uint32_t _ZNK2tt8tt_metal6Buffer7addressEv(const void* self) {
    static const Address real = real_address();
    return self == nullptr ? 0 : real(self);
}

// tt::tt_metal::SystemMemoryManager::issue_queue_reserve(unsigned, unsigned char)
void* _ZN2tt8tt_metal19SystemMemoryManager19issue_queue_reserveEjh(void*, std::uint32_t, std::uint8_t) {
    static void* const queue = std::aligned_alloc(queue_alignment, queue_bytes);
    return queue;
}

}  // extern "C"
