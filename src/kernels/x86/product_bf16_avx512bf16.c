/* The bf16 product at the avx512bf16 level. */
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512bf16
#define TILE_ROWS 12
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#include "kernels/x86/product_bf16.inc.h"
