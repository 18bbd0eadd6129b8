/* int8 products at the avx2 level: 256 bits, maddubs with 16-bit sums. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avx2
#define PRODUCT_MANY 0
#define PRODUCT_VNNI 0
#define TILE_ROWS 4
#define TILE_CASES(X) X(1) X(2) X(3) X(4)
#include "kernels/x86/product.inc.h"
