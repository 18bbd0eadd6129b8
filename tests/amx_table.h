/* The products on tiles, emulated: for kernel tables of machines without AMX. */
#ifndef SL_TESTS_AMX_TABLE_H
#define SL_TESTS_AMX_TABLE_H

#include "kernels/kernels.h"

/* The emulations, see amx_emulated.h; NULL of those that this build or this machine has not. Each
 * sets k->amx alone. */
#define AMX_EMULATIONS 2
typedef void (*amx_fill_fn)(sl_kernels *k);
amx_fill_fn amx_emulation(uint32_t i);
sl_isa amx_emulation_isa(uint32_t i); /* whose vector words it uses */

void sl_product_amx_fill_emulated_avx2(sl_kernels *k);
void sl_product_amx_fill_emulated_avx512bf16(sl_kernels *k);

#endif
