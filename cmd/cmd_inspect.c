/* sluice inspect: what a model file holds, its memory by kind, and the plan it becomes. */
#define _GNU_SOURCE /* memmem */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "flags.h"
#include "inspect.h"

#define PLAN_TEXT_MAX ((size_t)64 << 20)

/* --- what the file says ----------------------------------------------------------------------- */

const char *sl_inspect_kind_name(sl_inspect_kind kind) {
    static const char *const names[SL_INSPECT_KIND_COUNT] = {[SL_INSPECT_EMBEDDING] = "embedding",
                                                             [SL_INSPECT_ATTENTION] = "attention",
                                                             [SL_INSPECT_FFN] = "ffn",
                                                             [SL_INSPECT_NORMS] = "norms",
                                                             [SL_INSPECT_OUTPUT] = "output",
                                                             [SL_INSPECT_OTHER] = "other"};
    return names[kind];
}

static bool has_part(sl_slice name, const char *part) {
    return memmem(name.ptr, name.len, part, strlen(part)) != NULL;
}

static bool begins_with(sl_slice name, const char *start) {
    size_t len = strlen(start);
    return name.len >= len && memcmp(name.ptr, start, len) == 0;
}

/* By the names that GGUF gives to tensors: it must also work for models that cannot run here. */
sl_inspect_kind sl_inspect_kind_of(const sl_gguf_tensor *t) {
    if (has_part(t->name, "norm")) {
        return SL_INSPECT_NORMS;
    }
    if (begins_with(t->name, "token_embd") || begins_with(t->name, "position_embd") ||
        begins_with(t->name, "token_types") || begins_with(t->name, "per_layer_token_embd")) {
        return SL_INSPECT_EMBEDDING;
    }
    if (begins_with(t->name, "output") || begins_with(t->name, "cls")) {
        return SL_INSPECT_OUTPUT;
    }
    if (has_part(t->name, ".attn_")) {
        return SL_INSPECT_ATTENTION;
    }
    if (has_part(t->name, ".ffn_")) {
        return SL_INSPECT_FFN;
    }
    return SL_INSPECT_OTHER;
}

uint64_t sl_inspect_n_elems(const sl_gguf_tensor *t) {
    return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]; /* checked when the file was opened */
}

static void add_tensor(sl_inspect_sum *sum, const sl_gguf_tensor *t) {
    sum->n_tensors++;
    sum->n_elems += sl_inspect_n_elems(t);
    sum->size_bytes += t->size_bytes;
}

static void add_all_tensors(sl_inspect *s) {
    for (uint64_t i = 0; i < sl_gguf_n_tensors(s->file); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(s->file, i);
        add_tensor(&s->kinds[sl_inspect_kind_of(t)], t);
        add_tensor(&s->formats[t->type], t);
        add_tensor(&s->total, t);
    }
}

static void add_kv_memory(sl_inspect *s) {
    const sl_plan *p = &s->model->plan;
    for (uint32_t i = 0; i < p->n_groups; i++) {
        const sl_plan_group *g = &p->groups[i];
        for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
            const size_t head_bytes = sl_kv_key_bytes((sl_kv_type)type, g->d_k) +
                                      sl_kv_value_bytes((sl_kv_type)type, g->d_v);
            const uint64_t token_bytes = (uint64_t)g->n_layers * g->n_kv_head *
                                         (head_bytes / SL_PAGE_TOKENS);
            const bool ends = g->window != 0 && g->window < p->n_ctx_train;
            s->kv_token_bytes[type] += token_bytes;
            s->kv_ctx_bytes += type == SL_KV_F16 ? token_bytes * (ends ? g->window : p->n_ctx_train)
                                                 : 0;
        }
    }
}

/* --- arrays ----------------------------------------------------------------------------------- */

bool sl_inspect_next(const sl_inspect *s, const sl_gguf_kv *array, sl_inspect_walk *walk,
                     sl_gguf_kv *out) {
    sl_slice stored = sl_gguf_stored_value(s->file, array);
    if (!walk->is_begun) {
        const uint8_t *end = (const uint8_t *)stored.ptr + stored.len;
        walk->it = (sl_gguf_iter){array->data, end, array->n, array->elem_type};
        walk->is_begun = true;
    }
    if (walk->it.left == 0 || array->elem_type == SL_GGUF_ARRAY) {
        return false;
    }
    *out = (sl_gguf_kv){.key = array->key, .type = array->elem_type, .n = 1, .data = walk->it.pos};
    sl_slice text;
    if (array->elem_type == SL_GGUF_STRING) {
        return sl_gguf_next_string(&walk->it, &text);
    }
    /* All elements of one size. */
    walk->it.pos += (size_t)((const uint8_t *)stored.ptr + stored.len - array->data) / array->n;
    walk->it.left--;
    return true;
}

/* --- the command ------------------------------------------------------------------------------ */

/* A file without a usable vocabulary or of an unknown architecture is still shown. */
static sl_status inspect_open(sl_inspect *s, const char *path, bool with_plan, sl_error *err) {
    sl_status status = sl_gguf_open(path, &s->file, err);
    if (status != SL_OK) {
        return status;
    }
    add_all_tensors(s);
    if (sl_tokenizer_open(s->file, &s->tokenizer, &s->tokenizer_error) != SL_OK) {
        s->tokenizer = NULL;
    }
    if (sl_model_open(s->file, &s->model, &s->model_error) != SL_OK) {
        s->model = NULL;
        if (with_plan) {
            *err = s->model_error;
            return s->model_error.code;
        }
    } else {
        add_kv_memory(s);
    }
    if (with_plan) {
        s->with_plan = true;
        status = sl_plan_print(&s->model->plan, &s->plan);
        if (status != SL_OK) {
            (void)snprintf(err->message, sizeof(err->message),
                           "the plan does not fit %zu bytes of text", PLAN_TEXT_MAX);
        }
    }
    return status;
}

static void inspect_close(sl_inspect *s) {
    sl_model_close(s->model);
    sl_tokenizer_close(s->tokenizer);
    sl_gguf_close(s->file);
    sl_buf_deinit(&s->plan);
}

static int inspect_finish(const sl_inspect *s) {
    sl_error err;
    if (sl_gguf_check_alive(s->file, &err) != SL_OK) {
        sl_cmd_error("inspect", "%s", err.message);
        return SL_EXIT_FAILURE;
    }
    return sl_stdout_finish("inspect", SL_EXIT_OK);
}

int sl_cmd_inspect(int argc, char **argv) {
    bool json = false, tensors = false, plan = false;
    const sl_flag flags[] = {
        {"--tensors", NULL, SL_FLAG_BOOL, &tensors, NULL,
         "List every tensor (default: equal ones of all layers on one line).", 0, 0, NULL},
        {"--plan", NULL, SL_FLAG_BOOL, &plan, NULL, "Add the plan: every operation of one step.", 0,
         0, NULL},
        {"--json", NULL, SL_FLAG_BOOL, &json, NULL, "One JSON object; all tensors and full texts.",
         0, 0, NULL},
    };
    const sl_command command = {
        "inspect",
        "sluice inspect FILE [flags]",
        "Shows the metadata, tensors, memory by kind and end-of-generation tokens of a GGUF file, "
        "and whether this program can run it. Reads only the file's header.",
        "  sluice inspect model.gguf\n  sluice inspect model.gguf --plan\n"
        "  sluice inspect model.gguf --json | jq .memory\n",
        flags,
        3,
        1,
        1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_inspect s = {0};
    sl_error err;
    sl_buf_init(&s.plan, PLAN_TEXT_MAX);
    if (inspect_open(&s, args[0], plan, &err) != SL_OK) {
        sl_cmd_error("inspect", "%s", err.message);
        code = SL_EXIT_FAILURE;
    } else {
        if (json) {
            sl_inspect_print_json(&s);
        } else {
            sl_inspect_print_text(&s, tensors);
        }
        code = inspect_finish(&s);
    }
    inspect_close(&s);
    return code;
}
