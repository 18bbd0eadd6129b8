/* The tile words of product_amx.inc.h, as instructions (Intel SDM vol. 1 ch. 18, vol. 2
 * "TDPBF16PS"). The tests have the same words on plain arrays, for machines without AMX. Tiles
 * are named by literal numbers. A thread that has a configuration carries 8 KB more over each
 * switch, so whoever configures releases. */
#ifndef SL_KERNELS_X86_AMX_H
#define SL_KERNELS_X86_AMX_H

#include <immintrin.h>
#include <stdint.h>

/* What LDTILECFG reads: 64 bytes. A tile is `rows` rows of `row_bytes` bytes. */
typedef struct amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_config;
_Static_assert(sizeof(amx_config) == 64, "the processor defines this structure");

/* Memory is as the code before it left it. The intrinsics of gcc do not say that they read
 * memory (a configuration on the stack would be optimised away), so this stands between writing
 * what a tile word reads and the word. */
#define AMX_FENCE() __asm__ volatile("" ::: "memory")

#define AMX_CONFIGURE(config)                                                                      \
    do {                                                                                           \
        AMX_FENCE();                                                                               \
        _tile_loadconfig(config);                                                                  \
    } while (0)
#define AMX_RELEASE() _tile_release()
#define AMX_ZERO(tile) _tile_zero(tile)
#define AMX_LOAD(tile, rows, stride) _tile_loadd(tile, rows, stride)
/* The same for what is not needed in the first-level cache again. */
#define AMX_STREAM(tile, rows, stride) _tile_stream_loadd(tile, rows, stride)
#define AMX_STORE(tile, rows, stride) _tile_stored(tile, rows, stride)
/* sums [m][n] += x [m][k] * w [k][n], k counting pairs of BF16 */
#define AMX_DOT(sums, x, w) _tile_dpbf16ps(sums, x, w)

#endif
