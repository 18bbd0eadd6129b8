/* Attention on tiles at the amx level. */
#include "kernels/x86/vec_avx512.h"

#include "kernels/x86/amx.h"

#define LEVEL(name) name##_amx
#include "kernels/x86/attend_amx.inc.h"
