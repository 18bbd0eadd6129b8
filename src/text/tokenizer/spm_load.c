/* SentencePiece-style BPE, the loading half: scores and byte tokens from a file's metadata.
 * Owner: the thread that opens the tokenizer. */
#include "base/alloc.h"
#include "base/error.h"
#include "text/tokenizer/tokenizer_internal.h"

/* Maps finite floats so that a larger score has a smaller key. */
static uint32_t spm_score_key(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof(bits));
    uint32_t rising = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return ~rising;
}

static sl_status spm_load_keys(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    SL_TRY(sl_load_scores(t, file, err));
    t->score_keys = sl_realloc_array(NULL, t->n_vocab, sizeof(*t->score_keys));
    if (t->score_keys == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", sl_gguf_path(file));
    }
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        t->score_keys[id] = spm_score_key(t->scores[id]);
    }
    sl_free(t->scores);
    t->scores = NULL;
    return SL_OK;
}

sl_status sl_spm_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    SL_TRY(spm_load_keys(t, file, err));
    SL_TRY(
        sl_gguf_bool_or(file, "tokenizer.ggml.add_space_prefix", true, &t->add_space_prefix, err));
    t->split_at_space = true;
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        if (sl_token_is_plain(&t->tokens[id]) && sl_token_spans_space(&t->tokens[id])) {
            t->split_at_space = false;
        }
    }
    sl_load_byte_tokens(t);
    if (t->byte_missing) {
        /* An unknown character is one token, or none at all. */
        t->token_bytes_max = t->unk < 0 ? 0 : t->token_bytes_max < 4 ? 4 : t->token_bytes_max;
    }
    return SL_OK;
}
