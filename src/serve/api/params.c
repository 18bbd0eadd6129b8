/* Walks the members of a request object over the table of fields. See params.h. */
#include "serve/api/params.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "serve/api/params_int.h"

#define ARENA_MAX_BYTES ((size_t)64 << 20) /* ids of prompts, mostly */

static const params_field *params_find(sl_api_kind kind, const char *name) {
    for (size_t i = 0; i < sl_params_n_fields; i++) {
        if ((sl_params_fields[i].kinds & kind) != 0 &&
            strcmp(sl_params_fields[i].name, name) == 0) {
            return &sl_params_fields[i];
        }
    }
    return NULL;
}

sl_status sl_params_wrong_kind(const params_context *x, const char *name, const char *wanted,
                               json_t *v) {
    return SL_API_BAD(x->e, name, "'%s' must be %s, but is %s.", name, wanted, sl_json_kind(v));
}

sl_status sl_params_integer(const params_context *x, const char *name, json_t *v, int64_t min,
                            int64_t max, int64_t *out) {
    bool whole = json_is_real(v) && json_real_value(v) == floor(json_real_value(v)) &&
                 fabs(json_real_value(v)) < 9.0e15;
    if (!json_is_integer(v) && !whole) {
        return sl_params_wrong_kind(x, name, "an integer", v);
    }
    int64_t value = whole ? (int64_t)json_real_value(v) : (int64_t)json_integer_value(v);
    if (value < min || value > max) {
        if (max == INT64_MAX) {
            return SL_API_BAD(x->e, name, "'%s' must be at least %" PRId64 ", but is %" PRId64 ".",
                              name, min, value);
        }
        return SL_API_BAD(x->e, name,
                          "'%s' must be from %" PRId64 " to %" PRId64 ", but is %" PRId64 ".", name,
                          min, max, value);
    }
    *out = value;
    return SL_OK;
}

static sl_status params_float(const params_context *x, const params_field *f, json_t *v) {
    if (!json_is_number(v)) {
        return sl_params_wrong_kind(x, f->name, "a number", v);
    }
    double value = json_number_value(v);
    if (!(value >= f->min && value <= f->max)) {
        return SL_API_BAD(x->e, f->name, "'%s' must be from %g to %g, but is %g.", f->name, f->min,
                          f->max, value);
    }
    float narrow = (float)value;
    memcpy((char *)x->p + f->offset, &narrow, sizeof(narrow));
    return SL_OK;
}

static sl_status params_bool(const params_context *x, const params_field *f, json_t *v) {
    if (!json_is_boolean(v)) {
        return sl_params_wrong_kind(x, f->name, "true or false", v);
    }
    bool value = json_is_true(v);
    memcpy((char *)x->p + f->offset, &value, sizeof(value));
    return SL_OK;
}

static sl_status params_count(const params_context *x, const params_field *f, json_t *v) {
    int64_t value = 0;
    sl_status status = sl_params_integer(x, f->name, v, (int64_t)f->min, (int64_t)f->max, &value);
    if (status == SL_OK) {
        uint32_t narrow = (uint32_t)value;
        memcpy((char *)x->p + f->offset, &narrow, sizeof(narrow));
    }
    return status;
}

static bool params_is_word(const json_t *v, const char *word) {
    return json_is_string(v) && strcmp(json_string_value(v), word) == 0;
}

static bool params_is_neutral(params_neutral neutral, json_t *v) {
    switch (neutral) {
    case PARAMS_NEUTRAL_NULL:
        return false; /* null itself never comes here */
    case PARAMS_NEUTRAL_FALSE:
        return json_is_false(v);
    case PARAMS_NEUTRAL_ZERO:
        return json_is_number(v) && json_number_value(v) == 0.0;
    case PARAMS_NEUTRAL_ONE:
        return json_is_number(v) && json_number_value(v) == 1.0;
    case PARAMS_NEUTRAL_EMPTY:
        return (json_is_string(v) && json_string_length(v) == 0) ||
               (json_is_array(v) && json_array_size(v) == 0) ||
               (json_is_object(v) && json_object_size(v) == 0);
    case PARAMS_NEUTRAL_TEXT:
        return params_is_word(v, "text") || params_is_word(json_object_get(v, "type"), "text") ||
               (json_array_size(v) == 1 && params_is_word(json_array_get(v, 0), "text"));
    case PARAMS_NEUTRAL_MEDIUM:
        return params_is_word(v, "medium");
    case PARAMS_NEUTRAL_NONE:
        return params_is_word(v, "none") || params_is_word(v, "auto");
    }
    return false;
}

static sl_status params_field_read(const params_context *x, const params_field *f, json_t *v) {
    if (json_is_null(v)) {
        return SL_OK; /* as if it were absent */
    }
    char shown[SL_API_SHOWN_MAX];
    switch (f->kind) {
    case PARAMS_FLOAT:
        return params_float(x, f, v);
    case PARAMS_BOOL:
        return params_bool(x, f, v);
    case PARAMS_COUNT:
        return params_count(x, f, v);
    case PARAMS_CALL:
        return f->call(x, f->name, v);
    case PARAMS_NO_EFFECT:
        return SL_OK;
    case PARAMS_REFUSED:
        if (params_is_neutral(f->neutral, v)) {
            return SL_OK;
        }
        return sl_api_fail(x->e, 400, "unsupported_parameter", f->name,
                           "'%s' (here %s) is not supported by this server yet.", f->name,
                           sl_json_shown(v, shown));
    }
    return SL_OK;
}

/* Remembers the name for one log line; an error with `strict`. */
static sl_status params_unknown(const params_context *x, const char *name, bool strict) {
    char shown[SL_API_SHOWN_MAX];
    (void)sl_api_shown(sl_slice_of(name), shown);
    if (strict) {
        return sl_api_fail(x->e, 400, "unknown_parameter", name,
                           "'%s' is not a parameter of this endpoint.", shown);
    }
    size_t len = strlen(x->p->unknown);
    if (len + strlen(shown) + 3 < sizeof(x->p->unknown)) {
        (void)snprintf(x->p->unknown + len, sizeof(x->p->unknown) - len, "%s%s",
                       len > 0 ? ", " : "", shown);
    }
    return SL_OK;
}

/* How many answers are computed, and in which form they come. */
static sl_status params_check_answers(const params_context *x) {
    sl_api_params *p = x->p;
    p->best_of = p->best_of == 0 ? p->n : p->best_of;
    if (p->best_of < p->n) {
        return SL_API_BAD(x->e, "best_of", "'best_of' is %" PRIu32 ", less than 'n', %" PRIu32 ".",
                          p->best_of, p->n);
    }
    if (p->best_of > p->n && p->stream) {
        return SL_API_BAD(x->e, "best_of",
                          "'best_of' above 'n' cannot be streamed: which answers are the best is "
                          "known at their end.");
    }
    if (p->echo && p->logprobs) {
        return sl_api_fail(x->e, 400, "unsupported_parameter", "echo",
                           "'echo' with 'logprobs' is not supported by this server yet.");
    }
    return SL_OK;
}

/* What no field alone can tell. */
static sl_status params_check_whole(const params_context *x) {
    sl_api_params *p = x->p;
    if (p->kind == SL_API_CHAT) {
        if (p->messages == NULL) {
            return sl_api_fail(x->e, 400, "missing_required_parameter", "messages",
                               "'messages' is missing: an array of messages is expected.");
        }
        if (p->sample.n_top > 0 && !p->logprobs) {
            return SL_API_BAD(x->e, "top_logprobs", "'top_logprobs' needs 'logprobs' to be true.");
        }
    } else if (p->prompts == NULL) {
        return sl_api_fail(x->e, 400, "missing_required_parameter", "prompt",
                           "'prompt' is missing: a string, an array of strings, of token ids, or "
                           "of arrays of token ids is expected.");
    }
    if ((p->include_usage || p->usage_in_chunks) && !p->stream) {
        return SL_API_BAD(x->e, "stream_options", "'stream_options' needs 'stream' to be true.");
    }
    p->sample.want_logprob = p->logprobs;
    return params_check_answers(x);
}

static sl_status params_read(const params_context *x, bool strict) {
    if (json_object_size(x->p->root) > SL_API_MEMBERS_MAX) {
        return SL_API_BAD(x->e, NULL, "The request has more than %d members.", SL_API_MEMBERS_MAX);
    }
    const char *name;
    json_t *v;
    json_object_foreach(x->p->root, name, v) {
        const params_field *f = params_find(x->p->kind, name);
        sl_status status = f != NULL ? params_field_read(x, f, v) : params_unknown(x, name, strict);
        if (status != SL_OK) {
            return status;
        }
    }
    return params_check_whole(x);
}

sl_status sl_api_params_parse(sl_api_kind kind, sl_slice body, uint32_t n_vocab, bool strict,
                              sl_api_params *out, sl_api_error *e) {
    json_t *root = NULL;
    sl_status status = sl_json_body_parse(body, &root, e);
    if (status != SL_OK) {
        return status;
    }
    memset(out, 0, sizeof(*out));
    out->kind = kind;
    out->root = root;
    out->n = 1;
    out->sample = sl_sample_options_default();
    out->add_special = out->add_generation_prompt = true;
    sl_arena_init(&out->arena, ARENA_MAX_BYTES);
    const params_context x = {.p = out, .n_vocab = n_vocab, .e = e};
    status = params_read(&x, strict);
    if (status != SL_OK) {
        sl_api_params_deinit(out);
    }
    return status;
}

void sl_api_params_deinit(sl_api_params *p) {
    json_decref(p->root);
    p->root = NULL;
    sl_arena_deinit(&p->arena);
}
