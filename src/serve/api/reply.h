/* Pieces of the API's answers, appended to a buffer: JSON by hand, since they are written for every
 * token. Pure; any thread. Whether all went well is asked of the buffer at the end. */
#ifndef SL_SERVE_REPLY_H
#define SL_SERVE_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "sample/sampler.h"
#include "serve/api/params.h"
#include "text/tokenizer/tokenizer.h"

/* Tokens of one choice with their log-probs: [n], tops [n][n_top]; an id of -1 ends a row of tops.
 */
typedef struct sl_reply_tokens {
    const int32_t *ids;
    const float *logprobs;     /* NULL: not wanted */
    const sl_sample_top *tops; /* NULL when n_top is 0 */
    uint32_t n, n_top;
} sl_reply_tokens;

void sl_reply_string(sl_buf *out, sl_slice text); /* with quotes */
void sl_reply_ids(sl_buf *out, const int32_t *ids, size_t n);
/* {"prompt_tokens":..,"completion_tokens":..,"total_tokens":..,
 *  "prompt_tokens_details":{"cached_tokens":..}} */
/* Tokens of an answer. */
typedef struct sl_reply_counts {
    uint64_t n_prompt, n_cached, n_completion;
    uint64_t n_drafted, n_accepted; /* guesses that were computed; that came true */
} sl_reply_counts;
/* The object "usage"; what was guessed only if anything was. */
void sl_reply_usage(sl_buf *out, const sl_reply_counts *n);

/* Chat: {"content":[{token, logprob, bytes, top_logprobs}...],"refusal":null} */
void sl_reply_chat_logprobs(sl_buf *out, const sl_tokenizer *tok, const sl_reply_tokens *t);
/* Completions: {"text_offset":[..],"token_logprobs":[..],"tokens":[..],"top_logprobs":[..]}.
 * *offset is the character at which the next token begins, in and out. */
void sl_reply_completion_logprobs(sl_buf *out, const sl_tokenizer *tok, const sl_reply_tokens *t,
                                  uint64_t *offset);

/* What all objects of one answer begin with, up to and without "choices":
 * {"id":..,"object":..,"created":..,"model":.. */
void sl_reply_head(sl_buf *out, sl_api_kind kind, bool chunk, const char *id, int64_t created,
                   const char *model);

#endif
