#include "model/arch/arch.h"

const sl_arch sl_arch_list[] = {
    {"llama", sl_arch_llama},
};
const size_t sl_arch_count = sizeof(sl_arch_list) / sizeof(sl_arch_list[0]);
