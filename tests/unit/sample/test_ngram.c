/* Drafts from the text itself: against a search of the whole text, overlaps, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "sample/spec/ngram.h"

#define N_MAX 2000

static int32_t g_ids[N_MAX + 64];

/* The index of the first n tokens, n_prompt of which are the prompt. */
static sl_ngram index_of(void *memory, uint32_t n_prompt, uint32_t n, uint32_t n_max,
                         sl_ngram_text *text) {
    sl_ngram g;
    *text = (sl_ngram_text){g_ids, g_ids + n_prompt, n_prompt};
    sl_ngram_init(&g, memory, n_max);
    sl_ngram_grow(&g, text, n_prompt);
    for (uint32_t i = n_prompt; i <= n; i++) {
        sl_ngram_grow(&g, text, i);
    }
    return g;
}

static uint32_t len_at(uint32_t place, uint32_t last) {
    uint32_t len = 0;
    while (len < SL_NGRAM_LONG && len <= place && g_ids[place - len] == g_ids[last - len]) {
        len++;
    }
    return len;
}

/* Few different tokens, so that there are matches everywhere: what is found is one, it is the
 * longest of the newest places, and none is missed. */
static void test_against_search(void **state) {
    (void)state;
    void *memory = malloc(sl_ngram_bytes(N_MAX));
    uint32_t n_found = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        const uint32_t n = 1 + (uint32_t)(sl_rng_double(seed, 0, 0) * 200);
        const uint32_t n_prompt = 1 + (uint32_t)(sl_rng_double(seed, 0, 1) * (n - 1));
        const double n_kinds = 2 + 8 * sl_rng_double(seed, 0, 2);
        for (uint32_t i = 0; i < n; i++) {
            g_ids[i] = (int32_t)(sl_rng_double(seed, 1, i) * n_kinds);
        }
        sl_ngram_text text;
        const sl_ngram g = index_of(memory, n_prompt, n, N_MAX, &text);
        const sl_ngram_match match = sl_ngram_find(&g, &text);
        uint32_t best = 0, n_tried = 0;
        for (uint32_t place = n - 1; place-- > 0 && n_tried < SL_NGRAM_TRIES;) {
            const uint32_t len = len_at(place, n - 1);
            n_tried += len >= SL_NGRAM_MIN;
            best = len >= SL_NGRAM_MIN && len > best ? len : best;
        }
        /* A place of the same hash but other tokens may take one of the tries. */
        assert_true(match.len == best || (match.len < best && n_tried == SL_NGRAM_TRIES));
        if (match.len > 0) {
            n_found++;
            assert_in_range(match.place, SL_NGRAM_MIN, n - 1);
            assert_int_equal(len_at(match.place - 1, n - 1), match.len);
        }
    }
    assert_in_range(n_found, 100, 299);
    free(memory);
}

/* A text that repeats itself goes on repeating itself, for longer than the distance. */
static void test_overlap(void **state) {
    (void)state;
    void *memory = malloc(sl_ngram_bytes(64));
    for (uint32_t i = 0; i < 20; i++) {
        g_ids[i] = (int32_t)(i % 5);
    }
    sl_ngram_text text;
    const sl_ngram g = index_of(memory, 3, 20, 64, &text);
    const sl_ngram_match match = sl_ngram_find(&g, &text);
    assert_int_equal(match.place, 15);
    assert_int_equal(match.len, 15);
    sl_ngram_copy(&text, &match, 30, g_ids + 20);
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(g_ids[i], i % 5);
    }
    free(memory);
}

static void test_bounds(void **state) {
    (void)state;
    const uint32_t n_max = 10;
    void *memory = malloc(sl_ngram_bytes(n_max));
    memset(g_ids, 0, sizeof(g_ids));
    sl_ngram_text text;
    for (uint32_t n = 1; n < SL_NGRAM_MIN + 1; n++) { /* the same tokens cannot be there twice */
        const sl_ngram g = index_of(memory, 1, n, n_max, &text);
        assert_int_equal(sl_ngram_find(&g, &text).len, 0);
    }
    const sl_ngram g = index_of(memory, 30, 60, n_max, &text); /* the rest is left out */
    assert_int_equal(g.n, n_max);
    assert_int_equal(sl_ngram_find(&g, &text).len, n_max - 1);
    free(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_search),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
