/* The sampler against a plain reference (sort everything, doubles, one filter after the other), at
 * every ISA level of the machine; ties, masks, broken numbers, extreme values, distributions,
 * log-probs, determinism. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "sample/sample_select.h"
#include "sample/sampler.h"

#define N_MAX 5000

/* --- helpers --- */

static uint64_t g_draws;
static double rnd(void) {
    return sl_rng_double(20240607, 0, g_draws++);
}
static double rnd_normal(void) {
    double u = rnd();
    return sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * rnd());
}
static uint32_t rnd_below(uint32_t n) {
    return (uint32_t)(rnd() * n);
}

static sl_sampler *make_sampler(const sl_kernels *k, uint32_t n) {
    sl_sampler *s = NULL;
    assert_int_equal(sl_sampler_create(k, n, &s, NULL), SL_OK);
    return s;
}

/* Runs fn with a table of every level that this machine has. */
static void each_level(void (*fn)(const sl_kernels *k)) {
    for (int i = 0; i < SL_ISA_COUNT; i++) {
        if (sl_cpu_has((sl_isa)i)) {
            static sl_kernels k;
            sl_kernels_init(&k, (sl_isa)i);
            fn(&k);
        }
    }
}

static int32_t sample(sl_sampler *s, const float *logits, uint32_t n, const sl_sample_options *o,
                      const sl_sample_history *h, uint64_t position, sl_sample_out *out) {
    static float row[300000];
    static sl_sample_out local;
    sl_error err = {0};
    memcpy(row, logits, n * sizeof(float));
    out = out == NULL ? &local : out;
    if (sl_sample_row(s, row, o, h, 3, position, out, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    return out->id;
}

/* --- the reference --- */

typedef struct ref_token {
    uint32_t id;
    double x, p, off;
} ref_token;

static int ref_by_x(const void *a, const void *b) {
    const ref_token *s = a, *t = b;
    return s->x != t->x ? (s->x < t->x ? 1 : -1) : (s->id > t->id) - (s->id < t->id);
}
static int ref_by_off(const void *a, const void *b) {
    const ref_token *s = a, *t = b;
    return s->off != t->off ? (s->off > t->off ? 1 : -1) : (s->id > t->id) - (s->id < t->id);
}
static int ref_by_id(const void *a, const void *b) {
    const ref_token *s = a, *t = b;
    return (s->id > t->id) - (s->id < t->id);
}

static void ref_normalise(ref_token *t, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        max = t[i].x > max ? t[i].x : max;
    }
    for (size_t i = 0; i < n; i++) {
        t[i].p = exp(t[i].x - max);
        sum += t[i].p;
    }
    for (size_t i = 0; i < n; i++) {
        t[i].p /= sum;
    }
}

static size_t ref_mass(const ref_token *t, size_t n, double p) {
    double acc = 0;
    for (size_t i = 0; i < n; i++) {
        acc += t[i].p;
        if (acc >= p) {
            return i + 1;
        }
    }
    return n;
}

/* The survivors of all filters in order of ids, with their probabilities. `nudge` moves every limit
 * by a relative 1e-5, to find out whether a row sits on an edge. counts: [n] output counts;
 * in_prompt: [n]. */
static size_t ref_survivors(const float *logits, uint32_t n_vocab, const sl_sample_options *o,
                            const uint32_t *counts, const bool *in_prompt, double nudge,
                            ref_token *t) {
    size_t n = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        double x = logits[i];
        for (uint32_t b = 0; b < o->n_bias; b++) {
            x += (uint32_t)o->bias[b].id == i ? (double)o->bias[b].bias : 0;
        }
        if (counts != NULL && (counts[i] > 0 || in_prompt[i])) {
            x = x > 0 ? x / (double)o->repetition_penalty : x * (double)o->repetition_penalty;
            x -= counts[i] > 0 ? (double)o->presence_penalty : 0;
            x -= (double)o->frequency_penalty * counts[i];
        }
        if (x != -INFINITY) {
            t[n++] = (ref_token){.id = i, .x = x / (double)o->temperature};
        }
    }
    qsort(t, n, sizeof(*t), ref_by_x);
    if (o->top_k > 0 && o->top_k < n) {
        n = o->top_k;
    }
    ref_normalise(t, n);
    if (o->typical_p > 0 && o->typical_p < 1) {
        double entropy = 0;
        for (size_t i = 0; i < n; i++) {
            entropy -= t[i].p > 0 ? t[i].p * log(t[i].p) : 0;
        }
        for (size_t i = 0; i < n; i++) {
            t[i].off = fabs(-log(t[i].p) - entropy);
        }
        qsort(t, n, sizeof(*t), ref_by_off);
        n = ref_mass(t, n, (double)o->typical_p * (1 + nudge));
        ref_normalise(t, n);
        qsort(t, n, sizeof(*t), ref_by_x);
    }
    if (o->top_p < 1) {
        n = ref_mass(t, n, (double)o->top_p * (1 + nudge));
        ref_normalise(t, n);
    }
    if (o->min_p > 0) {
        size_t m = 0;
        while (m < n && t[m].p >= (double)o->min_p * (1 + nudge) * t[0].p) {
            m++;
        }
        n = m > 0 ? m : 1;
        ref_normalise(t, n);
    }
    qsort(t, n, sizeof(*t), ref_by_id);
    return n;
}

/* The token that u draws; -1 when u is too near to an edge to say. */
static int32_t ref_draw(const ref_token *t, size_t n, double u) {
    double acc = 0;
    for (size_t i = 0; i < n; i++) {
        acc += t[i].p;
        if (fabs(acc - u) < 3e-6) {
            return -1;
        }
        if (acc > u) {
            return (int32_t)t[i].id;
        }
    }
    return -1;
}

/* --- tests --- */

/* Random rows of many shapes: wide and narrow, rounded (ties), with masks. */
static void random_row(float *logits, uint32_t n) {
    static const double widths[] = {0.1, 1, 3, 8};
    double width = widths[rnd_below(4)];
    bool rounded = rnd_below(3) == 0, masked = rnd_below(3) == 0;
    for (uint32_t i = 0; i < n; i++) {
        double x = rnd_normal() * width;
        logits[i] = (float)(rounded ? rint(x * 4) / 4 : x);
        if (masked && rnd_below(4) == 0) {
            logits[i] = -INFINITY;
        }
    }
    logits[rnd_below(n)] = 1.0f; /* at least one possible token */
}

static sl_sample_options random_options(sl_logit_bias *bias, uint32_t n) {
    static const float ps[] = {0, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f};
    sl_sample_options o = sl_sample_options_default();
    o.temperature = (float)(0.2 + 2 * rnd());
    o.seed = (uint64_t)rnd_below(UINT32_MAX) << 20;
    if (rnd_below(2) == 0) {
        static const uint32_t ks[] = {1, 2, 5, 20, 40, 100, 1000};
        o.top_k = ks[rnd_below(7)];
    }
    if (rnd_below(2) == 0) {
        o.top_p = ps[rnd_below(6)];
    }
    if (rnd_below(3) == 0) {
        o.min_p = (float)pow(10, -4 * rnd());
    }
    if (rnd_below(4) == 0) {
        o.typical_p = ps[1 + rnd_below(5)];
    }
    if (rnd_below(3) == 0) {
        o.n_bias = 1 + rnd_below(5);
        o.bias = bias;
        for (uint32_t i = 0; i < o.n_bias; i++) {
            bias[i] = (sl_logit_bias){(int32_t)rnd_below(n), (float)(rnd() * 8 - 4)};
        }
    }
    if (rnd_below(3) == 0) { /* log-probs look at the row before it is changed */
        o.n_top = 1 + rnd_below(20);
    }
    if (rnd_below(2) == 0) {
        o.repetition_penalty = (float)(0.5 + rnd() * 1.5);
        o.presence_penalty = (float)(rnd() * 4 - 2);
        o.frequency_penalty = (float)(rnd() * 4 - 2);
    }
    return o;
}

typedef struct known {
    uint32_t counts[N_MAX];
    bool in_prompt[N_MAX];
    sl_sample_history h;
} known;

static void random_history(known *w, uint32_t n, void *memory, uint32_t n_max) {
    memset(w->counts, 0, sizeof(w->counts));
    memset(w->in_prompt, 0, sizeof(w->in_prompt));
    sl_sample_history_init(&w->h, memory, n_max);
    for (uint32_t i = 0; i < n_max / 2; i++) {
        int32_t id = (int32_t)rnd_below(n);
        w->in_prompt[id] = true;
        sl_sample_history_add_prompt(&w->h, &id, 1);
        id = (int32_t)rnd_below(n < 20 ? n : 20) * (int32_t)(n < 20 ? 1 : n / 20);
        w->counts[id]++;
        sl_sample_history_add_output(&w->h, id);
    }
}

static void check_against_reference(const sl_kernels *k) {
    static const uint32_t sizes[] = {1, 2, 31, 128, 129, 513, 1024, 1500, N_MAX};
    static float logits[N_MAX];
    static ref_token t[N_MAX], t2[N_MAX];
    static known w;
    sl_logit_bias bias[8];
    uint32_t n_edges = 0, n_rows = 0;
    void *memory = malloc(sl_sample_history_bytes(64));
    assert_non_null(memory);
    g_draws = 0;
    for (size_t z = 0; z < sizeof(sizes) / sizeof(sizes[0]); z++) {
        uint32_t n = sizes[z];
        sl_sampler *s = make_sampler(k, n);
        for (uint32_t row = 0; row < 120; row++, n_rows++) {
            random_row(logits, n);
            sl_sample_options o = random_options(bias, n);
            assert_int_equal(sl_sample_options_check(&o, n, NULL), SL_OK);
            random_history(&w, n, memory, 64);
            int32_t got = sample(s, logits, n, &o, &w.h, row, NULL);
            size_t m = ref_survivors(logits, n, &o, w.counts, w.in_prompt, 0, t);
            int32_t expected = ref_draw(t, m, sl_rng_double(o.seed, 3, row));
            if (got == expected) {
                continue;
            }
            bool edge = expected < 0;
            for (int side = -1; side <= 1 && !edge; side += 2) {
                size_t m2 = ref_survivors(logits, n, &o, w.counts, w.in_prompt, side * 1e-5, t2);
                edge = m2 != m || memcmp(t, t2, m * sizeof(*t)) != 0;
            }
            if (!edge) {
                fail_msg("n %u row %u: got %d, expected %d (of %zu)", n, row, got, expected, m);
            }
            n_edges++;
        }
        sl_sampler_free(s);
    }
    free(memory);
    assert_true(n_edges * 20 < n_rows); /* edges excuse few rows */
}

static void test_matches_the_reference(void **state) {
    (void)state;
    each_level(check_against_reference);
}

static void check_greedy(const sl_kernels *k) {
    static float logits[N_MAX];
    static const uint32_t sizes[] = {1, 17, 128, 200, 1025, N_MAX};
    for (size_t z = 0; z < 6; z++) {
        uint32_t n = sizes[z];
        sl_sampler *s = make_sampler(k, n);
        for (uint32_t row = 0; row < 40; row++) {
            random_row(logits, n);
            uint32_t best = 0;
            for (uint32_t i = 1; i < n; i++) {
                best = logits[i] > logits[best] ? i : best;
            }
            sl_sample_options o = {.top_k = row % 3, .top_p = (float)(row % 2), .seed = row};
            o.temperature = row % 4 == 3 ? 1e-6f : 0;
            assert_int_equal(sample(s, logits, n, &o, NULL, row, NULL), best);
            o = sl_sample_options_default(); /* filters that leave one token are greedy too */
            o.top_k = 1;
            assert_int_equal(sample(s, logits, n, &o, NULL, row, NULL), best);
            o.top_k = 0;
            o.top_p = 0;
            assert_int_equal(sample(s, logits, n, &o, NULL, row, NULL), best);
        }
        sl_sampler_free(s);
    }
}

static void test_greedy(void **state) {
    (void)state;
    each_level(check_greedy);
}

static void check_ties(const sl_kernels *k) {
    enum { N = 700 };
    float logits[N];
    for (int i = 0; i < N; i++) {
        logits[i] = i % 2 == 0 ? -0.0f : 0.0f; /* all equal */
    }
    sl_sampler *s = make_sampler(k, N);
    sl_sample_options o = sl_sample_options_default();
    for (uint32_t top_k = 1; top_k <= 300; top_k = top_k * 2 + 1) {
        o.top_k = top_k;
        for (uint32_t pos = 0; pos < 50; pos++) {
            assert_in_range(sample(s, logits, N, &o, NULL, pos, NULL), 0, top_k - 1);
        }
    }
    o.top_k = 0;
    o.top_p = 9.5f / N; /* ten tokens: the lowest ids */
    for (uint32_t pos = 0; pos < 50; pos++) {
        assert_in_range(sample(s, logits, N, &o, NULL, pos, NULL), 0, 9);
    }
    o.top_p = 1;
    o.typical_p = 9.5f / N;
    for (uint32_t pos = 0; pos < 50; pos++) {
        assert_in_range(sample(s, logits, N, &o, NULL, pos, NULL), 0, 9);
    }
    sl_sample_options greedy = {.n_top = 5};
    sl_sample_out out;
    assert_int_equal(sample(s, logits, N, &greedy, NULL, 0, &out), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(out.top[i].id, i);
    }
    sl_sampler_free(s);
}

static void test_ties_go_to_the_lowest_id(void **state) {
    (void)state;
    each_level(check_ties);
}

static void check_broken(const sl_kernels *k) {
    enum { N = 1300 };
    static const uint32_t at[] = {0, 63, 128, 700, 1152, N - 1};
    float logits[N];
    sl_sampler *s = make_sampler(k, N);
    sl_sample_options options[4] = {
        {.temperature = 0}, sl_sample_options_default(), sl_sample_options_default(), {.n_top = 3}};
    options[2].top_k = 40;
    for (int i = 0; i < 4; i++) {
        for (size_t j = 0; j < 6; j++) {
            for (int kind = 0; kind < 2; kind++) {
                memset(logits, 0, sizeof(logits));
                logits[at[j]] = kind == 0 ? NAN : INFINITY;
                sl_sample_out out = {.id = 77};
                sl_error err = {0};
                sl_status status = sl_sample_row(s, logits, &options[i], NULL, 0, 9, &out, &err);
                assert_int_equal(status, SL_ERR_NUMERIC);
                assert_non_null(strstr(err.message, "position 9"));
                assert_int_equal(out.id, 77); /* outputs only on success */
            }
        }
        for (int j = 0; j < N; j++) {
            logits[j] = -INFINITY;
        }
        sl_sample_out out;
        assert_int_equal(sl_sample_row(s, logits, &options[i], NULL, 0, 0, &out, NULL),
                         SL_ERR_NUMERIC);
        logits[1290] = -3e38f; /* the only possible token */
        assert_int_equal(sample(s, logits, N, &options[i], NULL, 0, &out), 1290);
        if (i == 3) {
            assert_int_equal(out.n_top, 1);
            assert_float_equal(out.top[0].logprob, 0, 1e-6);
        }
    }
    sl_sampler_free(s);
}

static void test_broken_and_masked_rows(void **state) {
    (void)state;
    each_level(check_broken);
}

static void check_extreme(const sl_kernels *k) {
    enum { N = 600 };
    float logits[N];
    sl_sampler *s = make_sampler(k, N);
    static const float temperatures[] = {1e-5f, 0.01f, 1, 100};
    static const float top_ps[] = {1e-30f, 0.5f, 0.9999999f, 1};
    static const float min_ps[] = {0, 1e-45f, 1e-10f, 1};
    for (int t = 0; t < 4; t++) {
        for (int p = 0; p < 4; p++) {
            for (int m = 0; m < 4; m++) {
                for (int i = 0; i < N; i++) {
                    logits[i] = (float)(i % 7 - 3) * 1e38f;
                }
                logits[333] = 3.3e38f;
                sl_sample_options o = {
                    .temperature = temperatures[t], .top_p = top_ps[p], .min_p = min_ps[m]};
                assert_int_equal(sample(s, logits, N, &o, NULL, 0, NULL), 333);
                o.typical_p = 0.5f;
                assert_int_equal(sample(s, logits, N, &o, NULL, 0, NULL), 333);
                o.top_k = 3;
                assert_int_equal(sample(s, logits, N, &o, NULL, 0, NULL), 333);
            }
        }
    }
    sl_sampler_free(s);
}

static void test_extreme_values(void **state) {
    (void)state;
    each_level(check_extreme);
}

/* Pearson's statistic over many positions stays below a limit that a right sampler exceeds once in
 * a million times; the seed is fixed, so the test gives the same answer each time. */
static void check_distribution(const sl_kernels *k) {
    enum { N = 12, DRAWS = 20000 };
    float logits[N];
    for (int i = 0; i < N; i++) {
        logits[i] = (float)(i * 5 % 7) * 0.6f;
    }
    sl_sampler *s = make_sampler(k, N);
    sl_sample_options sets[5];
    for (int i = 0; i < 5; i++) {
        sets[i] = sl_sample_options_default();
        sets[i].seed = 42;
        sets[i].temperature = 0.8f;
    }
    sets[1].top_k = 5;
    sets[2].top_p = 0.7f;
    sets[3].min_p = 0.2f;
    sets[4].typical_p = 0.6f;
    for (int i = 0; i < 5; i++) {
        ref_token t[N];
        size_t m = ref_survivors(logits, N, &sets[i], NULL, NULL, 0, t);
        uint32_t hits[N] = {0};
        for (uint32_t pos = 0; pos < DRAWS; pos++) {
            hits[sample(s, logits, N, &sets[i], NULL, pos, NULL)]++;
        }
        double chi2 = 0;
        uint32_t inside = 0;
        for (size_t j = 0; j < m; j++) {
            double e = t[j].p * DRAWS;
            chi2 += (hits[t[j].id] - e) * (hits[t[j].id] - e) / e;
            inside += hits[t[j].id];
        }
        assert_int_equal(inside, DRAWS);
        assert_true(chi2 < 50); /* 11 degrees of freedom */
    }
    sl_sampler_free(s);
}

static void test_distributions(void **state) {
    (void)state;
    each_level(check_distribution);
}

static void check_logprobs(const sl_kernels *k) {
    static float logits[N_MAX];
    static ref_token t[N_MAX];
    g_draws = 777;
    sl_logit_bias bias[2] = {{5, 3}, {5, -1}};
    for (uint32_t row = 0; row < 60; row++) {
        uint32_t n = row % 2 == 0 ? N_MAX : 40;
        sl_sampler *s = make_sampler(k, n);
        random_row(logits, n);
        sl_sample_options o = sl_sample_options_default();
        o.temperature = (float)(row % 3);
        o.n_top = row % 21;
        o.want_logprob = true;
        o.top_k = 10;
        o.bias = bias; /* log-probs do not see it */
        o.n_bias = row % 2 == 0 ? 2 : 0;
        sl_sample_out out;
        int32_t id = sample(s, logits, n, &o, NULL, row, &out);
        sl_sample_options plain = sl_sample_options_default();
        size_t m = ref_survivors(logits, n, &plain, NULL, NULL, 0, t);
        for (size_t i = 0; i < m; i++) {
            if (t[i].id == (uint32_t)id) {
                assert_float_equal(out.logprob, log(t[i].p), 2e-5);
            }
        }
        qsort(t, m, sizeof(*t), ref_by_x);
        assert_int_equal(out.n_top, o.n_top < m ? o.n_top : m);
        for (uint32_t i = 0; i < out.n_top; i++) {
            assert_int_equal(out.top[i].id, t[i].id);
            assert_float_equal(out.top[i].logprob, log(t[i].p), 2e-5);
        }
        sl_sampler_free(s);
    }
}

static void test_logprobs_are_of_the_unmodified_row(void **state) {
    (void)state;
    each_level(check_logprobs);
}

static void test_logprob_of_a_token_that_was_changed(void **state) {
    (void)state;
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    sl_sampler *s = make_sampler(&k, 3);
    const float logits[3] = {0, 1, 2};
    const sl_logit_bias bias[2] = {{0, 50}, {0, 50}};
    sl_sample_options o = {
        .bias = bias, .n_bias = 2, .want_logprob = true, .repetition_penalty = 2};
    uint64_t memory[32];
    sl_sample_history h;
    assert_true(sl_sample_history_bytes(8) <= sizeof(memory));
    sl_sample_history_init(&h, memory, 8);
    sl_sample_history_add_output(&h, 0);
    sl_sample_out out;
    assert_int_equal(sample(s, logits, 3, &o, &h, 0, &out), 0);
    assert_float_equal(out.logprob, -log(1 + exp(1) + exp(2)), 1e-5);
    sl_sampler_free(s);
}

static void test_penalties_change_what_they_name(void **state) {
    (void)state;
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    sl_sampler *s = make_sampler(&k, 4);
    uint64_t memory[32];
    sl_sample_history h;
    sl_sample_history_init(&h, memory, 8);
    const int32_t prompt[] = {0, 0, 1};
    sl_sample_history_add_prompt(&h, prompt, 3);
    sl_sample_history_add_output(&h, 2);
    sl_sample_history_add_output(&h, 2);
    float row[4] = {4, -1, 4, 3};
    sl_sample_options o = {
        .repetition_penalty = 2, .presence_penalty = 0.5f, .frequency_penalty = 0.25f};
    sl_sample_out out;
    assert_int_equal(sl_sample_row(s, row, &o, &h, 0, 0, &out, NULL), SL_OK);
    assert_float_equal(row[0], 2, 0);    /* prompt only: repetition, once */
    assert_float_equal(row[1], -2, 0);   /* negative logits are multiplied */
    assert_float_equal(row[2], 1, 1e-6); /* 4 / 2 - 0.5 - 2 * 0.25 */
    assert_float_equal(row[3], 3, 0);
    assert_int_equal(out.id, 3);
    o.bias = &(sl_logit_bias){1, 100};
    o.n_bias = 1; /* bias comes first: (-1 + 100) / 2 */
    float again[4] = {4, -1, 4, 3};
    assert_int_equal(sl_sample_row(s, again, &o, &h, 0, 0, &out, NULL), SL_OK);
    assert_float_equal(again[1], 49.5, 1e-5);
    sl_sampler_free(s);
}

static void test_history_counts(void **state) {
    (void)state;
    enum { MAX = 300 };
    void *memory = malloc(sl_sample_history_bytes(MAX));
    assert_non_null(memory);
    memset(memory, 0xAB, sl_sample_history_bytes(MAX));
    sl_sample_history h;
    sl_sample_history_init(&h, memory, MAX);
    for (int32_t round = 0; round < 3; round++) {
        for (int32_t i = 0; i < 400; i++) { /* 100 more than there is room for */
            int32_t id = i * 65536;
            sl_sample_history_add_output(&h, id);
            if (i % 2 == 0) {
                sl_sample_history_add_prompt(&h, &id, 1);
            }
        }
    }
    assert_int_equal(h.n, MAX);
    for (uint32_t i = 0; i < MAX; i++) {
        assert_int_equal(h.seen[i].id, (int32_t)i * 65536);
        assert_int_equal(h.seen[i].n_output, 3);
        assert_int_equal(h.seen[i].in_prompt, i % 2 == 0);
    }
    free(memory);
}

static void test_draws_depend_on_seed_choice_and_position_only(void **state) {
    (void)state;
    enum { N = 1000 };
    static float logits[N], row[N];
    for (int i = 0; i < N; i++) {
        logits[i] = (float)(i % 13) * 0.1f;
    }
    sl_kernels k;
    sl_kernels_init(&k, sl_cpu_isa());
    sl_sampler *a = make_sampler(&k, N), *b = make_sampler(&k, N);
    sl_sample_options o = sl_sample_options_default();
    int32_t first[3][3][3];
    uint32_t n_equal = 0;
    for (int pass = 0; pass < 2;
         pass++) { /* the second time in another order, by another sampler */
        for (int i = 0; i < 27; i++) {
            int j = pass == 0 ? i : 26 - i;
            o.seed = (uint64_t)(j / 9) << 40;
            sl_sample_out out;
            memcpy(row, logits, sizeof(row));
            assert_int_equal(sl_sample_row(pass == 0 ? a : b, row, &o, NULL, (uint32_t)(j / 3 % 3),
                                           (uint64_t)(j % 3) << 33, &out, NULL),
                             SL_OK);
            int32_t *cell = &first[j / 9][j / 3 % 3][j % 3];
            if (pass == 0) {
                *cell = out.id;
                for (int m = 0; m < j; m++) {
                    n_equal += (&first[0][0][0])[m] == out.id;
                }
            } else {
                assert_int_equal(*cell, out.id);
            }
        }
    }
    assert_true(n_equal < 10); /* the 27 draws differ from each other */
    sl_sampler_free(a);
    sl_sampler_free(b);
}

static void test_inactive_filters_change_nothing(void **state) {
    (void)state;
    enum { N = 300 };
    float logits[N];
    g_draws = 5;
    for (int i = 0; i < N; i++) {
        logits[i] = (float)rnd_normal();
    }
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    sl_sampler *s = make_sampler(&k, N);
    sl_sample_options plain = sl_sample_options_default(), wide = plain;
    wide.top_k = N - 1; /* all but the least likely */
    wide.min_p = 1e-9f;
    uint32_t n_same = 0;
    for (uint32_t pos = 0; pos < 200; pos++) {
        n_same += sample(s, logits, N, &plain, NULL, pos, NULL) ==
                  sample(s, logits, N, &wide, NULL, pos, NULL);
    }
    assert_true(n_same >= 195);
    sl_sampler_free(s);
}

static void test_row_allocates_nothing(void **state) {
    (void)state;
    static float logits[N_MAX];
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    sl_sampler *s = make_sampler(&k, N_MAX);
    g_draws = 99;
    uint64_t before = sl_alloc_count();
    sl_logit_bias bias[8];
    for (uint32_t row = 0; row < 50; row++) {
        random_row(logits, N_MAX);
        sl_sample_options o = random_options(bias, N_MAX);
        o.n_top = 20;
        (void)sample(s, logits, N_MAX, &o, NULL, row, NULL);
    }
    assert_int_equal(sl_alloc_count(), before);
    sl_sampler_free(s);
}

/* The cut against sorting, with heavy ties and both kinds of weights. */
static int by_key(const void *a, const void *b) {
    uint64_t s, t;
    memcpy(&s, a, 8);
    memcpy(&t, b, 8);
    return (s < t) - (s > t);
}

static void test_cut_equals_sorting(void **state) {
    (void)state;
    enum { N = 3000 };
    static uint64_t keys[N], sorted[N], scratch[N], copy[N];
    static float weights[N], scratch_w[N];
    g_draws = 31;
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t n = 1 + rnd_below(round % 3 == 0 ? N : 60), spread = 1 + rnd_below(2000);
        for (uint32_t i = 0; i < n; i++) {
            keys[i] = sl_top_key((float)rnd_below(spread) / 7 - 50, i);
            weights[i] = 0.25f; /* exact sums */
        }
        memcpy(sorted, keys, n * 8);
        memcpy(copy, keys, n * 8);
        qsort(sorted, n, 8, by_key);
        uint32_t k = rnd_below(n + 3);
        uint64_t cut = sl_sample_cut(keys, NULL, n, k, scratch, scratch_w);
        assert_int_equal(cut, sorted[k == 0 ? 0 : k > n ? n - 1 : k - 1]);
        cut = sl_sample_cut(keys, weights, n, k * 0.25 - 0.1, scratch, scratch_w);
        assert_int_equal(cut, sorted[k == 0 ? 0 : k > n ? n - 1 : k - 1]);
        assert_memory_equal(keys, copy, n * 8);
    }
}

static void check_refused(const sl_sample_options *o, const char *text) {
    sl_error err = {0};
    assert_int_equal(sl_sample_options_check(o, 100, &err), SL_ERR_ARGUMENT);
    if (strstr(err.message, text) == NULL) {
        fail_msg("'%s' lacks '%s'", err.message, text);
    }
}

static void test_options_are_checked(void **state) {
    (void)state;
    sl_sample_options ok = sl_sample_options_default(), zero = {0};
    assert_int_equal(sl_sample_options_check(&ok, 100, NULL), SL_OK);
    assert_int_equal(sl_sample_options_check(&zero, 100, NULL), SL_OK);
    assert_false(sl_sample_needs_history(&ok));
    assert_false(sl_sample_needs_history(&zero));
#define REFUSED(member, bad, text)                                                                 \
    do {                                                                                           \
        sl_sample_options o = sl_sample_options_default();                                         \
        o.member = (bad);                                                                          \
        check_refused(&o, text);                                                                   \
    } while (0)
    REFUSED(temperature, -0.5f, "temperature is -0.5");
    REFUSED(temperature, NAN, "temperature");
    REFUSED(temperature, INFINITY, "temperature is inf");
    REFUSED(top_p, 1.5f, "top_p is 1.5");
    REFUSED(top_p, NAN, "top_p");
    REFUSED(min_p, -0.1f, "min_p is -0.1");
    REFUSED(typical_p, 2, "typical_p is 2");
    REFUSED(repetition_penalty, -1, "repetition_penalty is -1");
    REFUSED(repetition_penalty, NAN, "repetition_penalty");
    REFUSED(presence_penalty, 2.5f, "presence_penalty is 2.5");
    REFUSED(frequency_penalty, -3, "frequency_penalty is -3");
    REFUSED(n_top, 21, "top_logprobs is 21");
    sl_logit_bias bias[] = {{3, 1}, {100, 1}};
    sl_sample_options o = sl_sample_options_default();
    o.bias = bias;
    o.n_bias = 2;
    check_refused(&o, "token 100");
    bias[1] = (sl_logit_bias){-1, 1};
    check_refused(&o, "token -1");
    bias[1] = (sl_logit_bias){7, 101};
    check_refused(&o, "101");
    bias[1] = (sl_logit_bias){7, NAN};
    check_refused(&o, "token 7");
    o.n_bias = SL_SAMPLE_BIAS_MAX + 1;
    check_refused(&o, "1025 entries");
}

static void test_create_fails_cleanly(void **state) {
    (void)state;
    sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    sl_sampler *s = NULL;
    assert_int_equal(sl_sampler_create(&k, 0, &s, NULL), SL_ERR_ARGUMENT);
    for (uint64_t n = 1; n <= 2; n++) {
        sl_alloc_fail_nth(n, false);
        sl_status status = sl_sampler_create(&k, 1000, &s, NULL);
        sl_alloc_fail_nth(0, false);
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_null(s);
    }
    sl_sampler_free(NULL);
}

/* --- from the largest logits --- */

static void largest_of(const sl_kernels *k, const float *logits, uint32_t n, uint32_t n_wanted,
                       sl_top *t, double *log_sum) {
    sl_exp_sum sum = SL_EXP_SUM_NONE;
    sl_top_begin(t, n_wanted);
    for (uint32_t i = 0; i < n; i += SL_TOP_BLOCK) {
        const uint32_t m = n - i < SL_TOP_BLOCK ? n - i : SL_TOP_BLOCK;
        sl_top_look(k, t, logits + i, m, i);
        sl_exp_sum_add(&sum, sl_exp_sum_of(k, logits + i, m));
    }
    *log_sum = sl_exp_sum_log(sum);
}

static sl_sample_options options_of_largest(void) {
    sl_sample_options o = sl_sample_options_default();
    o.temperature = rnd_below(4) == 0 ? 0 : (float)(0.2 + 2 * rnd());
    o.top_k = 1 + rnd_below(SL_TOP_MAX);
    o.top_p = rnd_below(2) == 0 ? 1 : (float)rnd();
    o.min_p = rnd_below(3) == 0 ? (float)rnd() * 0.3f : 0;
    o.typical_p = rnd_below(3) == 0 ? (float)rnd() : 1;
    o.n_top = rnd_below(3) == 0 ? rnd_below(SL_SAMPLE_TOP_MAX + 1) : 0;
    o.want_logprob = rnd_below(2) == 0;
    o.seed = rnd_below(1000);
    return o;
}

static void same_from_largest(const sl_kernels *k) {
    static float logits[N_MAX];
    for (int round = 0; round < 400; round++) {
        const uint32_t n = SL_TOP_MAX + 1 + rnd_below(N_MAX - SL_TOP_MAX - 1);
        const uint32_t steps = rnd_below(2) == 0 ? 10 : 100000; /* ties, or none */
        for (uint32_t i = 0; i < n; i++) {
            logits[i] = rintf((float)rnd_normal() * 3 * (float)steps) / (float)steps;
            logits[i] = round % 5 == 0 && rnd_below(20) != 0 ? -INFINITY : logits[i];
        }
        logits[rnd_below(n)] = 1; /* one is possible */
        const sl_sample_options o = options_of_largest();
        const uint32_t wanted = sl_sample_n_largest(&o, n);
        assert_true(wanted > 0 && wanted <= SL_TOP_MAX);
        sl_top t;
        double log_sum;
        largest_of(k, logits, n, rnd_below(2) == 0 ? wanted : SL_TOP_MAX, &t, &log_sum);
        sl_sampler *s = make_sampler(k, n);
        sl_sample_out row = {0}, largest = {0};
        sl_error err;
        (void)sample(s, logits, n, &o, NULL, 40 + (uint64_t)round, &row);
        assert_int_equal(
            sl_sample_largest(s, &t, log_sum, &o, 3, 40 + (uint64_t)round, &largest, &err), SL_OK);
        assert_int_equal(row.id, largest.id);
        assert_true(row.logprob == largest.logprob);
        assert_int_equal(row.n_top, largest.n_top);
        for (uint32_t i = 0; i < row.n_top; i++) {
            assert_int_equal(row.top[i].id, largest.top[i].id);
            assert_true(row.top[i].logprob == largest.top[i].logprob);
        }
        sl_sampler_free(s);
    }
}

static void test_the_largest_give_the_same(void **state) {
    (void)state;
    each_level(same_from_largest);
}

static void test_when_the_largest_are_enough(void **state) {
    (void)state;
    const sl_logit_bias bias = {.id = 1, .bias = 1};
    sl_sample_options o = {.temperature = 0};
    assert_int_equal(sl_sample_n_largest(&o, 1000), 1);
    o.n_top = 5;
    assert_int_equal(sl_sample_n_largest(&o, 1000), 5);
    o.repetition_penalty = 1.1f;
    assert_int_equal(sl_sample_n_largest(&o, 1000), 0);
    o = (sl_sample_options){.bias = &bias, .n_bias = 1};
    assert_int_equal(sl_sample_n_largest(&o, 1000), 0);
    o = sl_sample_options_default();
    assert_int_equal(sl_sample_n_largest(&o, 1000), 0);
    o.top_p = 0.9f;
    assert_int_equal(sl_sample_n_largest(&o, 1000), 0);
    o.top_k = 40;
    assert_int_equal(sl_sample_n_largest(&o, 1000), 40);
    assert_int_equal(sl_sample_n_largest(&o, 40), 0); /* filters nothing */
    o.top_k = SL_TOP_MAX + 1;
    assert_int_equal(sl_sample_n_largest(&o, 1000), 0);
}

static void test_broken_largest(void **state) {
    (void)state;
    static sl_kernels k;
    sl_kernels_init(&k, SL_ISA_REF);
    sl_sampler *s = make_sampler(&k, 100);
    const float rows[3][2] = {{1, NAN}, {1, INFINITY}, {-INFINITY, -INFINITY}};
    for (int i = 0; i < 3; i++) {
        const sl_sample_options o = {.temperature = i == 1 ? 1.0f : 0.0f, .top_p = 1, .top_k = 2};
        sl_top t;
        double log_sum;
        sl_sample_out out;
        sl_error err;
        largest_of(&k, rows[i], 2, 2, &t, &log_sum);
        assert_int_equal(sl_sample_largest(s, &t, log_sum, &o, 0, 0, &out, &err), SL_ERR_NUMERIC);
    }
    sl_sampler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches_the_reference),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_ties_go_to_the_lowest_id),
        cmocka_unit_test(test_broken_and_masked_rows),
        cmocka_unit_test(test_extreme_values),
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_logprobs_are_of_the_unmodified_row),
        cmocka_unit_test(test_logprob_of_a_token_that_was_changed),
        cmocka_unit_test(test_penalties_change_what_they_name),
        cmocka_unit_test(test_history_counts),
        cmocka_unit_test(test_draws_depend_on_seed_choice_and_position_only),
        cmocka_unit_test(test_inactive_filters_change_nothing),
        cmocka_unit_test(test_row_allocates_nothing),
        cmocka_unit_test(test_cut_equals_sorting),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_the_largest_give_the_same),
        cmocka_unit_test(test_when_the_largest_are_enough),
        cmocka_unit_test(test_broken_largest),
        cmocka_unit_test(test_create_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
