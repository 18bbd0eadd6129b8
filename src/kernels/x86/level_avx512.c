/* The avx512 level of the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_avx512(sl_kernels *k) {
    (void)k;
}
