#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "model/arch/arch.h"
#include "model/builder.h"

#define PLAN_BYTES_MAX ((size_t)256 << 20)
#define ARCH_NAME_MAX 63

/* Edit distance of two short names, to suggest what may have been meant. */
static size_t arch_distance(sl_slice a, const char *b) {
    size_t row[ARCH_NAME_MAX + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a.ptr[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            best = row[j + 1] + 1 < best ? row[j + 1] + 1 : best;
            row[j + 1] = row[j] + 1 < best ? row[j] + 1 : best;
        }
    }
    return row[n];
}

static const sl_arch *arch_find(sl_slice name, const sl_arch **nearest) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < sl_arch_count; i++) {
        size_t d = arch_distance(name, sl_arch_list[i].name);
        if (d == 0) {
            return &sl_arch_list[i];
        }
        if (d < best) {
            best = d;
            *nearest = &sl_arch_list[i];
        }
    }
    return NULL;
}

static sl_status model_find_arch(const sl_gguf *file, const sl_arch **out, sl_error *err) {
    sl_slice name;
    SL_TRY(sl_gguf_string(file, "general.architecture", &name, err));
    sl_slice shown = {name.ptr, name.len > ARCH_NAME_MAX ? ARCH_NAME_MAX : name.len};
    const sl_arch *nearest = NULL;
    *out = arch_find(shown, &nearest);
    if (*out == NULL || shown.len != name.len) {
        char text[SL_GGUF_SHOW_MAX];
        return SL_FAIL(
            err, SL_ERR_UNSUPPORTED,
            "%s: key general.architecture is \"%s\", which this version does not know; the "
            "nearest it knows is \"%s\"",
            sl_gguf_path(file), sl_gguf_show(name, text, sizeof(text)),
            nearest == NULL ? "" : nearest->name);
    }
    return SL_OK;
}

/* The vocabulary and the embedding must agree, or a sampled id would have no text. */
static sl_status model_check_vocab(const sl_gguf *file, const sl_hparams *hp, sl_error *err) {
    const sl_gguf_kv *tokens = sl_gguf_find(file, "tokenizer.ggml.tokens");
    if (tokens != NULL && tokens->n != hp->n_vocab) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor token_embd.weight has %" PRIu32
                       " rows, but key tokenizer.ggml.tokens "
                       "holds %" PRIu64 " tokens; both must be the same",
                       sl_gguf_path(file), hp->n_vocab, tokens->n);
    }
    char key[ARCH_NAME_MAX + 16];
    uint32_t n;
    (void)snprintf(key, sizeof(key), "%s.vocab_size", hp->arch);
    SL_TRY(sl_gguf_u32_or(file, key, hp->n_vocab, &n, err));
    if (n != hp->n_vocab) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key %s is %" PRIu32 ", but tensor token_embd.weight has %" PRIu32
                       " rows",
                       sl_gguf_path(file), key, n, hp->n_vocab);
    }
    return SL_OK;
}

static sl_status model_build(sl_model *m, const sl_arch *arch, sl_error *err) {
    sl_plan *plan = &m->plan;
    (void)snprintf(plan->arch, sizeof(plan->arch), "%s", arch->name);
    sl_hparams hp;
    SL_TRY(sl_hparams_read(m->file, plan->arch, arch->is_layer_norm, &hp, err));
    SL_TRY(model_check_vocab(m->file, &hp, err));
    plan->n_layers = hp.n_layers;
    plan->n_embd = hp.n_embd;
    plan->n_vocab = hp.n_vocab;
    plan->n_ctx_train = hp.n_ctx;
    plan->n_ctx_max = hp.n_ctx;
    sl_builder b;
    SL_TRY(sl_builder_init(&b, m->file, &hp, plan, err));
    arch->describe(&b);
    return sl_builder_finish(&b);
}

sl_status sl_model_open(const sl_gguf *file, sl_model **out, sl_error *err) {
    const sl_arch *arch;
    SL_TRY(model_find_arch(file, &arch, err));
    sl_model *m = sl_alloc_zero(1, sizeof(*m));
    if (m == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the model", sl_gguf_path(file));
    }
    m->file = file;
    sl_arena_init(&m->plan.arena, PLAN_BYTES_MAX);
    sl_status status = sl_gguf_string_or_none(file, "general.name", &m->name, err);
    if (status == SL_OK) {
        status = model_build(m, arch, err);
    }
    if (status == SL_OK && m->name.ptr == NULL) {
        const char *slash = strrchr(sl_gguf_path(file), '/');
        m->name = sl_slice_of(slash == NULL ? sl_gguf_path(file) : slash + 1);
    }
    if (status != SL_OK) {
        sl_model_close(m);
        return status;
    }
    *out = m;
    return SL_OK;
}

void sl_model_close(sl_model *m) {
    if (m != NULL) {
        sl_plan_deinit(&m->plan);
        sl_free(m);
    }
}
