/* Which ways to have products on tiles there are here (amx_table.h). */
#include "amx_table.h"

static const struct {
    const char *name;
    sl_isa isa; /* needed */
    amx_fill_fn fill;
} ways[AMX_WAYS] = {
#if defined(__x86_64__) && !defined(SLUICE_GENERIC)
    {"avx2, emulated", SL_ISA_AVX2, sl_amx_fill_emulated_avx2},
    {"amx, trapped", SL_ISA_AVX512BF16, sl_amx_fill_trapped},
#endif
};

amx_fill_fn amx_way(uint32_t i) {
    return sl_cpu_has(ways[i].isa) ? ways[i].fill : NULL;
}

const char *amx_way_name(uint32_t i) {
    return ways[i].name;
}
