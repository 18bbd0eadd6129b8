/* Checksums tell every changed bit, length and seed apart, and do not depend on where bytes lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/checksum.h"

#define N_MAX 200

static void fill(uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    }
}

static void test_every_bit(void **state) {
    (void)state;
    uint8_t bytes[N_MAX];
    fill(bytes, sizeof(bytes));
    for (size_t n = 0; n < N_MAX; n++) {
        uint64_t sum = sl_checksum(bytes, n, 1);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(sum, sl_checksum(bytes, n, 1));
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(sum, sl_checksum(bytes, n, 1));
    }
}

static void test_seeds_and_lengths(void **state) {
    (void)state;
    const uint8_t zeros[N_MAX] = {0};
    for (size_t n = 0; n < N_MAX; n++) {
        assert_int_not_equal(sl_checksum(zeros, n, 1), sl_checksum(zeros, n, 2));
        for (size_t m = 0; m < n; m++) {
            assert_int_not_equal(sl_checksum(zeros, n, 1), sl_checksum(zeros, m, 1));
        }
    }
}

/* Blocks that change places, and sums at any address. */
static void test_order_and_place(void **state) {
    (void)state;
    uint8_t bytes[4 * 64], swapped[4 * 64], moved[4 * 64 + 16];
    fill(bytes, sizeof(bytes));
    for (size_t a = 0; a < 16; a++) {
        for (size_t b = 0; b < a; b++) {
            memcpy(swapped, bytes, sizeof(bytes));
            memcpy(swapped + 16 * a, bytes + 16 * b, 16);
            memcpy(swapped + 16 * b, bytes + 16 * a, 16);
            assert_int_not_equal(sl_checksum(bytes, sizeof(bytes), 1),
                                 sl_checksum(swapped, sizeof(swapped), 1));
        }
        memcpy(moved + a, bytes, sizeof(bytes));
        assert_int_equal(sl_checksum(bytes, sizeof(bytes), 1),
                         sl_checksum(moved + a, sizeof(bytes), 1));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_seeds_and_lengths),
        cmocka_unit_test(test_order_and_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
