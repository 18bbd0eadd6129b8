/* Models whose matrices are in any one number format compute what their decoded values do, bit for
 * bit: with --exact in every format, and in the default mode where a format has no int8 product and
 * the generic float product takes its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "check_status.h"
#include "format/gguf_write.h"
#include "kernels/kernel_check.h"
#include "measure/feed.h"
#include "tiny_model.h"

#define N_TOKENS 19 /* a prompt of several row tiles, then one token */
#define FILE_BYTES_MAX ((size_t)64 << 20)

static sl_buf tiny_bytes;

static int make_tiny(void **state) {
    (void)state;
    sl_error err;
    const tiny_model_options options = {.seed = 5, .n_layers = 1, .n_embd = 256, .n_ff = 256};
    sl_buf_init(&tiny_bytes, FILE_BYTES_MAX);
    return tiny_model_write_buf(&tiny_bytes, &options, &err) == SL_OK ? 0 : -1;
}

static int drop_tiny(void **state) {
    (void)state;
    sl_buf_deinit(&tiny_bytes);
    return 0;
}

/* The tiny model with random blocks of `type` in every matrix; with `decoded` the same values as
 * F32. */
static void write_model(sl_buf *dest, const sl_gguf *from, sl_type type, bool decoded) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    sl_gguf_writer *w = NULL;
    sl_error err;
    sl_buf_init(dest, FILE_BYTES_MAX);
    CHECK(sl_gguf_writer_create_buf(dest, 32, &w, &err));
    for (uint64_t i = 0; i < sl_gguf_n_kv(from); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(from, i);
        CHECK(sl_gguf_writer_raw(w, kv->key, kv->type, sl_gguf_stored_value(from, kv), &err));
    }
    for (uint64_t i = 0; i < sl_gguf_n_tensors(from); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(from, i);
        const bool plain = t->n_dims == 1 || decoded;
        char name[65];
        (void)snprintf(name, sizeof(name), "%.*s", (int)t->name.len, t->name.ptr);
        CHECK(sl_gguf_writer_tensor(w, name, plain ? SL_TYPE_F32 : type, t->n_dims, t->dims, &err));
    }
    rng r = {(uint64_t)type};
    for (uint64_t i = 0; i < sl_gguf_n_tensors(from); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(from, i);
        if (t->n_dims == 1) {
            CHECK(sl_gguf_writer_data(w, t->data, t->dims[0] * sizeof(float), &err));
            continue;
        }
        for (uint64_t row = 0; row < t->dims[1]; row++) {
            uint8_t bytes[256 * 4];
            float values[256];
            assert_int_equal(t->dims[0], 256);
            random_row(&r, type, bytes, 256);
            sl_type_decode_row(type, bytes, values, 256);
            const size_t row_bytes = 256 / info->block_elems * info->block_bytes;
            CHECK(sl_gguf_writer_data(w, decoded ? (const void *)values : bytes,
                                      decoded ? sizeof(values) : row_bytes, &err));
        }
    }
    CHECK(sl_gguf_writer_finish(w, &err));
    sl_gguf_writer_free(w);
}

static sl_status keep(void *user, uint32_t first, uint32_t n, float *logits, size_t stride,
                      sl_error *err) {
    (void)first;
    (void)stride;
    (void)err;
    assert_int_equal(n, 1);
    memcpy(user, logits, TINY_N_VOCAB * sizeof(float));
    return SL_OK;
}

/* Logits after the prompt and after one token more. */
static void model_logits(const sl_buf *bytes, bool exact, float logits[2][TINY_N_VOCAB]) {
    sl_gguf *file = NULL;
    sl_model *model = NULL;
    sl_engine *engine = NULL;
    sl_feed feed;
    sl_error err;
    int32_t ids[N_TOKENS + 1];
    const sl_engine_options options = {
        .n_threads = 2, .exact = exact, .kv_bytes = 4u << 20, .ctx_max = 64};
    CHECK(sl_gguf_open_memory("formats", bytes->data, bytes->len, &file, &err));
    CHECK(sl_model_open(file, &model, &err));
    CHECK(sl_engine_create(model, &options, &engine, &err));
    CHECK(sl_feed_init(&feed, engine, 1, N_TOKENS + 1, &err));
    for (int32_t i = 0; i <= N_TOKENS; i++) {
        ids[i] = (i * 37 + 5) % TINY_N_VOCAB;
    }
    CHECK(sl_feed_tokens(&feed, ids, N_TOKENS, 0, SL_FEED_LAST, keep, logits[0], &err));
    CHECK(sl_feed_tokens(&feed, ids + N_TOKENS, 1, N_TOKENS, SL_FEED_LAST, keep, logits[1], &err));
    sl_feed_deinit(&feed);
    sl_engine_free(engine);
    sl_model_close(model);
    sl_gguf_close(file);
}

/* Activations rounded to BF16 move the logits by a few per cent of their size. */
static void check_near(float a[2][TINY_N_VOCAB], float b[2][TINY_N_VOCAB]) {
    double size = 0.0, distance = 0.0;
    for (uint32_t i = 0; i < 2 * TINY_N_VOCAB; i++) {
        double x = a[i / TINY_N_VOCAB][i % TINY_N_VOCAB], y = b[i / TINY_N_VOCAB][i % TINY_N_VOCAB];
        size += y * y;
        distance += (x - y) * (x - y);
    }
    if (!(distance <= 0.01 * size)) {
        fail_msg("BF16: rounded activations are off by %g %%", 100.0 * sqrt(distance / size));
    }
}

/* `rounds`: the default mode rounds activations for weights of this type. */
static void check_format(const sl_gguf *tiny, sl_type type, bool rounds) {
    float got[2][TINY_N_VOCAB], want[2][TINY_N_VOCAB];
    sl_buf packed, plain;
    write_model(&packed, tiny, type, false);
    write_model(&plain, tiny, type, true);
    if (type == SL_TYPE_BF16) {
        model_logits(&packed, false, got);
        model_logits(&plain, true, want);
        check_near(got, want);
    }
    for (int exact = rounds ? 1 : 0; exact < 2; exact++) {
        model_logits(&packed, exact == 1, got);
        model_logits(&plain, exact == 1, want);
        for (uint32_t i = 0; i < TINY_N_VOCAB; i++) {
            assert_true(isfinite(got[0][i]) && isfinite(got[1][i]));
        }
        if (memcmp(got, want, sizeof(got)) != 0) {
            fail_msg("%s: other logits than its decoded values%s",
                     sl_type_info_of((uint32_t)type)->name, exact ? ", --exact" : "");
        }
    }
    sl_buf_deinit(&packed);
    sl_buf_deinit(&plain);
}

static void test_every_format(void **state) {
    (void)state;
    sl_gguf *tiny = NULL;
    sl_kernels kernels;
    sl_error err;
    uint32_t n = 0;
    sl_kernels_init(&kernels, sl_cpu_isa());
    CHECK(sl_gguf_open_memory("tiny", tiny_bytes.data, tiny_bytes.len, &tiny, &err));
    for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
        if (sl_type_info_of(type)->decodes) {
            check_format(tiny, (sl_type)type,
                         kernels.product[type].mul != NULL ||
                             (type == SL_TYPE_BF16 && kernels.bf16.mul != NULL));
            n++;
        }
    }
    sl_gguf_close(tiny);
    assert_int_equal(n, 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_format, make_tiny, drop_tiny),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
