/* The products and attention on tiles, emulated, with the vector words of avx2. */
#include "kernels/x86/vec_avx2.h"

#include "amx_emulated.h"
#include "amx_table.h"

#define LEVEL(name) name##_emulated_avx2
#include "kernels/x86/attend_amx.inc.h"
#include "kernels/x86/product_amx.inc.h"

void sl_amx_fill_emulated_avx2(sl_kernels *k) {
    sl_product_amx_fill_emulated_avx2(k);
    sl_attend_amx_fill_emulated_avx2(k);
}
