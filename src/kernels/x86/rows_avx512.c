/* Row kernels at the avx512 level. */
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512
#include "kernels/x86/rows.inc.h"
