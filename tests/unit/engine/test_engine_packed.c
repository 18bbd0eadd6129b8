/* Weights that are packed by the steps that need them, ahead of them, or found in a cache file give
 * the same logits, bit for bit; so do damaged cache files and model files that changed. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "measure/feed.h"

#define N_VOCAB 512
#define N_TOKENS 40
#define FILE_BYTES_MAX ((size_t)64 << 20)

static const char *const MODELS[] = {
    "tests/golden/quant/llama-quant.Q4_1.gguf", "tests/golden/quant/llama-quant.Q4_K_M.gguf",
    "tests/golden/arch/granitemoe/granitemoe.f16.gguf", /* experts */
};
#define MODEL_COUNT (sizeof(MODELS) / sizeof(MODELS[0]))

typedef struct place {
    char dir[64], cache_dir[96], copy[96]; /* copy: of a model's file */
    sl_packed_cache cache;
} place;

/* --- what the engine said --------------------------------------------------------------------- */

static char g_said[4096];

static void listen(void *user, const sl_log_record *r) {
    size_t len = strlen(g_said);
    (void)user;
    (void)snprintf(g_said + len, sizeof(g_said) - len, "%s\n", r->message);
}

static bool said(const char *text) {
    return strstr(g_said, text) != NULL;
}

/* --- the model and its answers ---------------------------------------------------------------- */

typedef struct opened {
    sl_gguf *file;
    sl_model *model;
    sl_engine *engine;
} opened;

static opened open_engine(const char *path, const sl_packed_cache *cache, uint32_t n_threads,
                          bool exact) {
    opened m;
    sl_error err;
    sl_engine_options o = {.n_threads = n_threads,
                           .kv_bytes = 8u << 20,
                           .ctx_max = 64,
                           .rows_max = 64,
                           .exact = exact};
    if (cache != NULL) {
        o.cache = *cache;
    }
    g_said[0] = '\0';
    if (sl_gguf_open(path, &m.file, &err) != SL_OK ||
        sl_model_open(m.file, &m.model, &err) != SL_OK ||
        sl_engine_create(m.model, &o, &m.engine, &err) != SL_OK) {
        fail_msg("%s: %s", path, err.message);
    }
    return m;
}

static void close_engine(opened *m) {
    sl_engine_free(m->engine); /* waits for the cache file */
    sl_model_close(m->model);
    sl_gguf_close(m->file);
}

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        memcpy((float *)user + (size_t)(first + i) * N_VOCAB, logits + i * stride,
               N_VOCAB * sizeof(float));
    }
    return SL_OK;
}

typedef float answers[N_TOKENS][N_VOCAB];

static sl_status ask(sl_engine *e, answers out, sl_error *err) {
    int32_t ids[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        ids[i] = (int32_t)(i * 2654435761u >> 23);
    }
    sl_feed feed;
    assert_int_equal(sl_feed_init(&feed, e, 1, N_TOKENS, err), SL_OK);
    sl_alloc_lock(); /* packing inside a step allocates nothing either */
    uint64_t before = sl_alloc_violations();
    sl_status status = sl_feed_tokens(&feed, ids, N_TOKENS, 0, SL_FEED_ALL, keep, out, err);
    assert_int_equal(sl_alloc_violations(), before);
    sl_alloc_unlock();
    sl_feed_deinit(&feed);
    return status;
}

static void prepare(sl_engine *e) {
    sl_error err;
    sl_status status;
    while ((status = sl_engine_prepare(e, &err)) == SL_AGAIN) {
    }
    assert_int_equal(status, SL_OK);
    sl_engine_memory m;
    sl_engine_memory_now(e, &m);
    assert_int_equal(sl_engine_ready_bytes(e), m.packed_bytes);
}

/* The answers of an engine that has been asked, and is then made ready to the last weight. */
static void answer(const char *path, const sl_packed_cache *cache, uint32_t n_threads,
                   answers out) {
    sl_error err;
    opened m = open_engine(path, cache, n_threads, false);
    assert_int_equal(ask(m.engine, out, &err), SL_OK);
    prepare(m.engine);
    close_engine(&m);
}

/* --- files ------------------------------------------------------------------------------------ */

static void path_in_cache(const place *p, char out[512]) {
    DIR *dir = opendir(p->cache_dir);
    assert_non_null(dir);
    out[0] = '\0';
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            assert_int_equal(out[0], '\0'); /* one file */
            (void)snprintf(out, 512, "%s/%s", p->cache_dir, e->d_name);
        }
    }
    (void)closedir(dir);
}

static void flip(const char *path, off_t at) {
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static void copy_file(const char *from, const char *to) {
    uint8_t *data = malloc(FILE_BYTES_MAX);
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(data != NULL && in >= 0 && out >= 0);
    ssize_t n = read(in, data, FILE_BYTES_MAX);
    assert_true(n > 0 && write(out, data, (size_t)n) == n);
    (void)close(in);
    (void)close(out);
    free(data);
}

static int set_up(void **state) {
    place *p = calloc(1, sizeof(*p));
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/sluice-packed-XXXXXX");
    if (mkdtemp(p->dir) == NULL) {
        return -1;
    }
    (void)snprintf(p->cache_dir, sizeof(p->cache_dir), "%s/cache", p->dir);
    (void)snprintf(p->copy, sizeof(p->copy), "%s/copy.gguf", p->dir);
    p->cache = (sl_packed_cache){.dir = p->cache_dir, .max_bytes = 1u << 30};
    sl_log_init(listen, NULL, SL_LOG_INFO);
    *state = p;
    return 0;
}

static int tear_down(void **state) {
    place *p = *state;
    char command[128];
    sl_log_init(NULL, NULL, SL_LOG_ERROR);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", p->dir);
    int code = system(command);
    free(p);
    return code;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_when_weights_are_packed(void **state) {
    (void)state;
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        static answers first, other;
        sl_error err;
        answer(MODELS[i], NULL, 1, first);
        for (uint32_t n_threads = 1; n_threads <= 5; n_threads += 2) {
            answer(MODELS[i], NULL, n_threads, other);
            assert_memory_equal(first, other, sizeof(first));
            opened m = open_engine(MODELS[i], NULL, n_threads, false);
            prepare(m.engine); /* before any step */
            assert_int_equal(ask(m.engine, other, &err), SL_OK);
            assert_memory_equal(first, other, sizeof(first));
            close_engine(&m);
            m = open_engine(MODELS[i], NULL, n_threads, false);
            assert_true(sl_engine_prepare(m.engine, &err) >= 0); /* a part */
            assert_int_equal(ask(m.engine, other, &err), SL_OK);
            assert_memory_equal(first, other, sizeof(first));
            close_engine(&m);
        }
    }
}

static void test_cached(void **state) {
    place *p = *state;
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        static answers plain, cold, warm;
        answer(MODELS[i], NULL, 2, plain);
        answer(MODELS[i], &p->cache, 2, cold);
        assert_memory_equal(plain, cold, sizeof(plain));
        if (!said("are kept")) {
            skip(); /* a level that packs nothing */
        }
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
            answer(MODELS[i], &p->cache, n_threads, warm);
            assert_true(said("are taken"));
            assert_false(said("are kept"));
            assert_memory_equal(plain, warm, sizeof(plain));
        }
    }
}

static void test_exact_packs_nothing(void **state) {
    place *p = *state;
    static answers plain, cached;
    sl_error err;
    for (int i = 0; i < 2; i++) {
        opened m = open_engine(MODELS[0], i == 0 ? NULL : &p->cache, 2, true);
        assert_int_equal(ask(m.engine, i == 0 ? plain : cached, &err), SL_OK);
        close_engine(&m);
    }
    assert_memory_equal(plain, cached, sizeof(plain));
    assert_int_not_equal(access(p->cache_dir, F_OK), 0);
}

/* Bytes of the region are damaged in many places: logged, packed anew, and the file replaced. */
static void test_damaged(void **state) {
    place *p = *state;
    static answers plain, other;
    char path[512];
    struct stat st;
    answer(MODELS[1], &p->cache, 2, plain);
    if (!said("are kept")) {
        skip();
    }
    path_in_cache(p, path);
    assert_int_equal(stat(path, &st), 0);
    for (off_t at = 65536 + 7; at < st.st_size; at += 90001) {
        flip(path, at);
    }
    answer(MODELS[1], &p->cache, 2, other);
    assert_memory_equal(plain, other, sizeof(plain));
    assert_true(said("are taken") && said("damaged") && said("are kept"));
    answer(MODELS[1], &p->cache, 2, other);
    assert_memory_equal(plain, other, sizeof(plain));
    assert_true(said("are taken"));
    assert_false(said("damaged"));
}

/* A copy of the model uses the same file; one whose weights changed in the middle gets its own
 * answers, also if its size and its time of modification are what they were. */
static void test_changed_model(void **state) {
    place *p = *state;
    static answers plain, other, changed;
    answer(MODELS[0], &p->cache, 2, plain);
    if (!said("are kept")) {
        skip();
    }
    copy_file(MODELS[0], p->copy);
    answer(p->copy, &p->cache, 2, other);
    assert_true(said("are taken") && said("compared"));
    assert_false(said("are kept") || said("damaged"));
    assert_memory_equal(plain, other, sizeof(plain));

    sl_gguf *file;
    sl_error err;
    assert_int_equal(sl_gguf_open(p->copy, &file, &err), SL_OK);
    const sl_gguf_tensor *t = sl_gguf_find_tensor(file, "blk.0.ffn_up.weight");
    const uint8_t *base = sl_gguf_tensor_at(file, 0)->data;
    for (uint64_t i = 0; i < sl_gguf_n_tensors(file); i++) {
        const uint8_t *data = sl_gguf_tensor_at(file, i)->data;
        base = data < base ? data : base;
    }
    struct stat st;
    assert_int_equal(stat(p->copy, &st), 0);
    off_t data_bytes = 0;
    for (uint64_t i = 0; i < sl_gguf_n_tensors(file); i++) {
        const sl_gguf_tensor *one = sl_gguf_tensor_at(file, i);
        off_t end = one->data - base + (off_t)one->size_bytes;
        data_bytes = end > data_bytes ? end : data_bytes;
    }
    off_t at = st.st_size - data_bytes + (t->data - base) + (off_t)(t->size_bytes / 2) + 1000;
    sl_gguf_close(file);
    flip(p->copy, at);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, p->copy, times, 0), 0);

    answer(p->copy, NULL, 2, changed);
    assert_memory_not_equal(plain, changed, sizeof(plain));
    answer(p->copy, &p->cache, 2, other);
    assert_memory_equal(changed, other, sizeof(changed));
    assert_true(said("damaged"));
    answer(MODELS[0], &p->cache, 2, other);
    assert_memory_equal(plain, other, sizeof(plain));
}

/* A model file that is written to before all weights are packed ends the engine: no answer mixes
 * two versions. */
static void test_changed_while_packing(void **state) {
    place *p = *state;
    static answers out;
    sl_error err;
    copy_file(MODELS[0], p->copy);
    opened m = open_engine(p->copy, &p->cache, 2, false);
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, p->copy, times, 0), 0);
    assert_int_equal(ask(m.engine, out, &err), SL_ERR_IO);
    assert_int_equal(sl_engine_prepare(m.engine, &err), SL_ERR_IO);
    close_engine(&m);
    assert_int_not_equal(access(p->cache_dir, F_OK), 0);
}

/* A cache file that shrinks while it is mapped ends the engine; once its panels have moved to
 * memory nobody needs it. */
static void test_cut_while_in_use(void **state) {
    place *p = *state;
    static answers plain, out;
    char path[512];
    sl_error err;
    sl_mapfile_guard_install();
    answer(MODELS[0], &p->cache, 2, plain);
    if (!said("are kept")) {
        skip();
    }
    path_in_cache(p, path);
    opened m = open_engine(MODELS[0], &p->cache, 2, false);
    prepare(m.engine);
    assert_true(said("are taken"));
    assert_int_equal(truncate(path, 65536), 0);
    assert_int_equal(ask(m.engine, out, &err), SL_OK);
    assert_memory_equal(plain, out, sizeof(plain));
    close_engine(&m);
    answer(MODELS[0], &p->cache, 2, out); /* the cut file is no longer used */
    assert_true(said("are kept"));
    m = open_engine(MODELS[0], &p->cache, 2, false);
    assert_int_equal(truncate(path, 65536 + 100000), 0); /* in the midst of the panels */
    assert_int_equal(ask(m.engine, out, &err), SL_ERR_IO);
    assert_non_null(strstr(err.message, "packed weights"));
    close_engine(&m);
}

/* Steps that go on while the panels move, a few at a time. */
static void test_moving(void **state) {
    place *p = *state;
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        static answers plain, out;
        sl_error err;
        answer(MODELS[i], &p->cache, 1, plain);
        opened m = open_engine(MODELS[i], &p->cache, 1, false);
        for (int n = 0; n < 20; n++) {
            assert_int_equal(ask(m.engine, out, &err), SL_OK);
            assert_memory_equal(plain, out, sizeof(plain));
        }
        assert_int_equal(sl_engine_prepare(m.engine, &err), SL_OK);
        close_engine(&m);
    }
}

static void test_folder_that_refuses(void **state) {
    (void)state;
    static answers plain, other;
    const sl_packed_cache nowhere = {.dir = "/proc/no/such/folder", .max_bytes = 1u << 30};
    answer(MODELS[0], NULL, 2, plain);
    answer(MODELS[0], &nowhere, 2, other);
    assert_memory_equal(plain, other, sizeof(plain));
    const char *line = strstr(g_said, "are not kept");
    assert_true(line == NULL || strstr(line + 1, "are not kept") == NULL); /* once */
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_when_weights_are_packed), TEST(test_cached),
        TEST(test_exact_packs_nothing),     TEST(test_damaged),
        TEST(test_changed_model),           TEST(test_changed_while_packing),
        TEST(test_cut_while_in_use),        TEST(test_moving),
        TEST(test_folder_that_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
