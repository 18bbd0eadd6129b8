/* What one generation request asks for: a JSON body -> checked parameters. Pure; any thread.
 *
 * One table (params_table.c) names every field of both endpoints: what it is, its range, what it
 * does. A field is used, or accepted without effect, or refused by name unless its value changes
 * nothing; unknown names are listed. docs/api.md follows the same table. */
#ifndef SL_SERVE_PARAMS_H
#define SL_SERVE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "sample/sampler.h"
#include "serve/api/api_error.h"

#define SL_API_STOPS_MAX 16
#define SL_API_STOP_BYTES_MAX 1024
#define SL_API_STOP_IDS_MAX 64
#define SL_API_SALT_BYTES_MAX 256
#define SL_API_PRIORITY_MAX 1000 /* and at least minus that */
#define SL_API_DEADLINE_MS_MAX 86400000
#define SL_API_N_MAX 16        /* answers to one prompt */
#define SL_API_PROMPTS_MAX 128 /* prompts of one completion request */
#define SL_API_MESSAGES_MAX 2048
#define SL_API_TOOLS_MAX 512
#define SL_API_TOP_LOGPROBS_MAX 20
#define SL_API_MEMBERS_MAX 256 /* of the request object */

typedef enum sl_api_kind { SL_API_CHAT = 1, SL_API_COMPLETION = 2 } sl_api_kind;

/* One prompt of a completion: text, or ids that are used as they are. */
typedef struct sl_api_prompt {
    sl_slice text;
    const int32_t *ids; /* NULL: text */
    size_t n_ids;
} sl_api_prompt;

typedef struct sl_api_params {
    sl_api_kind kind;
    const char *model;    /* NULL: none named */
    int32_t priority;     /* the lower the sooner */
    uint32_t deadline_ms; /* from its first byte to its last token; 0: none */
    sl_slice cache_salt;  /* empty: none */
    sl_sample_options sample;
    bool has_seed;
    bool stream, include_usage, usage_in_chunks;
    bool logprobs; /* log-probs of the chosen tokens; of n_top others in sample.n_top */
    bool ignore_eos, return_token_ids;
    bool show_special;   /* control tokens are part of the text */
    bool add_special;    /* completions: the file's BOS rule is followed */
    bool tools_off;      /* tool_choice is "none" */
    uint32_t n;          /* answers to each prompt, */
    uint32_t best_of;    /* of so many that are computed: those that are likeliest per token */
    bool echo;           /* completions: the prompt's text comes before the answer's */
    uint64_t max_tokens; /* 0: to the context limit */
    sl_slice stops[SL_API_STOPS_MAX];
    size_t n_stops;
    int32_t *stop_ids;
    uint32_t n_stop_ids;
    sl_api_prompt *prompts; /* completions: [n_prompts] */
    size_t n_prompts;
    json_t *messages; /* chat: checked by sl_chat_request_build */
    json_t *tools, *template_kwargs, *documents;
    bool add_generation_prompt;
    const char *reasoning_effort; /* NULL: none named */
    char unknown[256];            /* names that nobody knows, escaped, with commas; empty: none */
    /* owns what the pointers above point to */
    json_t *root;
    sl_arena arena;
} sl_api_params;

/* Reads the body of a request of `kind`. n_vocab bounds token ids. `strict`: unknown names are
 * errors. On success the caller owns *out until sl_api_params_deinit; on failure nothing remains.
 */
SL_NODISCARD sl_status sl_api_params_parse(sl_api_kind kind, sl_slice body, uint32_t n_vocab,
                                           bool strict, sl_api_params *out, sl_api_error *e);
void sl_api_params_deinit(sl_api_params *p);

#endif
