/* What the avx512bf16 level adds to the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_avx512bf16(sl_kernels *k) {
    sl_product_bf16_fill_avx512bf16(k);
}
