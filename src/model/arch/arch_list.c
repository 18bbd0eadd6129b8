#include "model/arch/arch.h"

#define RMS_NORM false
#define LAYER_NORM true
#define X(name, norm, function) {name, norm, sl_arch_##function},

const sl_arch sl_arch_list[] = {
#include "model/arch/arch_list.h"
};
const size_t sl_arch_count = sizeof(sl_arch_list) / sizeof(sl_arch_list[0]);
