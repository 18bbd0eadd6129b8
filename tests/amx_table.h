/* The products and attention on tiles for kernel tables of machines without AMX. */
#ifndef SL_TESTS_AMX_TABLE_H
#define SL_TESTS_AMX_TABLE_H

#include "kernels/kernels.h"

/* Ways to have them: emulated words (amx_emulated.h), which every processor with AVX2 can run, and
 * the level's own code with its instructions trapped (amx_trapped.c). */
enum { AMX_WAYS = 2 };
typedef void (*amx_fill_fn)(sl_kernels *k);
/* Sets k->amx and k->attend_amx alone; NULL if this build or this machine cannot. A trapped one
 * catches SIGILL. */
amx_fill_fn amx_way(uint32_t i);
const char *amx_way_name(uint32_t i);

void sl_product_amx_fill_emulated_avx2(sl_kernels *k);
void sl_attend_amx_fill_emulated_avx2(sl_kernels *k);
void sl_amx_fill_emulated_avx2(sl_kernels *k);
void sl_amx_fill_trapped(sl_kernels *k);

#endif
