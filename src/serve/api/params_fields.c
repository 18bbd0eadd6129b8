/* Readers of the fields that are more than a number or a word. See params_int.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/api/params_int.h"

static sl_status params_no_memory(const params_context *x) {
    return sl_api_fail(x->e, 503, NULL, NULL, "The server has no memory for this request.");
}

sl_status sl_params_model(const params_context *x, const char *name, json_t *v) {
    if (!json_is_string(v)) {
        return sl_params_wrong_kind(x, name, "a string", v);
    }
    x->p->model = json_string_value(v);
    return SL_OK;
}

sl_status sl_params_priority(const params_context *x, const char *name, json_t *v) {
    int64_t value = 0;
    sl_status status = sl_params_integer(x, name, v, -SL_API_PRIORITY_MAX, SL_API_PRIORITY_MAX,
                                         &value);
    x->p->priority = (int32_t)value;
    return status;
}

sl_status sl_params_cache_salt(const params_context *x, const char *name, json_t *v) {
    if (!json_is_string(v)) {
        return sl_params_wrong_kind(x, name, "a string", v);
    }
    x->p->cache_salt = (sl_slice){json_string_value(v), json_string_length(v)};
    if (x->p->cache_salt.len == 0 || x->p->cache_salt.len > SL_API_SALT_BYTES_MAX) {
        return SL_API_BAD(x->e, name, "'%s' must have 1 to %d bytes, but has %zu.", name,
                          SL_API_SALT_BYTES_MAX, x->p->cache_salt.len);
    }
    return SL_OK;
}

sl_status sl_params_max_tokens(const params_context *x, const char *name, json_t *v) {
    int64_t value = 0;
    sl_status status = sl_params_integer(x, name, v, 1, INT64_MAX, &value);
    if (status == SL_OK) {
        /* Both names may be given; the smaller one holds. */
        uint64_t now = (uint64_t)value;
        x->p->max_tokens = x->p->max_tokens == 0 || now < x->p->max_tokens ? now : x->p->max_tokens;
    }
    return status;
}

sl_status sl_params_top_k(const params_context *x, const char *name, json_t *v) {
    int64_t value = 0;
    sl_status status = sl_params_integer(x, name, v, -1, INT32_MAX, &value);
    if (status == SL_OK) {
        x->p->sample.top_k = value < 0 ? 0 : (uint32_t)value; /* -1 and 0: all tokens */
    }
    return status;
}

sl_status sl_params_seed(const params_context *x, const char *name, json_t *v) {
    int64_t value = 0;
    sl_status status = sl_params_integer(x, name, v, INT64_MIN, INT64_MAX, &value);
    if (status == SL_OK) {
        x->p->sample.seed = (uint64_t)value;
        x->p->has_seed = true;
    }
    return status;
}

sl_status sl_params_skip_special(const params_context *x, const char *name, json_t *v) {
    if (!json_is_boolean(v)) {
        return sl_params_wrong_kind(x, name, "true or false", v);
    }
    x->p->show_special = json_is_false(v);
    return SL_OK;
}

static sl_status params_stop_one(const params_context *x, const char *name, json_t *v) {
    if (!json_is_string(v)) {
        return sl_params_wrong_kind(x, name, "a string or an array of strings", v);
    }
    size_t len = json_string_length(v);
    if (len == 0 || len > SL_API_STOP_BYTES_MAX) {
        return SL_API_BAD(x->e, name,
                          "Each string of '%s' must have 1 to %d bytes, but one has %zu.", name,
                          SL_API_STOP_BYTES_MAX, len);
    }
    x->p->stops[x->p->n_stops++] = (sl_slice){json_string_value(v), len};
    return SL_OK;
}

sl_status sl_params_stop(const params_context *x, const char *name, json_t *v) {
    if (!json_is_array(v)) {
        return params_stop_one(x, name, v);
    }
    if (json_array_size(v) > SL_API_STOPS_MAX) {
        return SL_API_BAD(x->e, name, "'%s' may hold %d strings at most, but holds %zu.", name,
                          SL_API_STOPS_MAX, json_array_size(v));
    }
    size_t i;
    json_t *item;
    json_array_foreach(v, i, item) {
        sl_status status = params_stop_one(x, name, item);
        if (status != SL_OK) {
            return status;
        }
    }
    return SL_OK;
}

/* An array of token ids of the vocabulary, copied into the arena. */
static sl_status params_ids(const params_context *x, const char *name, json_t *v, int32_t **out) {
    size_t n = json_array_size(v);
    int32_t *ids = sl_arena_alloc(&x->p->arena, (n == 0 ? 1 : n) * sizeof(*ids));
    if (ids == NULL) {
        return params_no_memory(x);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(v, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id >= (json_int_t)x->n_vocab) {
            char shown[SL_API_SHOWN_MAX];
            return SL_API_BAD(x->e, name,
                              "'%s' must hold token ids from 0 to %" PRIu32 ", but item %zu is %s.",
                              name, x->n_vocab - 1, i, sl_json_shown(item, shown));
        }
        ids[i] = (int32_t)id;
    }
    *out = ids;
    return SL_OK;
}

sl_status sl_params_stop_ids(const params_context *x, const char *name, json_t *v) {
    if (!json_is_array(v)) {
        return sl_params_wrong_kind(x, name, "an array of token ids", v);
    }
    if (json_array_size(v) > SL_API_STOP_IDS_MAX) {
        return SL_API_BAD(x->e, name, "'%s' may hold %d token ids at most, but holds %zu.", name,
                          SL_API_STOP_IDS_MAX, json_array_size(v));
    }
    x->p->n_stop_ids = (uint32_t)json_array_size(v);
    return params_ids(x, name, v, &x->p->stop_ids);
}

/* A key of logit_bias: a token id in plain decimal digits. */
static bool params_id_key(const char *key, uint32_t n_vocab, int32_t *out) {
    uint64_t id = 0;
    size_t len = strlen(key);
    if (len == 0 || len > 10) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (key[i] < '0' || key[i] > '9') {
            return false;
        }
        id = id * 10 + (uint64_t)(key[i] - '0');
    }
    *out = (int32_t)id;
    return id < n_vocab;
}

sl_status sl_params_logit_bias(const params_context *x, const char *name, json_t *v) {
    if (!json_is_object(v)) {
        return sl_params_wrong_kind(x, name, "an object of token ids and numbers", v);
    }
    size_t n = json_object_size(v);
    if (n > SL_SAMPLE_BIAS_MAX) {
        return SL_API_BAD(x->e, name, "'%s' may hold %d tokens at most, but holds %zu.", name,
                          SL_SAMPLE_BIAS_MAX, n);
    }
    sl_logit_bias *bias = sl_arena_alloc(&x->p->arena, (n == 0 ? 1 : n) * sizeof(*bias));
    if (bias == NULL) {
        return params_no_memory(x);
    }
    const char *key;
    json_t *item;
    size_t i = 0;
    json_object_foreach(v, key, item) {
        char shown[SL_API_SHOWN_MAX];
        if (!params_id_key(key, x->n_vocab, &bias[i].id)) {
            return SL_API_BAD(x->e, name,
                              "The keys of '%s' must be token ids from 0 to %" PRIu32
                              ", but one is \"%s\".",
                              name, x->n_vocab - 1, sl_api_shown(sl_slice_of(key), shown));
        }
        double value = json_number_value(item);
        if (!json_is_number(item) || !(value >= -100.0 && value <= 100.0)) {
            return SL_API_BAD(x->e, name,
                              "The values of '%s' must be numbers from -100 to 100, but one is %s.",
                              name, sl_json_shown(item, shown));
        }
        bias[i++].bias = (float)value;
    }
    x->p->sample.bias = bias;
    x->p->sample.n_bias = (uint32_t)n;
    return SL_OK;
}

/* Chat: true or false. Completions: how many likely tokens to show beside the chosen one. */
sl_status sl_params_logprobs(const params_context *x, const char *name, json_t *v) {
    if (x->p->kind == SL_API_CHAT) {
        if (!json_is_boolean(v)) {
            return sl_params_wrong_kind(x, name, "true or false", v);
        }
        x->p->logprobs = json_is_true(v);
        return SL_OK;
    }
    int64_t value = 0;
    sl_status status = sl_params_integer(x, name, v, 0, SL_API_TOP_LOGPROBS_MAX, &value);
    if (status == SL_OK) {
        x->p->logprobs = true;
        x->p->sample.n_top = (uint32_t)value;
    }
    return status;
}

sl_status sl_params_stream_options(const params_context *x, const char *name, json_t *v) {
    if (!json_is_object(v)) {
        return sl_params_wrong_kind(x, name, "an object", v);
    }
    static const char *const names[] = {"include_usage", "continuous_usage_stats",
                                        "include_obfuscation"};
    bool values[3] = {false, false, false};
    for (size_t i = 0; i < 3; i++) {
        json_t *item = json_object_get(v, names[i]);
        if (item != NULL && !json_is_null(item)) {
            if (!json_is_boolean(item)) {
                char path[SL_API_PARAM_MAX];
                (void)snprintf(path, sizeof(path), "%s.%s", name, names[i]);
                return sl_params_wrong_kind(x, path, "true or false", item);
            }
            values[i] = json_is_true(item);
        }
    }
    x->p->include_usage = values[0];
    x->p->usage_in_chunks = values[1];
    return SL_OK;
}

static sl_status params_prompt_item(const params_context *x, const char *name, json_t *v,
                                    sl_api_prompt *out) {
    if (json_is_string(v)) {
        *out = (sl_api_prompt){.text = {json_string_value(v), json_string_length(v)}};
        return SL_OK;
    }
    if (!json_is_array(v)) {
        return sl_params_wrong_kind(
            x, name, "a string, an array of strings, of token ids, or of arrays of token ids", v);
    }
    if (json_array_size(v) == 0) {
        return SL_API_BAD(x->e, name, "'%s' holds an empty array of token ids.", name);
    }
    int32_t *ids = NULL;
    sl_status status = params_ids(x, name, v, &ids);
    if (status == SL_OK) {
        *out = (sl_api_prompt){.ids = ids, .n_ids = json_array_size(v)};
    }
    return status;
}

sl_status sl_params_prompt(const params_context *x, const char *name, json_t *v) {
    const json_t *first = json_array_get(v, 0); /* NULL unless v is an array that has one */
    bool is_one = !json_is_array(v) || json_is_number(first);
    size_t n = is_one ? 1 : json_array_size(v);
    if (n == 0 || n > SL_API_PROMPTS_MAX) {
        return SL_API_BAD(x->e, name, "'%s' must hold 1 to %d prompts, but holds %zu.", name,
                          SL_API_PROMPTS_MAX, n);
    }
    sl_api_prompt *prompts = sl_arena_alloc_zero(&x->p->arena, n, sizeof(*prompts));
    if (prompts == NULL) {
        return params_no_memory(x);
    }
    for (size_t i = 0; i < n; i++) {
        sl_status status = params_prompt_item(x, name, is_one ? v : json_array_get(v, i),
                                              &prompts[i]);
        if (status != SL_OK) {
            return status;
        }
    }
    x->p->prompts = prompts;
    x->p->n_prompts = n;
    return SL_OK;
}

sl_status sl_params_list(const params_context *x, const char *name, json_t *v) {
    if (!json_is_array(v)) {
        return sl_params_wrong_kind(x, name, "an array", v);
    }
    bool is_messages = strcmp(name, "messages") == 0;
    size_t n = json_array_size(v), max = is_messages ? SL_API_MESSAGES_MAX : SL_API_TOOLS_MAX;
    if (n > max || (n == 0 && is_messages)) {
        return SL_API_BAD(x->e, name, "'%s' must hold %d to %zu items, but holds %zu.", name,
                          is_messages ? 1 : 0, max, n);
    }
    if (is_messages) {
        x->p->messages = v;
    } else if (strcmp(name, "tools") == 0) {
        x->p->tools = n > 0 ? v : NULL;
    } else {
        x->p->documents = v;
    }
    return SL_OK;
}

/* Templates come with the model, never with a request: the name is refused at any depth. The walk
 * is by hand over a stack as deep as bodies may be nested. */
static sl_status params_no_template_inside(const params_context *x, const char *name, json_t *v) {
    struct {
        json_t *value;
        void *iter;   /* of an object: the member that comes next */
        size_t index; /* of an array: the item that comes next */
    } stack[SL_JSON_DEPTH_MAX + 1];
    size_t depth = 0;
    json_t *next = v;
    for (;;) {
        if ((json_is_object(next) || json_is_array(next)) && depth <= SL_JSON_DEPTH_MAX) {
            if (json_object_get(next, "chat_template") != NULL) {
                return SL_API_BAD(x->e, name, "'%s' must not hold 'chat_template'.", name);
            }
            stack[depth].value = next;
            stack[depth].iter = json_object_iter(next);
            stack[depth].index = 0;
            depth++;
        }
        next = NULL;
        while (depth > 0 && next == NULL) {
            json_t *now = stack[depth - 1].value;
            if (json_is_object(now) && stack[depth - 1].iter != NULL) {
                next = json_object_iter_value(stack[depth - 1].iter);
                stack[depth - 1].iter = json_object_iter_next(now, stack[depth - 1].iter);
            } else if (json_is_array(now)) {
                next = json_array_get(now, stack[depth - 1].index++);
            }
            depth -= next == NULL;
        }
        if (next == NULL) {
            return SL_OK;
        }
    }
}

sl_status sl_params_template_kwargs(const params_context *x, const char *name, json_t *v) {
    if (!json_is_object(v)) {
        return sl_params_wrong_kind(x, name, "an object", v);
    }
    x->p->template_kwargs = v;
    return params_no_template_inside(x, name, v);
}

sl_status sl_params_tool_choice(const params_context *x, const char *name, json_t *v) {
    const char *word = json_string_value(v); /* NULL unless it is a string */
    if (word != NULL && strcmp(word, "none") == 0) {
        x->p->tools_off = true;
        return SL_OK;
    }
    if (word != NULL && strcmp(word, "auto") == 0) {
        return SL_OK;
    }
    return sl_api_fail(x->e, 400, "unsupported_parameter", name,
                       "'%s' other than \"none\" and \"auto\" is not supported by this server yet.",
                       name);
}

sl_status sl_params_reasoning_effort(const params_context *x, const char *name, json_t *v) {
    static const char *const words[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
    for (size_t i = 0; json_is_string(v) && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(json_string_value(v), words[i]) == 0) {
            x->p->reasoning_effort = words[i];
            return SL_OK;
        }
    }
    char shown[SL_API_SHOWN_MAX];
    return SL_API_BAD(x->e, name,
                      "'%s' must be none, minimal, low, medium, high or xhigh, but is %s.", name,
                      sl_json_shown(v, shown));
}
