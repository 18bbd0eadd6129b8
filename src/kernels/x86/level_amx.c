/* What the amx level adds to the kernel table. */
#include "kernels/levels.h"

void sl_kernels_fill_amx(sl_kernels *k) {
    sl_product_amx_fill_amx(k);
    sl_attend_amx_fill_amx(k);
}
