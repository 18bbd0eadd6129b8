/* Attention at the avx512 level: tiles of 6 pairs x 64 tokens and 6 pairs x 64 elements (24 of 32
 * registers). */
#include "kernels/x86/vec_avx512.h"

#define LEVEL(name) name##_avx512
#define TILE_PAIRS 6
#define TILE_CASES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define SCORE_PAGES 2
#define CHUNK 4
#define ATTEND_VNNI 0
#include "kernels/x86/attend.inc.h"
