/* Small vocabularies for the tokeniser tests, built in memory: a list of tokens and keys goes
 * through the GGUF writer and comes back opened. Every part can be left out or replaced by
 * something wrong. */
#ifndef TESTS_VOCAB_SAMPLES_H
#define TESTS_VOCAB_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "format/gguf.h"
#include "format/gguf_write.h"
#include "text/tokenizer/tokenizer.h"

#define SAMPLE_TOKENS_MAX 2048

typedef struct vocab_sample {
    const char *model, *pre, *name; /* NULL: no such key; name: general.name */
    sl_slice tokens[SAMPLE_TOKENS_MAX];
    int32_t types[SAMPLE_TOKENS_MAX];
    float scores[SAMPLE_TOKENS_MAX];
    size_t n_tokens, n_types,
        n_scores; /* the last two may be set to something else after filling */
    sl_slice merges[SAMPLE_TOKENS_MAX];
    size_t n_merges;
    bool no_merges, no_tokens;
    int32_t bos, eos, unk, pad, eot;  /* -1: no such key */
    int32_t sep, cls;                 /* -1: no such key */
    int add_bos, add_eos, add_prefix; /* -1: no such key */
    int joins_spaces, lowers, strips; /* -1: no such key */
    const void *charsmap;             /* NULL: no such key */
    size_t n_charsmap;
    sl_gguf_writer *writer; /* for further keys, between vocab_sample_write and vocab_sample_open */
    sl_buf file;
    char bytes[256][8]; /* texts of the byte tokens */
} vocab_sample;

static inline int32_t vocab_sample_add(vocab_sample *s, const char *text, int32_t type,
                                       float score) {
    size_t id = s->n_tokens++;
    s->tokens[id] = sl_slice_of(text);
    s->types[id] = type;
    s->scores[id] = score;
    s->n_types = s->n_scores = s->n_tokens;
    return (int32_t)id;
}

static inline void vocab_sample_init(vocab_sample *s, const char *model, const char *pre) {
    memset(s, 0, sizeof(*s));
    s->model = model;
    s->pre = pre;
    s->bos = s->eos = s->unk = s->pad = s->eot = -1;
    s->sep = s->cls = -1;
    s->add_bos = s->add_eos = s->add_prefix = -1;
    s->joins_spaces = s->lowers = s->strips = -1;
    sl_buf_init(&s->file, (size_t)64 << 20);
}

static inline void vocab_sample_merge(vocab_sample *s, const char *rule) {
    s->merges[s->n_merges++] = sl_slice_of(rule);
}

/* The 256 bytes in GPT-2's spelling; id = byte. Written out here once more, on purpose not by the
 * code that is tested. */
static inline void vocab_sample_add_bytes(vocab_sample *s) {
    unsigned next = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        unsigned code = itself ? b : next++;
        if (code < 0x80) {
            s->bytes[b][0] = (char)code;
        } else {
            s->bytes[b][0] = (char)(0xC0 | code >> 6);
            s->bytes[b][1] = (char)(0x80 | (code & 0x3F));
        }
        vocab_sample_add(s, s->bytes[b], 1, 0);
    }
}

/* <unk> <s> </s> and the byte tokens: id = 3 + byte. */
static inline void vocab_sample_add_spm(vocab_sample *s) {
    vocab_sample_add(s, "<unk>", 2, 0);
    vocab_sample_add(s, "<s>", 3, 0);
    vocab_sample_add(s, "</s>", 3, 0);
    for (unsigned b = 0; b < 256; b++) {
        snprintf(s->bytes[b], sizeof(s->bytes[b]), "<0x%02X>", b);
        vocab_sample_add(s, s->bytes[b], 6, 0);
    }
}

/* 0 if everything could be written. */
static inline int vocab_sample_write(vocab_sample *s) {
    int bad = sl_gguf_writer_create_buf(&s->file, 32, &s->writer, NULL) != SL_OK;
    sl_gguf_writer *w = s->writer;
    if (bad) {
        return bad;
    }
    const char *const strings[][2] = {{"general.name", s->name},
                                      {"tokenizer.ggml.model", s->model},
                                      {"tokenizer.ggml.pre", s->pre}};
    for (size_t i = 0; i < 3; i++) {
        if (strings[i][1] != NULL) {
            bad |= sl_gguf_writer_string(w, strings[i][0], sl_slice_of(strings[i][1]), NULL) !=
                   SL_OK;
        }
    }
    if (!s->no_tokens) {
        bad |= sl_gguf_writer_strings(w, "tokenizer.ggml.tokens", s->tokens, s->n_tokens, NULL) !=
               SL_OK;
    }
    if (s->n_types > 0) {
        bad |= sl_gguf_writer_array(w, "tokenizer.ggml.token_type", SL_GGUF_I32, s->types,
                                    s->n_types, NULL) != SL_OK;
    }
    if (s->n_scores > 0) {
        bad |= sl_gguf_writer_array(w, "tokenizer.ggml.scores", SL_GGUF_F32, s->scores, s->n_scores,
                                    NULL) != SL_OK;
    }
    if (!s->no_merges) {
        bad |= sl_gguf_writer_strings(w, "tokenizer.ggml.merges", s->merges, s->n_merges, NULL) !=
               SL_OK;
    }
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", s->bos},     {"tokenizer.ggml.eos_token_id", s->eos},
        {"tokenizer.ggml.unknown_token_id", s->unk}, {"tokenizer.ggml.padding_token_id", s->pad},
        {"tokenizer.ggml.eot_token_id", s->eot},     {"tokenizer.ggml.seperator_token_id", s->sep},
        {"tokenizer.ggml.cls_token_id", s->cls}};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        if (ids[i].id >= 0) {
            bad |= sl_gguf_writer_u32(w, ids[i].key, (uint32_t)ids[i].id, NULL) != SL_OK;
        }
    }
    const struct {
        const char *key;
        int value;
    } flags[] = {{"tokenizer.ggml.add_bos_token", s->add_bos},
                 {"tokenizer.ggml.add_eos_token", s->add_eos},
                 {"tokenizer.ggml.add_space_prefix", s->add_prefix},
                 {"tokenizer.ggml.remove_extra_whitespaces", s->joins_spaces},
                 {"tokenizer.ggml.normalizer.lowercase", s->lowers},
                 {"tokenizer.ggml.normalizer.strip_accents", s->strips}};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (flags[i].value >= 0) {
            bad |= sl_gguf_writer_bool(w, flags[i].key, flags[i].value != 0, NULL) != SL_OK;
        }
    }
    if (s->charsmap != NULL) {
        bad |= sl_gguf_writer_array(w, "tokenizer.ggml.precompiled_charsmap", SL_GGUF_U8,
                                    s->charsmap, s->n_charsmap, NULL) != SL_OK;
    }
    return bad;
}

/* Finishes the file and opens it. Both outputs are to be closed by the caller, also after a
 * failure. */
static inline sl_status vocab_sample_open(vocab_sample *s, sl_gguf **file_out, sl_tokenizer **out,
                                          sl_error *err) {
    *file_out = NULL;
    *out = NULL;
    sl_status status = sl_gguf_writer_finish(s->writer, err);
    sl_gguf_writer_free(s->writer);
    s->writer = NULL;
    if (status == SL_OK) {
        status = sl_gguf_open_memory("sample.gguf", s->file.data, s->file.len, file_out, err);
    }
    if (status == SL_OK) {
        status = sl_tokenizer_open(*file_out, out, err);
    }
    return status;
}

/* Closes what vocab_sample_open opened; all may be NULL. */
static inline void vocab_sample_close(vocab_sample *s, sl_gguf *file, sl_tokenizer *t) {
    sl_tokenizer_close(t);
    sl_gguf_close(file);
    sl_gguf_writer_free(s->writer);
    s->writer = NULL;
    sl_buf_deinit(&s->file);
}

#endif
