/* Fuzz target: the first byte says what the rest is.
 *   'v': a GGUF file; if it opens as a vocabulary, a fixed text goes through it and back
 *   'b', 's': text for a byte-level and a SentencePiece vocabulary; it must come back as it went
 *   (capitals: special texts are recognised, with nothing promised about the way back)
 * What is streamed must be valid UTF-8 whatever the ids. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer/detokenizer.h"

#include "../unit/text/tokenizer/vocab_samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static sl_tokenizer *open_sample(bool spm) {
    static vocab_sample samples[2]; /* the files live as long as the program */
    static sl_gguf *files[2];
    vocab_sample *s = &samples[spm];
    vocab_sample_init(s, spm ? "llama" : "gpt2", spm ? NULL : "llama-bpe");
    if (spm) {
        vocab_sample_add_spm(s);
        static const char *const words[] = {"\xE2\x96\x81",
                                            "\xE2\x96\x81\xE2\x96\x81",
                                            "a",
                                            "b",
                                            "ab",
                                            "ba",
                                            ("\xE2\x96\x81"
                                             "a"),
                                            "aa",
                                            "aaaa",
                                            "\xC3\xA9",
                                            "abab"};
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
            vocab_sample_add(s, words[i], 1, -(float)i);
        }
        s->no_merges = true;
    } else {
        vocab_sample_add_bytes(s);
        static const char *const rules[] = {"a b",   "b a", "a a",        "aa aa",
                                            "ab ab", "1 2", "\xC4\xA0 a", "x yz"};
        static const char *const words[] = {"ab",
                                            "ba",
                                            "aa",
                                            "aaaa",
                                            "abab",
                                            "12",
                                            ("\xC4\xA0"
                                             "a")};
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
            vocab_sample_add(s, words[i], 1, 0);
        }
        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
            vocab_sample_merge(s, rules[i]);
        }
    }
    vocab_sample_add(s, "<|im_start|>", 3, 0);
    vocab_sample_add(s, "<|im_end|>", 3, 0);
    vocab_sample_add(s, "<|im", 3, 0);
    sl_tokenizer *t;
    require(vocab_sample_write(s) == 0);
    require(vocab_sample_open(s, &files[spm], &t, NULL) == SL_OK);
    return t;
}

static void stream(const sl_tokenizer *t, const sl_ids *ids) {
    const sl_slice stops[] = {sl_slice_of("ab"), sl_slice_of("aba\n"), sl_slice_of("\xEF\xBF\xBD")};
    for (size_t n_stops = 0; n_stops <= 3; n_stops += 3) {
        sl_detokenizer d;
        sl_detokenizer_init(&d, t, stops, n_stops, false);
        sl_buf out;
        sl_buf_init(&out, (size_t)64 << 20);
        bool stopped;
        for (size_t i = 0; i < ids->n; i++) {
            require(sl_detokenizer_push(&d, ids->ids[i], &out, &stopped, NULL) == SL_OK);
        }
        require(sl_detokenizer_finish(&d, &out, NULL) == SL_OK);
        require(sl_utf8_valid_prefix(out.data, out.len) == out.len);
        sl_buf_deinit(&out);
        sl_detokenizer_deinit(&d);
    }
}

static void there_and_back(const sl_tokenizer *t, sl_slice text, bool parse, bool exact) {
    sl_ids ids;
    sl_ids_init(&ids, (size_t)1 << 24);
    require(sl_tokenizer_encode(t, text, parse, &ids, NULL) == SL_OK);
    sl_buf out;
    sl_buf_init(&out, (size_t)64 << 20);
    require(sl_tokenizer_decode(t, ids.ids, ids.n, true, true, &out, NULL) == SL_OK);
    if (exact) {
        require(sl_slice_eq((sl_slice){out.data, out.len}, text));
    }
    stream(t, &ids);
    sl_buf_deinit(&out);
    sl_ids_deinit(&ids);
}

/* A closed middle is no error, and a text that is closed as a whole has no control tokens. */
static void closed_spans(const sl_tokenizer *t, sl_slice text) {
    sl_span middle = {text.len / 3, 2 * (text.len / 3)};
    sl_span all = {0, text.len};
    sl_ids ids;
    sl_ids_init(&ids, (size_t)1 << 24);
    require(sl_tokenizer_encode_spans(t, text, &(sl_spans){&middle, 1}, &ids, NULL) == SL_OK);
    ids.n = 0;
    require(sl_tokenizer_encode_spans(t, text, &(sl_spans){&all, 1}, &ids, NULL) == SL_OK);
    for (size_t i = 0; i < ids.n; i++) {
        require(!sl_tokenizer_is_control(t, ids.ids[i]));
    }
    sl_ids_deinit(&ids);
}

static void open_vocabulary(const uint8_t *data, size_t size) {
    sl_gguf *file = NULL;
    if (sl_gguf_open_memory("fuzz", data, size, &file, NULL) != SL_OK) {
        return;
    }
    sl_tokenizer *t = NULL;
    sl_error err = {0};
    if (sl_tokenizer_open(file, &t, &err) == SL_OK) {
        there_and_back(t, sl_slice_of(" ab <s> a1234 \xC3\xA9\xFF\n\n<|im_end|>"), true, false);
        for (int32_t id = 0; id < (int32_t)sl_tokenizer_n_vocab(t); id++) {
            (void)sl_tokenizer_is_eog(t, id);
        }
        require(sl_tokenizer_bos(t) < (int32_t)sl_tokenizer_n_vocab(t));
        sl_tokenizer_close(t);
    } else {
        require(err.message[0] != '\0');
    }
    sl_gguf_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static sl_tokenizer *bpe, *spm;
    if (bpe == NULL) {
        bpe = open_sample(false);
        spm = open_sample(true);
    }
    if (size == 0) {
        return 0;
    }
    sl_slice text = {(const char *)data + 1, size - 1};
    switch (data[0]) {
    case 'v':
        open_vocabulary(data + 1, size - 1);
        break;
    case 'b':
        there_and_back(bpe, text, false, true);
        break;
    case 'B':
        there_and_back(bpe, text, true, true);
        closed_spans(bpe, text);
        break;
    case 's': {
        bool has_mark = false; /* U+2581 itself comes back as a space */
        for (size_t i = 0; i + 3 <= text.len; i++) {
            has_mark = has_mark || memcmp(text.ptr + i, "\xE2\x96\x81", 3) == 0;
        }
        there_and_back(spm, text, false, !has_mark);
        break;
    }
    default:
        there_and_back(spm, text, true, false);
        closed_spans(spm, text);
        break;
    }
    return 0;
}
