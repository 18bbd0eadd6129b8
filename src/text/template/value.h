/* JSON-like values that templates work on: none, booleans, integers (64 bit), floats, strings
 * (bytes of valid UTF-8), lists, and objects that keep insertion order. All nodes live in one
 * arena. */
#ifndef SL_TEXT_VALUE_H
#define SL_TEXT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/arena.h"
#include "base/bytes.h"

typedef enum sl_value_kind {
    SL_VALUE_NONE,
    SL_VALUE_BOOL,
    SL_VALUE_INT,
    SL_VALUE_FLOAT,
    SL_VALUE_STRING,
    SL_VALUE_LIST,
    SL_VALUE_OBJECT
} sl_value_kind;

typedef struct sl_value sl_value;

/* Each returns NULL when the arena is full. Strings are copied into the arena. */
sl_value *sl_value_none(sl_arena *a);
sl_value *sl_value_bool(sl_arena *a, bool v);
sl_value *sl_value_int(sl_arena *a, int64_t v);
sl_value *sl_value_float(sl_arena *a, double v);
/* `trusted` text counts as the template's own when spans are kept (special tokens may be
 * recognised). */
sl_value *sl_value_string(sl_arena *a, sl_slice text, bool trusted);
sl_value *sl_value_list(sl_arena *a);
sl_value *sl_value_object(sl_arena *a);
bool sl_value_list_push(sl_arena *a, sl_value *list, sl_value *v); /* false: arena full */
/* replaces or appends */
bool sl_value_object_set(sl_arena *a, sl_value *obj, sl_slice key, sl_value *v);

sl_value_kind sl_value_kind_of(const sl_value *v);
const sl_value *sl_value_get(const sl_value *obj, const char *key); /* NULL if absent */

/* Parses strict JSON (RFC 8259; depth at most 64; duplicate keys refused). Error names the byte
 * offset. */
SL_NODISCARD sl_status sl_value_parse_json(sl_arena *a, sl_slice json, sl_value **out,
                                           sl_error *err);

#endif
