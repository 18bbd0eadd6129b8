/* Ids to bytes. Any thread. Control and unknown tokens are silent unless asked for; nothing is
 * cleaned up or joined, so that what encoding took apart comes back byte for byte. */
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

sl_status sl_tokenizer_decode_one(const sl_tokenizer *t, int32_t id, bool show_special,
                                  bool *at_start_io, sl_buf *out, sl_error *err) {
    if (id < 0 || (uint32_t)id >= t->n_vocab) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "token id %d is outside the vocabulary of %u tokens",
                       (int)id, (unsigned)t->n_vocab);
    }
    const sl_token *token = &t->tokens[id];
    if (token->type == SL_TOKEN_CONTROL || token->type == SL_TOKEN_UNKNOWN) {
        if (show_special) {
            sl_buf_append(out, token->text, token->len);
        }
    } else if (token->type == SL_TOKEN_USER) {
        sl_buf_append(out, token->text, token->len);
    } else {
        if (token->type == SL_TOKEN_BYTE) {
            sl_buf_append_char(out, (char)token->byte);
        } else if (t->family == SL_TOKENIZER_SPM) {
            decode_marked(token, *at_start_io && t->add_space_prefix, out);
        } else {
            decode_byte_level(token, out);
        }
        *at_start_io = false;
    }
    return out->status == SL_OK
               ? SL_OK
               : SL_FAIL(err, out->status, "no room for the text of token %d", (int)id);
}

sl_status sl_tokenizer_decode(const sl_tokenizer *t, const int32_t *ids, size_t n, bool at_start,
                              bool show_special, sl_buf *out, sl_error *err) {
    size_t len_before = out->len;
    for (size_t i = 0; i < n; i++) {
        sl_status status = sl_tokenizer_decode_one(t, ids[i], show_special, &at_start, out, err);
        if (status != SL_OK) {
            out->len = len_before;
            return status;
        }
    }
    return SL_OK;
}
