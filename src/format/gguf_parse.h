/* Private to src/format: the parts from which gguf.c builds a directory.
 *
 * A part is one file. Reading goes twice over its header, which keeps memory in proportion to
 * what is really there: sl_gguf_part_scan walks and checks everything without storing a byte,
 * then the tables are allocated by exact count and the same readers fill them (and check again,
 * should the file have changed).
 */
#ifndef SL_FORMAT_GGUF_PARSE_H
#define SL_FORMAT_GGUF_PARSE_H

#include "base/arena.h"
#include "base/mapfile.h"
#include "format/gguf.h"

/* Find by name in a table of records that begin with an sl_slice (sl_gguf_kv and sl_gguf_tensor
 * do). Keyed hash, so that no file can choose names that collide. Points into `items`; owns
 * nothing. */
typedef struct sl_gguf_index {
    const void *items;
    size_t stride;
    uint32_t *slots; /* item number + 1, or 0; NULL when there are no items */
    uint64_t mask;   /* slots - 1 */
    uint64_t seed[2];
} sl_gguf_index;

/* SL_ERR_FORMAT: *i_twin is the first item whose name an earlier one has. */
SL_NODISCARD sl_status sl_gguf_index_build(sl_gguf_index *ix, sl_arena *arena, const void *items,
                                           size_t stride, uint64_t n, uint64_t *i_twin);
const void *sl_gguf_index_find(const sl_gguf_index *ix, sl_slice name); /* NULL if absent */

typedef struct sl_gguf_part {
    const char *name; /* for messages: the path, its front cut when long */
    sl_mapfile *map;  /* owned; NULL for bytes in memory */
    const uint8_t *data;
    size_t size_bytes;
    uint32_t version;
    uint32_t i_file;
    uint64_t n_kv, n_tensors, alignment;
    size_t kv_at, tensors_at, header_end; /* offsets in the file */
    sl_gguf_kv *kvs;
    sl_gguf_index keys;
} sl_gguf_part;

/* Checks the header's structure and fills version, counts and offsets. Allocates nothing. */
SL_NODISCARD sl_status sl_gguf_part_scan(sl_gguf_part *p, sl_error *err);
/* Fills kvs, keys and alignment. */
SL_NODISCARD sl_status sl_gguf_part_load_kvs(sl_gguf_part *p, sl_arena *arena, sl_error *err);
/* Fills out[0..n_tensors): types known, shapes and sizes exact, data within the file, none
 * overlapping. */
SL_NODISCARD sl_status sl_gguf_part_load_tensors(const sl_gguf_part *p, sl_arena *arena,
                                                 sl_gguf_tensor *out, sl_error *err);

/* --- shared by gguf_parse.c and gguf_tensors.c --- */
#define SL_GGUF_HINT_CUT "the file is damaged or cut short: fetch it again"
sl_reader sl_gguf_part_reader(const sl_gguf_part *p, size_t at);
/* A u64 length and that many bytes of UTF-8. `what` and i name the record in messages. */
SL_NODISCARD sl_status sl_gguf_parse_name(const sl_gguf_part *p, sl_reader *r, const char *what,
                                          uint64_t i, uint64_t len_max, sl_slice *out,
                                          sl_error *err);
/* Steps over tensor record i, checking its structure. */
SL_NODISCARD sl_status sl_gguf_tensor_skip(const sl_gguf_part *p, sl_reader *r, uint64_t i,
                                           sl_error *err);
sl_status sl_gguf_part_no_memory(const sl_gguf_part *p, sl_error *err);

/* Typed reads over one part; sl_gguf's are these over its first part. NULL / NOT_FOUND if
 * absent. */
const sl_gguf_kv *sl_gguf_part_find(const sl_gguf_part *p, const char *key);
SL_NODISCARD sl_status sl_gguf_part_u32(const sl_gguf_part *p, const char *key, uint32_t *out,
                                        sl_error *err);
const sl_gguf_part *sl_gguf_first_part(const sl_gguf *g);

/* Bytes of one value of a fixed-size type; 0 for strings, arrays and unknown types. */
uint32_t sl_gguf_fixed_bytes(uint32_t type);

#endif
