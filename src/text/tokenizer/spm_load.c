/* SentencePiece-style BPE, the loading half: scores and byte tokens from a file's metadata.
 * Owner: the thread that opens the tokenizer. */
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "text/tokenizer/tokenizer_internal.h"

#define KEY_SCORES "tokenizer.ggml.scores"

/* Maps finite floats so that a larger score has a smaller key. */
static uint32_t spm_score_key(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof(bits));
    uint32_t rising = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return ~rising;
}

static sl_status spm_load_scores(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    sl_gguf_iter it;
    SL_TRY(sl_gguf_array(file, KEY_SCORES, SL_GGUF_F32, &it, err));
    if (it.left != t->n_vocab) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: " KEY_SCORES " has %llu entries, tokenizer.ggml.tokens %u",
                       sl_gguf_path(file), (unsigned long long)it.left, (unsigned)t->n_vocab);
    }
    t->score_keys = sl_alloc_zero(t->n_vocab, sizeof(*t->score_keys));
    if (t->score_keys == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", sl_gguf_path(file));
    }
    float score;
    for (uint32_t id = 0; id < t->n_vocab && sl_gguf_next_f32(&it, &score); id++) {
        if (!isfinite(score)) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s: entry %u of " KEY_SCORES " is %g, not a finite number",
                           sl_gguf_path(file), (unsigned)id, (double)score);
        }
        t->score_keys[id] = spm_score_key(score);
    }
    return SL_OK;
}

/* True if the text has U+2581 right after another character: then spaces are no borders of
 * merging. */
static bool spm_spans_space(const sl_token *token) {
    for (uint32_t i = 1; i + 3 <= token->len; i++) {
        if (memcmp(token->text + i, "\xE2\x96\x81", 3) == 0 &&
            (i < 3 || memcmp(token->text + i - 3, "\xE2\x96\x81", 3) != 0)) {
            return true;
        }
    }
    return false;
}

sl_status sl_spm_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    SL_TRY(spm_load_scores(t, file, err));
    SL_TRY(
        sl_gguf_bool_or(file, "tokenizer.ggml.add_space_prefix", true, &t->add_space_prefix, err));
    t->split_at_space = true;
    for (uint32_t b = 0; b < 256; b++) {
        t->byte_symbol[b] = SL_NO_SYMBOL;
    }
    for (uint32_t id = t->n_vocab; id-- > 0;) { /* backwards: the first of several stays */
        const sl_token *token = &t->tokens[id];
        if (token->type == SL_TOKEN_BYTE) {
            t->byte_symbol[token->byte] = id;
        } else if (sl_token_is_plain(token) && spm_spans_space(token)) {
            t->split_at_space = false;
        }
    }
    for (uint32_t b = 0; b < 256; b++) {
        t->byte_missing = t->byte_missing || t->byte_symbol[b] == SL_NO_SYMBOL;
    }
    if (t->byte_missing) {
        /* An unknown character is one token, or none at all. */
        t->token_bytes_max = t->unk < 0 ? 0 : t->token_bytes_max < 4 ? 4 : t->token_bytes_max;
    }
    return SL_OK;
}
