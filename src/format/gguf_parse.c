/* The bytes of one GGUF file -> checked records.
 * Enters: bytes that anyone may have made; leaves: header offsets, metadata records, tensor
 * records. Every integer goes through sl_reader and checked arithmetic, every count is compared
 * with the bytes that are left before it is believed, nesting is walked with a counter stack of
 * fixed depth. Work is linear in the header (tensors that are not stored in order are sorted for
 * the overlap check: n log n).
 * Single-threaded: runs inside sl_gguf_open only.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
#include "format/gguf_parse.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

/* Fewest bytes that one metadata entry (key length, 1 byte of key, type, 1 byte of value) and
 * one tensor record (name length, 1 byte of name, dimension count, one dimension, type, offset)
 * can take. */
#define KV_BYTES_MIN 14u
#define TENSOR_BYTES_MIN 33u

uint32_t sl_gguf_fixed_bytes(uint32_t type) {
    static const uint8_t bytes[] = {
        [SL_GGUF_U8] = 1,  [SL_GGUF_I8] = 1,  [SL_GGUF_U16] = 2, [SL_GGUF_I16] = 2,
        [SL_GGUF_U32] = 4, [SL_GGUF_I32] = 4, [SL_GGUF_F32] = 4, [SL_GGUF_BOOL] = 1,
        [SL_GGUF_U64] = 8, [SL_GGUF_I64] = 8, [SL_GGUF_F64] = 8};
    return type < sizeof(bytes) ? bytes[type] : 0;
}

sl_reader sl_gguf_part_reader(const sl_gguf_part *p, size_t at) {
    sl_reader r = sl_reader_of(p->data, p->size_bytes);
    r.pos += at;
    return r;
}

/* --- header ----------------------------------------------------------------------------------- */

/* What people hand over by mistake, by its first bytes. */
static const char *parse_guess_format(const uint8_t *data, size_t len) {
    static const struct {
        const char *magic;
        const char *advice;
    } known[] = {
        {"version https://git-lfs",
         "it is a git-lfs pointer: fetch the real file with 'git lfs pull'"},
        {"<!DOCTYPE", "it is a web page: download the file itself"},
        {"<!doctype", "it is a web page: download the file itself"},
        {"<html", "it is a web page: download the file itself"},
        {"PK\x03\x04",
         "it looks like a PyTorch checkpoint or zip archive: convert it to GGUF first"},
        {"\x80\x02", "it looks like a Python pickle: convert it to GGUF first"},
        {"tjgg", "it is of the old GGJT format: convert it to GGUF first"},
        {"lmgg", "it is of the old GGML format: convert it to GGUF first"},
        {"fmgg", "it is of the old GGMF format: convert it to GGUF first"},
        {"FUGG", "it is byte-swapped: write it little-endian"},
        {"\x1f\x8b", "it is compressed with gzip: unpack it first"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        size_t n = strlen(known[i].magic);
        if (len >= n && memcmp(data, known[i].magic, n) == 0) {
            return known[i].advice;
        }
    }
    if (len > 9 && data[8] == '{') {
        return "it looks like a safetensors file: convert it to GGUF first";
    }
    return "give a file that begins with the bytes \"GGUF\"";
}

static sl_status parse_version(sl_gguf_part *p, sl_reader *r, sl_error *err) {
    if (!sl_reader_u32(r, &p->version)) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: ends inside its header, after %zu bytes; " SL_GGUF_HINT_CUT, p->name,
                       p->size_bytes);
    }
    if (p->version == 0 || (p->version & 0xffff) == 0) {
        uint32_t swapped = __builtin_bswap32(p->version);
        if (swapped != 0 && swapped <= 0xffff) {
            return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                           "%s: GGUF version %" PRIu32
                           " stored big-endian, which is not supported; "
                           "convert it to a little-endian file",
                           p->name, swapped);
        }
    }
    if (p->version == 1) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: GGUF version 1, which is no longer in use; convert "
                       "the model again (versions 2 and 3 are read)",
                       p->name);
    }
    if (p->version != 2 && p->version != 3) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: GGUF version %" PRIu32 " is not known; versions 2 "
                       "and 3 are read",
                       p->name, p->version);
    }
    return SL_OK;
}

static sl_status parse_count(const sl_gguf_part *p, const char *what, uint64_t n, size_t left,
                             uint32_t bytes_min, sl_error *err) {
    if (n > left / bytes_min) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: the header claims %" PRIu64 " %s, but only %zu bytes "
                       "follow; " SL_GGUF_HINT_CUT,
                       p->name, n, what, left);
    }
    if (n > SL_GGUF_ENTRIES_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%s: the header claims %" PRIu64 " %s; at most %u are read", p->name, n,
                       what, SL_GGUF_ENTRIES_MAX);
    }
    return SL_OK;
}

static sl_status parse_header(sl_gguf_part *p, sl_reader *r, sl_error *err) {
    if (p->size_bytes < 4 || memcmp(p->data, "GGUF", 4) != 0) {
        if (p->size_bytes == 0) {
            return SL_FAIL(err, SL_ERR_FORMAT, "%s: the file is empty", p->name);
        }
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: not a GGUF file; %s", p->name,
                       parse_guess_format(p->data, p->size_bytes));
    }
    r->pos += 4;
    SL_TRY(parse_version(p, r, err));
    if (!sl_reader_u64(r, &p->n_tensors) || !sl_reader_u64(r, &p->n_kv)) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: ends inside its header, after %zu bytes; " SL_GGUF_HINT_CUT, p->name,
                       p->size_bytes);
    }
    SL_TRY(parse_count(p, "metadata keys", p->n_kv, sl_reader_left(r), KV_BYTES_MIN, err));
    return parse_count(p, "tensors", p->n_tensors, sl_reader_left(r), TENSOR_BYTES_MIN, err);
}

/* --- names ------------------------------------------------------------------------------------ */

/* A u64 length and that many bytes. `what` and i name the record in messages. */
sl_status sl_gguf_parse_name(const sl_gguf_part *p, sl_reader *r, const char *what, uint64_t i,
                             uint64_t len_max, sl_slice *out, sl_error *err) {
    size_t at = sl_reader_offset(r);
    uint64_t len;
    if (!sl_reader_u64(r, &len)) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: ends at byte %zu, before %s %" PRIu64 "; " SL_GGUF_HINT_CUT, p->name,
                       p->size_bytes, what, i);
    }
    if (len == 0) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: %s %" PRIu64 " (at byte %zu) has an empty name",
                       p->name, what, i, at);
    }
    if (len > sl_reader_left(r)) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: %s %" PRIu64 " (at byte %zu) has a name of %" PRIu64
                       " bytes, but only %zu follow; " SL_GGUF_HINT_CUT,
                       p->name, what, i, at, len, sl_reader_left(r));
    }
    sl_slice name = {(const char *)r->pos, (size_t)len};
    char shown[SL_GGUF_SHOW_MAX];
    if (len > len_max) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: %s %" PRIu64 " '%s' has a name of %" PRIu64 " bytes; at most %" PRIu64
                       " are allowed",
                       p->name, what, i, sl_gguf_show(name, shown, sizeof(shown)), len, len_max);
    }
    if (sl_utf8_valid_prefix(name.ptr, name.len) != name.len ||
        memchr(name.ptr, 0, name.len) != NULL) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: the name of %s %" PRIu64 ", '%s', is not valid UTF-8 "
                       "text; " SL_GGUF_HINT_CUT,
                       p->name, what, i, sl_gguf_show(name, shown, sizeof(shown)));
    }
    r->pos += len;
    *out = name;
    return SL_OK;
}

/* --- metadata values -------------------------------------------------------------------------- */

typedef struct parse_value {
    const sl_gguf_part *p;
    sl_reader *r;
    sl_slice key; /* for messages */
} parse_value;

static sl_status parse_value_cut(const parse_value *v, const char *what, uint64_t n,
                                 sl_error *err) {
    char shown[SL_GGUF_SHOW_MAX];
    return SL_FAIL(err, SL_ERR_FORMAT,
                   "%s: key '%s': %s %" PRIu64 " does not fit the %zu bytes that "
                   "are left of the file; " SL_GGUF_HINT_CUT,
                   v->p->name, sl_gguf_show(v->key, shown, sizeof(shown)), what, n,
                   sl_reader_left(v->r));
}

static sl_status parse_type_unknown(const parse_value *v, const char *what, uint32_t type,
                                    sl_error *err) {
    char shown[SL_GGUF_SHOW_MAX];
    return SL_FAIL(err, SL_ERR_FORMAT,
                   "%s: key '%s' has %s %" PRIu32
                   ", which no GGUF version defines; " SL_GGUF_HINT_CUT,
                   v->p->name, sl_gguf_show(v->key, shown, sizeof(shown)), what, type);
}

/* n strings, or n values of a fixed size. */
static sl_status parse_skip_plain(const parse_value *v, uint32_t type, uint64_t n, sl_error *err) {
    if (type == SL_GGUF_STRING) {
        if (n > sl_reader_left(v->r) / 8) {
            return parse_value_cut(v, "a count of strings of", n, err);
        }
        for (uint64_t i = 0; i < n; i++) {
            uint64_t len;
            if (!sl_reader_u64(v->r, &len)) {
                return parse_value_cut(v, "the length of string", i, err);
            }
            if (!sl_reader_skip(v->r, len)) {
                return parse_value_cut(v, "a string length of", len, err);
            }
        }
        return SL_OK;
    }
    uint32_t size_bytes = sl_gguf_fixed_bytes(type);
    if (n > sl_reader_left(v->r) / size_bytes) {
        return parse_value_cut(v, n == 1 ? "its value" : "an element count of", n, err);
    }
    if (type == SL_GGUF_BOOL) {
        for (uint64_t i = 0; i < n; i++) {
            if (v->r->pos[i] > 1) {
                char shown[SL_GGUF_SHOW_MAX];
                return SL_FAIL(err, SL_ERR_FORMAT,
                               "%s: key '%s' has the boolean value %u; only 0 and "
                               "1 are allowed",
                               v->p->name, sl_gguf_show(v->key, shown, sizeof(shown)),
                               v->r->pos[i]);
            }
        }
    }
    v->r->pos += n * size_bytes;
    return SL_OK;
}

static sl_status parse_array_head(const parse_value *v, uint32_t *elem_type, uint64_t *n,
                                  sl_error *err) {
    if (!sl_reader_u32(v->r, elem_type) || !sl_reader_u64(v->r, n)) {
        return parse_value_cut(v, "an array header of bytes", 12, err);
    }
    if (*elem_type > SL_GGUF_F64) {
        return parse_type_unknown(v, "the array element type", *elem_type, err);
    }
    if (*elem_type == SL_GGUF_ARRAY && *n > sl_reader_left(v->r) / 12) {
        return parse_value_cut(v, "a count of arrays of", *n, err);
    }
    return SL_OK;
}

/* The elements of an array whose head was read: depth first, with the arrays that are still to
 * come at each depth on a stack. Each head takes 12 bytes, so the work is bounded by the file. */
static sl_status parse_skip_array(const parse_value *v, uint32_t elem_type, uint64_t n,
                                  sl_error *err) {
    uint64_t left[SL_GGUF_DEPTH_MAX];
    uint32_t depth = 0;
    for (;;) {
        if (elem_type == SL_GGUF_ARRAY) {
            if (depth + 1 >= SL_GGUF_DEPTH_MAX) {
                char shown[SL_GGUF_SHOW_MAX];
                return SL_FAIL(err, SL_ERR_LIMIT, "%s: key '%s' holds arrays nested deeper than %d",
                               v->p->name, sl_gguf_show(v->key, shown, sizeof(shown)),
                               SL_GGUF_DEPTH_MAX);
            }
            left[depth++] = n;
        } else {
            SL_TRY(parse_skip_plain(v, elem_type, n, err));
        }
        while (depth > 0 && left[depth - 1] == 0) {
            depth--;
        }
        if (depth == 0) {
            return SL_OK;
        }
        left[depth - 1]--;
        SL_TRY(parse_array_head(v, &elem_type, &n, err));
    }
}

static sl_status parse_kv(const sl_gguf_part *p, sl_reader *r, uint64_t i, sl_gguf_kv *out,
                          sl_error *err) {
    sl_gguf_kv kv = {.n = 1};
    SL_TRY(sl_gguf_parse_name(p, r, "metadata key", i, SL_GGUF_KEY_MAX, &kv.key, err));
    parse_value v = {p, r, kv.key};
    uint32_t type;
    if (!sl_reader_u32(r, &type)) {
        return parse_value_cut(&v, "a type of bytes", 4, err);
    }
    if (type > SL_GGUF_F64) {
        return parse_type_unknown(&v, "the value type", type, err);
    }
    kv.type = (sl_gguf_type)type;
    if (type == SL_GGUF_ARRAY) {
        uint32_t elem_type;
        SL_TRY(parse_array_head(&v, &elem_type, &kv.n, err));
        kv.elem_type = (sl_gguf_type)elem_type;
        kv.data = r->pos;
        SL_TRY(parse_skip_array(&v, elem_type, kv.n, err));
    } else {
        kv.data = r->pos;
        SL_TRY(parse_skip_plain(&v, type, 1, err));
    }
    *out = kv;
    return SL_OK;
}

/* --- the whole header ------------------------------------------------------------------------- */

sl_status sl_gguf_part_scan(sl_gguf_part *p, sl_error *err) {
    sl_reader r = sl_gguf_part_reader(p, 0);
    SL_TRY(parse_header(p, &r, err));
    p->kv_at = sl_reader_offset(&r);
    for (uint64_t i = 0; i < p->n_kv; i++) {
        sl_gguf_kv kv;
        SL_TRY(parse_kv(p, &r, i, &kv, err));
    }
    p->tensors_at = sl_reader_offset(&r);
    for (uint64_t i = 0; i < p->n_tensors; i++) {
        SL_TRY(sl_gguf_tensor_skip(p, &r, i, err));
    }
    p->header_end = sl_reader_offset(&r);
    return SL_OK;
}

/* --- tables ----------------------------------------------------------------------------------- */

sl_status sl_gguf_part_no_memory(const sl_gguf_part *p, sl_error *err) {
    return SL_FAIL(err, SL_ERR_MEMORY,
                   "%s: no memory for the directory of %" PRIu64 " keys and %" PRIu64 " tensors",
                   p->name, p->n_kv, p->n_tensors);
}

static sl_status parse_alignment(sl_gguf_part *p, sl_error *err) {
    p->alignment = SL_GGUF_ALIGNMENT_DEFAULT;
    const sl_gguf_kv *kv = sl_gguf_part_find(p, "general.alignment");
    if (kv == NULL) {
        return SL_OK;
    }
    if (kv->type != SL_GGUF_U32) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key 'general.alignment' has type %s; it must be u32", p->name,
                       sl_gguf_type_name(kv->type));
    }
    uint32_t alignment;
    SL_TRY(sl_gguf_part_u32(p, "general.alignment", &alignment, err));
    if (alignment < SL_GGUF_ALIGNMENT_MIN || alignment > SL_GGUF_ALIGNMENT_MAX ||
        (alignment & (alignment - 1)) != 0) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key 'general.alignment' is %" PRIu32 "; it must be a "
                       "power of two from %d to %d",
                       p->name, alignment, SL_GGUF_ALIGNMENT_MIN, SL_GGUF_ALIGNMENT_MAX);
    }
    p->alignment = alignment;
    return SL_OK;
}

sl_status sl_gguf_part_load_kvs(sl_gguf_part *p, sl_arena *arena, sl_error *err) {
    size_t size_bytes;
    sl_gguf_kv *kvs = sl_mul_size(p->n_kv, sizeof(*kvs), &size_bytes)
                          ? sl_arena_alloc(arena, size_bytes)
                          : NULL;
    if (kvs == NULL) {
        return sl_gguf_part_no_memory(p, err);
    }
    sl_reader r = sl_gguf_part_reader(p, p->kv_at);
    for (uint64_t i = 0; i < p->n_kv; i++) {
        SL_TRY(parse_kv(p, &r, i, &kvs[i], err));
    }
    uint64_t i_twin = 0;
    sl_status status = sl_gguf_index_build(&p->keys, arena, kvs, sizeof(*kvs), p->n_kv, &i_twin);
    if (status == SL_ERR_FORMAT) {
        char shown[SL_GGUF_SHOW_MAX];
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key '%s' appears twice; which value is meant is "
                       "unknown, so the file is refused",
                       p->name, sl_gguf_show(kvs[i_twin].key, shown, sizeof(shown)));
    }
    if (status != SL_OK) {
        return sl_gguf_part_no_memory(p, err);
    }
    p->kvs = kvs;
    return parse_alignment(p, err);
}
