/* Which emulations of the products on tiles can run here (amx_table.h). */
#include "amx_table.h"

#if defined(__x86_64__) && !defined(SLUICE_GENERIC)
static const amx_fill_fn fills[AMX_EMULATIONS] = {sl_product_amx_fill_emulated_avx2,
                                                  sl_product_amx_fill_emulated_avx512bf16};
#else
static const amx_fill_fn fills[AMX_EMULATIONS];
#endif

sl_isa amx_emulation_isa(uint32_t i) {
    return i == 0 ? SL_ISA_AVX2 : SL_ISA_AVX512BF16;
}

amx_fill_fn amx_emulation(uint32_t i) {
    return sl_cpu_has(amx_emulation_isa(i)) ? fills[i] : NULL;
}
