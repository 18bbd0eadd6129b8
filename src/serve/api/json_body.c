/* See json_body.h. */
#include "serve/api/json_body.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/utf8.h"

/* Counts depth, keys and values outside of strings; grammar is not its business. Ignored members
 * are looked at as well as known ones, since it sees bytes only. */
static sl_status json_scan(sl_slice body, sl_json_budget *left, size_t *n_values_out,
                           sl_api_error *e) {
    size_t depth = 0, keys = 0, values = 0;
    bool in_string = false;
    for (size_t i = 0; i < body.len; i++) {
        char c = body.ptr[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
            continue;
        }
        in_string = c == '"';
        keys += c == ':';
        values += c == ',';
        if (c == '{' || c == '[') {
            depth++;
            if (depth > SL_JSON_DEPTH_MAX) {
                return SL_API_BAD(e, NULL,
                                  "The JSON body is nested deeper than %d levels at byte %zu.",
                                  SL_JSON_DEPTH_MAX, i);
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    left->spent = keys > left->keys || values > left->values;
    if (left->spent) {
        return SL_API_BAD(e, NULL, "The JSON body has more than %d keys or %d values.",
                          SL_JSON_KEYS_MAX, SL_JSON_VALUES_MAX);
    }
    left->keys -= keys;
    left->values -= values;
    *n_values_out = values + 1;
    return SL_OK;
}

/* jansson 2.14 reads beyond a buffer that it could not enlarge. So the memory that it will want is
 * asked for, and given back, before it runs: without it the request is refused. */
static bool json_memory_is_there(size_t body_bytes, size_t n_values) {
    const size_t value_bytes = 96; /* node, place in its parent, and what malloc adds */
    void *probe = sl_alloc(3 * body_bytes + n_values * value_bytes + 4096);
    sl_free(probe);
    return probe != NULL;
}

static sl_status json_syntax(const json_error_t *error, sl_api_error *e) {
    int at = error->position < 0 ? 0 : error->position;
    switch (json_error_code(error)) {
    case json_error_out_of_memory:
        return sl_api_fail(e, 503, NULL, NULL, "The server has no memory for this request.");
    case json_error_duplicate_key:
        return SL_API_BAD(e, NULL, "The JSON body has the same key twice, before byte %d.", at);
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return SL_API_BAD(e, NULL,
                          "A string of the JSON body holds the character U+0000, at byte %d.", at);
    case json_error_numeric_overflow:
        return SL_API_BAD(e, NULL, "A number of the JSON body is too large, at byte %d.", at);
    case json_error_premature_end_of_input:
        return SL_API_BAD(e, NULL, "The JSON body ends too early, at byte %d.", at);
    case json_error_end_of_input_expected:
        return SL_API_BAD(e, NULL, "Something follows the end of the JSON body, at byte %d.", at);
    case json_error_invalid_utf8:
        return SL_API_BAD(e, NULL, "The JSON body is not valid UTF-8 at byte %d.", at);
    default:
        return SL_API_BAD(e, NULL, "The body is not valid JSON: error near byte %d.", at);
    }
}

sl_status sl_json_body_parse(sl_slice body, json_t **out, sl_api_error *e) {
    sl_json_budget all = SL_JSON_BUDGET_FULL;
    return sl_json_body_parse_within(body, &all, out, e);
}

sl_status sl_json_body_parse_within(sl_slice body, sl_json_budget *left, json_t **out,
                                    sl_api_error *e) {
    if (body.len == 0) {
        return SL_API_BAD(e, NULL, "The request has no body; a JSON object is expected.");
    }
    size_t valid = sl_utf8_valid_prefix(body.ptr, body.len);
    if (valid < body.len) {
        return SL_API_BAD(e, NULL, "The JSON body is not valid UTF-8 at byte %zu.", valid);
    }
    size_t n_values = 0;
    sl_status status = json_scan(body, left, &n_values, e);
    if (status != SL_OK) {
        return status;
    }
    if (!json_memory_is_there(body.len, n_values)) {
        return sl_api_fail(e, 503, NULL, NULL, "The server has no memory for this request.");
    }
    json_error_t error;
    json_t *root = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root == NULL) {
        return json_syntax(&error, e);
    }
    if (!json_is_object(root)) {
        status = SL_API_BAD(e, NULL, "The JSON body must be an object, but is %s.",
                            sl_json_kind(root));
        json_decref(root);
        return status;
    }
    *out = root;
    return SL_OK;
}

const char *sl_json_kind(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}

const char *sl_json_shown(const json_t *v, char out[SL_API_SHOWN_MAX]) {
    char text[SL_API_SHOWN_MAX - 2];
    switch (json_typeof(v)) {
    case JSON_STRING:
        /* Escaped straight into the smaller room: cutting what is escaped could split a
         * character. */
        (void)sl_log_escape(json_string_value(v), json_string_length(v), text, sizeof(text));
        (void)snprintf(out, SL_API_SHOWN_MAX, "\"%s\"", text);
        break;
    case JSON_INTEGER:
        (void)snprintf(out, SL_API_SHOWN_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        (void)snprintf(out, SL_API_SHOWN_MAX, "%g", json_real_value(v));
        break;
    default:
        (void)snprintf(out, SL_API_SHOWN_MAX, "%s", sl_json_kind(v));
        break;
    }
    return out;
}
