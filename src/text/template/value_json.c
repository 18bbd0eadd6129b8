/* Strict JSON text -> value tree, by jansson (keeps key order, refuses duplicate keys and bad
 * UTF-8).
 *
 * jansson's own nesting limit is far above ours, so the depth is checked while its tree is walked.
 * Its integers are 64 bits; larger ones are an error that says so.
 */
#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "text/template/tmpl_value.h"

#define JSON_DEPTH_MAX 64u

static sl_status json_to_value(sl_arena *a, json_t *node, unsigned depth, sl_value *out,
                               sl_error *err);

static sl_status json_full(sl_error *err) {
    return SL_FAIL(err, SL_ERR_LIMIT, "JSON: the values need more memory than allowed; send less");
}

static sl_status json_list(sl_arena *a, json_t *node, unsigned depth, sl_value *out,
                           sl_error *err) {
    size_t n = json_array_size(node);
    tmpl_list *l = sl_tmpl_list_new(a, n);
    if (l == NULL) {
        return json_full(err);
    }
    for (size_t i = 0; i < n; i++) {
        sl_value v;
        SL_TRY(json_to_value(a, json_array_get(node, i), depth + 1, &v, err));
        if (!sl_tmpl_list_add(a, l, v)) {
            return json_full(err);
        }
    }
    *out = tmpl_list_value(SL_VALUE_LIST, l);
    return SL_OK;
}

static sl_status json_text(sl_arena *a, const char *text, size_t len, sl_value *out,
                           sl_error *err) {
    const char *copy = sl_arena_strndup(a, text, len);
    const tmpl_str *s = copy == NULL ? NULL : sl_tmpl_str_borrow(a, copy, len, false);
    if (s == NULL) {
        return json_full(err);
    }
    *out = tmpl_str_value(s);
    return SL_OK;
}

static sl_status json_object_value(sl_arena *a, json_t *node, unsigned depth, sl_value *out,
                                   sl_error *err) {
    tmpl_map *m = sl_tmpl_map_new(a);
    if (m == NULL) {
        return json_full(err);
    }
    for (void *it = json_object_iter(node); it != NULL; it = json_object_iter_next(node, it)) {
        const char *key = json_object_iter_key(it);
        sl_value k, v;
        SL_TRY(json_text(a, key, strlen(key), &k, err));
        SL_TRY(json_to_value(a, json_object_iter_value(it), depth + 1, &v, err));
        if (!sl_tmpl_map_put_new(a, m, k, v)) { /* jansson refused duplicates */
            return json_full(err);
        }
    }
    *out = tmpl_map_value(m);
    return SL_OK;
}

static sl_status json_to_value(sl_arena *a, json_t *node, unsigned depth, sl_value *out,
                               sl_error *err) {
    switch (json_typeof(node)) {
    case JSON_NULL:
        *out = tmpl_none();
        return SL_OK;
    case JSON_TRUE:
        *out = tmpl_bool(true);
        return SL_OK;
    case JSON_FALSE:
        *out = tmpl_bool(false);
        return SL_OK;
    case JSON_INTEGER:
        *out = tmpl_int(json_integer_value(node));
        return SL_OK;
    case JSON_REAL:
        *out = tmpl_float(json_real_value(node));
        return SL_OK;
    case JSON_STRING:
        return json_text(a, json_string_value(node), json_string_length(node), out, err);
    default:
        break;
    }
    if (depth > JSON_DEPTH_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT, "JSON: nested deeper than %u levels; flatten it",
                       JSON_DEPTH_MAX);
    }
    return json_is_array(node) ? json_list(a, node, depth, out, err)
                               : json_object_value(a, node, depth, out, err);
}

sl_status sl_value_parse_json(sl_arena *a, sl_slice json, sl_value **out, sl_error *err) {
    json_error_t detail;
    /* JSON_ALLOW_NUL: "\u0000" is legal in a string; as a key it stays refused. */
    json_t *root = json_loadb(json.ptr == NULL ? "" : json.ptr, json.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &detail);
    if (root == NULL) {
        if (json_error_code(&detail) == json_error_numeric_overflow) {
            return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                           "JSON: a number before byte %d does not fit (integers have 64 bits)",
                           detail.position);
        }
        return SL_FAIL(err, SL_ERR_FORMAT, "JSON: %s (line %d, byte %d)", detail.text, detail.line,
                       detail.position);
    }
    sl_value v;
    sl_status status = json_to_value(a, root, 1, &v, err);
    json_decref(root);
    SL_TRY(status);
    sl_value *box = sl_arena_alloc(a, sizeof(*box));
    if (box == NULL) {
        return json_full(err);
    }
    *box = v;
    *out = box;
    return SL_OK;
}
