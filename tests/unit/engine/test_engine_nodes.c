/* Engines on simulated machines of several NUMA nodes: logits have the same bits as on one node,
 * sequences lie at home while there is room, and the counters of tasks say who worked for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "check_status.h"
#include "measure/feed.h"
#include "tiny_engine.h"

#define N_TOKENS 70
#define N_SEQ 5
#define N_VOCAB_MAX 512

typedef struct result {
    uint32_t n_vocab;
    float logits[N_SEQ][N_VOCAB_MAX];
    uint64_t own, others;                  /* tasks */
    uint32_t n_pages, n_home_pages[N_SEQ]; /* of the store; of each sequence at its first's node */
    uint32_t n_seq_pages;
} result;

static sl_topology topology;

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    result *r = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(r->logits[first + i], logits + i * stride, r->n_vocab * sizeof(float));
    }
    return SL_OK;
}

static void count_home_pages(const sl_feed *f, result *r) {
    const sl_nodes *nodes = sl_pool_nodes(sl_engine_pool(f->engine));
    for (uint32_t s = 0; s < N_SEQ; s++) {
        const int32_t *table = sl_kv_seq_table(f->kv, s, 0);
        uint32_t home = UINT32_MAX;
        r->n_home_pages[s] = 0;
        for (uint32_t i = 0; i < sl_page_count(N_TOKENS); i++) {
            if (table[i] >= 0) {
                const uint32_t node = sl_nodes_find(nodes, r->n_pages, (uint32_t)table[i]);
                home = home == UINT32_MAX ? node : home;
                r->n_home_pages[s] += node == home;
            }
        }
    }
}

/* A prompt of all sequences in chunks, then one more token each. */
static void run_on(const char *machine, uint32_t n_threads, const char *path, uint32_t extra_pages,
                   result *out) {
    static const uint32_t ends[] = {1, 40, N_TOKENS - 1, N_TOKENS};
    sl_error err;
    CHECK(sl_topology_simulate(machine, &topology, &err));
    const tiny_model_options tiny = {.seed = 3};
    const sl_engine_options options = {
        .n_threads = n_threads, .topology = &topology, .ctx_max = 128, .rows_max = 96};
    tiny_engine t;
    CHECK(tiny_engine_open(&t, path, &tiny, &options, 100, &err));
    /* Again, with just as many pages as are needed. */
    const uint32_t n_seq_pages = (uint32_t)sl_engine_seq_pages(t.engine, N_TOKENS);
    tiny_engine_close(&t);
    out->n_pages = N_SEQ * n_seq_pages + extra_pages;
    CHECK(tiny_engine_open(&t, path, &tiny, &options, out->n_pages, &err));
    out->n_vocab = sl_engine_plan(t.engine)->n_vocab;
    out->n_seq_pages = n_seq_pages;
    assert_in_range(out->n_vocab, 1, N_VOCAB_MAX);
    sl_feed feed;
    CHECK(sl_feed_init(&feed, t.engine, N_SEQ, N_TOKENS, &err));
    uint32_t pos = 0;
    for (size_t e = 0; e < sizeof(ends) / sizeof(ends[0]); e++) {
        int32_t ids[N_SEQ * N_TOKENS];
        const uint32_t n = ends[e] - pos;
        for (uint32_t i = 0; i < N_SEQ * n; i++) {
            const uint32_t at = i / n * N_TOKENS + pos + i % n;
            ids[i] = (int32_t)((at * 37 + 5) % out->n_vocab);
        }
        CHECK(sl_feed_tokens(&feed, ids, n, pos, SL_FEED_LAST, keep, out, &err));
        pos = ends[e];
    }
    CHECK(sl_kv_verify(feed.kv, &err));
    count_home_pages(&feed, out);
    sl_pool_taken(sl_engine_pool(t.engine), &out->own, &out->others);
    sl_feed_deinit(&feed);
    tiny_engine_close(&t);
}

static void test_same_bits(void **state) {
    (void)state;
    static const char *const paths[] = {NULL, "tests/golden/arch/granitemoe/granitemoe.f16.gguf",
                                        "tests/golden/arch/gpt-oss/gpt-oss.f32.gguf",
                                        "tests/golden/arch/deepseek2-lite/deepseek2-lite.f16.gguf"};
    static const char *const machines[] = {"node:2 core:1 pu:1", "node:3 core:2 pu:1",
                                           "node:8 core:1 pu:1"};
    static result want, got;
    for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++) {
        run_on("node:1 core:2 pu:1", 1, paths[p], 0, &want);
        assert_int_equal(want.others, 0);
        for (size_t m = 0; m < sizeof(machines) / sizeof(machines[0]); m++) {
            for (uint32_t n_threads = 1; n_threads <= 4; n_threads += n_threads) {
                run_on(machines[m], n_threads, paths[p], 0, &got);
                for (uint32_t s = 0; s < N_SEQ; s++) {
                    if (memcmp(got.logits[s], want.logits[s], want.n_vocab * sizeof(float)) != 0) {
                        fail_msg("%s on %s, %u threads: sequence %u has other logits",
                                 paths[p] == NULL ? "the tiny model" : paths[p], machines[m],
                                 n_threads, s);
                    }
                }
            }
        }
    }
}

/* Who does a task is chance, that it is done once is not; and some are always one's own: worker 0
 * begins with its node's. */
static void test_tasks(void **state) {
    (void)state;
    static result a, b;
    run_on("node:2 core:1 pu:1", 2, NULL, 0, &a);
    run_on("node:2 core:1 pu:1", 2, NULL, 0, &b);
    assert_true(a.own > 0 && b.own > 0);
    assert_true(a.own + a.others == b.own + b.others);
    /* Node 1 has no worker: it has no panels and no pages either. */
    run_on("node:2 core:1 pu:1", 1, NULL, 0, &a);
    assert_true(a.own > 0 && a.others == 0);
}

static void test_pages_at_home(void **state) {
    (void)state;
    static result r;
    uint32_t n_spilled = 0;
    run_on("node:2 core:1 pu:1", 2, NULL, 9, &r); /* three sequences fit each node */
    for (uint32_t s = 0; s < N_SEQ; s++) {
        assert_int_equal(r.n_home_pages[s], r.n_seq_pages);
    }
    run_on("node:2 core:1 pu:1", 2, NULL, 0, &r); /* 8 and 7 pages for 5 x 3 */
    for (uint32_t s = 0; s < N_SEQ; s++) {
        n_spilled += r.n_seq_pages - r.n_home_pages[s];
    }
    assert_int_equal(n_spilled, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_pages_at_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
