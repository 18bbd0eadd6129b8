/* The products on tiles, emulated, with the vector words of avx512bf16. */
#include "kernels/x86/vec_avx512.h"

#include "amx_emulated.h"
#include "amx_table.h"

#define LEVEL(name) name##_emulated_avx512bf16
#include "kernels/x86/product_amx.inc.h"
