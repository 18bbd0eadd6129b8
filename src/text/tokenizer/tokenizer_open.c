/* A tokenizer from a file's tokenizer.ggml.* metadata. Every count, type and id is checked here;
 * the first thing that is wrong ends opening with a sentence that names file, key and value. Keys:
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Owner: the opening thread. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "text/tokenizer/tokenizer_internal.h"

#define KEY_MODEL "tokenizer.ggml.model"
#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES "tokenizer.ggml.token_type"

static int open_byte_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of a text "<0x41>", -1 if it is none. */
static int open_byte_value(const sl_token *token) {
    if (token->len != 6 || memcmp(token->text, "<0x", 3) != 0 || token->text[5] != '>') {
        return -1;
    }
    int high = open_byte_digit(token->text[3]), low = open_byte_digit(token->text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static sl_status open_tokens(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    const char *path = sl_gguf_path(file);
    sl_gguf_iter it;
    SL_TRY(sl_gguf_array(file, KEY_TOKENS, SL_GGUF_STRING, &it, err));
    if (it.left == 0 || it.left > SL_TOKENS_MAX) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: " KEY_TOKENS " has %llu entries; 1 to %u are possible", path,
                       (unsigned long long)it.left, SL_TOKENS_MAX);
    }
    t->n_vocab = t->n_symbols = (uint32_t)it.left;
    t->tokens = sl_realloc_array(NULL, t->n_vocab, sizeof(*t->tokens));
    if (t->tokens == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for %u tokens", path,
                       (unsigned)t->n_vocab);
    }
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        sl_slice text = {NULL, 0};
        if (!sl_gguf_next_string(&it, &text) || text.len > SL_TOKEN_BYTES_MAX) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s: entry %u of " KEY_TOKENS " has %zu bytes, more than %u", path,
                           (unsigned)id, text.len, SL_TOKEN_BYTES_MAX);
        }
        t->tokens[id] = (sl_token){
            .text = text.ptr, .len = (uint32_t)text.len, .type = SL_TOKEN_NORMAL};
        t->token_bytes_max = t->token_bytes_max < text.len ? (uint32_t)text.len
                                                           : t->token_bytes_max;
    }
    return SL_OK;
}

/* The usual names of tokens that end a generation. Files are known to list them as normal tokens,
 * yet no other text means them: they are made control tokens, so that content cannot spell them. */
static bool open_is_eog_name(const sl_token *token) {
    static const char *const NAMES[] = {
        "<|im_end|>",         "<|eot_id|>", "<|eom_id|>",      "<end_of_turn>", "<|end|>",
        "<|endoftext|>",      "<|return|>", "<|call|>",        "<turn|>",       "<|end_of_text|>",
        "<end_of_utterance>", "<EOT>",      "[EOT]",           "[EOS]",         "<|flush|>",
        "<|calls|>",          "[e~[",       "<|tool_response>"};
    if (token->len == 0 || (token->text[0] != '<' && token->text[0] != '[')) {
        return false; /* nearly all, and asked twice at every start */
    }
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        if (sl_slice_eq_str((sl_slice){token->text, token->len}, NAMES[i])) {
            return true;
        }
    }
    return false;
}

/* A vocabulary without types still has byte tokens (where it is not spelt in bytes) and ends: by
 * their texts. */
static void open_guess_types(sl_tokenizer *t) {
    bool has_bytes = t->family == SL_TOKENIZER_SPM || t->family == SL_TOKENIZER_UNIGRAM ||
                     (t->pre != NULL && t->pre->is_raw);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        int byte = has_bytes ? open_byte_value(&t->tokens[id]) : -1;
        if (byte >= 0) {
            t->tokens[id].type = SL_TOKEN_BYTE;
            t->tokens[id].byte = (uint8_t)byte;
        } else if (open_is_eog_name(&t->tokens[id])) {
            t->tokens[id].type = SL_TOKEN_CONTROL;
        }
    }
}

static sl_status open_types(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    const char *path = sl_gguf_path(file);
    const sl_gguf_kv *kv = sl_gguf_find(file, KEY_TYPES);
    if (kv == NULL) {
        open_guess_types(t);
        return SL_OK;
    }
    sl_gguf_iter it;
    sl_gguf_type elem = kv->elem_type == SL_GGUF_U32 ? SL_GGUF_U32 : SL_GGUF_I32;
    SL_TRY(sl_gguf_array(file, KEY_TYPES, elem, &it, err));
    if (it.left != t->n_vocab) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: " KEY_TYPES " has %llu entries, " KEY_TOKENS " %u",
                       path, (unsigned long long)it.left, (unsigned)t->n_vocab);
    }
    int32_t type = 0;
    for (uint32_t id = 0; id < t->n_vocab && sl_gguf_next_i32(&it, &type); id++) {
        sl_token *token = &t->tokens[id];
        if (type < SL_TOKEN_UNDEFINED || type > SL_TOKEN_BYTE) {
            return SL_FAIL(err, SL_ERR_FORMAT, "%s: entry %u of " KEY_TYPES " is %d, not 0 to 6",
                           path, (unsigned)id, (int)type);
        }
        int byte = type == SL_TOKEN_BYTE ? open_byte_value(token) : 0;
        if (byte < 0) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s: entry %u of " KEY_TOKENS
                           " is a byte token but its text is '%.*s', not <0x00> "
                           "to <0xFF>",
                           path, (unsigned)id, token->len > 64 ? 64 : (int)token->len, token->text);
        }
        token->type = (uint8_t)(open_is_eog_name(token) ? SL_TOKEN_CONTROL : type);
        token->byte = (uint8_t)byte;
    }
    return SL_OK;
}

static sl_status open_map(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    const char *path = sl_gguf_path(file);
    sl_status status = sl_token_map_init(&t->by_text, (size_t)t->n_vocab + 256);
    for (uint32_t id = 0; id < t->n_vocab && status == SL_OK; id++) {
        const sl_token *token = &t->tokens[id];
        uint32_t twin = 0;
        status = token->len == 0 ? SL_OK : sl_token_map_add(&t->by_text, t->tokens, id, &twin);
        if (status == SL_ERR_FORMAT) {
            return SL_FAIL(err, status, "%s: entries %u and %u of " KEY_TOKENS " are both '%.*s'",
                           path, (unsigned)twin, (unsigned)id,
                           token->len > 64 ? 64 : (int)token->len, token->text);
        }
    }
    if (status != SL_OK) {
        return SL_FAIL(err, status,
                       status == SL_ERR_LIMIT ? "%s: the entries of " KEY_TOKENS
                                                " collide; the file looks crafted"
                                              : "%s: no memory for the vocabulary",
                       path);
    }
    return SL_OK;
}

/* An id that names a token, or -1 if the key is absent or holds the usual "none", 2^32 - 1. */
static sl_status open_id(const sl_tokenizer *t, const sl_gguf *file, const char *key, int32_t *out,
                         sl_error *err) {
    uint32_t id;
    const sl_gguf_kv *kv = sl_gguf_find(file, key);
    if (kv != NULL && kv->type == SL_GGUF_I32 && memcmp(kv->data, "\xFF\xFF\xFF\xFF", 4) == 0) {
        *out = -1;
        return SL_OK;
    }
    SL_TRY(sl_gguf_u32_or(file, key, UINT32_MAX, &id, err));
    if (id != UINT32_MAX && id >= t->n_vocab) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: %s is %u, but the vocabulary has %u tokens",
                       sl_gguf_path(file), key, (unsigned)id, (unsigned)t->n_vocab);
    }
    *out = id == UINT32_MAX ? -1 : (int32_t)id;
    return SL_OK;
}

static void open_default_id(const sl_tokenizer *t, int32_t id, int32_t *out) {
    if (*out < 0 && (uint32_t)id < t->n_vocab) {
        *out = id;
    }
}

/* Where a SentencePiece file names none, its first three tokens are unknown, begin and end; those
 * of a Unigram file (T5) padding, end and unknown. Those of WordPiece are known by their texts. */
static void open_default_ids(sl_tokenizer *t) {
    if (t->family == SL_TOKENIZER_SPM) {
        open_default_id(t, 0, &t->unk);
        open_default_id(t, 1, &t->bos);
        open_default_id(t, 2, &t->eos);
    } else if (t->family == SL_TOKENIZER_UNIGRAM) {
        open_default_id(t, 0, &t->pad);
        open_default_id(t, 1, &t->eos);
        open_default_id(t, 2, &t->unk);
    } else if (t->family == SL_TOKENIZER_WORDPIECE) {
        open_default_id(t, sl_tokenizer_find(t, sl_slice_of("[CLS]")), &t->bos);
        open_default_id(t, sl_tokenizer_find(t, sl_slice_of("[SEP]")), &t->sep);
        open_default_id(t, sl_tokenizer_find(t, sl_slice_of("[UNK]")), &t->unk);
    }
}

/* WordPiece puts its marks around every sequence, whatever the file says of single ones. */
static sl_status open_adds(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    bool byte_level = t->family == SL_TOKENIZER_BPE;
    bool adds_bos = t->family == SL_TOKENIZER_SPM || (byte_level && t->pre->adds_bos);
    SL_TRY(sl_gguf_bool_or(file, "tokenizer.ggml.add_bos_token", adds_bos, &t->adds_bos, err));
    SL_TRY(sl_gguf_bool_or(file, "tokenizer.ggml.add_eos_token", t->family == SL_TOKENIZER_UNIGRAM,
                           &t->adds_eos, err));
    t->adds_bos = t->adds_bos || (byte_level && t->pre->always_bos);
    if (t->family == SL_TOKENIZER_WORDPIECE) {
        t->adds_bos = t->adds_sep = true;
        t->adds_eos = false;
    }
    return SL_OK;
}

static sl_status open_ids(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    SL_TRY(open_id(t, file, "tokenizer.ggml.bos_token_id", &t->bos, err));
    SL_TRY(open_id(t, file, "tokenizer.ggml.eos_token_id", &t->eos, err));
    SL_TRY(open_id(t, file, "tokenizer.ggml.unknown_token_id", &t->unk, err));
    SL_TRY(open_id(t, file, "tokenizer.ggml.seperator_token_id", &t->sep,
                   err)); /* spelt so in files */
    if (t->family == SL_TOKENIZER_WORDPIECE && t->bos < 0) {
        SL_TRY(open_id(t, file, "tokenizer.ggml.cls_token_id", &t->bos, err));
    }
    /* Published files are known to have a padding id one past the end. Nothing is ever padded with
     * it. */
    uint32_t pad;
    SL_TRY(sl_gguf_u32_or(file, "tokenizer.ggml.padding_token_id", UINT32_MAX, &pad, err));
    t->pad = pad < t->n_vocab ? (int32_t)pad : -1;
    open_default_ids(t);
    return open_adds(t, file, err);
}

static bool open_has_eog(const sl_tokenizer *t, const char *text, size_t *at) {
    for (*at = 0; *at < t->n_eog; ++*at) {
        const sl_token *token = &t->tokens[t->eog[*at]];
        if (sl_slice_eq_str((sl_slice){token->text, token->len}, text)) {
            return true;
        }
    }
    return false;
}

/* In id order, so the list is sorted. Where answers come in parts (gpt-oss, Solar Open), <|end|>
 * ends a part alone, and other tokens end the turn. */
static sl_status open_eog(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    int32_t eot, eom;
    SL_TRY(open_id(t, file, "tokenizer.ggml.eot_token_id", &eot, err));
    SL_TRY(open_id(t, file, "tokenizer.ggml.eom_token_id", &eom, err));
    t->eog = sl_realloc_array(NULL, 32, sizeof(*t->eog)); /* texts are unique: at most 3 + 18 */
    if (t->eog == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the vocabulary", sl_gguf_path(file));
    }
    for (int32_t id = 0; id < (int32_t)t->n_vocab; id++) {
        if (id == t->eos || id == eot || id == eom || open_is_eog_name(&t->tokens[id])) {
            t->eog[t->n_eog++] = id;
        }
    }
    size_t at;
    bool in_parts = (open_has_eog(t, "<|return|>", &at) && open_has_eog(t, "<|call|>", &at)) ||
                    (open_has_eog(t, "<|flush|>", &at) && open_has_eog(t, "<|calls|>", &at));
    if (in_parts && open_has_eog(t, "<|end|>", &at)) {
        memmove(t->eog + at, t->eog + at + 1, (t->n_eog - at - 1) * sizeof(*t->eog));
        t->n_eog--;
    }
    return SL_OK;
}

/* Texts that stand for the end of a text, or for the parts of one to be filled in. Files call them
 * user-defined or normal; as content they are plain text all the same, and in a template they are
 * the token. */
static void open_named(sl_tokenizer *t) {
    static const char *const NAMES[] = {
        "<eos>",           "</s>",
        "_<EOT>",          "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
        "<|fim_prefix|>",  "<fim-prefix>",
        "<fim_prefix>",    "<\uFF5Cfim\u2581begin\uFF5C>",
        "<PRE>",           "\u2581<PRE>",
        "<|code_prefix|>", "<|prefix|>",
        "<|fim_suffix|>",  "<fim-suffix>",
        "<fim_suffix>",    "<\uFF5Cfim\u2581hole\uFF5C>",
        "<SUF>",           "\u2581<SUF>",
        "<|code_suffix|>", "<|suffix|>",
        "<|fim_middle|>",  "<fim-middle>",
        "<fim_middle>",    "<\uFF5Cfim\u2581end\uFF5C>",
        "<MID>",           "\u2581<MID>",
        "<|code_middle|>", "<|middle|>",
        "<|fim_pad|>",     "<fim-pad>",
        "<fim_pad>",       "<PAD>",
        "[PAD]",           "<|fim_repo|>",
        "<|repo_name|>",   "<fim-repo>",
        "<REPO>",          "<reponame>",
        "<|file_sep|>"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        int32_t id = sl_tokenizer_find(t, sl_slice_of(NAMES[i]));
        if (id >= 0) {
            t->tokens[id].is_named = true;
        }
    }
    /* Two families whose </s> is a piece of HTML. */
    int32_t markup = sl_tokenizer_find(t, sl_slice_of("</s>"));
    if (markup >= 0 && (sl_tokenizer_find(t, sl_slice_of("<|tool_response>")) >= 0 ||
                        sl_tokenizer_find(t, sl_slice_of("<|plamo:eos|>")) >= 0)) {
        t->tokens[markup].is_named = false;
        if (t->tokens[markup].type == SL_TOKEN_USER) {
            t->tokens[markup].type = SL_TOKEN_NORMAL;
        }
    }
}

static bool open_is_special(const sl_token *token) {
    return token->len > 0 && (token->is_named || token->type == SL_TOKEN_CONTROL ||
                              token->type == SL_TOKEN_UNKNOWN || token->type == SL_TOKEN_USER);
}

/* The automaton over the texts of all special tokens. */
static sl_status open_special(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    open_named(t);
    size_t n = 0, n_bytes = 0;
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        bool special = open_is_special(&t->tokens[id]);
        n += special;
        n_bytes += special ? t->tokens[id].len : 0;
        t->strips = t->strips || t->tokens[id].strip != 0;
    }
    if (n_bytes > SL_SPECIAL_BYTES_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%s: the special tokens of " KEY_TOKENS
                       " have %zu bytes together, more than %u",
                       sl_gguf_path(file), n_bytes, SL_SPECIAL_BYTES_MAX);
    }
    sl_special_text *texts = sl_realloc_array(NULL, n + 1, sizeof(*texts));
    sl_status status = texts == NULL ? SL_ERR_MEMORY : SL_OK;
    n = 0;
    for (uint32_t id = 0; id < t->n_vocab && texts != NULL; id++) {
        const sl_token *token = &t->tokens[id];
        if (open_is_special(token)) {
            texts[n++] = (sl_special_text){.text = {token->text, token->len},
                                           .id = (int32_t)id,
                                           .user = token->type == SL_TOKEN_USER &&
                                                   !token->is_named};
        }
    }
    status = status == SL_OK ? sl_special_build(&t->special, texts, n, n_bytes) : status;
    sl_free(texts);
    return status == SL_OK
               ? SL_OK
               : SL_FAIL(err, status,
                         "%s: the special tokens of " KEY_TOKENS " take too much memory or collide",
                         sl_gguf_path(file));
}

/* True if text, in small letters, has the (small) part. */
static bool open_has_part(sl_slice text, const char *part) {
    size_t len = strlen(part);
    for (size_t i = 0; i + len <= text.len; i++) {
        size_t k = 0;
        while (k < len) {
            char c = text.ptr[i + k];
            c = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
            if (c != part[k]) {
                break;
            }
            k++;
        }
        if (k == len) {
            return true;
        }
    }
    return false;
}

static void open_set_strip(sl_tokenizer *t, const char *text, uint8_t strip) {
    uint64_t work = 0;
    uint32_t id = sl_token_map_find(&t->by_text, t->tokens, text, strlen(text), &work);
    if (id < t->n_vocab) {
        t->tokens[id].strip = strip;
    }
}

/* GGUF does not say which special tokens swallow white space. The models that need it are known by
 * name: Phi-3 (after most special tokens) and some encoders (before the mask). */
static sl_status open_strip_rules(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    sl_slice name, arch, pre;
    SL_TRY(sl_gguf_string_or_none(file, "general.name", &name, err));
    SL_TRY(sl_gguf_string_or_none(file, "general.architecture", &arch, err));
    SL_TRY(sl_gguf_string_or_none(file, "tokenizer.ggml.pre", &pre, err));
    if (open_has_part(name, "phi-3") || open_has_part(name, "phi3")) {
        for (uint32_t id = 0; id < t->n_vocab; id++) {
            uint8_t type = t->tokens[id].type;
            if (type == SL_TOKEN_CONTROL || type == SL_TOKEN_UNKNOWN || type == SL_TOKEN_USER) {
                t->tokens[id].strip = SL_TOKEN_RSTRIP;
            }
        }
        open_set_strip(t, "</s>", SL_TOKEN_RSTRIP);
        open_set_strip(t, "<unk>", 0);
        open_set_strip(t, "<s>", 0);
        open_set_strip(t, "<|endoftext|>", 0);
    } else if (sl_slice_eq_str(pre, "jina-v2-es") || sl_slice_eq_str(pre, "jina-v2-de") ||
               sl_slice_eq_str(pre, "jina-v2-code") || sl_slice_eq_str(arch, "nomic-bert-moe") ||
               sl_slice_eq_str(arch, "jina-bert-v3")) {
        open_set_strip(t, "<mask>", SL_TOKEN_LSTRIP);
    } else if (open_has_part(name, "modern-bert")) {
        open_set_strip(t, "[MASK]", SL_TOKEN_LSTRIP);
    }
    return SL_OK;
}

/* The embedding matrix, if the file has one, must have a row for every token. */
static sl_status open_check_rows(const sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    const sl_gguf_tensor *tensor = sl_gguf_find_tensor(file, "token_embd.weight");
    if (tensor != NULL && tensor->dims[1] < t->n_vocab) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: " KEY_TOKENS " has %u entries, but token_embd.weight %llu rows",
                       sl_gguf_path(file), (unsigned)t->n_vocab,
                       (unsigned long long)tensor->dims[1]);
    }
    return SL_OK;
}

static sl_status open_family(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    sl_slice model;
    SL_TRY(sl_gguf_string(file, KEY_MODEL, &model, err));
    static const struct {
        const char *name;
        sl_tokenizer_family family;
    } MODELS[] = {{"gpt2", SL_TOKENIZER_BPE},
                  {"gemma4", SL_TOKENIZER_BPE},
                  {"llama", SL_TOKENIZER_SPM},
                  {"t5", SL_TOKENIZER_UNIGRAM},
                  {"bert", SL_TOKENIZER_WORDPIECE}};
    for (size_t i = 0; i < sizeof(MODELS) / sizeof(MODELS[0]); i++) {
        if (sl_slice_eq_str(model, MODELS[i].name)) {
            t->family = MODELS[i].family;
            if (sl_slice_eq_str(model, "gemma4")) {
                t->pre = sl_pretokenizer_find(model); /* files of this kind name none */
            }
            return SL_OK;
        }
    }
    return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                   "%s: the tokenizer '%.*s' (" KEY_MODEL
                   ") is not known to this version; 'gpt2', 'gemma4', 'llama', 't5' and 'bert' are",
                   sl_gguf_path(file), model.len > 64 ? 64 : (int)model.len, model.ptr);
}

static sl_status open_load_other(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    static const struct {
        const char *kind;
        sl_status (*load)(sl_tokenizer *, const sl_gguf *, sl_error *);
    } FAMILIES[] = {[SL_TOKENIZER_SPM] = {"spm", sl_spm_load},
                    [SL_TOKENIZER_UNIGRAM] = {"unigram", sl_unigram_load},
                    [SL_TOKENIZER_WORDPIECE] = {"wordpiece", sl_wordpiece_load}};
    (void)snprintf(t->kind, sizeof(t->kind), "%s", FAMILIES[t->family].kind);
    return FAMILIES[t->family].load(t, file, err);
}

static sl_status open_all(sl_tokenizer *t, const sl_gguf *file, sl_error *err) {
    SL_TRY(open_family(t, file, err));
    SL_TRY(open_tokens(t, file, err));
    SL_TRY(open_check_rows(t, file, err));
    SL_TRY(open_types(t, file, err));
    if (t->family == SL_TOKENIZER_WORDPIECE) {
        SL_TRY(sl_wordpiece_respell(t, sl_gguf_path(file), err));
    }
    SL_TRY(open_map(t, file, err));
    if (t->family == SL_TOKENIZER_BPE) {
        SL_TRY(sl_bpe_load(t, file, err)); /* the pre-tokeniser decides about BOS */
        SL_TRY(open_ids(t, file, err));
        (void)snprintf(t->kind, sizeof(t->kind), "bpe/%s", t->pre->names[0]);
    } else {
        SL_TRY(open_ids(t, file, err));
        SL_TRY(open_load_other(t, file, err));
    }
    SL_TRY(open_eog(t, file, err));
    SL_TRY(open_strip_rules(t, file, err));
    return open_special(t, file, err);
}

sl_status sl_tokenizer_open(const sl_gguf *file, sl_tokenizer **out, sl_error *err) {
    sl_tokenizer *t = sl_alloc_zero(1, sizeof(*t));
    if (t == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory for the tokenizer", sl_gguf_path(file));
    }
    sl_arena_init(&t->texts, (size_t)1 << 28);
    t->bos = t->eos = t->unk = t->pad = t->sep = -1;
    sl_status status = open_all(t, file, err);
    if (status != SL_OK) {
        sl_tokenizer_close(t);
        return status;
    }
    *out = t;
    return SL_OK;
}

void sl_tokenizer_close(sl_tokenizer *t) {
    if (t == NULL) {
        return;
    }
    sl_special_deinit(&t->special);
    sl_merge_map_deinit(&t->merges);
    sl_token_map_deinit(&t->by_text);
    sl_arena_deinit(&t->texts);
    sl_free(t->tokens);
    sl_free(t->score_keys);
    sl_free(t->scores);
    sl_trie_deinit(&t->trie);
    sl_free(t->eog);
    sl_free(t);
}
