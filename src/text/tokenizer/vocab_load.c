/* What several families take from a vocabulary in the same way: scores, the trie of token texts,
 * whether tokens reach over spaces. Owner: the thread that opens the tokenizer. */
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "text/tokenizer/tokenizer_internal.h"

#define KEY_SCORES "tokenizer.ggml.scores"

static bool vocab_next_score(sl_gguf_iter *it, float *out) {
    int32_t whole;
    if (it->elem_type == SL_GGUF_F32) {
        return sl_gguf_next_f32(it, out);
    }
    bool has_one = sl_gguf_next_i32(it, &whole);
    *out = has_one ? (float)whole : 0;
    return has_one;
}

sl_status sl_load_scores(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    const char *path = sl_gguf_path(file);
    const sl_gguf_kv *kv = sl_gguf_find(file, KEY_SCORES);
    sl_gguf_type elem = kv != NULL && kv->elem_type == SL_GGUF_I32 ? SL_GGUF_I32 : SL_GGUF_F32;
    sl_gguf_iter it;
    SL_TRY(sl_gguf_array(file, KEY_SCORES, elem, &it, err));
    if (it.left != t->n_vocab) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: " KEY_SCORES " has %llu entries, tokenizer.ggml.tokens %u", path,
                       (unsigned long long)it.left, (unsigned)t->n_vocab);
    }
    t->scores = sl_alloc_zero(t->n_vocab, sizeof(*t->scores));
    if (t->scores == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", path);
    }
    float score;
    for (uint32_t id = 0; id < t->n_vocab && vocab_next_score(&it, &score); id++) {
        if (!isfinite(score)) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s: entry %u of " KEY_SCORES " is %g, not a finite number", path,
                           (unsigned)id, (double)score);
        }
        t->scores[id] = score;
    }
    return SL_OK;
}

void sl_load_byte_tokens(sl_tokenizer *t) {
    for (uint32_t b = 0; b < 256; b++) {
        t->byte_symbol[b] = SL_NO_SYMBOL;
    }
    for (uint32_t id = t->n_vocab; id-- > 0;) { /* backwards: the first of several stays */
        if (t->tokens[id].type == SL_TOKEN_BYTE) {
            t->byte_symbol[t->tokens[id].byte] = id;
        }
    }
    for (uint32_t b = 0; b < 256; b++) {
        t->byte_missing = t->byte_missing || t->byte_symbol[b] == SL_NO_SYMBOL;
    }
}

bool sl_token_spans_space(const sl_token *token) {
    for (uint32_t i = 1; i + 3 <= token->len; i++) {
        if (memcmp(token->text + i, SL_SPACE_MARK, 3) == 0 &&
            (i < 3 || memcmp(token->text + i - 3, SL_SPACE_MARK, 3) != 0)) {
            return true;
        }
    }
    return false;
}

sl_status sl_load_trie(sl_tokenizer *t, const char *path, bool (*is_word)(const sl_token *),
                       sl_error *err) {
    sl_trie_word *words = sl_realloc_array(NULL, t->n_vocab, sizeof(*words));
    if (words == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", path);
    }
    size_t n = 0;
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        const sl_token *token = &t->tokens[id];
        if (!is_word(token)) {
            continue;
        }
        if (token->len > SL_TRIE_BYTES_MAX) {
            sl_free(words);
            return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                           "%s: entry %u of tokenizer.ggml.tokens has %u bytes; a token of this "
                           "kind of tokenizer may have %u",
                           path, (unsigned)id, (unsigned)token->len, SL_TRIE_BYTES_MAX);
        }
        words[n++] = (sl_trie_word){token->text, token->len, id};
    }
    sl_status status = sl_trie_build(&t->trie, words, n);
    sl_free(words);
    return status == SL_OK ? SL_OK : SL_FAIL(err, status, "%s: no memory for the vocabulary", path);
}
