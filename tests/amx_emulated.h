/* The tile words of kernels/x86/amx.h on plain arrays, so that the products on tiles run, and are
 * checked, on machines without AMX. Included by amx_emulated_<isa>.c in place of amx.h, and by
 * amx_trapped.c. What the processor would answer with a fault ends the program. */
#ifndef SL_TESTS_AMX_EMULATED_H
#define SL_TESTS_AMX_EMULATED_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/x86/amx.h"
#include "quant/half.h"

#undef AMX_FENCE
#undef AMX_CONFIGURE
#undef AMX_RELEASE
#undef AMX_ZERO
#undef AMX_LOAD
#undef AMX_STREAM
#undef AMX_STORE
#undef AMX_DOT
#define AMX_FENCE()
#define AMX_CONFIGURE(config) emulated_configure(config)
#define AMX_RELEASE() emulated_release()
#define AMX_ZERO(tile) emulated_zero(tile)
#define AMX_LOAD(tile, rows, stride) emulated_load(tile, rows, stride)
#define AMX_STREAM(tile, rows, stride) emulated_load(tile, rows, stride)
#define AMX_STORE(tile, rows, stride) emulated_store(tile, rows, stride)
#define AMX_DOT(sums, x, w) emulated_dot(sums, x, w)

enum { EMULATED_TILES = 8, EMULATED_ROWS = 16, EMULATED_ROW_BYTES = 64 };

typedef struct emulated_tile {
    uint32_t n_rows, row_bytes; /* 0 rows: not configured */
    uint8_t rows[EMULATED_ROWS][EMULATED_ROW_BYTES];
} emulated_tile;

static _Thread_local emulated_tile emulated_tiles[EMULATED_TILES];

static void emulated_require(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "emulated AMX: %s\n", what);
        abort();
    }
}

static emulated_tile *emulated_at(uint32_t tile) {
    emulated_require(tile < EMULATED_TILES && emulated_tiles[tile].n_rows > 0,
                     "a tile is used that is not configured");
    return &emulated_tiles[tile];
}

static void emulated_configure(const amx_config *c) {
    emulated_require(c->palette == 1 && c->start_row == 0, "unknown palette or start row");
    for (uint32_t i = 0; i < sizeof(c->reserved); i++) {
        emulated_require(c->reserved[i] == 0, "a reserved byte is set");
    }
    memset(emulated_tiles, 0, sizeof(emulated_tiles));
    for (uint32_t i = 0; i < 16; i++) {
        const uint32_t most = i < EMULATED_TILES ? EMULATED_ROWS : 0;
        emulated_require(c->rows[i] <= most && c->row_bytes[i] <= 4 * most &&
                             (c->rows[i] == 0) == (c->row_bytes[i] == 0),
                         "a tile has no such shape");
        if (i < EMULATED_TILES) {
            emulated_tiles[i].n_rows = c->rows[i];
            emulated_tiles[i].row_bytes = c->row_bytes[i];
        }
    }
}

static void emulated_release(void) {
    memset(emulated_tiles, 0, sizeof(emulated_tiles));
}

static void emulated_zero(uint32_t tile) {
    memset(emulated_at(tile)->rows, 0, sizeof(emulated_tiles[0].rows));
}

static void emulated_load(uint32_t tile, const void *from, size_t stride) {
    emulated_tile *t = emulated_at(tile);
    emulated_zero(tile);
    for (uint32_t r = 0; r < t->n_rows; r++) {
        memcpy(t->rows[r], (const uint8_t *)from + r * stride, t->row_bytes);
    }
}

static void emulated_store(uint32_t tile, void *to, size_t stride) {
    const emulated_tile *t = emulated_at(tile);
    for (uint32_t r = 0; r < t->n_rows; r++) {
        memcpy((uint8_t *)to + r * stride, t->rows[r], t->row_bytes);
    }
}

static float emulated_flushed(float x) {
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

static float emulated_element(const emulated_tile *t, uint32_t row, uint32_t i) {
    return emulated_flushed(sl_bfloat_to_float(sl_load_u16(t->rows[row] + 2 * (size_t)i)));
}

/* TDPBF16PS as the manual's operation section has it: for each row, sums of the products of the
 * first and of the second elements of the pairs apart, then both together are added to the
 * destination; denormals are zeros everywhere. */
static void emulated_dot(uint32_t sums, uint32_t x, uint32_t w) {
    emulated_tile *c = emulated_at(sums);
    const emulated_tile *a = emulated_at(x), *b = emulated_at(w);
    const uint32_t n_pairs = a->row_bytes / 4, n_columns = b->row_bytes / 4;
    emulated_require(sums != x && sums != w && x != w, "a tile is used twice in a product");
    emulated_require(c->n_rows == a->n_rows && c->row_bytes == b->row_bytes && n_pairs == b->n_rows,
                     "the shapes of a product do not fit");
    for (uint32_t m = 0; m < c->n_rows; m++) {
        float sum[EMULATED_ROW_BYTES / 4][2] = {{0.0f}};
        for (uint32_t k = 0; k < n_pairs; k++) {
            for (uint32_t n = 0; n < n_columns; n++) {
                for (uint32_t i = 0; i < 2; i++) {
                    sum[n][i] = emulated_flushed(fmaf(emulated_element(a, m, 2 * k + i),
                                                      emulated_element(b, k, 2 * n + i),
                                                      sum[n][i]));
                }
            }
        }
        for (uint32_t n = 0; n < n_columns; n++) {
            float old;
            memcpy(&old, c->rows[m] + 4 * (size_t)n, sizeof(old));
            const float both = emulated_flushed(sum[n][0] + sum[n][1]);
            const float now = emulated_flushed(emulated_flushed(old) + both);
            memcpy(c->rows[m] + 4 * (size_t)n, &now, sizeof(now));
        }
    }
}

#endif
