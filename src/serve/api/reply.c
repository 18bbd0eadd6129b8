/* See reply.h. */
#include "serve/api/reply.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void sl_reply_string(sl_buf *out, sl_slice text) {
    (void)sl_buf_append_char(out, '"');
    (void)sl_buf_append_json(out, text.ptr, text.len);
    (void)sl_buf_append_char(out, '"');
}

void sl_reply_ids(sl_buf *out, const int32_t *ids, size_t n) {
    (void)sl_buf_append_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        (void)sl_buf_printf(out, "%s%" PRId32, i == 0 ? "" : ",", ids[i]);
    }
    (void)sl_buf_append_char(out, ']');
}

void sl_reply_usage(sl_buf *out, const sl_reply_counts *n) {
    (void)sl_buf_printf(out,
                        "{\"prompt_tokens\":%" PRIu64 ",\"completion_tokens\":%" PRIu64
                        ",\"total_tokens\":%" PRIu64
                        ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRIu64 "}",
                        n->n_prompt, n->n_completion, n->n_prompt + n->n_completion, n->n_cached);
    if (n->n_drafted > 0) {
        (void)sl_buf_printf(
            out,
            ",\"completion_tokens_details\":{\"accepted_prediction_tokens\":%" PRIu64
            ",\"rejected_prediction_tokens\":%" PRIu64 "}",
            n->n_accepted, n->n_drafted - n->n_accepted);
    }
    (void)sl_buf_append_char(out, '}');
}

void sl_reply_head(sl_buf *out, sl_api_kind kind, bool chunk, const char *id, int64_t created,
                   const char *model) {
    const char *object = kind == SL_API_COMPLETION ? "text_completion"
                         : chunk                   ? "chat.completion.chunk"
                                                   : "chat.completion";
    (void)sl_buf_printf(out,
                        "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", id,
                        object, created);
    sl_reply_string(out, sl_slice_of(model));
}

/* JSON has no infinities; -9999 stands for "impossible", as elsewhere. */
static void reply_logprob(sl_buf *out, float logprob) {
    double value = isfinite(logprob) ? (double)logprob : -9999.0;
    (void)sl_buf_printf(out, "%.6g", value == 0.0 ? 0.0 : value); /* no "-0" */
}

/* The bytes of one token, control tokens included; empty if it has none. */
static void reply_token_bytes(const sl_tokenizer *tok, int32_t id, sl_buf *bytes) {
    sl_buf_clear(bytes);
    if (sl_tokenizer_decode(tok, &id, 1, false, true, bytes, NULL) != SL_OK) {
        sl_buf_clear(bytes);
    }
}

static void reply_chat_token(sl_buf *out, const sl_buf *bytes, float logprob) {
    (void)sl_buf_append_str(out, "{\"token\":");
    sl_reply_string(out, (sl_slice){bytes->len > 0 ? bytes->data : "", bytes->len});
    (void)sl_buf_append_str(out, ",\"logprob\":");
    reply_logprob(out, logprob);
    (void)sl_buf_append_str(out, ",\"bytes\":[");
    for (size_t i = 0; i < bytes->len; i++) {
        (void)sl_buf_printf(out, "%s%u", i == 0 ? "" : ",", (unsigned)(uint8_t)bytes->data[i]);
    }
    (void)sl_buf_append_char(out, ']');
}

void sl_reply_chat_logprobs(sl_buf *out, const sl_tokenizer *tok, const sl_reply_tokens *t) {
    sl_buf bytes;
    sl_buf_init(&bytes, 65536);
    (void)sl_buf_append_str(out, "{\"content\":[");
    for (uint32_t i = 0; i < t->n; i++) {
        (void)sl_buf_append_str(out, i == 0 ? "" : ",");
        reply_token_bytes(tok, t->ids[i], &bytes);
        reply_chat_token(out, &bytes, t->logprobs[i]);
        (void)sl_buf_append_str(out, ",\"top_logprobs\":[");
        const sl_sample_top *row = t->n_top > 0 ? t->tops + (size_t)i * t->n_top : NULL;
        for (uint32_t k = 0; k < t->n_top && row[k].id >= 0; k++) {
            (void)sl_buf_append_str(out, k == 0 ? "" : ",");
            reply_token_bytes(tok, row[k].id, &bytes);
            reply_chat_token(out, &bytes, row[k].logprob);
            (void)sl_buf_append_char(out, '}');
        }
        (void)sl_buf_append_str(out, "]}");
    }
    (void)sl_buf_append_str(out, "],\"refusal\":null}");
    sl_buf_deinit(&bytes);
}

/* A token as a string that is different for different bytes: text, or "bytes:\xE2\x80" where the
 * bytes alone are no text. */
static void reply_token_name(sl_buf *out, const sl_buf *bytes) {
    if (bytes->len > 0 && sl_utf8_valid_prefix(bytes->data, bytes->len) < bytes->len) {
        (void)sl_buf_append_str(out, "\"bytes:");
        for (size_t i = 0; i < bytes->len; i++) {
            (void)sl_buf_printf(out, "\\\\x%02x", (unsigned)(uint8_t)bytes->data[i]);
        }
        (void)sl_buf_append_char(out, '"');
        return;
    }
    sl_reply_string(out, (sl_slice){bytes->len > 0 ? bytes->data : "", bytes->len});
}

static uint64_t reply_n_characters(const sl_buf *bytes) {
    uint64_t n = 0;
    for (size_t i = 0; i < bytes->len; i++) {
        n += ((uint8_t)bytes->data[i] & 0xC0) != 0x80;
    }
    return n;
}

/* {"token": logprob, ...} of the likeliest tokens, with the chosen one. */
static void reply_top_object(sl_buf *out, const sl_tokenizer *tok, const sl_reply_tokens *t,
                             uint32_t i, sl_buf *bytes) {
    const sl_sample_top *row = t->tops + (size_t)i * t->n_top;
    bool has_chosen = false;
    uint32_t k = 0;
    (void)sl_buf_append_char(out, '{');
    for (; k < t->n_top && row[k].id >= 0; k++) {
        has_chosen = has_chosen || row[k].id == t->ids[i];
        (void)sl_buf_append_str(out, k == 0 ? "" : ",");
        reply_token_bytes(tok, row[k].id, bytes);
        reply_token_name(out, bytes);
        (void)sl_buf_append_char(out, ':');
        reply_logprob(out, row[k].logprob);
    }
    if (!has_chosen) {
        (void)sl_buf_append_str(out, k == 0 ? "" : ",");
        reply_token_bytes(tok, t->ids[i], bytes);
        reply_token_name(out, bytes);
        (void)sl_buf_append_char(out, ':');
        reply_logprob(out, t->logprobs[i]);
    }
    (void)sl_buf_append_char(out, '}');
}

void sl_reply_completion_logprobs(sl_buf *out, const sl_tokenizer *tok, const sl_reply_tokens *t,
                                  uint64_t *offset) {
    sl_buf bytes;
    sl_buf_init(&bytes, 65536);
    (void)sl_buf_append_str(out, "{\"text_offset\":[");
    for (uint32_t i = 0; i < t->n; i++) {
        (void)sl_buf_printf(out, "%s%" PRIu64, i == 0 ? "" : ",", *offset);
        reply_token_bytes(tok, t->ids[i], &bytes);
        *offset += reply_n_characters(&bytes);
    }
    (void)sl_buf_append_str(out, "],\"token_logprobs\":[");
    for (uint32_t i = 0; i < t->n; i++) {
        (void)sl_buf_append_str(out, i == 0 ? "" : ",");
        reply_logprob(out, t->logprobs[i]);
    }
    (void)sl_buf_append_str(out, "],\"tokens\":[");
    for (uint32_t i = 0; i < t->n; i++) {
        (void)sl_buf_append_str(out, i == 0 ? "" : ",");
        reply_token_bytes(tok, t->ids[i], &bytes);
        reply_token_name(out, &bytes);
    }
    (void)sl_buf_append_str(out, "],\"top_logprobs\":");
    (void)sl_buf_append_str(out, t->n_top > 0 ? "[" : "null");
    for (uint32_t i = 0; i < t->n && t->n_top > 0; i++) {
        (void)sl_buf_append_str(out, i == 0 ? "" : ",");
        reply_top_object(out, tok, t, i, &bytes);
    }
    (void)sl_buf_append_str(out, t->n_top > 0 ? "]}" : "}");
    sl_buf_deinit(&bytes);
}
