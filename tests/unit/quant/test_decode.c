/* Decoding of weight blocks against reference values, the half floats over all their values, and
 * the table of types.
 *
 * tests/golden/quant/blocks_small.json holds two random blocks of each format with their values;
 * the full set is read from ../shared/golden/quant/blocks.json (SLUICE_SHARED names another place)
 * where it is there. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/alloc.h"
#include "quant/group.h"
#include "quant/half.h"
#include "quant/types.h"

static int base64_digit(char c) {
    const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at ? (int)(at - digits) : -1;
}

/* A new buffer, freed by the caller; *len is set. */
static uint8_t *base64_decode(const char *text, size_t *len) {
    uint8_t *out = sl_alloc(strlen(text));
    uint32_t bits = 0;
    int n_bits = 0;
    assert_non_null(out);
    *len = 0;
    for (; *text && *text != '='; text++) {
        const int digit = base64_digit(*text);
        assert_true(digit >= 0);
        bits = bits << 6 | (uint32_t)digit;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[(*len)++] = (uint8_t)(bits >> n_bits);
        }
    }
    return out;
}

/* Distance in units of the last place; huge for different signs or a NaN in one only. */
static uint32_t ulp_distance(float a, float b) {
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b) ? 0 : UINT32_MAX;
    }
    if (a == b) {
        return 0;
    }
    const uint32_t x = sl_bits_of_float(a), y = sl_bits_of_float(b);
    if ((x ^ y) >> 31) {
        return UINT32_MAX;
    }
    return x > y ? x - y : y - x;
}

/* The 32-groups of a format as integers and scales mean the same numbers as its decoder. */
static void check_groups(sl_type type, const uint8_t *bytes, const float *values, size_t n) {
    const bool has_groups = sl_group_info_of(type)->form != SL_GROUP_NONE;
    for (uint32_t g = 0; has_groups && g < n / SL_GROUP; g++) {
        sl_group group;
        sl_group_read(type, bytes, g, &group);
        for (size_t i = 0; i < SL_GROUP; i++) {
            const size_t h = i / 16;
            const double product = (double)group.scale[h] * group.sub[h] * group.q[i];
            const double minimum = (double)group.minimum * group.sub_min[h];
            const double exact = product + minimum, size = fabs(product) + fabs(minimum);
            assert_true(fabs(exact - (double)values[g * SL_GROUP + i]) <= 4e-7 * size);
        }
    }
}

/* Decodes the blocks of one entry, at an odd address too, and compares; returns whether the type is
 * decoded. */
static bool check_entry(const char *name, const json_t *entry) {
    const uint32_t type = (uint32_t)json_integer_value(json_object_get(entry, "ggml_type"));
    const sl_type_info *info = sl_type_info_of(type);
    assert_non_null(info->name);
    assert_string_equal(info->name, name);
    assert_int_equal(info->block_elems,
                     json_integer_value(json_object_get(entry, "block_elements")));
    assert_int_equal(info->block_bytes, json_integer_value(json_object_get(entry, "block_bytes")));
    if (!info->decodes) {
        return false;
    }
    size_t n_bytes, n_value_bytes;
    uint8_t *bytes = base64_decode(json_string_value(json_object_get(entry, "bytes_b64")),
                                   &n_bytes);
    uint8_t *want = base64_decode(json_string_value(json_object_get(entry, "values_b64")),
                                  &n_value_bytes);
    const size_t n = n_value_bytes / sizeof(float);
    uint64_t row_bytes;
    assert_true(sl_type_row_bytes((sl_type)type, n, &row_bytes));
    assert_int_equal(row_bytes, n_bytes);
    uint8_t *shifted = sl_alloc(n_bytes + 1);
    float *got = sl_alloc_zero(n, sizeof(float));
    float *values = sl_alloc_zero(n, sizeof(float));
    memcpy(shifted + 1, bytes, n_bytes);
    memcpy(values, want, n * sizeof(float));
    sl_type_decode_row((sl_type)type, shifted + 1, got, n);
    for (size_t i = 0; i < n; i++) {
        if (ulp_distance(got[i], values[i]) > 3) { /* the last two bits */
            fail_msg("%s: element %zu is %.9g, should be %.9g", name, i, (double)got[i],
                     (double)values[i]);
        }
    }
    check_groups((sl_type)type, shifted + 1, got, n);
    sl_free(shifted);
    sl_free(got);
    sl_free(values);
    sl_free(bytes);
    sl_free(want);
    return true;
}

static void check_file(json_t *root) {
    const char *name;
    json_t *entry;
    size_t n = 0;
    json_object_foreach(root, name, entry) {
        if (!check_entry(name, entry)) {
            fail_msg("%s does not decode", name);
        }
        n++;
    }
    assert_true(n >= 20);
    json_decref(root);
}

static void test_small_blocks(void **unused) {
    (void)unused;
    json_t *root = json_load_file("tests/golden/quant/blocks_small.json", 0, NULL);
    assert_non_null(root);
    check_file(root);
}

static void test_all_blocks(void **unused) {
    (void)unused;
    const char *shared = getenv("SLUICE_SHARED");
    char path[4096];
    snprintf(path, sizeof(path), "%s/golden/quant/blocks.json", shared ? shared : "../shared");
    json_t *root = json_load_file(path, 0, NULL);
    if (!root) {
        skip();
    }
    check_file(root);
}

static void test_plain_types(void **unused) {
    (void)unused;
    static const uint8_t f32[] = {0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0};
    static const uint8_t f16[] = {0x00, 0x3e, 0x00, 0xc0, 0x01, 0x00};
    static const uint8_t bf16[] = {0xc0, 0x3f, 0x00, 0xc0};
    static const uint8_t i8[2] = {0};
    float out[3] = {7, 7, 7};
    sl_type_decode_row(SL_TYPE_F32, f32, out, 2);
    assert_true(out[0] == 1.5f && out[1] == -2.0f && out[2] == 7.0f);
    sl_type_decode_row(SL_TYPE_F16, f16, out, 3);
    assert_true(out[0] == 1.5f && out[1] == -2.0f && out[2] == 0x1p-24f);
    out[2] = 7;
    sl_type_decode_row(SL_TYPE_BF16, bf16, out, 2);
    assert_true(out[0] == 1.5f && out[1] == -2.0f && out[2] == 7.0f);
    sl_type_decode_row(SL_TYPE_I8, i8, out, 2); /* no weights: nothing is written */
    assert_true(out[0] == 1.5f);
}

/* Q8_K, which the reference blocks lack: d float32, 256 signed bytes, sums that do not
 * matter. */
static void test_q8_k(void **unused) {
    (void)unused;
    uint8_t block[292] = {0};
    float out[256];
    const float d = 0.25f;
    memcpy(block, &d, sizeof(d));
    for (int i = 0; i < 256; i++) {
        block[4 + i] = (uint8_t)i;
    }
    sl_type_decode_row(SL_TYPE_Q8_K, block, out, 256);
    for (int i = 0; i < 256; i++) {
        assert_true(out[i] == 0.25f * (float)(i < 128 ? i : i - 256));
    }
}

static void test_type_table(void **unused) {
    (void)unused;
    uint64_t bytes;
    assert_null(sl_type_info_of(4)->name); /* withdrawn */
    assert_null(sl_type_info_of(SL_TYPE_COUNT)->name);
    assert_null(sl_type_info_of(UINT32_MAX)->name);
    assert_false(sl_type_row_bytes((sl_type)4, 32, &bytes));
    assert_false(sl_type_row_bytes(SL_TYPE_Q4_1, 33, &bytes));
    assert_true(sl_type_row_bytes(SL_TYPE_Q4_1, 576, &bytes));
    assert_int_equal(bytes, 360);
    assert_true(sl_type_row_bytes(SL_TYPE_Q6_K, 512, &bytes));
    assert_int_equal(bytes, 420);
    assert_false(sl_type_row_bytes(SL_TYPE_F64, UINT64_MAX / 4, &bytes)); /* overflow */
    size_t named = 0;
    for (uint32_t t = 0; t < SL_TYPE_COUNT; t++) {
        const sl_type_info *info = sl_type_info_of(t);
        assert_true(info->block_elems > 0);
        named += info->name != NULL;
        assert_true(info->name == NULL || info->block_bytes > 0);
    }
    assert_int_equal(named, 35);
}

/* Every half value goes to float32 and back; between neighbours, rounding goes to the nearer, ties
 * to even. */
static void test_half(void **unused) {
    (void)unused;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = sl_half_to_float((uint16_t)h);
        const uint32_t mag = h & 0x7fff;
        if (mag > 0x7c00) {
            assert_true(isnan(f) && isnan(sl_half_to_float(sl_f32_to_f16(f))));
            continue;
        }
        assert_int_equal(sl_f32_to_f16(f), h);
        const double exact = mag == 0x7c00 ? (double)INFINITY
                             : mag < 0x400
                                 ? ldexp((double)mag, -24)
                                 : ldexp(1024.0 + (double)(mag & 0x3ff), (int)(mag >> 10) - 25);
        assert_true((double)fabsf(f) == exact);
        if (mag < 0x7bff) {
            const float up = sl_half_to_float((uint16_t)(h + 1));
            const float tie = (f + up) * 0.5f; /* exact: 13 more bits are there */
            const uint32_t even = h & 1 ? h + 1 : h;
            assert_int_equal(sl_f32_to_f16(tie), even);
            assert_int_equal(sl_f32_to_f16(nextafterf(tie, f)), h);
            assert_int_equal(sl_f32_to_f16(nextafterf(tie, up)), h + 1);
        }
    }
    assert_int_equal(sl_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(sl_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(sl_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(sl_f32_to_f16(1e-45f), 0);
}

static void test_bfloat(void **unused) {
    (void)unused;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = sl_bfloat_to_float((uint16_t)h);
        if (isnan(f)) {
            assert_true(isnan(sl_bfloat_to_float(sl_f32_to_bf16(f))));
            continue;
        }
        assert_int_equal(sl_f32_to_bf16(f), h);
        if ((h & 0x7fff) < 0x7f7f) {
            const float tie = sl_float_of_bits(h << 16 | 0x8000);
            assert_int_equal(sl_f32_to_bf16(tie), h & 1 ? h + 1 : h);
            assert_int_equal(sl_f32_to_bf16(sl_float_of_bits(h << 16 | 0x7fff)), h);
            assert_int_equal(sl_f32_to_bf16(sl_float_of_bits(h << 16 | 0x8001)), h + 1);
        }
    }
    assert_int_equal(sl_f32_to_bf16(3.4028235e38f), 0x7f80);
    assert_true(isnan(sl_bfloat_to_float(sl_f32_to_bf16(sl_float_of_bits(0x7f800001)))));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_blocks), cmocka_unit_test(test_all_blocks),
        cmocka_unit_test(test_plain_types),  cmocka_unit_test(test_q8_k),
        cmocka_unit_test(test_type_table),   cmocka_unit_test(test_half),
        cmocka_unit_test(test_bfloat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
