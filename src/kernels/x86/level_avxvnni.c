/* The avxvnni level of the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_avxvnni(sl_kernels *k) {
    (void)k;
}
