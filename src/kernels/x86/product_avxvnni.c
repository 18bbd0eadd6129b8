/* int8 products at the avxvnni level: 256 bits, dpbusd in its VEX form. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avxvnni
#define PRODUCT_MANY 0
#define PRODUCT_VNNI 1
#define TILE_ROWS 4
#define TILE_CASES(X) X(1) X(2) X(3) X(4)
#include "kernels/x86/product.inc.h"
