/* What the avx512 level adds to the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_avx512(sl_kernels *k) {
    sl_product_fill_avx512(k);
    sl_mul_f32_fill_avx512(k);
    sl_product_plain_fill_avx512(k);
    sl_attend_fill_avx512(k);
    sl_rows_fill_avx512(k);
    sl_peak_fill_avx512(k);
}
