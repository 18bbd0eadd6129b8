/* Attention over codes at the avxvnni level: the avx2 tiles, with dpbusd. */
#include "kernels/x86/vec_avx2.h"

#define LEVEL(name) name##_avxvnni
#define TILE_PAIRS 4
#define TILE_CASES(X) X(1) X(2) X(3) X(4)
#define SCORE_PAGES 1
#define CHUNK 2
#define ATTEND_VNNI 1
#include "kernels/x86/attend.inc.h"
