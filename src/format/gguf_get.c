/* Reading values out of an opened GGUF file: by key and type, by walking arrays, and as
 * printable text.
 * Enters: a directory that gguf.c checked; leaves: C values. The bytes stay in the mapping,
 * which another process may change behind our back, so lengths inside them are compared with the
 * file's end each time.
 * Nothing is written; any thread may call. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "format/gguf_parse.h"

const char *sl_gguf_type_name(sl_gguf_type type) {
    static const char *const names[] = {
        [SL_GGUF_U8] = "u8",   [SL_GGUF_I8] = "i8",         [SL_GGUF_U16] = "u16",
        [SL_GGUF_I16] = "i16", [SL_GGUF_U32] = "u32",       [SL_GGUF_I32] = "i32",
        [SL_GGUF_F32] = "f32", [SL_GGUF_BOOL] = "bool",     [SL_GGUF_U64] = "u64",
        [SL_GGUF_I64] = "i64", [SL_GGUF_STRING] = "string", [SL_GGUF_ARRAY] = "array",
        [SL_GGUF_F64] = "f64"};
    return (unsigned)type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}

/* --- printable text --------------------------------------------------------------------------- */

/* Code points that steer a terminal, hide, or turn the direction of what a reader sees. */
static bool get_is_hazard(uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD || c == 0x061C || c == 0x180E ||
           (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF0 && c <= 0xFFFB) ||
           (c & 0xFFFE) == 0xFFFE || c >= 0xE0000;
}

/* The next character of `text` in printable form; *n_in bytes of it are consumed. */
static int get_show_one(sl_slice text, char out[16], size_t *n_in) {
    uint32_t c = 0;
    *n_in = sl_utf8_decode(text.ptr, text.len, &c);
    if (*n_in == 0) {
        *n_in = 1;
        return snprintf(out, 16, "\\x%02x", (unsigned)(uint8_t)text.ptr[0]);
    }
    switch (c) {
    case '\n':
        return snprintf(out, 16, "\\n");
    case '\t':
        return snprintf(out, 16, "\\t");
    case '\r':
        return snprintf(out, 16, "\\r");
    case '\\':
        return snprintf(out, 16, "\\\\");
    default:
        break;
    }
    if (get_is_hazard(c)) {
        return snprintf(out, 16, c < 0x100 ? "\\x%02" PRIx32 : "\\u{%" PRIx32 "}", c);
    }
    memcpy(out, text.ptr, *n_in);
    out[*n_in] = '\0';
    return (int)*n_in;
}

const char *sl_gguf_show(sl_slice text, char *out, size_t cap) {
    size_t len = 0, len_cut = 0; /* len_cut: where "..." still fits */
    while (text.len > 0) {
        char one[16];
        size_t n_in;
        size_t n = (size_t)get_show_one(text, one, &n_in);
        if (len + n + 1 > cap) {
            memcpy(out + len_cut, "...", 4);
            return out;
        }
        memcpy(out + len, one, n);
        len += n;
        len_cut = len + 4 <= cap ? len : len_cut;
        text.ptr += n_in;
        text.len -= n_in;
    }
    out[len] = '\0';
    return out;
}

/* --- scalars ---------------------------------------------------------------------------------- */

/* Little-endian bytes of a fixed-size value, zero-extended. */
static uint64_t get_bits(const uint8_t *data, uint32_t size_bytes) {
    uint64_t bits = 0;
    for (uint32_t i = size_bytes; i-- > 0;) {
        bits = bits << 8 | data[i];
    }
    return bits;
}

static float get_f32(const uint8_t *data) {
    uint32_t bits = (uint32_t)get_bits(data, 4);
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static double get_f64(const uint8_t *data) {
    uint64_t bits = get_bits(data, 8);
    double f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* An integer of any width: magnitude and sign. False for other types. */
static bool get_integer(const sl_gguf_kv *kv, bool *negative, uint64_t *magnitude) {
    uint32_t size_bytes = sl_gguf_fixed_bytes(kv->type);
    bool is_signed = kv->type == SL_GGUF_I8 || kv->type == SL_GGUF_I16 || kv->type == SL_GGUF_I32 ||
                     kv->type == SL_GGUF_I64;
    bool is_unsigned = kv->type == SL_GGUF_U8 || kv->type == SL_GGUF_U16 ||
                       kv->type == SL_GGUF_U32 || kv->type == SL_GGUF_U64;
    if (!is_signed && !is_unsigned) {
        return false;
    }
    uint64_t bits = get_bits(kv->data, size_bytes);
    *negative = is_signed && (bits >> (8 * size_bytes - 1) & 1) != 0;
    if (*negative) {
        bits = (~bits + 1) & (UINT64_MAX >> (64 - 8 * size_bytes));
    }
    *magnitude = bits;
    return true;
}

/* The bytes of a string at `data`, cut at the end of the file. */
static sl_slice get_string(const sl_gguf_part *p, const uint8_t *data) {
    size_t left = p->size_bytes - (size_t)(data - p->data);
    if (left < 8) {
        return (sl_slice){"", 0};
    }
    uint64_t len = get_bits(data, 8);
    left -= 8;
    return (sl_slice){(const char *)data + 8, len < left ? (size_t)len : left};
}

/* The shortest decimal number that reads back as the same float (9 digits) or double (17). */
static void get_show_float(double value, int digits_max, char *out, size_t cap) {
    for (int digits = 6; digits <= digits_max; digits++) {
        (void)snprintf(out, cap, "%.*g", digits, value);
        double back = digits_max == 9 ? (double)strtof(out, NULL) : strtod(out, NULL);
        if (back == value) {
            return;
        }
    }
}

sl_slice sl_gguf_string_of(const sl_gguf *g, const sl_gguf_kv *kv) {
    return kv->type == SL_GGUF_STRING ? get_string(sl_gguf_first_part(g), kv->data)
                                      : (sl_slice){"", 0};
}

const char *sl_gguf_show_value(const sl_gguf *g, const sl_gguf_kv *kv, char *out, size_t cap) {
    bool negative;
    uint64_t magnitude;
    if (get_integer(kv, &negative, &magnitude)) {
        (void)snprintf(out, cap, "%s%" PRIu64, negative ? "-" : "", magnitude);
    } else if (kv->type == SL_GGUF_F32) {
        get_show_float((double)get_f32(kv->data), 9, out, cap);
    } else if (kv->type == SL_GGUF_F64) {
        get_show_float(get_f64(kv->data), 17, out, cap);
    } else if (kv->type == SL_GGUF_BOOL) {
        (void)snprintf(out, cap, "%s", kv->data[0] != 0 ? "true" : "false");
    } else if (kv->type == SL_GGUF_ARRAY) {
        (void)snprintf(out, cap, "array of %" PRIu64 " %s", kv->n,
                       sl_gguf_type_name(kv->elem_type));
    } else {
        out[0] = '"';
        (void)sl_gguf_show(get_string(sl_gguf_first_part(g), kv->data), out + 1, cap - 2);
        size_t len = strlen(out);
        out[len] = '"';
        out[len + 1] = '\0';
    }
    return out;
}

/* --- typed reads ------------------------------------------------------------------------------ */

static sl_status get_missing(const sl_gguf_part *p, const char *key, sl_error *err) {
    return SL_FAIL(err, SL_ERR_NOT_FOUND,
                   "%s: key '%s' is missing; the file is incomplete or of another "
                   "kind of model",
                   p->name, key);
}

static sl_status get_wrong_type(const sl_gguf_part *p, const char *key, sl_gguf_type type,
                                const char *wanted, sl_error *err) {
    return SL_FAIL(err, SL_ERR_FORMAT, "%s: key '%s' has type %s; it must be %s", p->name, key,
                   sl_gguf_type_name(type), wanted);
}

const sl_gguf_kv *sl_gguf_part_find(const sl_gguf_part *p, const char *key) {
    return sl_gguf_index_find(&p->keys, sl_slice_of(key));
}

sl_status sl_gguf_part_u32(const sl_gguf_part *p, const char *key, uint32_t *out, sl_error *err) {
    const sl_gguf_kv *kv = sl_gguf_part_find(p, key);
    if (kv == NULL) {
        return get_missing(p, key, err);
    }
    bool negative;
    uint64_t magnitude;
    if (!get_integer(kv, &negative, &magnitude)) {
        return get_wrong_type(p, key, kv->type, "an integer", err);
    }
    if (negative || magnitude > UINT32_MAX) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key '%s' is %s%" PRIu64 "; it must be from 0 to %" PRIu32, p->name, key,
                       negative ? "-" : "", magnitude, UINT32_MAX);
    }
    *out = (uint32_t)magnitude;
    return SL_OK;
}

sl_status sl_gguf_u32(const sl_gguf *g, const char *key, uint32_t *out, sl_error *err) {
    return sl_gguf_part_u32(sl_gguf_first_part(g), key, out, err);
}

sl_status sl_gguf_u32_or(const sl_gguf *g, const char *key, uint32_t def, uint32_t *out,
                         sl_error *err) {
    if (sl_gguf_find(g, key) == NULL) {
        *out = def;
        return SL_OK;
    }
    return sl_gguf_u32(g, key, out, err);
}

sl_status sl_gguf_f32(const sl_gguf *g, const char *key, float *out, sl_error *err) {
    const sl_gguf_part *p = sl_gguf_first_part(g);
    const sl_gguf_kv *kv = sl_gguf_find(g, key);
    if (kv == NULL) {
        return get_missing(p, key, err);
    }
    double value;
    bool negative;
    uint64_t magnitude;
    if (kv->type == SL_GGUF_F32) {
        *out = get_f32(kv->data);
        return SL_OK;
    }
    if (kv->type == SL_GGUF_F64) {
        value = get_f64(kv->data);
    } else if (get_integer(kv, &negative, &magnitude)) {
        value = negative ? -(double)magnitude : (double)magnitude;
    } else {
        return get_wrong_type(p, key, kv->type, "a number", err);
    }
    float f = (float)value;
    if (isinf(f) && !isinf(value)) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: key '%s' is %g, which is beyond the range of f32",
                       p->name, key, value);
    }
    *out = f;
    return SL_OK;
}

sl_status sl_gguf_f32_or(const sl_gguf *g, const char *key, float def, float *out, sl_error *err) {
    if (sl_gguf_find(g, key) == NULL) {
        *out = def;
        return SL_OK;
    }
    return sl_gguf_f32(g, key, out, err);
}

sl_status sl_gguf_bool_or(const sl_gguf *g, const char *key, bool def, bool *out, sl_error *err) {
    const sl_gguf_kv *kv = sl_gguf_find(g, key);
    if (kv == NULL) {
        *out = def;
        return SL_OK;
    }
    if (kv->type != SL_GGUF_BOOL) {
        return get_wrong_type(sl_gguf_first_part(g), key, kv->type, "bool", err);
    }
    *out = kv->data[0] != 0;
    return SL_OK;
}

sl_status sl_gguf_string(const sl_gguf *g, const char *key, sl_slice *out, sl_error *err) {
    const sl_gguf_part *p = sl_gguf_first_part(g);
    const sl_gguf_kv *kv = sl_gguf_find(g, key);
    if (kv == NULL) {
        return get_missing(p, key, err);
    }
    if (kv->type != SL_GGUF_STRING) {
        return get_wrong_type(p, key, kv->type, "string", err);
    }
    *out = get_string(p, kv->data);
    return SL_OK;
}

sl_status sl_gguf_string_or_none(const sl_gguf *g, const char *key, sl_slice *out, sl_error *err) {
    if (sl_gguf_find(g, key) == NULL) {
        *out = (sl_slice){NULL, 0};
        return SL_OK;
    }
    return sl_gguf_string(g, key, out, err);
}

/* --- arrays ----------------------------------------------------------------------------------- */

sl_status sl_gguf_array(const sl_gguf *g, const char *key, sl_gguf_type elem_type,
                        sl_gguf_iter *out, sl_error *err) {
    const sl_gguf_part *p = sl_gguf_first_part(g);
    const sl_gguf_kv *kv = sl_gguf_find(g, key);
    if (kv == NULL) {
        return get_missing(p, key, err);
    }
    if (kv->type != SL_GGUF_ARRAY || kv->elem_type != elem_type) {
        bool is_array = kv->type == SL_GGUF_ARRAY;
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: key '%s' is %s %s; it must be an array of %s",
                       p->name, key, is_array ? "an array of" : "a",
                       sl_gguf_type_name(is_array ? kv->elem_type : kv->type),
                       sl_gguf_type_name(elem_type));
    }
    *out = (sl_gguf_iter){
        .pos = kv->data, .end = p->data + p->tensors_at, .left = kv->n, .elem_type = elem_type};
    return SL_OK;
}

bool sl_gguf_next_string(sl_gguf_iter *it, sl_slice *out) {
    if (it->left == 0 || it->elem_type != SL_GGUF_STRING || it->end - it->pos < 8) {
        return false;
    }
    uint64_t len = get_bits(it->pos, 8);
    if (len > (uint64_t)(it->end - it->pos) - 8) {
        return false;
    }
    *out = (sl_slice){(const char *)it->pos + 8, (size_t)len};
    it->pos += 8 + len;
    it->left--;
    return true;
}

/* Steps over one value of four bytes; NULL at the end. */
static const uint8_t *get_next_4_bytes(sl_gguf_iter *it) {
    if (it->left == 0 || it->end - it->pos < 4) {
        return NULL;
    }
    const uint8_t *at = it->pos;
    it->pos += 4;
    it->left--;
    return at;
}

bool sl_gguf_next_f32(sl_gguf_iter *it, float *out) {
    const uint8_t *at = it->elem_type == SL_GGUF_F32 ? get_next_4_bytes(it) : NULL;
    if (at != NULL) {
        *out = get_f32(at);
    }
    return at != NULL;
}

bool sl_gguf_next_i32(sl_gguf_iter *it, int32_t *out) {
    bool fits = it->elem_type == SL_GGUF_I32 || it->elem_type == SL_GGUF_U32;
    const uint8_t *at = fits ? get_next_4_bytes(it) : NULL;
    if (at != NULL) {
        uint32_t bits = (uint32_t)get_bits(at, 4);
        memcpy(out, &bits, sizeof(*out));
    }
    return at != NULL;
}

bool sl_gguf_next_bool(sl_gguf_iter *it, bool *out) {
    if (it->left == 0 || it->elem_type != SL_GGUF_BOOL || it->end == it->pos) {
        return false;
    }
    *out = *it->pos++ != 0;
    it->left--;
    return true;
}
