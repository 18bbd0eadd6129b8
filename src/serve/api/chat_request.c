/* See chat_request.h. */
#include "serve/api/chat_request.h"

#include <stdio.h>
#include <string.h>

#include "serve/api/json_body.h"

typedef struct build_context {
    sl_arena *a;
    sl_json_budget *arguments; /* of all tool calls together: they are strings, of any number */
    sl_api_error *e;
} build_context;

static sl_status build_full(const build_context *x) {
    return sl_api_fail(x->e, 400, NULL, "messages",
                       "The request is too large for a chat template.");
}

static bool build_set(const build_context *x, sl_value *object, const char *key, sl_value *v) {
    return v != NULL && sl_value_object_set(x->a, object, sl_slice_of(key), v);
}

/* --- any JSON -------------------------------------------------------------------------------- */

static int build_dump(const char *text, size_t len, void *user) {
    return sl_buf_append(user, text, len) == SL_OK ? 0 : -1;
}

/* Copies any JSON; keys and texts alike count as untrusted. NULL when the arena is full. */
static sl_value *build_any(const build_context *x, json_t *v) {
    sl_buf text;
    sl_buf_init(&text, (size_t)32 << 20);
    sl_value *copy = NULL;
    if (json_dump_callback(v, build_dump, &text, JSON_COMPACT | JSON_ENCODE_ANY) == 0 &&
        sl_value_parse_json(x->a, (sl_slice){text.data, text.len}, &copy, NULL) != SL_OK) {
        copy = NULL;
    }
    sl_buf_deinit(&text);
    return copy;
}

/* A name that cannot hold the text of a special token, as keys that are set one by one count as the
 * template's own. */
static bool build_is_plain_name(const char *name) {
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return len > 0 && name[len] == '\0';
}

/* --- messages -------------------------------------------------------------------------------- */

static sl_status build_part_text(const build_context *x, json_t *part, const char *where,
                                 sl_slice *out) {
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!json_is_object(part) || type == NULL) {
        return SL_API_BAD(x->e, where, "A part of '%s' is not an object with a 'type'.", where);
    }
    bool is_text = strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 ||
                   strcmp(type, "output_text") == 0;
    if (!is_text && strcmp(type, "refusal") != 0) {
        char shown[SL_API_SHOWN_MAX];
        return sl_api_fail(x->e, 400, "unsupported_content", where,
                           "'%s' has a part of type \"%s\": this model takes text only.", where,
                           sl_api_shown(sl_slice_of(type), shown));
    }
    json_t *text = json_object_get(part, is_text ? "text" : "refusal");
    if (!json_is_string(text)) {
        return SL_API_BAD(x->e, where, "A text part of '%s' has no string 'text'.", where);
    }
    *out = (sl_slice){json_string_value(text), json_string_length(text)};
    return SL_OK;
}

static sl_status build_parts(const build_context *x, json_t *parts, const char *where,
                             sl_value **out) {
    sl_buf text;
    sl_buf_init(&text, (size_t)16 << 20);
    sl_status status = SL_OK;
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) {
        sl_slice piece = {NULL, 0};
        status = build_part_text(x, part, where, &piece);
        if (status != SL_OK) {
            break;
        }
        if (i > 0) {
            (void)sl_buf_append_char(&text, '\n');
        }
        (void)sl_buf_append(&text, piece.ptr, piece.len);
    }
    if (status == SL_OK) {
        sl_slice all = {text.len > 0 ? text.data : "", text.len};
        *out = text.status == SL_OK ? sl_value_string(x->a, all, false) : NULL;
        status = *out == NULL ? build_full(x) : SL_OK;
    }
    sl_buf_deinit(&text);
    return status;
}

static sl_status build_content(const build_context *x, json_t *message, const char *where,
                               bool may_lack, sl_value *to) {
    json_t *content = json_object_get(message, "content");
    sl_value *value = NULL;
    if (json_is_array(content)) {
        sl_status status = build_parts(x, content, where, &value);
        if (status != SL_OK) {
            return status;
        }
    } else if (json_is_string(content)) {
        value = sl_value_string(
            x->a, (sl_slice){json_string_value(content), json_string_length(content)}, false);
    } else if ((content == NULL || json_is_null(content)) && may_lack) {
        value = sl_value_none(x->a);
    } else {
        return SL_API_BAD(x->e, where,
                          "'%s' must be a string or an array of text parts, but is %s.", where,
                          content == NULL ? "missing" : sl_json_kind(content));
    }
    return build_set(x, to, "content", value) ? SL_OK : build_full(x);
}

/* One tool call of an assistant's message: as it is, but with the arguments as a value. */
static sl_status build_tool_call(const build_context *x, json_t *call, const char *where,
                                 sl_value *list) {
    json_t *function = json_object_get(call, "function");
    json_t *arguments = json_object_get(function, "arguments");
    if (!json_is_object(function) || !json_is_string(json_object_get(function, "name"))) {
        return SL_API_BAD(x->e, where, "A tool call of '%s' has no 'function' with a 'name'.",
                          where);
    }
    json_t *parsed = NULL;
    if (json_is_string(arguments) && json_string_length(arguments) > 0) {
        sl_api_error inner;
        sl_slice text = {json_string_value(arguments), json_string_length(arguments)};
        if (sl_json_body_parse_within(text, x->arguments, &parsed, &inner) != SL_OK) {
            if (x->arguments->spent) {
                return SL_API_BAD(x->e, where,
                                  "The 'arguments' of all tool calls together have more than %d "
                                  "keys or %d values.",
                                  SL_JSON_KEYS_MAX, SL_JSON_VALUES_MAX);
            }
            return SL_API_BAD(x->e, where,
                              "The 'arguments' of a tool call of '%s' are not a JSON "
                              "object.",
                              where);
        }
        (void)json_object_set(function, "arguments", parsed); /* failure: the string stays */
        json_decref(parsed);
    }
    sl_value *value = build_any(x, call);
    return value != NULL && sl_value_list_push(x->a, list, value) ? SL_OK : build_full(x);
}

static sl_status build_tool_calls(const build_context *x, json_t *calls, const char *where,
                                  sl_value *to) {
    if (!json_is_array(calls)) {
        return SL_API_BAD(x->e, where, "'%s' must be an array, but is %s.", where,
                          sl_json_kind(calls));
    }
    sl_value *list = sl_value_list(x->a);
    if (list == NULL || !build_set(x, to, "tool_calls", list)) {
        return build_full(x);
    }
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call) {
        sl_status status = build_tool_call(x, call, where, list);
        if (status != SL_OK) {
            return status;
        }
    }
    return SL_OK;
}

/* The name that templates know for a role, or NULL. */
static const char *build_role(const char *role) {
    static const char *const roles[] = {"system", "user",     "assistant",
                                        "tool",   "function", "ipython"};
    if (strcmp(role, "developer") == 0) {
        return "system";
    }
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(role, roles[i]) == 0) {
            return roles[i];
        }
    }
    return NULL;
}

/* Members other than role, content and tool_calls: as they are (name, tool_call_id, reasoning,
 * ...). */
static sl_status build_rest(const build_context *x, json_t *message, sl_value *to) {
    const char *key;
    json_t *v;
    json_object_foreach(message, key, v) {
        if (strcmp(key, "role") == 0 || strcmp(key, "content") == 0 ||
            strcmp(key, "tool_calls") == 0 || json_is_null(v) || !build_is_plain_name(key)) {
            continue;
        }
        if (!build_set(x, to, key, build_any(x, v))) {
            return build_full(x);
        }
    }
    return SL_OK;
}

static sl_status build_message(const build_context *x, json_t *message, size_t i, sl_value *list) {
    char where[SL_API_PARAM_MAX];
    (void)snprintf(where, sizeof(where), "messages[%zu]", i);
    if (!json_is_object(message)) {
        return SL_API_BAD(x->e, where, "'%s' must be an object, but is %s.", where,
                          sl_json_kind(message));
    }
    json_t *role = json_object_get(message, "role");
    const char *name = json_is_string(role) ? build_role(json_string_value(role)) : NULL;
    if (name == NULL) {
        char shown[SL_API_SHOWN_MAX];
        (void)snprintf(where, sizeof(where), "messages[%zu].role", i);
        return SL_API_BAD(x->e, where,
                          "'%s' must be system, developer, user, assistant or tool, but is %s.",
                          where, role == NULL ? "missing" : sl_json_shown(role, shown));
    }
    sl_value *to = sl_value_object(x->a);
    if (to == NULL || !sl_value_list_push(x->a, list, to) ||
        !build_set(x, to, "role", sl_value_string(x->a, sl_slice_of(name), true))) {
        return build_full(x);
    }
    (void)snprintf(where, sizeof(where), "messages[%zu].content", i);
    bool is_assistant = strcmp(name, "assistant") == 0;
    sl_status status = build_content(x, message, where, is_assistant, to);
    json_t *calls = json_object_get(message, "tool_calls");
    if (status == SL_OK && calls != NULL && !json_is_null(calls)) {
        (void)snprintf(where, sizeof(where), "messages[%zu].tool_calls", i);
        status = build_tool_calls(x, calls, where, to);
    }
    return status == SL_OK ? build_rest(x, message, to) : status;
}

/* --- tools and variables --------------------------------------------------------------------- */

static sl_status build_tools(const build_context *x, json_t *tools, sl_value *request) {
    size_t i;
    json_t *tool;
    json_array_foreach(tools, i, tool) {
        char where[SL_API_PARAM_MAX];
        (void)snprintf(where, sizeof(where), "tools[%zu]", i);
        const char *type = json_string_value(json_object_get(tool, "type"));
        json_t *function = json_object_get(tool, "function");
        if (type == NULL || strcmp(type, "function") != 0 ||
            !json_is_string(json_object_get(function, "name"))) {
            return SL_API_BAD(x->e, where,
                              "'%s' must be of type \"function\" and have a function with a name.",
                              where);
        }
    }
    return build_set(x, request, "tools", build_any(x, tools)) ? SL_OK : build_full(x);
}

/* Variables for the template; the names of the request's own parts stay theirs. */
static sl_status build_variables(const build_context *x, json_t *kwargs, sl_value *request) {
    const char *key;
    json_t *v;
    json_object_foreach(kwargs, key, v) {
        if (strcmp(key, "messages") == 0 || strcmp(key, "tools") == 0) {
            return SL_API_BAD(x->e, "chat_template_kwargs",
                              "'chat_template_kwargs' must not hold '%s'.", key);
        }
        if (!build_is_plain_name(key)) {
            return SL_API_BAD(x->e, "chat_template_kwargs",
                              "The names in 'chat_template_kwargs' must be letters, digits and _.");
        }
        if (!build_set(x, request, key, build_any(x, v))) {
            return build_full(x);
        }
    }
    return SL_OK;
}

sl_status sl_chat_request_build(const sl_api_params *p, sl_arena *a, sl_value **out,
                                sl_api_error *e) {
    sl_json_budget arguments = SL_JSON_BUDGET_FULL;
    const build_context x = {.a = a, .arguments = &arguments, .e = e};
    sl_value *request = sl_value_object(a);
    sl_value *messages = sl_value_list(a);
    sl_status status = SL_OK;
    if (request == NULL || messages == NULL || !build_set(&x, request, "messages", messages)) {
        return build_full(&x);
    }
    size_t i;
    json_t *message;
    json_array_foreach(p->messages, i, message) {
        status = build_message(&x, message, i, messages);
        if (status != SL_OK) {
            return status;
        }
    }
    if (p->tools != NULL && !p->tools_off) {
        status = build_tools(&x, p->tools, request);
    }
    if (status == SL_OK && p->documents != NULL &&
        !build_set(&x, request, "documents", build_any(&x, p->documents))) {
        status = build_full(&x);
    }
    if (status == SL_OK && p->reasoning_effort != NULL &&
        !build_set(&x, request, "reasoning_effort",
                   sl_value_string(a, sl_slice_of(p->reasoning_effort), true))) {
        status = build_full(&x);
    }
    if (status == SL_OK && !build_set(&x, request, "add_generation_prompt",
                                      sl_value_bool(a, p->add_generation_prompt))) {
        status = build_full(&x);
    }
    if (status == SL_OK && p->template_kwargs != NULL) {
        status = build_variables(&x, p->template_kwargs, request);
    }
    if (status == SL_OK) {
        *out = request;
    }
    return status;
}
