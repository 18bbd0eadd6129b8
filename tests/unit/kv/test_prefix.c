/* Prefixes that sequences share: found again while in use and afterwards, under the same key only,
 * whole pages of known tokens only, with windows, and evicted when room is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kv/kv.h"

#define T SL_PAGE_TOKENS
#define N_IDS (40 * T)

static const sl_prefix_key KEY = {.salt = 2}, OTHER = {.salt = 3},
                           VARIANT = {.salt = 2, .variant = 1};
static int32_t g_ids[N_IDS], g_out[N_IDS];

static sl_kv *kv_of(uint32_t n_pages, const sl_kv_groups *groups) {
    const sl_kv_options options = {
        .n_pages = n_pages, .n_seqs_max = 8, .n_tokens_max = N_IDS, .groups = *groups, .seed = 77};
    sl_kv *kv = NULL;
    sl_error err;
    assert_int_equal(sl_kv_create(&options, &kv, &err), SL_OK);
    for (int32_t i = 0; i < N_IDS; i++) {
        g_ids[i] = i;
        g_out[i] = 10000 + i;
    }
    return kv;
}

static sl_kv *kv_plain(uint32_t n_pages) {
    const sl_kv_groups one = {.n = 1, .rows_max = N_IDS};
    return kv_of(n_pages, &one);
}

static void kv_check(const sl_kv *kv) {
    sl_error err;
    if (sl_kv_verify(kv, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
}

static sl_kv_text text_of(uint32_t n_prompt, uint32_t n_known) {
    return (sl_kv_text){
        .prompt_ids = g_ids, .out_ids = g_out, .n_prompt = n_prompt, .n_known = n_known};
}

static uint32_t open_seq(sl_kv *kv, const sl_prefix_key *key) {
    const uint32_t most = sl_kv_groups_tokens(sl_kv_groups_of(kv), sl_kv_n_pages(kv));
    uint32_t seq;
    assert_int_equal(sl_kv_seq_open(kv, most < N_IDS ? most : N_IDS, &seq), SL_OK);
    if (key != NULL) {
        sl_kv_seq_share(kv, seq, key);
    }
    return seq;
}

/* Computes positions [n_done, n_tokens) of a sequence and publishes them. */
static void compute(sl_kv *kv, uint32_t seq, const sl_kv_text *text, uint32_t n_done,
                    uint32_t n_tokens) {
    assert_int_equal(sl_kv_seq_extend(kv, seq, n_done, n_tokens), SL_OK);
    sl_kv_seq_publish(kv, seq, text, n_tokens);
    kv_check(kv);
}

static void test_found_while_in_use_and_afterwards(void **state) {
    (void)state;
    sl_kv *kv = kv_plain(20);
    const sl_kv_text text = text_of(100, 100);
    const uint32_t a = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, a, &text, 0), 0);
    compute(kv, a, &text, 0, 100);
    const uint32_t b = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, b, &text, 0), 3 * T); /* the fourth page is not full */
    kv_check(kv);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(sl_kv_seq_table(kv, b, 0)[i], sl_kv_seq_table(kv, a, 0)[i]);
    }
    assert_int_equal(sl_kv_n_used(kv), 4);
    compute(kv, b, &text, 3 * T, 100);
    assert_int_not_equal(sl_kv_seq_table(kv, b, 0)[3], sl_kv_seq_table(kv, a, 0)[3]);
    sl_kv_seq_close(kv, a);
    assert_int_equal(sl_kv_n_used(kv), 4); /* b's */
    sl_kv_seq_close(kv, b);
    assert_int_equal(sl_kv_n_used(kv), 0);
    assert_int_equal(sl_kv_n_cached(kv), 3);
    assert_int_equal(sl_kv_n_there(kv), 20);
    kv_check(kv);
    const uint32_t c = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, c, &text, 0), 3 * T);
    assert_int_equal(sl_kv_n_cached(kv), 0);
    assert_int_equal(sl_kv_n_used(kv), 3);
    kv_check(kv);
    sl_kv_free(kv);
}

static void test_last_token_is_computed(void **state) {
    (void)state;
    sl_kv *kv = kv_plain(20);
    const sl_kv_text text = text_of(2 * T, 2 * T), longer = text_of(2 * T + 1, 2 * T + 1);
    const uint32_t a = open_seq(kv, &KEY), b = open_seq(kv, &KEY);
    compute(kv, a, &text, 0, 2 * T);
    assert_int_equal(sl_kv_seq_reuse(kv, b, &text, 0), T); /* its logits are wanted */
    assert_int_equal(sl_kv_seq_reuse(kv, b, &longer, T), 2 * T);
    assert_int_equal(sl_kv_seq_reuse(kv, b, &longer, 2 * T), 2 * T);
    kv_check(kv);
    sl_kv_free(kv);
}

static void test_keys_do_not_mix(void **state) {
    (void)state;
    sl_kv *kv = kv_plain(20);
    const sl_kv_text text = text_of(100, 100);
    compute(kv, open_seq(kv, &KEY), &text, 0, 100);
    assert_int_equal(sl_kv_seq_reuse(kv, open_seq(kv, &OTHER), &text, 0), 0);
    assert_int_equal(sl_kv_seq_reuse(kv, open_seq(kv, &VARIANT), &text, 0), 0);
    assert_int_equal(sl_kv_seq_reuse(kv, open_seq(kv, NULL), &text, 0), 0);
    const uint32_t alone = open_seq(kv, NULL); /* and gives nobody anything */
    compute(kv, alone, &text, 0, 100);
    sl_kv_seq_close(kv, alone);
    assert_int_equal(sl_kv_n_cached(kv), 0);
    kv_check(kv);
    sl_kv_free(kv);
}

/* Where prompts part, the pages do; what was generated is found like a prompt. */
static void test_prefixes_part(void **state) {
    (void)state;
    sl_kv *kv = kv_plain(40);
    const sl_kv_text chat = text_of(T + 10, 4 * T); /* the rest was generated */
    const uint32_t a = open_seq(kv, &KEY);
    compute(kv, a, &chat, 0, T + 10);
    compute(kv, a, &chat, T + 10, 4 * T - 1);
    sl_kv_seq_close(kv, a);
    int32_t turn[6 * T];
    for (uint32_t i = 0; i < 6 * T; i++) {
        turn[i] = i < T + 10 ? g_ids[i] : g_out[i - T - 10];
    }
    const sl_kv_text again = {.prompt_ids = turn, .n_prompt = 6 * T, .n_known = 6 * T};
    const uint32_t b = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, b, &again, 0), 3 * T);
    turn[2 * T] = -5;
    const uint32_t c = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, c, &again, 0), 2 * T);
    compute(kv, c, &again, 2 * T, 6 * T);
    turn[0] = -5;
    assert_int_equal(sl_kv_seq_reuse(kv, open_seq(kv, &KEY), &again, 0), 0);
    kv_check(kv);
    sl_kv_free(kv);
}

/* Two that computed the same pages side by side: one's stay, the other's are its own. */
static void test_computed_twice(void **state) {
    (void)state;
    sl_kv *kv = kv_plain(20);
    const sl_kv_text text = text_of(100, 100);
    const uint32_t a = open_seq(kv, &KEY), b = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_extend(kv, a, 0, 100), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, b, 0, 100), SL_OK);
    sl_kv_seq_publish(kv, a, &text, 100);
    assert_int_equal(sl_kv_seq_reuse(kv, b, &text, 0), 0); /* it has pages already */
    sl_kv_seq_publish(kv, b, &text, 100);
    kv_check(kv);
    sl_kv_seq_close(kv, b);
    assert_int_equal(sl_kv_n_cached(kv), 0);
    sl_kv_seq_close(kv, a);
    assert_int_equal(sl_kv_n_cached(kv), 3);
    kv_check(kv);
    sl_kv_free(kv);
}

static void test_evicted_when_room_is_needed(void **state) {
    (void)state;
    sl_kv *kv = kv_plain(8);
    const sl_kv_text first = text_of(4 * T + 1, 4 * T + 1);
    const sl_kv_text second = {
        .prompt_ids = g_ids + 1, .n_prompt = 3 * T + 1, .n_known = 3 * T + 1};
    uint32_t seq = open_seq(kv, &KEY);
    compute(kv, seq, &first, 0, 4 * T);
    sl_kv_seq_close(kv, seq);
    seq = open_seq(kv, &KEY);
    compute(kv, seq, &second, 0, 3 * T);
    sl_kv_seq_close(kv, seq);
    assert_int_equal(sl_kv_n_cached(kv), 7);
    /* One page is free; two more are the end of what was used longest ago. */
    const uint32_t alone = open_seq(kv, NULL);
    assert_int_equal(sl_kv_seq_extend(kv, alone, 0, 3 * T), SL_OK);
    kv_check(kv);
    assert_int_equal(sl_kv_n_cached(kv), 5);
    seq = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, seq, &first, 0), 2 * T);
    /* What is in use stays: three pages were of `second`, all of them go. */
    assert_int_equal(sl_kv_seq_extend(kv, alone, 3 * T, 6 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, alone, 6 * T, 7 * T), SL_AGAIN);
    assert_int_equal(sl_kv_seq_reuse(kv, open_seq(kv, &KEY), &second, 0), 0);
    assert_int_equal(sl_kv_n_used(kv), 8);
    kv_check(kv);
    sl_kv_free(kv);
}

/* A place is taken over only if all is there that a row sees from there: of the group with a
 * window its last pages, of the other all. */
static void test_windows(void **state) {
    (void)state;
    const sl_kv_groups groups = {.n = 2, .window = {0, T}, .rows_max = 2 * T};
    sl_kv *kv = kv_of(60, &groups);
    const sl_kv_text text = text_of(8 * T + 1, 8 * T + 1), part = text_of(5 * T + 1, 5 * T + 1);
    const uint32_t a = open_seq(kv, &KEY);
    for (uint32_t i = 0; i < 8; i += 2) {
        compute(kv, a, &text, i * T, (i + 2) * T);
    }
    sl_kv_seq_close(kv, a);
    const uint32_t b = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, b, &text, 0), 8 * T);
    const int32_t *all = sl_kv_seq_table(kv, b, 0), *window = sl_kv_seq_table(kv, b, 1);
    assert_true(all[0] >= 0 && all[7] >= 0 && window[6] == -1 && window[7] >= 0);
    assert_true(sl_kv_seq_holds(kv, b, 8 * T, 8 * T));
    assert_int_equal(sl_kv_seq_extend(kv, b, 8 * T, 8 * T + 1), SL_OK);
    kv_check(kv);
    sl_kv_seq_close(kv, b);
    /* Every page of the window is parked still, so any place will do. */
    const uint32_t c = open_seq(kv, &KEY);
    assert_int_equal(sl_kv_seq_reuse(kv, c, &part, 0), 5 * T);
    assert_true(sl_kv_seq_table(kv, c, 1)[4] >= 0 && sl_kv_seq_table(kv, c, 1)[3] == -1);
    kv_check(kv);
    sl_kv_seq_close(kv, c);
    /* Until those that a window passed first are evicted: 60 pages, 16 of them parked. */
    const uint32_t d = open_seq(kv, NULL);
    for (uint32_t i = 0; i < 36; i += 2) {
        assert_int_equal(sl_kv_seq_extend(kv, d, i * T, (i + 2) * T), SL_OK);
    }
    const uint32_t e = open_seq(kv, NULL);
    assert_int_equal(sl_kv_seq_extend(kv, e, 0, 2 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, e, 2 * T, 4 * T), SL_OK);
    assert_int_equal(sl_kv_seq_extend(kv, e, 4 * T, 6 * T), SL_OK);
    kv_check(kv);
    assert_true(sl_kv_n_cached(kv) < 16);
    const uint32_t f = open_seq(kv, &KEY);
    const uint32_t done = sl_kv_seq_reuse(kv, f, &part, 0);
    assert_true(done == 0 || sl_kv_seq_holds(kv, f, done, done));
    kv_check(kv);
    sl_kv_free(kv);
}

static void test_follows(void **state) {
    (void)state;
    sl_kv *kv = kv_plain(40);
    const sl_kv_text text = text_of(4 * T, 4 * T), short_text = text_of(T + 5, T + 5);
    const sl_kv_text other_text = {.prompt_ids = g_ids + 1, .n_prompt = 99, .n_known = 99};
    const uint32_t a = open_seq(kv, &KEY), b = open_seq(kv, &KEY), c = open_seq(kv, &OTHER);
    assert_true(sl_kv_seq_follows(kv, b, &text, 0, a, &text));
    assert_false(sl_kv_seq_follows(kv, b, &text, 0, c, &text));       /* another key */
    assert_false(sl_kv_seq_follows(kv, b, &other_text, 0, a, &text)); /* other tokens */
    assert_false(sl_kv_seq_follows(kv, b, &text, 5, a, &text));       /* it began the page */
    compute(kv, a, &text, 0, T);
    assert_false(sl_kv_seq_follows(kv, b, &text, 0, a, &text)); /* that page is there */
    assert_int_equal(sl_kv_seq_reuse(kv, b, &text, 0), T);
    assert_true(sl_kv_seq_follows(kv, b, &text, T, a, &text));
    /* Neither shares a page that is not full. */
    assert_false(sl_kv_seq_follows(kv, b, &short_text, T, a, &text));
    assert_false(sl_kv_seq_follows(kv, b, &text, T, a, &short_text));
    sl_kv_free(kv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_while_in_use_and_afterwards),
        cmocka_unit_test(test_last_token_is_computed),
        cmocka_unit_test(test_keys_do_not_mix),
        cmocka_unit_test(test_prefixes_part),
        cmocka_unit_test(test_computed_twice),
        cmocka_unit_test(test_evicted_when_room_is_needed),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
