/* Peak rates of the avxvnni level: 256 bits, dpbusd in its VEX form. */
#include "kernels/levels.h"
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avxvnni
#define PEAK_VNNI 1
#include "kernels/x86/peak.inc.h"
