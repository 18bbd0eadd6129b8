/* GGUF model files (versions 2 and 3, split or whole) as a checked directory of metadata and
 * tensors.
 *
 * The file is mapped read-only and never copied; every string, array and tensor below points
 * into the mapping and lives as long as the sl_gguf. Every field of the file is hostile until
 * checked here: after sl_gguf_open returns SL_OK each tensor's type is known, its size is exact
 * and it lies within the file.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
#ifndef SL_FORMAT_GGUF_H
#define SL_FORMAT_GGUF_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/bytes.h"
#include "quant/types.h"

typedef enum sl_gguf_type {
    SL_GGUF_U8 = 0,
    SL_GGUF_I8 = 1,
    SL_GGUF_U16 = 2,
    SL_GGUF_I16 = 3,
    SL_GGUF_U32 = 4,
    SL_GGUF_I32 = 5,
    SL_GGUF_F32 = 6,
    SL_GGUF_BOOL = 7,
    SL_GGUF_STRING = 8,
    SL_GGUF_ARRAY = 9,
    SL_GGUF_U64 = 10,
    SL_GGUF_I64 = 11,
    SL_GGUF_F64 = 12
} sl_gguf_type;

typedef struct sl_gguf_kv {
    sl_slice key;
    sl_gguf_type type;
    sl_gguf_type elem_type; /* of an array */
    uint64_t n;             /* elements of an array, 1 otherwise */
    const uint8_t *data;    /* first value, unaligned little-endian; strings: u64 length + bytes */
} sl_gguf_kv;

/* Stated maxima of this reader; beyond them SL_ERR_LIMIT or SL_ERR_FORMAT, never a crash. */
#define SL_GGUF_DIMS_MAX 4
#define SL_GGUF_KEY_MAX 65535          /* bytes, as the format states */
#define SL_GGUF_NAME_MAX 64            /* bytes of a tensor's name, as the format states */
#define SL_GGUF_DEPTH_MAX 64           /* arrays within arrays */
#define SL_GGUF_ENTRIES_MAX (1u << 24) /* keys of one file; tensors of all files together */
#define SL_GGUF_FILES_MAX 1024         /* parts of a split model */
#define SL_GGUF_ALIGNMENT_MIN 8
#define SL_GGUF_ALIGNMENT_MAX 65536
#define SL_GGUF_ALIGNMENT_DEFAULT 32

typedef struct sl_gguf_tensor {
    sl_slice name;
    sl_type type;
    uint32_t n_dims;
    uint64_t dims[SL_GGUF_DIMS_MAX]; /* dims[0] is the contiguous one; unused ones are 1 */
    uint64_t size_bytes;
    const uint8_t *data; /* in the mapping, at a multiple of the alignment from the file's start */
    uint32_t i_file;     /* which file of a split model */
} sl_gguf_tensor;

typedef struct sl_gguf sl_gguf;

/* Opens the file, or all files of a split model when `path` names its first one
 * (NAME-00001-of-0000N.gguf). Errors name the file, the key or tensor, and the value. */
SL_NODISCARD sl_status sl_gguf_open(const char *path, sl_gguf **out, sl_error *err);
/* The same over bytes in memory, which must outlive the result (tests, fuzzing). `name` is for
 * messages. */
SL_NODISCARD sl_status sl_gguf_open_memory(const char *name, const void *data, size_t size_bytes,
                                           sl_gguf **out, sl_error *err);
void sl_gguf_close(sl_gguf *g); /* NULL is fine */

const char *sl_gguf_path(const sl_gguf *g);
uint32_t sl_gguf_version(const sl_gguf *g);
uint64_t sl_gguf_alignment(const sl_gguf *g);
uint64_t sl_gguf_file_bytes(const sl_gguf *g); /* of all files together */
uint32_t sl_gguf_n_files(const sl_gguf *g);
/* Heap memory of the directory itself: at most 4 x the bytes of the headers + 1 MB. */
uint64_t sl_gguf_table_bytes(const sl_gguf *g);

/* SL_OK, or SL_ERR_IO when a mapped file shrank or could not be read since it was opened (its
 * missing pages read as zero). Cheap: to be asked after each step. */
SL_NODISCARD sl_status sl_gguf_check_alive(const sl_gguf *g, sl_error *err);

/* The same, and SL_ERR_IO too when a file's size or modification time is no longer what it was
 * when it was opened: parts of two versions may have been read. For the end of a load; one
 * system call per file. */
SL_NODISCARD sl_status sl_gguf_check_unchanged(const sl_gguf *g, sl_error *err);

/* Whether a file of that device and number (stat(2)) is one of those that were opened. */
bool sl_gguf_has_file(const sl_gguf *g, uint64_t device, uint64_t number);

/* Which model this is. `content` covers all headers and sizes and a few samples of the tensors'
 * data, so copies of a file have the same, and a file in which something else changed may too.
 * `stamp` covers what the system knows of the files (sl_mapfile_stamp): as long as it is the same,
 * so are the data. 0: the files changed so lately that nothing follows from it. */
typedef struct sl_gguf_identity {
    uint64_t content[2];
    uint64_t stamp;
} sl_gguf_identity;
/* SL_ERR_UNSUPPORTED for bytes in memory, which are nobody's file. */
SL_NODISCARD sl_status sl_gguf_identify(const sl_gguf *g, sl_gguf_identity *out, sl_error *err);

/* Pages of a tensor's data that nobody reads any more leave this process's memory; should somebody
 * read them all the same, they come from the file again. Any thread. */
void sl_gguf_release(const sl_gguf *g, const uint8_t *data, size_t n);

uint64_t sl_gguf_n_kv(const sl_gguf *g);
const sl_gguf_kv *sl_gguf_kv_at(const sl_gguf *g, uint64_t i);
const sl_gguf_kv *sl_gguf_find(const sl_gguf *g, const char *key); /* NULL if absent */

uint64_t sl_gguf_n_tensors(const sl_gguf *g);
const sl_gguf_tensor *sl_gguf_tensor_at(const sl_gguf *g, uint64_t i);
const sl_gguf_tensor *sl_gguf_find_tensor(const sl_gguf *g, const char *name); /* NULL if absent */

/* The value as the file stores it (an array with its element type and count): what
 * sl_gguf_writer_raw takes, to copy a key into another file. */
sl_slice sl_gguf_stored_value(const sl_gguf *g, const sl_gguf_kv *kv);

/* The text of an entry of type string, as stored. */
sl_slice sl_gguf_string_of(const sl_gguf *g, const sl_gguf_kv *kv);

/* Typed reads. The stored type must be an integer for _u32/_i64 (any width whose value fits),
 * F32/F64 or an integer for _f32, and exactly as named otherwise: else SL_ERR_FORMAT with file,
 * key and value. Absent key: SL_ERR_NOT_FOUND (with a message) for the plain forms; the _or
 * forms give the default. */
SL_NODISCARD sl_status sl_gguf_u32(const sl_gguf *g, const char *key, uint32_t *out, sl_error *err);
SL_NODISCARD sl_status sl_gguf_u32_or(const sl_gguf *g, const char *key, uint32_t def,
                                      uint32_t *out, sl_error *err);
SL_NODISCARD sl_status sl_gguf_f32(const sl_gguf *g, const char *key, float *out, sl_error *err);
SL_NODISCARD sl_status sl_gguf_f32_or(const sl_gguf *g, const char *key, float def, float *out,
                                      sl_error *err);
SL_NODISCARD sl_status sl_gguf_bool_or(const sl_gguf *g, const char *key, bool def, bool *out,
                                       sl_error *err);
SL_NODISCARD sl_status sl_gguf_string(const sl_gguf *g, const char *key, sl_slice *out,
                                      sl_error *err);
/* *out = {NULL, 0} when absent. */
SL_NODISCARD sl_status sl_gguf_string_or_none(const sl_gguf *g, const char *key, sl_slice *out,
                                              sl_error *err);

/* Walks an array of strings or numbers. The kv must be an array of the type asked for. */
typedef struct sl_gguf_iter {
    const uint8_t *pos,
        *end;      /* `end` is the end of the file's metadata: nothing beyond it is read */
    uint64_t left; /* elements not yet given */
    sl_gguf_type elem_type;
} sl_gguf_iter;
SL_NODISCARD sl_status sl_gguf_array(const sl_gguf *g, const char *key, sl_gguf_type elem_type,
                                     sl_gguf_iter *out, sl_error *err);
bool sl_gguf_next_string(sl_gguf_iter *it, sl_slice *out); /* false at the end */
bool sl_gguf_next_f32(sl_gguf_iter *it, float *out);
bool sl_gguf_next_i32(sl_gguf_iter *it, int32_t *out); /* I32 or U32 (bits) elements */
bool sl_gguf_next_bool(sl_gguf_iter *it, bool *out);

const char *sl_gguf_type_name(
    sl_gguf_type type); /* "u32", "string", ...; "?" for an unknown number */

/* Printable forms for messages and listings; each returns `out`, always terminated, cut with
 * "..." to fit `cap` (at least 8) bytes. Names and strings of a file are hostile: whatever could
 * steer a terminal or mislead a reader (control and format characters, invalid UTF-8) is shown
 * as an escape. */
#define SL_GGUF_SHOW_MAX 100 /* a good size for `out` */
const char *sl_gguf_show(sl_slice text, char *out, size_t cap);
/* A scalar's value, a string's text in quotes, or an array's element type and count. */
const char *sl_gguf_show_value(const sl_gguf *g, const sl_gguf_kv *kv, char *out, size_t cap);

#endif
