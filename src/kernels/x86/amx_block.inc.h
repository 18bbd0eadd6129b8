/* Template: blocks of rows times tiles of weights, for all that works on AMX tiles. Included after
 * the tile words (amx.h). */
#ifndef SL_KERNELS_X86_AMX_BLOCK_INC_H
#define SL_KERNELS_X86_AMX_BLOCK_INC_H

#include <stddef.h>
#include <stdint.h>

enum {
    TILE_ROWS = 16,
    TILE_LINE = 64, /* bytes of a tile's row */
    TILE_BYTES = TILE_ROWS * TILE_LINE
};

/* One or two tiles of rows times one or two columns of weight tiles, over n groups of 32. */
typedef struct amx_block {
    const uint16_t *x; /* of the first row and column */
    size_t x_bytes;    /* from row to row */
    const uint8_t *w[2];
    uint32_t n;
    const float *from; /* sums so far; NULL: zeros */
    float *to;
    size_t from_bytes, to_bytes;
} amx_block;

/* Tiles: sums 0 to 3, of (rows 0, panel 0), (0, 1), (1, 0), (1, 1); activations 4, 5; weights 6,
 * 7. */
INLINE void block_mul(uint32_t n_x, uint32_t n_w, const amx_block *b) {
    const uint8_t *x = (const uint8_t *)b->x, *from = (const uint8_t *)b->from;
    uint8_t *to = (uint8_t *)b->to;
    const size_t x_half = b->x_bytes * TILE_ROWS, from_half = b->from_bytes * TILE_ROWS,
                 to_half = b->to_bytes * TILE_ROWS;
    if (from == NULL) {
        AMX_ZERO(0);
        AMX_ZERO(1);
        AMX_ZERO(2);
        AMX_ZERO(3);
    } else {
        AMX_LOAD(0, from, b->from_bytes);
        if (n_w == 2) {
            AMX_LOAD(1, from + TILE_LINE, b->from_bytes);
        }
        if (n_x == 2) {
            AMX_LOAD(2, from + from_half, b->from_bytes);
        }
        if (n_x == 2 && n_w == 2) {
            AMX_LOAD(3, from + from_half + TILE_LINE, b->from_bytes);
        }
    }
    for (size_t i = 0; i < b->n; i++) {
        AMX_LOAD(6, b->w[0] + i * TILE_BYTES, TILE_LINE);
        AMX_STREAM(4, x + i * TILE_LINE, b->x_bytes);
        AMX_DOT(0, 4, 6);
        if (n_w == 2) {
            AMX_LOAD(7, b->w[1] + i * TILE_BYTES, TILE_LINE);
            AMX_DOT(1, 4, 7);
        }
        if (n_x == 2) {
            AMX_STREAM(5, x + x_half + i * TILE_LINE, b->x_bytes);
            AMX_DOT(2, 5, 6);
        }
        if (n_x == 2 && n_w == 2) {
            AMX_DOT(3, 5, 7);
        }
    }
    AMX_STORE(0, to, b->to_bytes);
    if (n_w == 2) {
        AMX_STORE(1, to + TILE_LINE, b->to_bytes);
    }
    if (n_x == 2) {
        AMX_STORE(2, to + to_half, b->to_bytes);
    }
    if (n_x == 2 && n_w == 2) {
        AMX_STORE(3, to + to_half + TILE_LINE, b->to_bytes);
    }
}

static void block_mul_any(uint32_t n_x, uint32_t n_w, const amx_block *b) {
    if (n_x == 2 && n_w == 2) {
        block_mul(2, 2, b);
    } else if (n_x == 2) {
        block_mul(2, 1, b);
    } else if (n_w == 2) {
        block_mul(1, 2, b);
    } else {
        block_mul(1, 1, b);
    }
}

/* The first 16 rows of a block and the others: those of a call of less than 32 rows are fewer. */
static void tiles_configure(uint32_t n_rows) {
    const uint32_t first = n_rows < TILE_ROWS ? n_rows : TILE_ROWS;
    const uint32_t rest = n_rows > TILE_ROWS && n_rows < 2 * TILE_ROWS ? n_rows - TILE_ROWS
                                                                       : TILE_ROWS;
    const uint32_t rows[8] = {first, first, rest, rest, first, rest, TILE_ROWS, TILE_ROWS};
    amx_config config = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        config.row_bytes[tile] = TILE_LINE;
        config.rows[tile] = (uint8_t)rows[tile];
    }
    AMX_CONFIGURE(&config);
}

#endif
