/* The base of a comparison: the log-probabilities of every scored position of a text, in a file.
 *
 *     0  "SLLOGP01"
 *     8  u32  ctx, n_vocab, n_pieces, n_scored (rows of each piece)
 *    24  u64  check over the 24 bytes before
 *    32  n_pieces pieces: u64 check of the ids that were fed (i32 each, in order), then n_scored
 *        rows as logprob_row.h describes them
 *
 * Little-endian, every part at a multiple of 8. A file that ends early, or holds more, is refused.
 * Written by one thread in order; a mapped file may be read by any number of threads. */
#ifndef SL_MEASURE_LOGPROB_FILE_H
#define SL_MEASURE_LOGPROB_FILE_H

#include <stdio.h>

#include <sluice/status.h>

#include "base/mapfile.h"
#include "measure/logprob_row.h"

typedef struct sl_logprob_shape {
    uint32_t ctx, n_vocab, n_pieces, n_scored;
} sl_logprob_shape;

/* Bytes of the whole file. */
uint64_t sl_logprob_file_bytes(const sl_logprob_shape *s);

typedef struct sl_logprob_writer {
    FILE *file;
    const char *path; /* borrowed */
} sl_logprob_writer;

/* n_done: pieces that are there already and stay; 0 begins a new file, replacing one that is
 * there. */
SL_NODISCARD sl_status sl_logprob_writer_open(const char *path, const sl_logprob_shape *s,
                                              uint32_t n_done, sl_logprob_writer *out,
                                              sl_error *err);
SL_NODISCARD sl_status sl_logprob_writer_piece(sl_logprob_writer *w, uint64_t ids_check,
                                               sl_error *err);
SL_NODISCARD sl_status sl_logprob_writer_rows(sl_logprob_writer *w, const uint8_t *rows,
                                              size_t n_bytes, sl_error *err);
SL_NODISCARD sl_status sl_logprob_writer_flush(sl_logprob_writer *w, sl_error *err);
/* Closes; SL_ERR_IO if something could not be written. */
SL_NODISCARD sl_status sl_logprob_writer_close(sl_logprob_writer *w, sl_error *err);
/* Removes a file that will not become whole; a device or pipe is left. */
void sl_logprob_file_remove(const char *path);

typedef struct sl_logprob_base {
    sl_mapfile *map;
    const char *path; /* borrowed */
    sl_logprob_shape shape;
} sl_logprob_base;

SL_NODISCARD sl_status sl_logprob_base_open(const char *path, sl_logprob_base *out, sl_error *err);
void sl_logprob_base_close(sl_logprob_base *b);
uint64_t sl_logprob_base_ids_check(const sl_logprob_base *b, uint32_t piece);
const uint8_t *sl_logprob_base_row(const sl_logprob_base *b, uint32_t piece, uint32_t row);

#endif
