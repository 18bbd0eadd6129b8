/* What the avx512vnni level adds to the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_avx512vnni(sl_kernels *k) {
    sl_product_fill_avx512vnni(k);
    sl_attend_fill_avx512vnni(k);
    sl_peak_fill_avx512vnni(k);
}
