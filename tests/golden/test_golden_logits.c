/* Logits and greedy tokens of small models against the reference (transformers, float32), with
 * --exact.
 *
 * Runs every model below tests/golden and, where it is there, the shared reference data
 * ($SLUICE_SHARED or ../shared). Models of architectures that this version does not know are
 * counted as skipped; those whose folder begins with "llama" must run. The build runs this program
 * once per ISA level (SLUICE_CPU_MASK). */
#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "measure/feed.h"

#define LOGIT_TOLERANCE 1e-3f
#define GAP_TOLERANCE 0.01 /* a greedy token may differ from where the two best are this near */
#define PATHS_MAX 512

static int n_models, n_skipped;
static float worst_difference;

static const char *shared_folder(void) {
    const char *dir = getenv("SLUICE_SHARED");
    return dir != NULL ? dir : "../shared";
}

/* Decodes base64 into floats; returns how many. */
static size_t decode_floats(const char *text, float *out, size_t max) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *bytes = (uint8_t *)out;
    size_t n = 0;
    uint32_t bits = 0, n_bits = 0;
    for (const char *p = text; *p != '\0' && *p != '='; p++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, *p) - digits);
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            assert_true(n < max * sizeof(float));
            bytes[n++] = (uint8_t)(bits >> n_bits);
        }
    }
    return n / sizeof(float);
}

typedef struct golden_rows {
    float *rows; /* [n][n_vocab] */
    uint32_t n_vocab;
} golden_rows;

static sl_status keep_rows(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                           sl_error *err) {
    golden_rows *g = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(g->rows + (size_t)(first + i) * g->n_vocab, logits + i * stride,
               g->n_vocab * sizeof(float));
    }
    return SL_OK;
}

static void check_near(const char *path, const char *what, double ours, double reference) {
    float difference = (float)fabs(ours - reference);
    worst_difference = fmaxf(worst_difference, difference);
    if (!(difference <= LOGIT_TOLERANCE)) {
        fail_msg("%s: %s is %g, the reference has %g", path, what, ours, reference);
    }
}

/* Every position's five best, and the whole last row. */
static void check_prompt(const char *path, const json_t *c, const float *rows, uint32_t n,
                         uint32_t n_vocab) {
    float last[4096];
    size_t n_last = decode_floats(json_string_value(json_object_get(c, "last_logits_b64")), last,
                                  4096);
    assert_int_equal(n_last, n_vocab);
    for (uint32_t i = 0; i < n_vocab; i++) {
        check_near(path, "a last logit", rows[(size_t)(n - 1) * n_vocab + i], last[i]);
    }
    const json_t *ids = json_object_get(c, "top5_ids"), *values = json_object_get(c, "top5_logits");
    for (uint32_t i = 0; i < n && ids != NULL; i++) {
        const json_t *row_ids = json_array_get(ids, i), *row = json_array_get(values, i);
        for (size_t k = 0; k < json_array_size(row); k++) {
            json_int_t id = json_integer_value(json_array_get(row_ids, k));
            check_near(path, "a logit of the best five", rows[(size_t)i * n_vocab + (size_t)id],
                       json_real_value(json_array_get(row, k)));
        }
    }
}

static void check_greedy(const char *path, const json_t *c, sl_feed *feed, golden_rows *g,
                         uint32_t n) {
    const json_t *greedy = json_object_get(c, "greedy"), *gap = json_object_get(c, "greedy_gap");
    const float *row = g->rows + (size_t)(n - 1) * g->n_vocab;
    sl_error err;
    for (size_t i = 0; i < json_array_size(greedy); i++) {
        int32_t id = (int32_t)sl_engine_kernels(feed->engine)->argmax(row, g->n_vocab);
        if (json_real_value(json_array_get(gap, i)) < GAP_TOLERANCE) {
            return;
        }
        json_int_t want = json_integer_value(json_array_get(greedy, i));
        if (id != want) {
            fail_msg("%s: greedy token %zu is %d, the reference has %d", path, i, (int)id,
                     (int)want);
        }
        if (sl_feed_tokens(feed, &id, 1, n + (uint32_t)i, SL_FEED_LAST, keep_rows, g, &err) !=
            SL_OK) {
            fail_msg("%s: %s", path, err.message);
        }
        row = g->rows;
    }
}

static void check_case(const char *path, const json_t *c, sl_engine *e) {
    const json_t *prompt = json_object_get(c, "prompt");
    uint32_t n = (uint32_t)json_array_size(prompt);
    int32_t ids[512];
    assert_true(n > 0 && n <= 512);
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(prompt, i));
    }
    golden_rows g = {.n_vocab = sl_engine_plan(e)->n_vocab};
    g.rows = malloc((size_t)n * g.n_vocab * sizeof(float));
    assert_non_null(g.rows);
    sl_feed feed;
    sl_error err;
    if (sl_feed_init(&feed, e, 1, n + 32, &err) != SL_OK ||
        sl_feed_tokens(&feed, ids, n, 0, SL_FEED_ALL, keep_rows, &g, &err) != SL_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    check_prompt(path, c, g.rows, n, g.n_vocab);
    check_greedy(path, c, &feed, &g, n);
    sl_feed_deinit(&feed);
    free(g.rows);
}

static void check_model(const char *path, const char *golden_path, bool must_run) {
    json_error_t problem;
    json_t *golden = json_load_file(golden_path, 0, &problem);
    if (golden == NULL) {
        fail_msg("%s: %s", golden_path, problem.text);
    }
    sl_gguf *file;
    sl_model *model;
    sl_engine *engine;
    sl_error err;
    if (sl_gguf_open(path, &file, &err) != SL_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    sl_status status = sl_model_open(file, &model, &err);
    if (status == SL_ERR_UNSUPPORTED && !must_run) {
        n_skipped++;
        sl_gguf_close(file);
        json_decref(golden);
        return;
    }
    const sl_engine_options options = {
        .n_threads = 2, .exact = true, .kv_bytes = 8u << 20, .ctx_max = 256};
    if (status != SL_OK || sl_engine_create(model, &options, &engine, &err) != SL_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    size_t i;
    const json_t *c;
    json_array_foreach(json_object_get(golden, "cases"), i, c) {
        check_case(path, c, engine);
    }
    n_models++;
    sl_engine_free(engine);
    sl_model_close(model);
    sl_gguf_close(file);
    json_decref(golden);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* arch/: one folder a model, with golden.json for all its files. */
static void check_arch_folder(const char *root) {
    char path[1024], golden[1024];
    (void)snprintf(path, sizeof(path), "%s/arch", root);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        (void)snprintf(golden, sizeof(golden), "%.400s/arch/%.200s/golden.json", root, e->d_name);
        (void)snprintf(path, sizeof(path), "%.400s/arch/%.200s", root, e->d_name);
        DIR *models = e->d_name[0] == '.' ? NULL : opendir(path);
        for (struct dirent *m; models != NULL && (m = readdir(models)) != NULL;) {
            if (ends_with(m->d_name, ".gguf")) {
                (void)snprintf(path, sizeof(path), "%.400s/arch/%.200s/%.200s", root, e->d_name,
                               m->d_name);
                check_model(path, golden, strncmp(e->d_name, "llama", 5) == 0);
            }
        }
        if (models != NULL) {
            (void)closedir(models);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
}

/* quant/: NAME.gguf beside NAME.golden.json; all must run. */
static void check_quant_folder(const char *root) {
    char path[1024], golden[1024];
    (void)snprintf(path, sizeof(path), "%.400s/quant", root);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (ends_with(e->d_name, ".gguf")) {
            int stem = (int)strlen(e->d_name) - 5;
            (void)snprintf(path, sizeof(path), "%.400s/quant/%.200s", root, e->d_name);
            (void)snprintf(golden, sizeof(golden), "%.400s/quant/%.*s.golden.json", root, stem,
                           e->d_name);
            check_model(path, golden, true);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
}

static void test_golden_models(void **state) {
    (void)state;
    char shared[512];
    (void)snprintf(shared, sizeof(shared), "%.400s/golden", shared_folder());
    check_arch_folder("tests/golden");
    check_quant_folder("tests/golden");
    assert_true(n_models >= 3); /* the repository's own */
    check_arch_folder(shared);
    check_quant_folder(shared);
    (void)printf("level %s: %d models, %d skipped, largest difference %g\n",
                 sl_isa_name(sl_cpu_isa()), n_models, n_skipped, (double)worst_difference);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
