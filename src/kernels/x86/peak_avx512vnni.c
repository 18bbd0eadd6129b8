/* Peak rates of the avx512vnni level: 512 bits, dpbusd. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512vnni
#define PEAK_VNNI 1
#include "kernels/x86/peak.inc.h"
