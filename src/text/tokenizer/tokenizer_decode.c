/* Ids to bytes. Any thread. Control and unknown tokens are silent unless asked for. Nothing is
 * cleaned up or joined, so that what encoding took apart comes back byte for byte; but of
 * WordPiece, which forgets where spaces were, words come back with a space before each but for the
 * usual punctuation. */
#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer/tokenizer_internal.h"

/* Characters that stand for no byte are written as they are. */
static void decode_byte_level(const sl_token *token, sl_buf *out) {
    char *p = sl_buf_reserve(out, token->len);
    if (p == NULL) {
        return;
    }
    size_t n = 0;
    for (uint32_t i = 0; i < token->len;) {
        uint32_t code;
        size_t len = sl_utf8_decode(token->text + i, token->len - i, &code);
        int byte = len == 0 ? -1 : sl_byte_level_byte(code);
        if (byte >= 0) {
            p[n++] = (char)byte;
            i += (uint32_t)len;
            continue;
        }
        for (size_t end = i + (len == 0 ? 1 : len); i < end; i++) {
            p[n++] = token->text[i];
        }
    }
    out->len += n;
}

/* U+2581 is a space; the first one goes if it is the one that encoding put in front. */
static void decode_marked(const sl_token *token, bool strip, sl_buf *out) {
    char *p = sl_buf_reserve(out, token->len);
    if (p == NULL) {
        return;
    }
    size_t n = 0;
    for (uint32_t i = 0; i < token->len;) {
        if (token->len - i >= 3 && memcmp(token->text + i, "\xE2\x96\x81", 3) == 0) {
            if (i > 0 || !strip) {
                p[n++] = ' ';
            }
            i += 3;
        } else {
            p[n++] = token->text[i++];
        }
    }
    out->len += n;
}

static bool decode_begins(sl_slice text, const char *part) {
    size_t len = strlen(part);
    return text.len >= len && memcmp(text.ptr, part, len) == 0;
}

/* Is the text behind an apostrophe a contraction that goes without a space before it? */
static bool decode_is_contraction(sl_slice rest) {
    return decode_begins(rest, "s") || decode_begins(rest, "m") || decode_begins(rest, "re") ||
           decode_begins(rest, "ve");
}

/* U+2581 at the beginning is a space, but not before . , ! ? 's 'm 're 've. An apostrophe between
 * words has no space on either side; before anything else it has one, so it waits for what
 * comes. */
static void decode_wordpiece(sl_decode_state *state, const sl_token *token, sl_buf *out) {
    sl_slice rest = {token->text, token->len};
    bool space = decode_begins(rest, SL_SPACE_MARK);
    if (space) {
        rest = (sl_slice){rest.ptr + 3, rest.len - 3};
    }
    bool closes = rest.len > 0 && memchr("?!.,", rest.ptr[0], 4) != NULL;
    if (state->has_quote) {
        state->has_quote = false;
        bool between = space && !closes;
        bool joined = between || (!space && decode_is_contraction(rest));
        sl_buf_append_str(out, joined ? "'" : " '");
        sl_buf_append(out, rest.ptr, rest.len);
        return;
    }
    if (space && sl_slice_eq_str(rest, "'")) {
        state->has_quote = true;
        return;
    }
    bool contraction = decode_begins(rest, "'") &&
                       decode_is_contraction((sl_slice){rest.ptr + 1, rest.len - 1});
    if (space && !closes && !contraction) {
        sl_buf_append_char(out, ' ');
    }
    sl_buf_append(out, rest.ptr, rest.len);
}

sl_status sl_tokenizer_decode_end(sl_decode_state *state, sl_buf *out, sl_error *err) {
    if (state->has_quote) {
        state->has_quote = false;
        sl_buf_append_str(out, " '");
    }
    return out->status == SL_OK ? SL_OK : SL_FAIL(err, out->status, "no room for a text's end");
}

/* Control, unknown and user-defined tokens stand for themselves. */
static void decode_special(const sl_token *token, bool show_special, sl_decode_state *state,
                           sl_buf *out) {
    if (token->type != SL_TOKEN_USER && !show_special) {
        return;
    }
    if (state->has_quote) {
        state->has_quote = false;
        sl_buf_append_str(out, " '");
    }
    sl_buf_append(out, token->text, token->len);
}

sl_status sl_tokenizer_decode_one(const sl_tokenizer *t, int32_t id, bool show_special,
                                  sl_decode_state *state, sl_buf *out, sl_error *err) {
    if (id < 0 || (uint32_t)id >= t->n_vocab) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "token id %d is outside the vocabulary of %u tokens",
                       (int)id, (unsigned)t->n_vocab);
    }
    const sl_token *token = &t->tokens[id];
    if (token->type == SL_TOKEN_CONTROL || token->type == SL_TOKEN_UNKNOWN ||
        token->type == SL_TOKEN_USER) {
        decode_special(token, show_special, state, out);
    } else {
        if (token->type == SL_TOKEN_BYTE) {
            sl_buf_append_char(out, (char)token->byte);
        } else if (sl_tokenizer_is_marked(t)) {
            decode_marked(token, state->at_start && t->add_space_prefix, out);
        } else if (t->family == SL_TOKENIZER_WORDPIECE) {
            decode_wordpiece(state, token, out);
        } else {
            decode_byte_level(token, out);
        }
        state->at_start = false;
    }
    return out->status == SL_OK
               ? SL_OK
               : SL_FAIL(err, out->status, "no room for the text of token %d", (int)id);
}

sl_status sl_tokenizer_decode(const sl_tokenizer *t, const int32_t *ids, size_t n, bool at_start,
                              bool show_special, sl_buf *out, sl_error *err) {
    size_t len_before = out->len;
    sl_decode_state state = {.at_start = at_start};
    sl_status status = SL_OK;
    for (size_t i = 0; i < n && status == SL_OK; i++) {
        status = sl_tokenizer_decode_one(t, ids[i], show_special, &state, out, err);
    }
    if (status == SL_OK) {
        status = sl_tokenizer_decode_end(&state, out, err);
    }
    out->len = status == SL_OK ? out->len : len_before;
    return status;
}
