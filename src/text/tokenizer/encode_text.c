/* What the families' encoders share: marking spaces, and writing text in byte tokens. Any thread;
 * scratch memory is the caller's. */
#include "text/tokenizer/tokenizer_internal.h"

sl_status sl_encode_byte_tokens(const sl_tokenizer *t, const char *text, size_t len, sl_ids *ids) {
    if (t->byte_missing) {
        for (size_t i = 0; i < len; i++) {
            if (t->byte_symbol[(unsigned char)text[i]] == SL_NO_SYMBOL) {
                return t->unk < 0 ? SL_OK : sl_ids_push(ids, t->unk);
            }
        }
    }
    sl_status status = SL_OK;
    for (size_t i = 0; i < len && status == SL_OK; i++) {
        status = sl_ids_push(ids, (int32_t)t->byte_symbol[(unsigned char)text[i]]);
    }
    return status;
}

bool sl_encode_mark_spaces(sl_encode_scratch *s, sl_slice text, bool add_prefix, sl_slice *out) {
    if (!sl_encode_scratch_room(&s->bytes, &s->bytes_bytes, text.len + 1, 3)) {
        return false;
    }
    char *p = s->bytes;
    size_t len = 0;
    if (add_prefix) {
        memcpy(p, SL_SPACE_MARK, 3);
        len = 3;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == ' ') {
            memcpy(p + len, SL_SPACE_MARK, 3);
            len += 3;
        } else {
            p[len++] = text.ptr[i];
        }
    }
    s->work += len;
    *out = (sl_slice){p, len};
    return true;
}
