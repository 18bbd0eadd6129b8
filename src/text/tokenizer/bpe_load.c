/* Byte-level BPE, the loading half: pre-tokeniser and merge rules from a file's metadata into the
 * hash of merges. Every merge is kept by the ids of its two parts; a part or result that is no
 * token of the vocabulary becomes a symbol of its own beyond n_vocab, so that rules work exactly as
 * they do on texts. Owner: the thread that opens the tokenizer. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer/tokenizer_internal.h"

#define KEY_MERGES "tokenizer.ggml.merges"
#define KEY_PRE "tokenizer.ggml.pre"

typedef struct bpe_loader {
    sl_tokenizer *t;
    const char *path;
    uint32_t tokens_cap;
    uint64_t work;
} bpe_loader;

static sl_status bpe_load_pre(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    sl_slice name;
    if (t->pre != NULL) {
        return SL_OK; /* the kind of tokenizer has decided */
    }
    SL_TRY(sl_gguf_string_or_none(file, KEY_PRE, &name, err));
    if (name.len == 0) {
        name = sl_slice_of("default");
    }
    t->pre = sl_pretokenizer_find(name);
    if (t->pre == NULL) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: the pre-tokeniser '%.*s' (" KEY_PRE
                       ") is not known to this version; update, or name one that cuts text alike, "
                       "such as 'llama-bpe' or 'qwen2', when the model is converted",
                       sl_gguf_path(file), name.len > 64 ? 64 : (int)name.len, name.ptr);
    }
    return SL_OK;
}

/* The id of a text, made a symbol if it is none yet. */
static sl_status bpe_intern(bpe_loader *l, const char *text, size_t len, uint32_t *id_out,
                            sl_error *err) {
    sl_tokenizer *t = l->t;
    uint32_t id = sl_token_map_find(&t->by_text, t->tokens, text, len, &l->work);
    if (id != UINT32_MAX) {
        *id_out = id;
        return SL_OK;
    }
    if (t->n_symbols == l->tokens_cap) {
        uint32_t cap = l->tokens_cap + l->tokens_cap / 4 + 256;
        sl_token *tokens = sl_realloc_array(t->tokens, cap, sizeof(*tokens));
        if (tokens == NULL) {
            return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", l->path);
        }
        t->tokens = tokens;
        l->tokens_cap = cap;
    }
    char *copy = sl_arena_strndup(&t->texts, text, len);
    if (copy == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", l->path);
    }
    t->tokens[t->n_symbols] = (sl_token){
        .text = copy, .len = (uint32_t)len, .type = SL_TOKEN_NORMAL};
    uint32_t twin;
    sl_status status = sl_token_map_add(&t->by_text, t->tokens, t->n_symbols, &twin);
    if (status != SL_OK) {
        return SL_FAIL(err, status, "%s: no room for the texts of " KEY_MERGES, l->path);
    }
    *id_out = t->n_symbols++;
    return SL_OK;
}

/* Raw vocabularies have tokens <0x00> to <0xFF> for bytes of characters that are no tokens. */
static void bpe_load_byte_tokens(bpe_loader *l) {
    sl_tokenizer *t = l->t;
    for (uint32_t b = 0; b < 256; b++) {
        static const char digits[] = "0123456789ABCDEF";
        const char text[6] = {'<', '0', 'x', digits[b >> 4], digits[b & 15], '>'};
        uint32_t id = sl_token_map_find(&t->by_text, t->tokens, text, sizeof(text), &l->work);
        t->byte_symbol[b] = id; /* none is SL_NO_SYMBOL */
        t->byte_missing = t->byte_missing || id == SL_NO_SYMBOL;
    }
    if (t->byte_missing) {
        t->token_bytes_max = 0; /* characters may vanish */
    }
}

static sl_status bpe_load_bytes(bpe_loader *l, sl_error *err) {
    sl_tokenizer *t = l->t;
    if (t->pre->is_raw) {
        bpe_load_byte_tokens(l);
        return SL_OK;
    }
    for (uint32_t b = 0; b < 256; b++) {
        char text[4];
        size_t len = sl_utf8_encode(sl_byte_level_code((uint8_t)b), text);
        SL_TRY(bpe_intern(l, text, len, &t->byte_symbol[b], err));
        uint32_t id = t->byte_symbol[b];
        t->byte_missing = t->byte_missing || id >= t->n_vocab || !sl_token_is_plain(&t->tokens[id]);
    }
    t->can_replace = t->byte_symbol[0xEF] < t->n_vocab && t->byte_symbol[0xBF] < t->n_vocab &&
                     t->byte_symbol[0xBD] < t->n_vocab;
    return SL_OK;
}

/* One rule "left right": the first space after the first byte parts them. */
static sl_status bpe_load_merge(bpe_loader *l, uint32_t rank, sl_slice rule, char *joined,
                                sl_error *err) {
    const char *space = rule.len < 3 ? NULL : memchr(rule.ptr + 1, ' ', rule.len - 2);
    if (space == NULL || rule.len > 2 * SL_TOKEN_BYTES_MAX) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: entry %u of " KEY_MERGES
                       " is '%.*s', which is not two texts with a space between",
                       l->path, (unsigned)rank, rule.len > 64 ? 64 : (int)rule.len, rule.ptr);
    }
    size_t n_left = (size_t)(space - rule.ptr), n_right = rule.len - n_left - 1;
    sl_merge merge = {.rank = rank};
    memcpy(joined, rule.ptr, n_left);
    memcpy(joined + n_left, space + 1, n_right);
    SL_TRY(bpe_intern(l, rule.ptr, n_left, &merge.left, err));
    SL_TRY(bpe_intern(l, space + 1, n_right, &merge.right, err));
    SL_TRY(bpe_intern(l, joined, n_left + n_right, &merge.result, err));
    if (sl_merge_map_add(&l->t->merges, merge) != SL_OK) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%s: the entries of " KEY_MERGES " collide; the file looks crafted",
                       l->path);
    }
    return SL_OK;
}

static sl_status bpe_load_merges(bpe_loader *l, const sl_gguf *file, sl_error *err) {
    sl_gguf_iter it;
    SL_TRY(sl_gguf_array(file, KEY_MERGES, SL_GGUF_STRING, &it, err));
    if (it.left > SL_MERGES_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT, "%s: " KEY_MERGES " has %llu entries, more than %u",
                       l->path, (unsigned long long)it.left, SL_MERGES_MAX);
    }
    char *joined = sl_alloc(2 * (size_t)SL_TOKEN_BYTES_MAX);
    sl_status status = joined == NULL ? SL_ERR_MEMORY
                                      : sl_merge_map_init(&l->t->merges, (size_t)it.left);
    if (status != SL_OK) {
        sl_free(joined);
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for %llu merge rules", l->path,
                       (unsigned long long)it.left);
    }
    sl_slice rule;
    for (uint32_t rank = 0; status == SL_OK && sl_gguf_next_string(&it, &rule); rank++) {
        status = bpe_load_merge(l, rank, rule, joined, err);
    }
    sl_free(joined);
    return status;
}

sl_status sl_bpe_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    bpe_loader loader = {.t = t, .path = sl_gguf_path(file), .tokens_cap = t->n_vocab};
    SL_TRY(bpe_load_pre(t, file, err));
    SL_TRY(bpe_load_bytes(&loader, err));
    return bpe_load_merges(&loader, file, err);
}
