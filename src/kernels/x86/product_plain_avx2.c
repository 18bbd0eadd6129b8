/* Products of F32, F16 and BF16 weights at the avx2 level. */
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avx2
#define TILE_ROWS 5
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5)
#include "kernels/x86/product_plain.inc.h"
