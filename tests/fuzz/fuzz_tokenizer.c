/* Fuzz target: the first byte says what the rest is.
 *   'v': a GGUF file; if it opens as a vocabulary, a fixed text goes through it and back
 *   'c': a precompiled character map; if it opens, a fixed text goes through it
 *   'b', 's', 'r', 'u', 'w': text for a byte-level, SentencePiece, raw, Unigram and WordPiece
 *   vocabulary; in the first three it must come back as it went (capitals: special texts are
 *   recognised, with nothing promised about the way back)
 * What is streamed must be valid UTF-8 whatever the ids. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/detokenizer.h"

#include "../unit/text/tokenizer/vocab_samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

#define MARK "\xE2\x96\x81"

static void fill_bpe(vocab_sample *s) {
    vocab_sample_init(s, "gpt2", "llama-bpe");
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

static const char *const WORDS[] = {
    MARK,   MARK MARK,  "a",    "b",      "ab",     "ba",     (MARK "a"),          "aa",
    "aaaa", "\xC3\xA9", "abab", MARK "'", MARK ".", MARK "s", MARK "\xE4\xBD\xA0", "12"};
#define N_WORDS (sizeof(WORDS) / sizeof(WORDS[0]))

static void fill_raw(vocab_sample *s) {
    vocab_sample_init(s, "gemma4", NULL);
    vocab_sample_add_spm(s);
    static const char *const rules[] = {"a b",   "b a",     "a a",        "aa aa",
                                        "ab ab", MARK " a", MARK " " MARK};
    for (size_t i = 0; i < N_WORDS; i++) {
        vocab_sample_add(s, WORDS[i], 1, 0);
    }
    vocab_sample_add(s, "\n\n", 1, 0);
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        vocab_sample_merge(s, rules[i]);
    }
}

static void fill_spm(vocab_sample *s) {
    vocab_sample_init(s, "llama", NULL);
    vocab_sample_add_spm(s);
    for (size_t i = 0; i < N_WORDS; i++) {
        vocab_sample_add(s, WORDS[i], 1, -(float)i);
    }
    s->no_merges = true;
}

static void fill_unigram(vocab_sample *s) {
    vocab_sample_init(s, "t5", NULL);
    vocab_sample_add(s, "<pad>", 3, 0);
    vocab_sample_add(s, "</s>", 3, 0);
    vocab_sample_add(s, "<unk>", 2, 0);
    for (size_t i = 0; i < N_WORDS; i++) {
        vocab_sample_add(s, WORDS[i], 1, -(float)i);
    }
    s->add_prefix = s->joins_spaces = 1;
    s->no_merges = true;
}

static void fill_wordpiece(vocab_sample *s) {
    vocab_sample_init(s, "bert", NULL);
    vocab_sample_add(s, "[UNK]", 2, 0);
    vocab_sample_add(s, "[CLS]", 3, 0);
    vocab_sample_add(s, "[SEP]", 3, 0);
    for (size_t i = 0; i < N_WORDS; i++) {
        vocab_sample_add(s, WORDS[i], 1, 0);
    }
    s->no_merges = true;
}

static sl_tokenizer *open_sample(size_t kind) {
    static void (*const fill[])(vocab_sample *) = {fill_bpe, fill_spm, fill_raw, fill_unigram,
                                                   fill_wordpiece};
    static vocab_sample samples[5]; /* the files live as long as the program */
    static sl_gguf *files[5];
    vocab_sample *s = &samples[kind];
    fill[kind](s);
    vocab_sample_add(s, "<|im_start|>", 3, 0);
    vocab_sample_add(s, "<|im_end|>", 3, 0);
    vocab_sample_add(s, "<|im", 3, 0);
    sl_tokenizer *t;
    require(vocab_sample_write(s) == 0);
    require(vocab_sample_open(s, &files[kind], &t, NULL) == SL_OK);
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

/* Whatever opens as a map answers for every place of a text, and never with more than there is. */
static void open_charsmap(const uint8_t *data, size_t size) {
    static const char text[] = "ab\xC3\xA9 \xEF\xBC\xA1 e\xCC\x81\xFF";
    sl_charsmap map;
    if (sl_charsmap_open(&map, data, size) != SL_OK) {
        return;
    }
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        sl_slice value = {NULL, 0};
        uint64_t work = 0;
        size_t n = sl_charsmap_find(&map, text + i, sizeof(text) - 1 - i, &value, &work);
        require(n <= sizeof(text) - 1 - i && value.len <= SL_CHARSMAP_VALUE_MAX);
    }
}

static bool has_mark(sl_slice text) {
    for (size_t i = 0; i + 3 <= text.len; i++) {
        if (memcmp(text.ptr + i, MARK, 3) == 0) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char kinds[] = "bsruw";
    static sl_tokenizer *tokenizers[5];
    for (size_t i = 0; i < 5 && tokenizers[i] == NULL; i++) {
        tokenizers[i] = open_sample(i);
    }
    if (size == 0) {
        return 0;
    }
    sl_slice text = {(const char *)data + 1, size - 1};
    if (data[0] == 'v') {
        open_vocabulary(data + 1, size - 1);
    } else if (data[0] == 'c') {
        open_charsmap(data + 1, size - 1);
    } else {
        char kind = (char)(data[0] | 0x20);
        const char *at = strchr(kinds, kind);
        size_t i = at == NULL || kind == '\0' ? 0 : (size_t)(at - kinds);
        bool parse = (data[0] & 0x20) == 0;
        /* U+2581 itself comes back as a space. */
        bool exact = i == 0 || (i < 3 && !parse && !has_mark(text));
        there_and_back(tokenizers[i], text, parse, exact);
        if (parse) {
            closed_spans(tokenizers[i], text);
        }
    }
    return 0;
}
