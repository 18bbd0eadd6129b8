/* Peak rates of the avx512 level: 512 bits, maddubs. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512
#define PEAK_VNNI 0
#include "kernels/x86/peak.inc.h"
