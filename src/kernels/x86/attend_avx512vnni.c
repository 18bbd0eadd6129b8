/* Attention over codes at the avx512vnni level: the avx512 tiles, with dpbusd. */
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512vnni
#define TILE_PAIRS 6
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define SCORE_PAGES 1
#define CHUNK 4
#define ATTEND_VNNI 1
#include "kernels/x86/attend.inc.h"
