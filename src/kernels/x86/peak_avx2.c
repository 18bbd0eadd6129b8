/* Peak rates of the avx2 level: 256 bits, maddubs. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avx2
#define PEAK_VNNI 0
#include "kernels/x86/peak.inc.h"
