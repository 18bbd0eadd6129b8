/* Request bodies: bytes -> a JSON object, under limits. Pure; any thread.
 *
 * jansson does the grammar (strict UTF-8, no duplicate keys, no trailing bytes, no NUL in strings).
 * What it does not bound is checked on the bytes before it sees them: depth, keys, values. */
#ifndef SL_SERVE_JSON_BODY_H
#define SL_SERVE_JSON_BODY_H

#include <jansson.h>

#include "base/bytes.h"
#include "serve/api/api_error.h"

#define SL_JSON_DEPTH_MAX 64
#define SL_JSON_KEYS_MAX 10000
#define SL_JSON_VALUES_MAX 1048576

/* What may still be parsed. A request whose strings are JSON again shares one among them. */
typedef struct sl_json_budget {
    size_t keys, values;
    bool spent; /* a text was refused because it has more */
} sl_json_budget;
#define SL_JSON_BUDGET_FULL                                                                        \
    (sl_json_budget) {                                                                             \
        .keys = SL_JSON_KEYS_MAX, .values = SL_JSON_VALUES_MAX                                     \
    }

/* The body as an object; the caller releases it with json_decref. Errors are 400s that name the
 * byte. */
SL_NODISCARD sl_status sl_json_body_parse(sl_slice body, json_t **out, sl_api_error *e);
/* The same, within what is left, which becomes less. */
SL_NODISCARD sl_status sl_json_body_parse_within(sl_slice body, sl_json_budget *left, json_t **out,
                                                 sl_api_error *e);

/* "a number", "a string", ...: with the article, for messages. */
const char *sl_json_kind(const json_t *v);
/* A value as it may stand in a message: numbers and words in full, strings in quotes, cut. */
const char *sl_json_shown(const json_t *v, char out[SL_API_SHOWN_MAX]);

#endif
