/* The avx512vnni level of the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_avx512vnni(sl_kernels *k) {
    (void)k;
}
