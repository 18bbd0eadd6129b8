/* The generic float product at the avx2 level. */
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avx2
#define TILE_ROWS 5
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5)
#define DIRECT_ROWS 4
#define DIRECT_CASES(X) X(1) X(2) X(3) X(4)
#include "kernels/x86/mul_f32.inc.h"
