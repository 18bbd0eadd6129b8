/* Chat formats: see chat.h. Nothing here changes after opening; all state of a rendering is its
 * own. */
#include "text/chat.h"

#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "text/template/tmpl_value.h"

#define CHAT_VALUES_MAX ((size_t)64 << 20) /* of the variables of one rendering */
#define CHAT_ROLE_MAX 64u                  /* bytes of a role that counts as template text */

struct sl_chat {
    sl_template *template;
    sl_template *tool_template; /* NULL: the same for requests with tools */
    sl_arena arena;
    /* object: bos_token, eos_token, unk_token, pad_token, those there are */
    sl_value *tokens;
};

/* --- opening
 * ------------------------------------------------------------------------------------ */

static sl_status chat_new(sl_chat **out, sl_error *err) {
    sl_chat *c = sl_alloc_zero(1, sizeof(*c));
    if (c != NULL) {
        sl_arena_init(&c->arena, (size_t)1 << 20);
        c->tokens = sl_value_object(&c->arena);
    }
    if (c == NULL || c->tokens == NULL) {
        sl_chat_close(c);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for a chat template");
    }
    *out = c;
    return SL_OK;
}

static sl_status chat_add_token(sl_chat *c, const char *name, const sl_tokenizer *tok, int32_t id,
                                sl_error *err) {
    if (id < 0) {
        return SL_OK;
    }
    sl_value *text = sl_value_string(&c->arena, sl_tokenizer_text(tok, id), true);
    return sl_value_object_set(&c->arena, c->tokens, sl_slice_of(name), text)
               ? SL_OK
               : SL_FAIL(err, SL_ERR_MEMORY, "no memory for a chat template");
}

static sl_status chat_compile(const sl_gguf *file, const char *key, sl_template **out,
                              sl_error *err) {
    sl_slice source;
    SL_TRY(sl_gguf_string_or_none(file, key, &source, err));
    if (source.ptr == NULL) {
        return SL_OK;
    }
    return sl_template_compile(key, source, out, err);
}

static sl_status chat_fill(sl_chat *c, const sl_gguf *file, const sl_tokenizer *tok,
                           sl_error *err) {
    SL_TRY(chat_compile(file, "tokenizer.chat_template", &c->template, err));
    if (c->template == NULL) {
        return SL_FAIL(err, SL_ERR_NOT_FOUND,
                       "%s: has no tokenizer.chat_template; give the prompt as raw text",
                       sl_gguf_path(file));
    }
    SL_TRY(chat_compile(file, "tokenizer.chat_template.tool_use", &c->tool_template, err));
    SL_TRY(chat_add_token(c, "bos_token", tok, sl_tokenizer_bos(tok), err));
    SL_TRY(chat_add_token(c, "eos_token", tok, sl_tokenizer_eos(tok), err));
    SL_TRY(chat_add_token(c, "unk_token", tok, sl_tokenizer_unk(tok), err));
    return chat_add_token(c, "pad_token", tok, sl_tokenizer_pad(tok), err);
}

sl_status sl_chat_open(const sl_gguf *file, const sl_tokenizer *tok, sl_chat **out, sl_error *err) {
    sl_chat *c;
    SL_TRY(chat_new(&c, err));
    sl_status status = chat_fill(c, file, tok, err);
    if (status != SL_OK) {
        sl_chat_close(c);
        return status;
    }
    *out = c;
    return SL_OK;
}

sl_status sl_chat_open_source(const char *name, sl_slice source, sl_chat **out, sl_error *err) {
    sl_chat *c;
    SL_TRY(chat_new(&c, err));
    sl_status status = sl_template_compile(name, source, &c->template, err);
    if (status != SL_OK) {
        sl_chat_close(c);
        return status;
    }
    *out = c;
    return SL_OK;
}

void sl_chat_close(sl_chat *c) {
    if (c != NULL) {
        sl_template_free(c->template);
        sl_template_free(c->tool_template);
        sl_arena_deinit(&c->arena);
        sl_free(c);
    }
}

/* --- rendering
 * ---------------------------------------------------------------------------------- */

static bool chat_is_word(sl_slice text) {
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-';
        if (!ok) {
            return false;
        }
    }
    return text.len > 0 && text.len <= CHAT_ROLE_MAX;
}

/* A message with its role marked as trusted; the rest is shared with the caller's value. False: no
 * memory. */
static bool chat_message(sl_arena *a, sl_value *message) {
    const sl_value *role = sl_value_get(message, "role");
    if (role == NULL || role->kind != SL_VALUE_STRING || !chat_is_word(tmpl_slice(role->u.str))) {
        return true;
    }
    sl_value *trusted = sl_value_string(a, tmpl_slice(role->u.str), true);
    tmpl_map *copy = sl_tmpl_map_new(a);
    if (trusted == NULL || copy == NULL) {
        return false;
    }
    const tmpl_map *from = message->u.map;
    for (size_t i = 0; i < from->n; i++) {
        sl_value v = &from->entries[i].val == role ? *trusted : from->entries[i].val;
        if (!sl_tmpl_map_put_new(a, copy, from->entries[i].key, v)) {
            return false;
        }
    }
    *message = tmpl_map_value(copy);
    return true;
}

static bool chat_messages(sl_arena *a, sl_value *messages) {
    if (messages->kind != SL_VALUE_LIST) {
        return true;
    }
    const tmpl_list *from = messages->u.list;
    tmpl_list *copy = sl_tmpl_list_new(a, from->n);
    if (copy == NULL) {
        return false;
    }
    for (size_t i = 0; i < from->n; i++) {
        sl_value message = from->items[i];
        if (!chat_message(a, &message) || !sl_tmpl_list_add(a, copy, message)) {
            return false;
        }
    }
    *messages = tmpl_list_value(SL_VALUE_LIST, copy);
    return true;
}

static bool chat_set(sl_arena *a, sl_value *vars, const char *name, sl_value v) {
    return sl_value_object_set(a, vars, sl_slice_of(name), &v);
}

/* The variables that the template sees; NULL: no memory. */
static sl_value *chat_variables(const sl_chat *c, sl_arena *a, const sl_value *request) {
    sl_value *vars = sl_value_object(a);
    if (vars == NULL || !chat_set(a, vars, "tools", tmpl_none()) ||
        !chat_set(a, vars, "documents", tmpl_none()) ||
        !chat_set(a, vars, "add_generation_prompt", tmpl_bool(false))) {
        return NULL;
    }
    const tmpl_map *sources[] = {c->tokens->u.map, request->u.map};
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sources[s]->n; i++) {
            tmpl_entry e = sources[s]->entries[i];
            bool messages = s == 1 && sl_slice_eq_str(tmpl_slice(e.key.u.str), "messages");
            if ((messages && !chat_messages(a, &e.val)) ||
                !sl_tmpl_map_put(a, vars->u.map, e.key, e.val)) {
                return NULL;
            }
        }
    }
    return vars;
}

static bool chat_has_tools(const sl_value *request) {
    const sl_value *tools = sl_value_get(request, "tools");
    return tools != NULL && tools->kind != SL_VALUE_NONE;
}

sl_status sl_chat_render(const sl_chat *c, const sl_value *request, int64_t now_unix_s, sl_buf *out,
                         sl_spans *spans_out, sl_error *err) {
    if (request == NULL || request->kind != SL_VALUE_OBJECT) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "a conversation must be an object with the member messages");
    }
    sl_arena arena;
    sl_arena_init(&arena, CHAT_VALUES_MAX);
    sl_value *vars = chat_variables(c, &arena, request);
    const sl_template *t = c->tool_template != NULL && chat_has_tools(request) ? c->tool_template
                                                                               : c->template;
    sl_status status = vars == NULL
                           ? SL_FAIL(err, SL_ERR_LIMIT, "the conversation has too many messages")
                           : sl_template_render(t, vars, now_unix_s, NULL, out, spans_out, err);
    sl_arena_deinit(&arena);
    return status;
}

/* --- encoding
 * ----------------------------------------------------------------------------------- */

sl_status sl_chat_encode(const sl_tokenizer *tok, sl_slice text, const sl_spans *spans, sl_ids *ids,
                         sl_error *err) {
    size_t n_before = ids->n;
    int32_t bos = sl_tokenizer_adds_bos(tok) ? sl_tokenizer_bos(tok) : -1;
    if (bos >= 0 && sl_ids_push(ids, bos) != SL_OK) {
        return SL_FAIL(err, SL_ERR_LIMIT, "the prompt has more than the %zu tokens allowed",
                       ids->max);
    }
    size_t first = ids->n;
    sl_status status = sl_tokenizer_encode_spans(tok, text, spans, ids, err);
    if (status != SL_OK) {
        ids->n = n_before;
        return status;
    }
    if (bos >= 0 && ids->n > first && ids->ids[first] == bos) { /* the template wrote it already */
        memmove(ids->ids + n_before, ids->ids + first, (ids->n - first) * sizeof(*ids->ids));
        ids->n--;
    }
    return SL_OK;
}
