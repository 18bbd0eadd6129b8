/* What an open tokenizer tells about itself. Any thread. */
#include "text/tokenizer/tokenizer_internal.h"

uint32_t sl_tokenizer_n_vocab(const sl_tokenizer *t) {
    return t->n_vocab;
}

const char *sl_tokenizer_kind(const sl_tokenizer *t) {
    return t->kind;
}

sl_slice sl_tokenizer_text(const sl_tokenizer *t, int32_t id) {
    if (id < 0 || (uint32_t)id >= t->n_vocab) {
        return (sl_slice){NULL, 0};
    }
    return (sl_slice){t->tokens[id].text, t->tokens[id].len};
}

bool sl_tokenizer_is_control(const sl_tokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->n_vocab && t->tokens[id].type == SL_TOKEN_CONTROL;
}

bool sl_tokenizer_is_eog(const sl_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->n_eog; i++) {
        if (t->eog[i] == id) {
            return true;
        }
    }
    return false;
}

size_t sl_tokenizer_eog(const sl_tokenizer *t, const int32_t **ids_out) {
    *ids_out = t->eog;
    return t->n_eog;
}

int32_t sl_tokenizer_bos(const sl_tokenizer *t) {
    return t->bos;
}

int32_t sl_tokenizer_eos(const sl_tokenizer *t) {
    return t->eos;
}

int32_t sl_tokenizer_unk(const sl_tokenizer *t) {
    return t->unk;
}

int32_t sl_tokenizer_pad(const sl_tokenizer *t) {
    return t->pad;
}

bool sl_tokenizer_adds_bos(const sl_tokenizer *t) {
    return t->adds_bos;
}

bool sl_tokenizer_adds_eos(const sl_tokenizer *t) {
    return t->adds_eos;
}

int32_t sl_tokenizer_find(const sl_tokenizer *t, sl_slice text) {
    uint64_t work = 0;
    uint32_t id = sl_token_map_find(&t->by_text, t->tokens, text.ptr, text.len, &work);
    return id < t->n_vocab ? (int32_t)id : -1;
}
