/* Byte slices, checked arithmetic, and the one reader for bytes that come from outside. */
#ifndef SL_BASE_BYTES_H
#define SL_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes; not terminated. */
typedef struct sl_slice {
    const char *ptr;
    size_t len;
} sl_slice;

static inline sl_slice sl_slice_of(const char *text) {
    return (sl_slice){text, strlen(text)};
}
static inline bool sl_slice_eq(sl_slice a, sl_slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool sl_slice_eq_str(sl_slice a, const char *text) {
    return sl_slice_eq(a, sl_slice_of(text));
}

/* a / b, rounded up; b > 0. */
static inline uint32_t sl_div_up(uint32_t a, uint32_t b) {
    return a / b + (a % b != 0);
}

/* True and *out set if the result fits. */
static inline bool sl_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool sl_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool sl_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool sl_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* Little-endian cursor over [pos, end). Each read returns false and moves nothing when too few
 * bytes are left. */
typedef struct sl_reader {
    const uint8_t *base, *pos, *end;
} sl_reader;

static inline sl_reader sl_reader_of(const void *data, size_t len) {
    const uint8_t *p = data;
    return (sl_reader){p, p, len == 0 ? p : p + len}; /* no bytes may be at NULL */
}
static inline size_t sl_reader_left(const sl_reader *r) {
    return (size_t)(r->end - r->pos);
}
static inline size_t sl_reader_offset(const sl_reader *r) {
    return (size_t)(r->pos - r->base);
}
static inline bool sl_reader_bytes(sl_reader *r, void *out, size_t len) {
    if (sl_reader_left(r) < len) {
        return false;
    }
    if (len > 0) {
        memcpy(out, r->pos, len);
        r->pos += len;
    }
    return true;
}
static inline bool sl_reader_skip(sl_reader *r, uint64_t len) {
    if (sl_reader_left(r) < len) {
        return false;
    }
    r->pos = len == 0 ? r->pos : r->pos + len;
    return true;
}
static inline bool sl_reader_u32(sl_reader *r, uint32_t *out) {
    uint8_t b[4];
    if (!sl_reader_bytes(r, b, sizeof(b))) {
        return false;
    }
    *out = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return true;
}
static inline bool sl_reader_u64(sl_reader *r, uint64_t *out) {
    uint8_t b[8];
    if (!sl_reader_bytes(r, b, sizeof(b))) {
        return false;
    }
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) {
        v = v << 8 | b[i];
    }
    *out = v;
    return true;
}

#endif
