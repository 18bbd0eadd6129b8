/* What the avxvnni level adds to the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_avxvnni(sl_kernels *k) {
    sl_product_fill_avxvnni(k);
    sl_attend_fill_avxvnni(k);
    sl_peak_fill_avxvnni(k);
}
