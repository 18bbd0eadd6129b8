/* What params.c, params_table.c and params_fields.c share: the table of fields. Private to
 * src/serve/api. */
#ifndef SL_SERVE_PARAMS_INT_H
#define SL_SERVE_PARAMS_INT_H

#include <stddef.h>

#include "serve/api/json_body.h"
#include "serve/api/params.h"

typedef struct params_context {
    sl_api_params *p;
    uint32_t n_vocab;
    sl_api_error *e;
} params_context;

typedef enum params_field_kind {
    PARAMS_FLOAT,     /* into a float at `offset`, within [min, max] */
    PARAMS_BOOL,      /* into a bool at `offset` */
    PARAMS_COUNT,     /* an integer into a uint32_t at `offset`, within [min, max] */
    PARAMS_CALL,      /* `call` reads it */
    PARAMS_NO_EFFECT, /* accepted: changes no answer here */
    PARAMS_REFUSED    /* would change the answer: only a value that `neutral` allows is accepted */
} params_field_kind;

/* Values of a refused field that ask for nothing. null always does. */
typedef enum params_neutral {
    PARAMS_NEUTRAL_NULL,
    PARAMS_NEUTRAL_FALSE,
    PARAMS_NEUTRAL_ZERO,
    PARAMS_NEUTRAL_ONE,
    PARAMS_NEUTRAL_EMPTY, /* "", [] or {} */
    PARAMS_NEUTRAL_TEXT,  /* {"type": "text"}, ["text"] or "text" */
    PARAMS_NEUTRAL_MEDIUM,
    PARAMS_NEUTRAL_NONE /* "none" or "auto" */
} params_neutral;

typedef struct params_field {
    const char *name;
    uint8_t kinds; /* SL_API_CHAT | SL_API_COMPLETION: where it is known */
    params_field_kind kind;
    size_t offset;
    double min, max;
    params_neutral neutral;
    sl_status (*call)(const params_context *x, const char *name, json_t *v);
} params_field;

extern const params_field sl_params_fields[];
extern const size_t sl_params_n_fields;

/* Readers for fields that are more than a number (params_fields.c). */
sl_status sl_params_model(const params_context *x, const char *name, json_t *v);
sl_status sl_params_max_tokens(const params_context *x, const char *name, json_t *v);
sl_status sl_params_top_k(const params_context *x, const char *name, json_t *v);
sl_status sl_params_seed(const params_context *x, const char *name, json_t *v);
sl_status sl_params_stop(const params_context *x, const char *name, json_t *v);
sl_status sl_params_stop_ids(const params_context *x, const char *name, json_t *v);
sl_status sl_params_logit_bias(const params_context *x, const char *name, json_t *v);
sl_status sl_params_logprobs(const params_context *x, const char *name, json_t *v);
sl_status sl_params_stream_options(const params_context *x, const char *name, json_t *v);
sl_status sl_params_prompt(const params_context *x, const char *name, json_t *v);
sl_status sl_params_cache_salt(const params_context *x, const char *name, json_t *v);
sl_status sl_params_priority(const params_context *x, const char *name, json_t *v);
sl_status sl_params_list(const params_context *x, const char *name, json_t *v);
sl_status sl_params_template_kwargs(const params_context *x, const char *name, json_t *v);
sl_status sl_params_tool_choice(const params_context *x, const char *name, json_t *v);
sl_status sl_params_reasoning_effort(const params_context *x, const char *name, json_t *v);
sl_status sl_params_skip_special(const params_context *x, const char *name, json_t *v);

/* Range checks with their messages. */
sl_status sl_params_wrong_kind(const params_context *x, const char *name, const char *wanted,
                               json_t *v);
sl_status sl_params_integer(const params_context *x, const char *name, json_t *v, int64_t min,
                            int64_t max, int64_t *out);

#endif
