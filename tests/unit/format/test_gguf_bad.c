/* Hostile GGUF files: each field of a good file wrong in turn, cuts at every length, and
 * hand-made ones. A refusal must be an error that names the file and the key or tensor; memory
 * safety is the sanitizers'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/format/gguf_samples.h"

#define FILE_NAME "hostile.gguf"

/* --- every field in turn ---------------------------------------------------------------------- */

typedef enum field_kind {
    FIELD_VERSION,
    FIELD_N_TENSORS,
    FIELD_N_KV,
    FIELD_NAME_LEN,   /* of a key or tensor */
    FIELD_TYPE,       /* of a value or of array elements */
    FIELD_STRING_LEN, /* of a value */
    FIELD_ARRAY_N,
    FIELD_N_DIMS,
    FIELD_DIM,
    FIELD_TENSOR_TYPE,
    FIELD_OFFSET
} field_kind;

typedef struct field {
    size_t at, size;
    field_kind kind;
} field;

#define FIELDS_MAX 256

typedef struct field_list {
    const unsigned char *data;
    size_t at, n;
    field fields[FIELDS_MAX];
} field_list;

/* Notes the field at l->at and steps over it; returns its value. */
static uint64_t field_note(field_list *l, size_t size, field_kind kind) {
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) {
        value = value << 8 | l->data[l->at + i];
    }
    assert_true(l->n < FIELDS_MAX);
    l->fields[l->n++] = (field){l->at, size, kind};
    l->at += size;
    return value;
}

static void field_scan_value(field_list *l, uint64_t type, uint64_t n, int depth) {
    static const unsigned char sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    assert_true(depth < 4); /* the sample is ours */
    for (uint64_t i = 0; i < n; i++) {
        if (type == SL_GGUF_STRING) {
            l->at += field_note(l, 8, FIELD_STRING_LEN);
        } else if (type == SL_GGUF_ARRAY) {
            uint64_t elem_type = field_note(l, 4, FIELD_TYPE);
            uint64_t count = field_note(l, 8, FIELD_ARRAY_N);
            field_scan_value(l, elem_type, count, depth + 1);
        } else {
            l->at += sizes[type];
        }
    }
}

/* Finds the fields of a good file, independently of the code under test. */
static void field_scan(field_list *l, const unsigned char *data) {
    *l = (field_list){.data = data, .at = 4};
    (void)field_note(l, 4, FIELD_VERSION);
    uint64_t n_tensors = field_note(l, 8, FIELD_N_TENSORS);
    uint64_t n_kv = field_note(l, 8, FIELD_N_KV);
    for (uint64_t i = 0; i < n_kv; i++) {
        l->at += field_note(l, 8, FIELD_NAME_LEN);
        uint64_t type = field_note(l, 4, FIELD_TYPE);
        field_scan_value(l, type, 1, 0);
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        l->at += field_note(l, 8, FIELD_NAME_LEN);
        uint64_t n_dims = field_note(l, 4, FIELD_N_DIMS);
        for (uint64_t d = 0; d < n_dims; d++) {
            (void)field_note(l, 8, FIELD_DIM);
        }
        (void)field_note(l, 4, FIELD_TENSOR_TYPE);
        (void)field_note(l, 8, FIELD_OFFSET);
    }
}

static uint64_t field_read(const unsigned char *data, field f) {
    uint64_t value = 0;
    for (size_t i = f.size; i-- > 0;) {
        value = value << 8 | data[f.at + i];
    }
    return value;
}

static void field_write(unsigned char *data, field f, uint64_t value) {
    for (size_t i = 0; i < f.size; i++) {
        data[f.at + i] = (unsigned char)(value >> (8 * i));
    }
}

/* Opens; a refusal must say which file and where in it. Returns the status. */
static sl_status try_open(const unsigned char *data, size_t len, char *message) {
    sl_gguf *g = NULL;
    sl_error e = {0};
    sl_status status = sl_gguf_open_memory(FILE_NAME, data, len, &g, &e);
    message[0] = '\0';
    if (status == SL_OK) {
        (void)sample_touch(g);
        sl_gguf_close(g);
        return SL_OK;
    }
    assert_null(g);
    assert_int_equal(e.code, status);
    assert_true(status == SL_ERR_FORMAT || status == SL_ERR_UNSUPPORTED || status == SL_ERR_LIMIT);
    (void)snprintf(message, SL_ERROR_MESSAGE_MAX, "%s", e.message);
    static const char *const places[] = {"key", "tensor", "header", "version", "GGUF", "empty"};
    bool is_placed = false;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        is_placed = is_placed || strstr(message, places[i]) != NULL;
    }
    if (strncmp(message, FILE_NAME ": ", sizeof(FILE_NAME) + 1) != 0 || !is_placed) {
        fail_msg("'%s' does not say which file and where", message);
    }
    for (const char *p = message; *p != '\0'; p++) {
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7F);
    }
    return status;
}

/* May a file with this field changed still be a right one? Then either answer is fine. */
static bool may_still_be_right(field_kind kind, uint64_t old, uint64_t value) {
    switch (kind) {
    case FIELD_VERSION:
        return value == 2 || value == 3;
    case FIELD_TYPE:
        return true; /* u32 and i32 differ in nothing else */
    case FIELD_TENSOR_TYPE:
        return true;
    case FIELD_N_TENSORS:
        return value < old; /* fewer: the rest is data */
    case FIELD_DIM:
        return value < old + 12; /* smaller, or reaching into the padding */
    case FIELD_OFFSET:
        return true; /* may point into padding */
    default:
        return false;
    }
}

static void test_every_field(void **state) {
    (void)state;
    sl_buf file;
    sample_build(&file, 32);
    field_list list;
    field_scan(&list, (const unsigned char *)file.data);
    assert_true(list.n > 60);
    unsigned char *copy = sample_copy(file.data, file.len);
    char message[SL_ERROR_MESSAGE_MAX];
    size_t n_tried = 0, n_refused = 0;
    for (size_t i = 0; i < list.n; i++) {
        field f = list.fields[i];
        uint64_t old = field_read(copy, f);
        const uint64_t values[] = {0,
                                   1,
                                   2,
                                   5,
                                   13,
                                   31,
                                   255,
                                   65536,
                                   old - 1,
                                   old + 1,
                                   old + 7,
                                   old * 2,
                                   INT32_MAX,
                                   UINT32_MAX,
                                   (uint64_t)1 << 32,
                                   (uint64_t)1 << 60,
                                   ((uint64_t)1 << 61) + old,
                                   INT64_MAX,
                                   (uint64_t)INT64_MAX + 1,
                                   UINT64_MAX / 8 + 1,
                                   UINT64_MAX - 31,
                                   UINT64_MAX - 7,
                                   UINT64_MAX,
                                   file.len,
                                   file.len - f.at};
        for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
            uint64_t value = f.size == 4 ? (uint32_t)values[k] : values[k];
            if (value == old) {
                continue;
            }
            field_write(copy, f, value);
            sl_status status = try_open(copy, file.len, message);
            n_tried++;
            n_refused += status != SL_OK;
            if (status == SL_OK && !may_still_be_right(f.kind, old, value)) {
                fail_msg("field of kind %d at byte %zu: %llu in place of %llu was accepted",
                         (int)f.kind, f.at, (unsigned long long)value, (unsigned long long)old);
            }
        }
        field_write(copy, f, old);
    }
    print_message("%zu files with one wrong field, %zu refused\n", n_tried, n_refused);
    assert_true(n_tried > 1500 && n_refused > n_tried * 9 / 10);
    assert_int_equal(try_open(copy, file.len, message), SL_OK);
    free(copy);
    sl_buf_deinit(&file);
}

static void test_every_cut(void **state) {
    (void)state;
    sl_buf file;
    char message[SL_ERROR_MESSAGE_MAX];
    sample_build(&file, 32);
    /* The last tensor's padding is not needed. */
    size_t len_needed = file.len - (32 - sample_tensors[SAMPLE_TENSORS - 1].size_bytes);
    for (size_t len = 0; len <= file.len; len++) {
        unsigned char *copy = sample_copy(file.data, len);
        sl_status status = try_open(copy, len, message);
        assert_int_equal(status == SL_OK, len >= len_needed);
        free(copy);
    }
    sl_buf_deinit(&file);
}

static void test_every_byte(void **state) {
    (void)state;
    sl_buf file;
    char message[SL_ERROR_MESSAGE_MAX];
    sample_build(&file, 8);
    unsigned char *copy = sample_copy(file.data, file.len);
    size_t n = file.len < 1500 ? file.len : 1500;
    for (size_t i = 0; i < n; i++) {
        static const unsigned char flips[] = {0x01, 0x80, 0xFF};
        for (size_t k = 0; k < sizeof(flips); k++) {
            copy[i] ^= flips[k];
            (void)try_open(copy, file.len, message);
            copy[i] ^= flips[k];
        }
    }
    free(copy);
    sl_buf_deinit(&file);
}

/* --- hand-made files -------------------------------------------------------------------------- */

static void put(sl_buf *b, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(sl_buf_append_char(b, (char)(value >> (8 * i))), SL_OK);
    }
}

static void put_name(sl_buf *b, const char *name) {
    put(b, strlen(name), 8);
    assert_int_equal(sl_buf_append_str(b, name), SL_OK);
}

static void put_head(sl_buf *b, uint64_t n_tensors, uint64_t n_kv) {
    sl_buf_init(b, (size_t)64 << 20);
    assert_int_equal(sl_buf_append_str(b, "GGUF"), SL_OK);
    put(b, 3, 4);
    put(b, n_tensors, 8);
    put(b, n_kv, 8);
}

static void put_tensor(sl_buf *b, const char *name, const uint64_t *dims, uint32_t n_dims,
                       uint32_t type, uint64_t offset) {
    put_name(b, name);
    put(b, n_dims, 4);
    for (uint32_t d = 0; d < n_dims; d++) {
        put(b, dims[d], 8);
    }
    put(b, type, 4);
    put(b, offset, 8);
}

/* Adds `data_bytes` of padding and data, opens, expects the status and both words, and frees. */
static void expect(sl_buf *b, size_t data_bytes, sl_status wanted, const char *word_1,
                   const char *word_2) {
    char message[SL_ERROR_MESSAGE_MAX];
    size_t header = b->len;
    for (size_t i = 0; i < data_bytes + (32 - header % 32) % 32; i++) {
        put(b, 0, 1);
    }
    unsigned char *copy = sample_copy(b->data, b->len);
    sl_status status = try_open(copy, b->len, message);
    if (status != wanted || strstr(message, word_1) == NULL || strstr(message, word_2) == NULL) {
        fail_msg("status %d, not %d, or no '%s' and '%s' in '%s'", status, wanted, word_1, word_2,
                 message);
    }
    free(copy);
    sl_buf_deinit(b);
}

static void expect_bytes(const char *bytes, size_t len, sl_status wanted, const char *word) {
    char message[SL_ERROR_MESSAGE_MAX];
    unsigned char *copy = sample_copy(bytes, len);
    assert_int_equal(try_open(copy, len, message), wanted);
    if (strstr(message, word) == NULL) {
        fail_msg("no '%s' in '%s'", word, message);
    }
    free(copy);
}

static void test_not_gguf(void **state) {
    (void)state;
    expect_bytes("", 0, SL_ERR_FORMAT, "empty");
    expect_bytes("GGU", 3, SL_ERR_FORMAT, "not a GGUF");
    expect_bytes("<!DOCTYPE html>", 15, SL_ERR_FORMAT, "web page");
    expect_bytes("version https://git-lfs.github.com/spec/v1", 41, SL_ERR_FORMAT, "git lfs pull");
    expect_bytes("PK\x03\x04zzzz", 8, SL_ERR_FORMAT, "PyTorch");
    expect_bytes("\x40\0\0\0\0\0\0\0{\"a\":1}", 15, SL_ERR_FORMAT, "safetensors");
    expect_bytes("GGUF", 4, SL_ERR_FORMAT, "4 bytes");
    expect_bytes("GGUF\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, SL_ERR_UNSUPPORTED,
                 "version 0");
    expect_bytes("GGUF\1\0\0\0\0\0\0\0\0\0\0\0", 16, SL_ERR_UNSUPPORTED, "version 1");
    expect_bytes("GGUF\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, SL_ERR_UNSUPPORTED,
                 "version 4");
    expect_bytes("GGUF\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, SL_ERR_UNSUPPORTED,
                 "big-endian");
    expect_bytes("GGUF\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, SL_ERR_UNSUPPORTED,
                 "big-endian");
    expect_bytes("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 23, SL_ERR_FORMAT, "23 bytes");
    expect_bytes("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, SL_OK, "");
}

static void test_bad_keys(void **state) {
    (void)state;
    sl_buf b;
    put_head(&b, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_name(&b, "same.key");
        put(&b, SL_GGUF_U8, 4);
        put(&b, 0, 1);
    }
    expect(&b, 0, SL_ERR_FORMAT, "same.key", "twice");
    put_head(&b, 0, 1);
    put_name(&b, "bad\xC3(key");
    put(&b, SL_GGUF_U8, 4);
    expect(&b, 8, SL_ERR_FORMAT, "UTF-8", "bad\\xc3(key");
    put_head(&b, 0, 1);
    put(&b, 3, 8);
    put(&b, 0x620061, 3);
    put(&b, SL_GGUF_U8, 4);
    expect(&b, 8, SL_ERR_FORMAT, "UTF-8", "a\\x00b");
    put_head(&b, 0, 1);
    put_name(&b, "\x1B[2Jclear");
    put(&b, 99, 4);
    expect(&b, 8, SL_ERR_FORMAT, "\\x1b[2Jclear", "99");
    put_head(&b, 0, 1);
    put_name(&b, "flag");
    put(&b, SL_GGUF_BOOL, 4);
    put(&b, 2, 1);
    expect(&b, 8, SL_ERR_FORMAT, "flag", "boolean value 2");
    put_head(&b, 0, 1);
    put_name(&b, "flags");
    put(&b, SL_GGUF_ARRAY, 4);
    put(&b, SL_GGUF_BOOL, 4);
    put(&b, 3, 8);
    put(&b, 0xFF0001, 3);
    expect(&b, 8, SL_ERR_FORMAT, "flags", "boolean value 255");
    put_head(&b, 0, 1);
    put(&b, SL_GGUF_KEY_MAX + 1, 8);
    for (int i = 0; i <= SL_GGUF_KEY_MAX; i++) {
        put(&b, 'k', 1);
    }
    put(&b, SL_GGUF_U8, 4);
    expect(&b, 8, SL_ERR_FORMAT, "kkk...", "65536");
    put_head(&b, 0, 1);
    put_name(&b, "cut.text");
    put(&b, SL_GGUF_STRING, 4);
    put(&b, 1000, 8);
    expect(&b, 8, SL_ERR_FORMAT, "cut.text", "1000");
}

static void test_bad_alignment(void **state) {
    (void)state;
    static const uint32_t values[] = {0, 1, 2, 4, 7, 24, 33, 131072, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char value[16];
        sl_buf b;
        put_head(&b, 0, 1);
        put_name(&b, "general.alignment");
        put(&b, SL_GGUF_U32, 4);
        put(&b, values[i], 4);
        (void)snprintf(value, sizeof(value), " %u;", values[i]);
        expect(&b, 0, SL_ERR_FORMAT, "general.alignment", value);
    }
    static const sl_gguf_type types[] = {SL_GGUF_I32, SL_GGUF_U64, SL_GGUF_F32};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        sl_buf b;
        put_head(&b, 0, 1);
        put_name(&b, "general.alignment");
        put(&b, types[i], 4);
        put(&b, 32, types[i] == SL_GGUF_U64 ? 8 : 4);
        expect(&b, 0, SL_ERR_FORMAT, "general.alignment", sl_gguf_type_name(types[i]));
    }
}

static void put_nested(sl_buf *b, int depth) {
    put_head(b, 0, 1);
    put_name(b, "deep");
    put(b, SL_GGUF_ARRAY, 4);
    for (int i = 0; i < depth; i++) {
        put(b, i + 1 < depth ? SL_GGUF_ARRAY : SL_GGUF_U8, 4);
        put(b, 1, 8);
    }
    put(b, 7, 1);
}

static void test_nesting(void **state) {
    (void)state;
    sl_buf b;
    put_nested(&b, SL_GGUF_DEPTH_MAX);
    expect(&b, 0, SL_OK, "", "");
    put_nested(&b, SL_GGUF_DEPTH_MAX + 1);
    expect(&b, 0, SL_ERR_LIMIT, "deep", "nested");
    put_nested(&b, 200000);
    expect(&b, 0, SL_ERR_LIMIT, "deep", "nested");
    /* Wide: a hundred thousand empty arrays, then a second entry that must be found behind them. */
    put_head(&b, 0, 2);
    put_name(&b, "wide");
    put(&b, SL_GGUF_ARRAY, 4);
    put(&b, SL_GGUF_ARRAY, 4);
    put(&b, 100000, 8);
    for (int i = 0; i < 100000; i++) {
        put(&b, SL_GGUF_ARRAY, 4);
        put(&b, 0, 8);
    }
    put_name(&b, "next");
    put(&b, 13, 4);
    expect(&b, 0, SL_ERR_FORMAT, "next", "13");
    /* Counts that no file can hold. */
    static const sl_gguf_type types[] = {SL_GGUF_U8, SL_GGUF_F64, SL_GGUF_STRING, SL_GGUF_ARRAY};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        put_head(&b, 0, 1);
        put_name(&b, "many");
        put(&b, SL_GGUF_ARRAY, 4);
        put(&b, types[i], 4);
        put(&b, ((uint64_t)1 << 61) + 1, 8);
        expect(&b, 64, SL_ERR_FORMAT, "many", "2305843009213693953");
    }
}

typedef struct tensor_case {
    uint64_t dims[4];
    uint32_t n_dims, type;
    uint64_t offset;
    sl_status status;
    const char *word;
} tensor_case;

static void test_bad_tensors(void **state) {
    (void)state;
    const uint64_t big = (uint64_t)1 << 32, top = (uint64_t)1 << 63;
    const tensor_case cases[] = {
        {{8}, 1, 0, 0, SL_OK, ""},
        {{16}, 1, 0, 0, SL_OK, ""},
        {{17}, 1, 0, 0, SL_ERR_FORMAT, "68 bytes"},
        {{8}, 1, 0, 32, SL_OK, ""},
        {{8}, 1, 0, 64, SL_ERR_FORMAT, "offset 64"},
        {{8}, 1, 0, 8, SL_ERR_FORMAT, "alignment 32"},
        {{8}, 1, 0, 33, SL_ERR_FORMAT, "alignment 32"},
        {{8}, 1, 0, UINT64_MAX - 31, SL_ERR_FORMAT, "offset 18446744073709551584"},
        {{8}, 1, 0, UINT64_MAX - 63, SL_ERR_FORMAT, "offset 18446744073709551552"},
        {{8}, 1, 0, top, SL_ERR_FORMAT, "offset 9223372036854775808"},
        {{0}, 1, 0, 0, SL_ERR_FORMAT, "dimension 0 is 0"},
        {{8, 0}, 2, 0, 0, SL_ERR_FORMAT, "dimension 1 is 0"},
        {{8, 1, 1, 0}, 4, 0, 0, SL_ERR_FORMAT, "dimension 3 is 0"},
        {{big, big}, 2, 0, 0, SL_ERR_FORMAT, "[4294967296, 4294967296, 1, 1]"},
        {{big, big, 1, 0}, 4, 0, 0, SL_ERR_FORMAT, "dimension 3 is 0"},
        {{top, 2}, 2, 24, 0, SL_ERR_FORMAT, "larger than any file"},
        {{UINT64_MAX}, 1, 24, 0, SL_ERR_FORMAT, "larger than any file"},
        {{UINT64_MAX}, 1, 0, 0, SL_ERR_FORMAT, "larger than any file"},
        {{1, top, 2}, 3, 24, 0, SL_ERR_FORMAT, "larger than any file"},
        {{(uint64_t)1 << 62}, 1, 0, 0, SL_ERR_FORMAT, "larger than any file"},
        {{8, (uint64_t)1 << 40}, 2, 0, 0, SL_ERR_FORMAT, "35184372088832 bytes"},
        {{1}, 0, 0, 0, SL_ERR_FORMAT, "0 dimensions"},
        {{31}, 1, 2, 0, SL_ERR_FORMAT, "Q4_0"},
        {{32, 3}, 2, 2, 0, SL_OK, ""},
        {{32, 4}, 2, 2, 0, SL_ERR_FORMAT, "72 bytes"},
        {{128}, 1, 12, 0, SL_ERR_FORMAT, "Q4_K"},
        {{8}, 1, 4, 0, SL_ERR_UNSUPPORTED, "format 4"},
        {{8}, 1, 5, 0, SL_ERR_UNSUPPORTED, "format 5"},
        {{8}, 1, 63, 0, SL_ERR_UNSUPPORTED, "format 63"},
        {{8}, 1, 64, 0, SL_ERR_UNSUPPORTED, "format 64"},
        {{8}, 1, UINT32_MAX, 0, SL_ERR_UNSUPPORTED, "format 4294967295"},
        {{8}, 1, 0x80000000u, 0, SL_ERR_UNSUPPORTED, "format 2147483648"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const tensor_case *c = &cases[i];
        sl_buf b;
        put_head(&b, 1, 0);
        put_tensor(&b, "blk.0.w", c->dims, c->n_dims, c->type, c->offset);
        expect(&b, 64, c->status, c->status == SL_OK ? "" : "'blk.0.w'", c->word);
    }
}

/* A row of one block is as long as its type says and no shorter; a part of a block is
 * refused. */
static void test_rows_of_every_type(void **state) {
    (void)state;
    for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
        const sl_type_info *info = sl_type_info_of(type);
        if (info->name == NULL) {
            continue;
        }
        const struct {
            uint64_t n;
            size_t data_bytes;
            sl_status status;
            const char *word;
        } cases[] = {
            {info->block_elems, info->block_bytes, SL_OK, ""},
            {info->block_elems, info->block_bytes - 1, SL_ERR_FORMAT, "only"},
            {info->block_elems / 2, info->block_bytes, SL_ERR_FORMAT,
             info->block_elems == 1 ? "dimension 0 is 0" : "must be a multiple of"},
            {info->block_elems * 3 / 2, 2 * (size_t)info->block_bytes,
             info->block_elems == 1 ? SL_OK : SL_ERR_FORMAT,
             info->block_elems == 1 ? "" : info->name},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            sl_buf b;
            put_head(&b, 1, 0);
            put_tensor(&b, "blk.0.w", &cases[i].n, 1, type, 0);
            expect(&b, cases[i].data_bytes, cases[i].status,
                   cases[i].status == SL_OK ? "" : "'blk.0.w'", cases[i].word);
        }
    }
}

static void test_tensor_dims_count(void **state) {
    (void)state;
    static const uint32_t counts[] = {5, 64, 0x7FFFFFFF, UINT32_MAX};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        char word[40];
        sl_buf b;
        put_head(&b, 1, 0);
        put_name(&b, "w");
        put(&b, counts[i], 4);
        (void)snprintf(word, sizeof(word), "%u dimensions", counts[i]);
        expect(&b, 64, SL_ERR_FORMAT, "'w'", word);
    }
}

static void test_tensors_together(void **state) {
    (void)state;
    static const uint64_t dims[] = {8}, wide[] = {16};
    sl_buf b;
    put_head(&b, 2, 0);
    put_tensor(&b, "a", dims, 1, 0, 0);
    put_tensor(&b, "a", dims, 1, 0, 32);
    expect(&b, 64, SL_ERR_FORMAT, "'a'", "twice");
    put_head(&b, 2, 0); /* the same bytes */
    put_tensor(&b, "a", dims, 1, 0, 32);
    put_tensor(&b, "b", dims, 1, 0, 32);
    expect(&b, 64, SL_ERR_FORMAT, "overlap", "'b'");
    put_head(&b, 2, 0);
    put_tensor(&b, "a", wide, 1, 0, 0);
    put_tensor(&b, "b", dims, 1, 0, 32);
    expect(&b, 64, SL_ERR_FORMAT, "overlap", "'a'");
    put_head(&b, 3, 0); /* any order and gaps are fine */
    put_tensor(&b, "c", dims, 1, 0, 96);
    put_tensor(&b, "a", dims, 1, 0, 0);
    put_tensor(&b, "b", dims, 1, 0, 32);
    expect(&b, 128, SL_OK, "", "");
    put_head(&b, 4, 0); /* out of order, and d lies inside a */
    put_tensor(&b, "c", dims, 1, 0, 96);
    put_tensor(&b, "a", wide, 1, 0, 0);
    put_tensor(&b, "b", dims, 1, 0, 64);
    put_tensor(&b, "d", dims, 1, 0, 32);
    expect(&b, 128, SL_ERR_FORMAT, "overlap", "'d'");
    put_head(&b, 1, 0);
    char name[SL_GGUF_NAME_MAX + 2];
    memset(name, 'n', sizeof(name));
    name[SL_GGUF_NAME_MAX] = '\0';
    put_tensor(&b, name, dims, 1, 0, 0);
    expect(&b, 32, SL_OK, "", "");
    put_head(&b, 1, 0);
    name[SL_GGUF_NAME_MAX] = 'n';
    name[SL_GGUF_NAME_MAX + 1] = '\0';
    put_tensor(&b, name, dims, 1, 0, 0);
    expect(&b, 32, SL_ERR_FORMAT, "nnnn", "65 bytes");
}

/* Sorting for the overlap check, over many tensors in an order that is far from sorted. */
static void test_shuffled_tensors(void **state) {
    (void)state;
    static const uint64_t dims[] = {8}, wide[] = {16};
    enum { N = 3001 };
    for (uint32_t i_wide = 0; i_wide <= N; i_wide += N) {
        sl_buf b;
        put_head(&b, N, 0);
        for (uint32_t i = 0; i < N; i++) {
            char name[16];
            uint32_t place = (uint32_t)((uint64_t)i * 1213 % N); /* a permutation: N is a prime */
            (void)snprintf(name, sizeof(name), "t%u", place);
            bool is_wide = i_wide != 0 && place == 1500;
            put_tensor(&b, name, is_wide ? wide : dims, 1, 0, (uint64_t)place * 32);
        }
        if (i_wide == 0) {
            expect(&b, N * 32, SL_OK, "", "");
        } else {
            expect(&b, N * 32, SL_ERR_FORMAT, "'t1500'", "'t1501'");
        }
    }
}

static void test_counts(void **state) {
    (void)state;
    static const uint64_t counts[] = {2,
                                      1000,
                                      (uint64_t)1 << 31,
                                      (uint64_t)1 << 32,
                                      (uint64_t)1 << 60,
                                      INT64_MAX,
                                      (uint64_t)1 << 63,
                                      UINT64_MAX};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        char word[40];
        sl_buf b;
        (void)snprintf(word, sizeof(word), "%llu", (unsigned long long)counts[i]);
        put_head(&b, 0, counts[i]);
        expect(&b, 8, SL_ERR_FORMAT, "metadata key", word);
        put_head(&b, counts[i], 0);
        expect(&b, 8, SL_ERR_FORMAT, "tensors", word);
    }
}

static void test_split_in_memory(void **state) {
    (void)state;
    static const uint32_t counts[] = {2, 1024, 1025, 65535, UINT32_MAX};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        sl_buf b;
        put_head(&b, 0, 1);
        put_name(&b, "split.count");
        put(&b, SL_GGUF_U32, 4);
        put(&b, counts[i], 4);
        expect(&b, 0, counts[i] <= SL_GGUF_FILES_MAX ? SL_ERR_UNSUPPORTED : SL_ERR_LIMIT,
               "split.count", "");
    }
    sl_buf b;
    put_head(&b, 0, 1);
    put_name(&b, "split.count");
    put(&b, SL_GGUF_I32, 4);
    put(&b, UINT32_MAX, 4);
    expect(&b, 0, SL_ERR_FORMAT, "split.count", "-1");
    put_head(&b, 0, 1);
    put_name(&b, "split.count");
    put(&b, SL_GGUF_STRING, 4);
    put_name(&b, "2");
    expect(&b, 0, SL_ERR_FORMAT, "split.count", "string");
}

/* Names that would all share a slot of a table hashed without a key cannot be made by a test,
 * but names that share their first or last bytes must still be told apart. */
static void test_similar_names(void **state) {
    (void)state;
    sl_buf b;
    put_head(&b, 0, 300);
    for (int i = 0; i < 300; i++) {
        char key[340];
        memset(key, 'x', (size_t)i + 1);
        key[i + 1] = '\0';
        put_name(&b, key);
        put(&b, SL_GGUF_U16, 4);
        put(&b, (uint64_t)i, 2);
    }
    sl_gguf *g = NULL;
    CHECK_OK(sl_gguf_open_memory(FILE_NAME, b.data, b.len, &g, err));
    for (int i = 0; i < 300; i++) {
        char key[340];
        uint32_t value = 0;
        memset(key, 'x', (size_t)i + 1);
        key[i + 1] = '\0';
        CHECK_OK(sl_gguf_u32(g, key, &value, err));
        assert_int_equal(value, i);
    }
    sl_gguf_close(g);
    sl_buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_not_gguf),
        cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_bad_alignment),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_bad_tensors),
        cmocka_unit_test(test_rows_of_every_type),
        cmocka_unit_test(test_tensor_dims_count),
        cmocka_unit_test(test_tensors_together),
        cmocka_unit_test(test_shuffled_tensors),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_split_in_memory),
        cmocka_unit_test(test_similar_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
