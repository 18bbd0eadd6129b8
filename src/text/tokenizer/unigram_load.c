/* Unigram, the loading half: scores, the character map and the trie of all tokens that text can
 * become, from a file's metadata. Owner: the thread that opens the tokenizer. */
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "text/tokenizer/tokenizer_internal.h"

#define KEY_CHARSMAP "tokenizer.ggml.precompiled_charsmap"
#define UNKNOWN_PENALTY 10.0 /* an unknown character scores so much less than the worst token */

/* May text become this token? Control, unknown and byte tokens never come from text. */
static bool unigram_is_word(const sl_token *token) {
    return token->len > 0 && sl_token_is_plain(token) && token->type != SL_TOKEN_UNDEFINED;
}

static sl_status unigram_load_charsmap(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    const sl_gguf_kv *kv = sl_gguf_find(file, KEY_CHARSMAP);
    if (kv == NULL) {
        return SL_OK;
    }
    sl_gguf_iter it;
    sl_gguf_type elem = kv->elem_type == SL_GGUF_U8 ? SL_GGUF_U8 : SL_GGUF_I8;
    SL_TRY(sl_gguf_array(file, KEY_CHARSMAP, elem, &it, err));
    if (sl_charsmap_open(&t->charsmap, it.pos, (size_t)it.left) != SL_OK) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: the %llu bytes of " KEY_CHARSMAP
                       " are no character map of SentencePiece; convert the model again",
                       sl_gguf_path(file), (unsigned long long)it.left);
    }
    return SL_OK;
}

/* User-defined tokens score 0, more than any other; an unknown character less than the worst. */
static void unigram_set_scores(sl_tokenizer *t) {
    double worst = INFINITY;
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        const sl_token *token = &t->tokens[id];
        if (token->type == SL_TOKEN_NORMAL && (double)t->scores[id] < worst) {
            worst = (double)t->scores[id];
        }
        if (token->type == SL_TOKEN_USER) {
            t->scores[id] = 0;
        }
    }
    t->unknown_score = (isfinite(worst) ? worst : 0) - UNKNOWN_PENALTY;
}

sl_status sl_unigram_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    SL_TRY(sl_load_scores(t, file, err));
    SL_TRY(
        sl_gguf_bool_or(file, "tokenizer.ggml.add_space_prefix", false, &t->add_space_prefix, err));
    SL_TRY(sl_gguf_bool_or(file, "tokenizer.ggml.remove_extra_whitespaces", false, &t->joins_spaces,
                           err));
    SL_TRY(unigram_load_charsmap(t, file, err));
    unigram_set_scores(t);
    sl_load_byte_tokens(t);
    t->split_at_space = true;
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        if (unigram_is_word(&t->tokens[id]) && sl_token_spans_space(&t->tokens[id])) {
            t->split_at_space = false;
        }
    }
    t->token_bytes_max = 0; /* white space and runs of unknown characters may leave nothing */
    return sl_load_trie(t, sl_gguf_path(file), unigram_is_word, err);
}
