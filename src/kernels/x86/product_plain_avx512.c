/* Products of F32, F16 and BF16 weights at the avx512 level. */
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512
#define TILE_ROWS 12
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#include "kernels/x86/product_plain.inc.h"
