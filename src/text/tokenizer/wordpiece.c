/* WordPiece (Schuster and Nakajima, 2012; Devlin et al., BERT, 2018): text is folded, cut into
 * words at white space, punctuation and Han characters, and a word is written by the longest token
 * at each place, or by the unknown token alone where that does not reach its end. In GGUF a token
 * that begins a word begins with U+2581, one that continues it with nothing; in BERT's own spelling
 * with nothing, and with ##. Time is linear in the
 * text, the longest token being bounded. Loading: the opening thread; encoding: any thread. */
#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer/tokenizer_internal.h"
#include "text/tokenizer/unicode_class.h"
#include "text/tokenizer/unicode_fold.h"

static bool wordpiece_is_word(const sl_token *token) {
    return token->len > 0 && sl_token_is_plain(token);
}

static bool wordpiece_begins(const sl_token *token, const char *part) {
    size_t len = strlen(part);
    return wordpiece_is_word(token) && token->len >= len && memcmp(token->text, part, len) == 0;
}

sl_status sl_wordpiece_respell(sl_tokenizer *t, const char *path, sl_error *err) {
    bool is_own = false; /* BERT's spelling */
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        if (wordpiece_begins(&t->tokens[id], SL_SPACE_MARK)) {
            return SL_OK;
        }
        is_own = is_own || wordpiece_begins(&t->tokens[id], "##");
    }
    for (uint32_t id = 0; is_own && id < t->n_vocab; id++) {
        sl_token *token = &t->tokens[id];
        if (wordpiece_begins(token, "##") && token->len > 2) {
            token->text += 2;
            token->len -= 2;
        } else if (wordpiece_is_word(token)) {
            char *text = sl_arena_alloc(&t->texts, (size_t)token->len + 3);
            if (text == NULL) {
                return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", path);
            }
            memcpy(text, SL_SPACE_MARK, 3);
            memcpy(text + 3, token->text, token->len);
            token->text = text;
            token->len += 3;
        }
    }
    return SL_OK;
}

sl_status sl_wordpiece_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    SL_TRY(sl_gguf_bool_or(file, "tokenizer.ggml.normalizer.lowercase", true, &t->lowers, err));
    SL_TRY(sl_gguf_bool_or(file, "tokenizer.ggml.normalizer.strip_accents", t->lowers,
                           &t->strips_accents, err));
    t->token_bytes_max = 0; /* white space leaves nothing, and an unknown word may be long */
    return sl_load_trie(t, sl_gguf_path(file), wordpiece_is_word, err);
}

/* The blocks of Han characters that are words of their own. One block begins 0x100 late, as it does
 * in the tokenizers that the models were trained with. */
static bool wordpiece_is_han(uint32_t code) {
    return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
           (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x20000 && code <= 0x2A6DF) ||
           (code >= 0x2A700 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
           (code >= 0x2F800 && code <= 0x2FA1F);
}

/* The longest token that begins at word[at..len), its end in *end_out; SL_NO_SYMBOL if none. */
static uint32_t wordpiece_longest(const sl_tokenizer *t, sl_slice word, size_t at, size_t *end_out,
                                  uint64_t *work) {
    uint32_t id = SL_NO_SYMBOL, node = 0;
    for (size_t i = at; i < word.len && t->trie.nodes != NULL; i++) {
        node = sl_trie_child(&t->trie, node, (uint8_t)word.ptr[i], work);
        if (node == 0) {
            break;
        }
        if (t->trie.nodes[node].id_plus_1 != 0) {
            id = t->trie.nodes[node].id_plus_1 - 1;
            *end_out = i + 1;
        }
    }
    return id;
}

/* One word with its mark. `pieces` has room for a token a byte. */
static sl_status wordpiece_encode_word(const sl_tokenizer *t, sl_slice word, uint32_t *pieces,
                                       sl_ids *ids, uint64_t *work) {
    size_t n = 0;
    for (size_t at = 0; at < word.len;) {
        uint32_t id = wordpiece_longest(t, word, at, &at, work);
        if (id == SL_NO_SYMBOL) {
            return t->unk < 0 ? SL_OK : sl_ids_push(ids, t->unk);
        }
        pieces[n++] = id;
    }
    sl_status status = SL_OK;
    for (size_t i = 0; i < n && status == SL_OK; i++) {
        status = sl_ids_push(ids, (int32_t)pieces[i]);
    }
    return status;
}

typedef enum wordpiece_kind { WORD_NOTHING, WORD_PART, WORD_ALONE, WORD_SPACE } wordpiece_kind;

/* What becomes of a character: its folded form in *code_io. */
static wordpiece_kind wordpiece_fold(const sl_tokenizer *t, uint32_t *code_io) {
    uint32_t code = t->strips_accents ? sl_unicode_base(*code_io) : *code_io;
    uint32_t class = sl_unicode_class(code);
    if ((class & SL_UNICODE_SPACE) != 0) {
        return WORD_SPACE;
    }
    if (code == 0xFFFD || sl_unicode_is_silent(code) ||
        (t->strips_accents && (class & SL_UNICODE_MARK) != 0)) {
        return WORD_NOTHING;
    }
    *code_io = t->lowers ? sl_unicode_lower(code) : code;
    bool alone = (class & SL_UNICODE_PUNCT) != 0 ||
                 (code < 0x80 && (class & SL_UNICODE_SYMBOL) != 0) || wordpiece_is_han(code);
    return alone ? WORD_ALONE : WORD_PART;
}

sl_status sl_wordpiece_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text,
                              sl_ids *ids) {
    /* The mark, and a folded character takes at most twice the bytes it had. */
    if (!sl_encode_scratch_room(&s->bytes, &s->bytes_bytes, text.len + 2, 2) ||
        !sl_encode_scratch_room(&s->nodes, &s->nodes_bytes, text.len + 2, 2 * sizeof(uint32_t))) {
        return SL_ERR_MEMORY;
    }
    char *word = s->bytes;
    size_t len = 3; /* of the word so far; 3: the mark alone */
    memcpy(word, SL_SPACE_MARK, 3);
    sl_status status = SL_OK;
    for (size_t i = 0; i <= text.len && status == SL_OK;) {
        uint32_t code = ' '; /* ends the last word */
        size_t n = 1;
        wordpiece_kind kind = WORD_SPACE;
        if (i < text.len) {
            n = sl_utf8_decode(text.ptr + i, text.len - i, &code);
            kind = n == 0 ? WORD_NOTHING : wordpiece_fold(t, &code);
        }
        if (len > 3 && (kind == WORD_SPACE || kind == WORD_ALONE)) {
            status = wordpiece_encode_word(t, (sl_slice){word, len}, s->nodes, ids, &s->work);
            len = 3;
        }
        if (kind == WORD_PART || kind == WORD_ALONE) {
            len += sl_utf8_encode(code, word + len);
        }
        if (kind == WORD_ALONE && status == SL_OK) {
            status = wordpiece_encode_word(t, (sl_slice){word, len}, s->nodes, ids, &s->work);
            len = 3;
        }
        s->work++;
        i += n == 0 ? 1 : n;
    }
    return status;
}
