/* Attention at the avx2 level: tiles of 4 pairs x 16 tokens and 4 pairs x 16 elements (8 of 16
 * registers). */
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avx2
#define TILE_PAIRS 4
#define TILE_CASES(X) X(1) X(2) X(3) X(4)
#define SCORE_PAGES 1
#define CHUNK 2
#define ATTEND_VNNI 0
#include "kernels/x86/attend.inc.h"
