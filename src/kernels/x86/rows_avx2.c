/* Row kernels at the avx2 level. */
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avx2
#include "kernels/x86/rows.inc.h"
