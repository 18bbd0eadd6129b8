/* int8 products at the avx512 level: 512 bits, maddubs with 16-bit sums. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512
#define PRODUCT_MANY 0
#define PRODUCT_VNNI 0
#define TILE_ROWS 8
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#include "kernels/x86/product.inc.h"
