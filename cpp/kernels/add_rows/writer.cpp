// The result of `add_rows` stays where it is packed; its buffer is emptied, so that every tile of it can be packed.

#include <cstdint>

#include "api/compile_time_args.h"
#include "api/dataflow/dataflow_api.h"

void kernel_main() {
    constexpr uint32_t sum = get_named_compile_time_arg_val("sum");
    constexpr uint32_t tiles = get_named_compile_time_arg_val("tiles");
    cb_wait_front(sum, tiles);
    cb_pop_front(sum, tiles);
}
