/* Models whose hyper-parameters or tensors are missing, out of range or contradict each other: each
 * is refused with a sentence that names the file and what is wrong. And: a good model gives the
 * plan it should. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "format/gguf_write.h"
#include "model/model.h"
#include "tiny_model.h"

/* One change made while a good model is copied. */
typedef struct change {
    const char *key; /* metadata to replace or to add; NULL: none */
    sl_gguf_type type;
    const char *stored; /* its bytes; NULL drops the key */
    size_t stored_len;
    const char *tensor;  /* tensor to change; NULL: none */
    bool drop;           /* leave the tensor out */
    bool flip;           /* swap its two dimensions */
    sl_type tensor_type; /* SL_TYPE_F32: as it was */
    const char *rename;
} change;

static sl_buf good_bytes;

static sl_status copy_metadata(const sl_gguf *g, const change *c, sl_gguf_writer *w,
                               sl_error *err) {
    bool placed = false;
    for (uint64_t i = 0; i < sl_gguf_n_kv(g); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(g, i);
        if (c->key != NULL && sl_slice_eq_str(kv->key, c->key)) {
            placed = true;
            if (c->stored != NULL &&
                sl_gguf_writer_raw(w, kv->key, c->type, (sl_slice){c->stored, c->stored_len},
                                   err) != SL_OK) {
                return err->code;
            }
        } else if (sl_gguf_writer_raw(w, kv->key, kv->type, sl_gguf_stored_value(g, kv), err) !=
                   SL_OK) {
            return err->code;
        }
    }
    if (c->key != NULL && !placed && c->stored != NULL) {
        return sl_gguf_writer_raw(w, sl_slice_of(c->key), c->type,
                                  (sl_slice){c->stored, c->stored_len}, err);
    }
    return SL_OK;
}

static bool is_changed(const sl_gguf_tensor *t, const change *c) {
    return c->tensor != NULL && sl_slice_eq_str(t->name, c->tensor);
}

static sl_status declare(const sl_gguf_tensor *t, const change *c, sl_gguf_writer *w,
                         sl_error *err) {
    char name[80];
    uint64_t dims[4];
    memcpy(dims, t->dims, sizeof(dims));
    (void)snprintf(name, sizeof(name), "%.*s", (int)t->name.len, t->name.ptr);
    sl_type type = t->type;
    if (is_changed(t, c)) {
        if (c->flip) {
            dims[0] = t->dims[1];
            dims[1] = t->dims[0];
        }
        if (c->rename != NULL) {
            (void)snprintf(name, sizeof(name), "%s", c->rename);
        }
        type = c->tensor_type == SL_TYPE_F32 ? type : c->tensor_type;
    }
    return sl_gguf_writer_tensor(w, name, type, t->n_dims, dims, err);
}

static void copy_changed(const change *c, sl_buf *out) {
    sl_gguf *g;
    sl_gguf_writer *w;
    sl_error err;
    assert_int_equal(sl_gguf_open_memory("good.gguf", good_bytes.data, good_bytes.len, &g, &err),
                     SL_OK);
    sl_buf_init(out, 16u << 20);
    assert_int_equal(sl_gguf_writer_create_buf(out, 32, &w, &err), SL_OK);
    if (copy_metadata(g, c, w, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    static const uint8_t zeros[1 << 20];
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t i = 0; i < sl_gguf_n_tensors(g); i++) {
            const sl_gguf_tensor *t = sl_gguf_tensor_at(g, i);
            if (is_changed(t, c) && c->drop) {
                continue;
            }
            uint64_t row = 0;
            sl_type type = is_changed(t, c) && c->tensor_type != SL_TYPE_F32 ? c->tensor_type
                                                                             : t->type;
            assert_true(sl_type_row_bytes(type, t->dims[0], &row));
            const void *data = type == t->type ? (const void *)t->data : zeros;
            sl_status status = pass == 0 ? declare(t, c, w, &err)
                                         : sl_gguf_writer_data(w, data, row * t->dims[1], &err);
            if (status != SL_OK) {
                fail_msg("%s", err.message);
            }
        }
    }
    if (sl_gguf_writer_finish(w, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    sl_gguf_writer_free(w);
    sl_gguf_close(g);
}

/* The status of opening the changed model; the message must name the file and `word`. */
static void expect_refused(const change *c, sl_status want, const char *word) {
    sl_buf bytes;
    copy_changed(c, &bytes);
    sl_gguf *g;
    sl_model *m;
    sl_error err = {0};
    sl_status status = sl_gguf_open_memory("changed.gguf", bytes.data, bytes.len, &g, &err);
    if (status == SL_OK) {
        status = sl_model_open(g, &m, &err);
        if (status == SL_OK) {
            sl_model_close(m);
        }
        sl_gguf_close(g);
    }
    if (status != want || strstr(err.message, "changed.gguf") == NULL ||
        strstr(err.message, word) == NULL) {
        fail_msg("change of %s: status %d, message \"%s\"; expected status %d and \"%s\"",
                 c->key != NULL ? c->key : c->tensor, (int)status, err.message, (int)want, word);
    }
    sl_buf_deinit(&bytes);
}

static void u32_key(const char *key, uint32_t v, sl_status want, const char *word) {
    char stored[4];
    memcpy(stored, &v, sizeof(stored));
    const change c = {.key = key, .type = SL_GGUF_U32, .stored = stored, .stored_len = 4};
    expect_refused(&c, want, word);
}

static void f32_key(const char *key, float v, const char *word) {
    char stored[4];
    memcpy(stored, &v, sizeof(stored));
    const change c = {.key = key, .type = SL_GGUF_F32, .stored = stored, .stored_len = 4};
    expect_refused(&c, SL_ERR_FORMAT, word);
}

static void string_key(const char *key, const char *text, sl_status want, const char *word) {
    char stored[128];
    uint64_t len = strlen(text);
    memcpy(stored, &len, 8);
    memcpy(stored + 8, text, len);
    const change c = {.key = key, .type = SL_GGUF_STRING, .stored = stored, .stored_len = 8 + len};
    expect_refused(&c, want, word);
}

static void test_numbers_out_of_range(void **state) {
    (void)state;
    static const char *const keys[] = {
        "llama.block_count",    "llama.embedding_length",     "llama.feed_forward_length",
        "llama.context_length", "llama.attention.head_count", "llama.attention.head_count_kv"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        u32_key(keys[i], 0, SL_ERR_FORMAT, keys[i]);
        u32_key(keys[i], UINT32_MAX, SL_ERR_FORMAT, keys[i]);
        const change gone = {.key = keys[i]};
        if (strcmp(keys[i], "llama.attention.head_count_kv") != 0) {
            expect_refused(&gone, SL_ERR_NOT_FOUND, keys[i]);
        }
        const change other = {
            .key = keys[i], .type = SL_GGUF_STRING, .stored = "\1\0\0\0\0\0\0\0x", .stored_len = 9};
        expect_refused(&other, SL_ERR_FORMAT, keys[i]);
    }
    u32_key("llama.attention.key_length", 0, SL_ERR_FORMAT, "key_length");
    u32_key("llama.attention.value_length", 5000, SL_ERR_FORMAT, "value_length");
    u32_key("llama.rope.dimension_count", 7, SL_ERR_FORMAT, "dimension_count");
    u32_key("llama.rope.dimension_count", 18, SL_ERR_FORMAT, "dimension_count");
    u32_key("llama.expert_count", 8, SL_ERR_UNSUPPORTED, "expert_count");
    u32_key("llama.vocab_size", 299, SL_ERR_FORMAT, "vocab_size");
    f32_key("llama.attention.layer_norm_rms_epsilon", 0.0f, "epsilon");
    f32_key("llama.attention.layer_norm_rms_epsilon", (float)NAN, "epsilon");
    f32_key("llama.rope.freq_base", (float)INFINITY, "freq_base");
    f32_key("llama.rope.freq_base", -1.0f, "freq_base");
}

static void test_contradictions(void **state) {
    (void)state;
    u32_key("llama.attention.head_count", 3, SL_ERR_FORMAT, "head_count");
    u32_key("llama.attention.head_count_kv", 3, SL_ERR_FORMAT, "head_count_kv");
    u32_key("llama.block_count", 3, SL_ERR_FORMAT, "blk.2.");
    u32_key("llama.block_count", 1, SL_ERR_UNSUPPORTED, "blk.1.");
    u32_key("llama.embedding_length", 96, SL_ERR_FORMAT, "token_embd.weight");
    u32_key("llama.feed_forward_length", 64, SL_ERR_FORMAT, "ffn_gate.weight");
    u32_key("llama.attention.key_length", 32, SL_ERR_FORMAT, "attn_q.weight");
    string_key("llama.rope.scaling.type", "longrope", SL_ERR_UNSUPPORTED, "longrope");
    u32_key("llama.attention.sliding_window", 128, SL_ERR_UNSUPPORTED, "sliding_window");
    string_key("llama.rope.scaling.type", "yarn", SL_ERR_NOT_FOUND, "rope.scaling.factor");
}

static void test_architectures(void **state) {
    (void)state;
    string_key("general.architecture", "lama", SL_ERR_UNSUPPORTED, "\"llama\"");
    string_key("general.architecture", "", SL_ERR_UNSUPPORTED, "general.architecture");
    const change gone = {.key = "general.architecture"};
    expect_refused(&gone, SL_ERR_NOT_FOUND, "general.architecture");
    char stored[8 + 100];
    uint64_t len = 100;
    memcpy(stored, &len, 8);
    memset(stored + 8, 'x', 100);
    const change longer = {
        .key = "general.architecture", .type = SL_GGUF_STRING, .stored = stored, .stored_len = 108};
    expect_refused(&longer, SL_ERR_UNSUPPORTED, "general.architecture");
}

static void test_tensors(void **state) {
    (void)state;
    static const char *const names[] = {"token_embd.weight",        "output_norm.weight",
                                        "blk.0.attn_norm.weight",   "blk.1.attn_q.weight",
                                        "blk.0.attn_output.weight", "blk.1.ffn_down.weight"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const change dropped = {.tensor = names[i], .drop = true};
        expect_refused(&dropped, SL_ERR_FORMAT, names[i]);
        const change renamed = {.tensor = names[i], .rename = "nobody.knows.this"};
        expect_refused(&renamed, SL_ERR_FORMAT, names[i]);
        const change half = {.tensor = names[i], .tensor_type = SL_TYPE_F16};
        if (strstr(names[i], "norm") != NULL) {
            expect_refused(&half, SL_ERR_UNSUPPORTED, names[i]);
        }
    }
    const change flipped = {.tensor = "blk.1.ffn_down.weight", .flip = true};
    expect_refused(&flipped, SL_ERR_FORMAT, "ffn_down");
    const change whole = {.tensor = "blk.1.ffn_down.weight", .tensor_type = SL_TYPE_I8};
    expect_refused(&whole, SL_ERR_UNSUPPORTED, "I8");
    const change extra = {.tensor = "output.weight", .rename = "surprise.weight"};
    expect_refused(&extra, SL_ERR_UNSUPPORTED, "surprise.weight");
}

static uint32_t count_ops(const sl_plan *p, sl_op_kind kind) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_ops; i++) {
        n += p->ops[i].kind == kind;
    }
    return n;
}

static void test_the_plan(void **state) {
    (void)state;
    sl_gguf *g;
    sl_model *m;
    sl_error err;
    assert_int_equal(sl_gguf_open_memory("good.gguf", good_bytes.data, good_bytes.len, &g, &err),
                     SL_OK);
    if (sl_model_open(g, &m, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(m->plan.n_layers, 2);
    assert_int_equal(m->plan.n_vocab, TINY_N_VOCAB);
    assert_int_equal(m->plan.n_groups, 1);
    assert_int_equal(m->plan.groups[0].n_layers, 2);
    assert_int_equal(count_ops(&m->plan, SL_OP_ATTEND), 2);
    assert_int_equal(count_ops(&m->plan, SL_OP_LINEAR), 2 * 7 + 1);
    assert_int_equal(count_ops(&m->plan, SL_OP_NORM), 2 * 2 + 1);
    assert_int_equal(m->plan.n_ops - m->plan.n_body, 2); /* final norm, output */
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    assert_int_equal(sl_plan_print(&m->plan, &text), SL_OK);
    assert_non_null(strstr(sl_buf_cstr(&text), "blk.1.ffn_down.weight{F32}"));
    assert_non_null(strstr(sl_buf_cstr(&text), "4 heads on 2 KV heads"));
    sl_buf_deinit(&text);

    /* A description that does not fit itself is found. */
    sl_plan_op ops[64];
    assert_true(m->plan.n_ops <= 64);
    for (uint32_t i = 0; i < m->plan.n_ops; i++) {
        memcpy(ops, m->plan.ops, m->plan.n_ops * sizeof(ops[0]));
        ops[i].out = ops[i].out == 0 ? m->plan.logits : SL_VALUE_ID_NONE;
        sl_plan broken = m->plan;
        broken.ops = ops;
        assert_int_equal(sl_plan_check(&broken, &err), SL_ERR_INTERNAL);
    }
    /* The head may read what it wrote, and the hidden rows, but no other value of the body. */
    memcpy(ops, m->plan.ops, m->plan.n_ops * sizeof(ops[0]));
    sl_plan broken = m->plan;
    broken.ops = ops;
    for (uint32_t v = 0; v < m->plan.n_values; v++) {
        ops[m->plan.n_body].in[0] = (sl_value_id)v;
        assert_int_equal(sl_plan_check(&broken, &err),
                         v == m->plan.hidden ? SL_OK : SL_ERR_INTERNAL);
    }
    sl_model_close(m);
    sl_gguf_close(g);
}

static int make_good(void **state) {
    (void)state;
    sl_error err;
    sl_buf_init(&good_bytes, 16u << 20);
    const tiny_model_options o = {.seed = 1};
    return tiny_model_write_buf(&good_bytes, &o, &err) == SL_OK ? 0 : -1;
}

static int drop_good(void **state) {
    (void)state;
    sl_buf_deinit(&good_bytes);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_out_of_range),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_the_plan),
    };
    return cmocka_run_group_tests(tests, make_good, drop_good);
}
