/* What holds for the decoder of every number format: the reference's bits for a long stream of
 * blocks, rows made of blocks, any bytes at any address, nothing written outside.
 *
 * tests/golden/quant/streams.json (made by tests/golden/make/make_quant.py) has one hash per
 * format. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/alloc.h"
#include "quant/half.h"
#include "quant/types.h"

#define STREAM_BLOCKS 1024
#define BLOCK_ELEMS_MAX 256

static void stream_bytes(uint64_t seed, uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        out[i] = (uint8_t)(seed >> 56);
    }
}

static uint64_t hash_values(uint64_t h, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (isnan(x[i]) ? 0x7fc00000u : sl_bits_of_float(x[i]))) * 0x100000001b3u;
    }
    return h;
}

/* Every format with blocks is in the file, and decodes to the reference's bits. */
static void test_streams(void **state) {
    (void)state;
    json_t *root = json_load_file("tests/golden/quant/streams.json", 0, NULL);
    assert_non_null(root);
    size_t n_formats = 0;
    for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
        const sl_type_info *info = sl_type_info_of(type);
        if (info->name == NULL || info->block_elems == 1) {
            continue;
        }
        const json_t *entry = json_object_get(root, info->name);
        assert_non_null(entry);
        assert_true(info->decodes);
        assert_int_equal(type, json_integer_value(json_object_get(entry, "ggml_type")));
        assert_int_equal(info->block_elems,
                         json_integer_value(json_object_get(entry, "block_elements")));
        assert_int_equal(info->block_bytes,
                         json_integer_value(json_object_get(entry, "block_bytes")));
        const size_t n = (size_t)STREAM_BLOCKS * info->block_elems;
        uint8_t *bytes = sl_alloc((size_t)STREAM_BLOCKS * info->block_bytes);
        float *values = sl_alloc_zero(n, sizeof(float));
        assert_true(bytes != NULL && values != NULL);
        stream_bytes(type, bytes, (size_t)STREAM_BLOCKS * info->block_bytes);
        sl_type_decode_row((sl_type)type, bytes, values, n);
        char hash[17];
        (void)snprintf(hash, sizeof(hash), "%016llx",
                       (unsigned long long)hash_values(0xcbf29ce484222325u, values, n));
        if (strcmp(hash, json_string_value(json_object_get(entry, "hash"))) != 0) {
            fail_msg("%s: values of the stream hash to %s", info->name, hash);
        }
        sl_free(values);
        sl_free(bytes);
        n_formats++;
    }
    assert_int_equal(n_formats, json_object_size(root));
    json_decref(root);
}

/* A row is its blocks one by one, whatever the alignment; what lies beside it stays. */
static void check_row(sl_type type, const sl_type_info *info, const uint8_t *bytes, size_t n_blocks,
                      size_t shift) {
    const size_t n_bytes = n_blocks * info->block_bytes, n = n_blocks * info->block_elems;
    uint8_t *src = sl_alloc(n_bytes + shift); /* exact sizes: the sanitizers see what is read */
    float *row = sl_alloc_zero(n + 2, sizeof(float));
    assert_true(src != NULL && row != NULL);
    memcpy(src + shift, bytes, n_bytes);
    row[0] = row[n + 1] = 12345.0f;
    sl_type_decode_row(type, src + shift, row + 1, n);
    assert_true(row[0] == 12345.0f && row[n + 1] == 12345.0f);
    for (size_t b = 0; b < n_blocks; b++) {
        float block[BLOCK_ELEMS_MAX];
        sl_type_decode_row(type, bytes + b * info->block_bytes, block, info->block_elems);
        assert_memory_equal(block, row + 1 + b * info->block_elems,
                            info->block_elems * sizeof(float));
    }
    sl_free(row);
    sl_free(src);
}

static void test_rows_are_blocks(void **state) {
    (void)state;
    for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
        const sl_type_info *info = sl_type_info_of(type);
        if (info->name == NULL || !info->decodes) {
            continue;
        }
        assert_true(info->block_elems <= BLOCK_ELEMS_MAX);
        uint8_t bytes[5 * 292];
        assert_true(5 * (size_t)info->block_bytes <= sizeof(bytes));
        for (size_t n_blocks = 0; n_blocks <= 5; n_blocks++) {
            stream_bytes(type + 100 * n_blocks, bytes, n_blocks * info->block_bytes);
            check_row((sl_type)type, info, bytes, n_blocks, n_blocks % 4);
        }
        for (int fill = 0; fill < 256; fill += 15) { /* all zeros, all ones, and between */
            memset(bytes, fill, sizeof(bytes));
            check_row((sl_type)type, info, bytes, 2, 1);
        }
    }
}

/* A scale of zero, with all else zero, decodes to zeros; infinite scales to infinities or NaN; a
 * NaN scale leaves no number. */
static void test_scales(void **state) {
    (void)state;
    static const struct {
        sl_type type;
        uint32_t at; /* of the half scale */
    } list[] = {
        {SL_TYPE_Q4_0, 0},   {SL_TYPE_Q4_1, 0},   {SL_TYPE_Q5_0, 0},   {SL_TYPE_Q5_1, 0},
        {SL_TYPE_Q8_0, 0},   {SL_TYPE_Q8_1, 0},   {SL_TYPE_Q2_K, 80},  {SL_TYPE_Q3_K, 108},
        {SL_TYPE_Q4_K, 0},   {SL_TYPE_Q5_K, 0},   {SL_TYPE_Q6_K, 208}, {SL_TYPE_IQ2_XXS, 0},
        {SL_TYPE_IQ2_XS, 0}, {SL_TYPE_IQ2_S, 0},  {SL_TYPE_IQ1_S, 0},  {SL_TYPE_IQ3_XXS, 0},
        {SL_TYPE_IQ3_S, 0},  {SL_TYPE_IQ4_NL, 0}, {SL_TYPE_IQ4_XS, 0}, {SL_TYPE_TQ1_0, 52},
        {SL_TYPE_TQ2_0, 64}, {SL_TYPE_Q1_0, 0},   {SL_TYPE_Q2_0, 0},
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        const uint32_t n = sl_type_info_of((uint32_t)list[i].type)->block_elems;
        uint8_t block[292] = {0};
        float x[BLOCK_ELEMS_MAX];
        sl_type_decode_row(list[i].type, block, x, n);
        for (uint32_t k = 0; k < n; k++) {
            assert_true(x[k] == 0.0f);
        }
        block[list[i].at + 1] = 0x7c;
        for (int payload = 0; payload < 2; payload++) { /* infinity, NaN */
            block[list[i].at] = (uint8_t)payload;
            sl_type_decode_row(list[i].type, block, x, n);
            for (uint32_t k = 0; k < n; k++) {
                assert_true(payload ? isnan(x[k]) : !isfinite(x[k]));
            }
        }
    }
}

/* The scale codes of the two formats whose scales are bytes. */
static void test_byte_scales(void **state) {
    (void)state;
    uint8_t block[36];
    float x[64];
    for (uint32_t code = 0; code < 256; code++) {
        memset(block, 0x22, sizeof(block)); /* E2M1 1.0 */
        block[0] = (uint8_t)code;
        sl_type_decode_row(SL_TYPE_MXFP4, block, x, 32);
        assert_true(code == 255 ? isinf(x[0]) : (double)x[0] == ldexp(1.0, (int)code - 127));
        assert_true(x[31] == x[0]);
        memset(block, (int)code, 4);
        sl_type_decode_row(SL_TYPE_NVFP4, block, x, 64);
        const uint32_t exponent = code >> 3 & 15, mantissa = code & 7;
        const double want = code == 127     ? 0.0
                            : exponent == 0 ? ldexp(mantissa, -9)
                                            : ldexp(8 + mantissa, (int)exponent - 10);
        assert_true((double)x[0] == want && (double)x[63] == want);
    }
    static const float e2m1[16] = {0.0f, 0.5f, 1.0f,  1.5f, 2.0f,  3.0f,  4.0f,  6.0f,
                                   0.0f, -.5f, -1.0f, -1.5, -2.0f, -3.0f, -4.0f, -6.0f};
    block[0] = 127; /* 1 */
    for (uint32_t q = 0; q < 16; q++) {
        block[1 + q] = (uint8_t)(q | (15 - q) << 4);
    }
    sl_type_decode_row(SL_TYPE_MXFP4, block, x, 32);
    for (uint32_t q = 0; q < 16; q++) {
        assert_true(x[q] == e2m1[q] && x[16 + q] == e2m1[15 - q]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_rows_are_blocks),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_byte_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
