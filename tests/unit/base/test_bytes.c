/* Byte readers, UTF-8, hashes, Philox, clock and metrics: the small pure parts of base. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/metric.h"
#include "base/rng.h"
#include "base/utf8.h"

static void test_reader_stops_at_the_end(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    sl_reader r = sl_reader_of(bytes, sizeof(bytes));
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    assert_true(sl_reader_u32(&r, &u32));
    assert_int_equal(u32, 0x04030201);
    assert_true(sl_reader_u64(&r, &u64));
    assert_true(u64 == 0x0C0B0A0908070605ull);
    assert_false(sl_reader_u32(&r, &u32));
    assert_int_equal(u32, 0x04030201);
    assert_int_equal(sl_reader_offset(&r), 12);
    assert_false(sl_reader_skip(&r, UINT64_MAX));
    assert_true(sl_reader_skip(&r, 1));
    assert_int_equal(sl_reader_left(&r), 0);
    sl_reader none = sl_reader_of(NULL, 0);
    assert_true(sl_reader_bytes(&none, NULL, 0));
    assert_true(sl_reader_skip(&none, 0));
    assert_false(sl_reader_skip(&none, 1));
}

static void test_checked_arithmetic(void **state) {
    (void)state;
    uint64_t v = 5;
    assert_true(sl_mul_u64(1ull << 32, (1ull << 32) - 1, &v));
    assert_true(v == 0xFFFFFFFF00000000ull);
    assert_false(sl_mul_u64(1ull << 32, 1ull << 32, &v));
    assert_false(sl_add_u64(UINT64_MAX, 1, &v));
    assert_true(sl_slice_eq_str((sl_slice){"abcd", 3}, "abc"));
    assert_false(sl_slice_eq_str((sl_slice){"abcd", 4}, "abc"));
    assert_true(sl_slice_eq((sl_slice){NULL, 0}, sl_slice_of("")));
}

/* Every code point encodes, decodes to itself, and no proper prefix of it decodes. */
static void test_utf8_all_code_points(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x110100; code++) {
        char s[4];
        uint32_t back = 0;
        size_t n = sl_utf8_encode(code, s);
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
            assert_int_equal(n, 0);
            continue;
        }
        if (sl_utf8_decode(s, n, &back) != n || back != code) {
            fail_msg("U+%04X does not come back", code);
        }
        for (size_t k = 1; k < n; k++) {
            if (sl_utf8_decode(s, k, &back) != 0 || sl_utf8_incomplete_tail(s, k) != k) {
                fail_msg("U+%04X: prefix of %zu bytes", code, k);
            }
        }
        if (sl_utf8_incomplete_tail(s, n) != 0) {
            fail_msg("U+%04X counts as incomplete", code);
        }
    }
}

/* Every sequence of three bytes: decoding agrees with the table of well-formed sequences (Unicode,
 * 3-7). */
static void test_utf8_all_short_sequences(void **state) {
    (void)state;
    for (uint32_t v = 0; v < 1u << 24; v += v < 0x800000 ? 251 : 1) { /* ASCII first bytes thinly */
        const unsigned char b[3] = {(unsigned char)(v >> 16), (unsigned char)(v >> 8),
                                    (unsigned char)v};
        size_t expected = 0;
        int c1 = (b[1] & 0xC0) == 0x80, c2 = (b[2] & 0xC0) == 0x80;
        if (b[0] < 0x80) {
            expected = 1;
        } else if (b[0] >= 0xC2 && b[0] <= 0xDF) {
            expected = c1 ? 2 : 0;
        } else if ((b[0] & 0xF0) == 0xE0) {
            int lo = b[0] == 0xE0 ? 0xA0 : 0x80, hi = b[0] == 0xED ? 0x9F : 0xBF;
            expected = b[1] >= lo && b[1] <= hi && c2 ? 3 : 0;
        }
        uint32_t code;
        if (sl_utf8_decode((const char *)b, 3, &code) != expected) {
            fail_msg("%02X %02X %02X", b[0], b[1], b[2]);
        }
    }
}

static void test_utf8_prefix_and_tail(void **state) {
    (void)state;
    assert_int_equal(sl_utf8_valid_prefix("aé\xFFz", 5), 3);
    assert_int_equal(sl_utf8_valid_prefix("aé", 3), 3);
    assert_int_equal(sl_utf8_valid_prefix("aé", 2), 1);
    assert_int_equal(sl_utf8_incomplete_tail("abc\xF0\x9F", 5), 2);
    assert_int_equal(sl_utf8_incomplete_tail("abc\xF4\x90", 5), 0); /* above U+10FFFF */
    assert_int_equal(sl_utf8_incomplete_tail("abc\xE0\x80", 5), 0); /* overlong */
    assert_int_equal(sl_utf8_incomplete_tail("abc\xED\xA0", 5), 0); /* surrogate */
    assert_int_equal(sl_utf8_incomplete_tail("\x80\x80\x80\x80", 4), 0);
    assert_int_equal(sl_utf8_incomplete_tail("", 0), 0);
}

/* Known answers of the authors' library (Random123, kat_vectors). */
static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        sl_philox counter;
        uint32_t key[2];
        sl_philox out;
    } kat[] = {
        {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
         {0xffffffff, 0xffffffff},
         {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         {0xa4093822, 0x299f31d0},
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (int i = 0; i < 3; i++) {
        sl_philox out = sl_philox4x32_10(kat[i].counter, kat[i].key);
        assert_memory_equal(&out, &kat[i].out, sizeof(out));
    }
}

static void test_doubles_are_uniform(void **state) {
    (void)state;
    enum { N = 100000, BINS = 50 };
    uint32_t bins[BINS] = {0};
    double sum = 0;
    for (uint32_t i = 0; i < N; i++) {
        double u = sl_rng_double(7, i % 3, i / 3);
        assert_true(u >= 0 && u < 1);
        bins[(int)(u * BINS)]++;
        sum += u;
    }
    double chi2 = 0;
    for (int i = 0; i < BINS; i++) {
        double e = (double)N / BINS;
        chi2 += (bins[i] - e) * (bins[i] - e) / e;
    }
    assert_true(chi2 < 100); /* 49 degrees of freedom */
    assert_true(sum / N > 0.495 && sum / N < 0.505);
}

/* Flipping any bit of a key flips about half of the hash's bits. */
static void test_hash_spreads(void **state) {
    (void)state;
    for (uint64_t key = 0; key < 1000; key++) {
        int total = 0;
        for (int bit = 0; bit < 64; bit++) {
            total += __builtin_popcountll(sl_hash_u64(key) ^ sl_hash_u64(key ^ 1ull << bit));
        }
        assert_in_range(total / 64, 27, 37);
    }
}

static void test_clock_goes_on(void **state) {
    (void)state;
    uint64_t a = sl_clock_mono_ns();
    uint64_t x = a;
    for (int i = 0; i < 1000000; i++) {
        x = sl_hash_u64(x);
    }
    assert_true(x != a);
    assert_true(sl_clock_mono_ns() > a);
    assert_true(sl_clock_wall_s() > 1700000000);
}

static void test_metrics(void **state) {
    (void)state;
    sl_counter c = {0};
    sl_counter_add(&c, 3);
    sl_counter_add(&c, 4);
    assert_int_equal(sl_counter_get(&c), 7);
    static const uint64_t bounds[] = {10, 20, 40};
    sl_histogram h;
    sl_histogram_init(&h, bounds, 3);
    const uint64_t values[] = {0, 10, 11, 20, 21, 40, 41, 1000};
    for (int i = 0; i < 8; i++) {
        sl_histogram_observe(&h, values[i]);
    }
    assert_int_equal(sl_histogram_cumulative(&h, 0), 2);
    assert_int_equal(sl_histogram_cumulative(&h, 1), 4);
    assert_int_equal(sl_histogram_cumulative(&h, 2), 6);
    assert_int_equal(sl_histogram_cumulative(&h, 3), 8);
    assert_int_equal(sl_histogram_cumulative(&h, 99), 8);
    assert_int_equal(sl_histogram_sum(&h), 1143);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_stops_at_the_end),
        cmocka_unit_test(test_checked_arithmetic),
        cmocka_unit_test(test_utf8_all_code_points),
        cmocka_unit_test(test_utf8_all_short_sequences),
        cmocka_unit_test(test_utf8_prefix_and_tail),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_doubles_are_uniform),
        cmocka_unit_test(test_hash_spreads),
        cmocka_unit_test(test_clock_goes_on),
        cmocka_unit_test(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
