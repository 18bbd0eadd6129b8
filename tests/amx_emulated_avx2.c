/* The products on tiles, emulated, with the vector words of avx2. */
#include "kernels/x86/vec_avx2.h"

#include "amx_emulated.h"
#include "amx_table.h"

#define LEVEL(name) name##_emulated_avx2
#include "kernels/x86/product_amx.inc.h"
