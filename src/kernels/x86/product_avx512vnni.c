/* int8 products at the avx512vnni level: 512 bits, dpbusd. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512vnni
#define PRODUCT_MANY 1
#define PRODUCT_VNNI 1
#define TILE_ROWS 12
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#include "kernels/x86/product.inc.h"
