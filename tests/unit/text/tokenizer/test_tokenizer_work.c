/* No text is slow: over twenty nasty texts the operations per byte at 1 MB (less where many
 * vocabularies are tried) are at most twice those at a sixteenth of it. Work is counted, not
 * timed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "text/tokenizer/pretokenizer.h"
#include "text/tokenizer/vocab_samples.h"

typedef struct nasty_text {
    const char *name, *unit; /* the unit is repeated; NULL: pseudo-random bytes of `mask` */
    unsigned mask;
} nasty_text;

static const nasty_text TEXTS[] = {
    {"spaces", " ", 0},
    {"one letter", "a", 0},
    {"digits", "7", 0},
    {"emoji", "\xF0\x9F\x99\x82", 0},
    {"alternating white space", " \n", 0},
    {"tabs and spaces", "\t \t  ", 0},
    {"carriage returns", "\r\n\r \n", 0},
    {"Chinese without spaces", "\xE4\xBB\x8A\xE5\xA4\xA9\xE5\xA4\xA9\xE6\xB0\x94", 0},
    {"invalid bytes", "\xFF", 0},
    {"continuation bytes", "\x80\xBF", 0},
    {"cut characters", "\xF0\x9F\x99", 0},
    {"beginnings of special tokens", "<|im_", 0},
    {"special tokens", "<|im_start|>", 0},
    {"apostrophes", "'", 0},
    {"contractions", "'s'LL've", 0},
    {"capitals", "A", 0},
    {"letters and digits", "a1", 0},
    {"space marks", "\xE2\x96\x81", 0},
    {"combining marks", "e\xCC\x81\xCC\x81", 0},
    {"random letters", NULL, 0x63},
    {"random bytes", NULL, 0xFF},
    {"wide spaces", "\xE3\x80\x80 \xC2\xA0", 0},
    {"punctuation", "/*-+=.,(){}", 0},
    {"joined emoji", "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7", 0},
    {"one long word", "aGVsbG8gd29ybGQvK3h5eg", 0},
    {"alternating pairs", "abba", 0},
    {"nearly one token", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 0},
    {"Hangul", "\xEC\x95\x88\xEB\x85\x95", 0},
    {"line breaks", "\n", 0},
};
#define N_TEXTS (sizeof(TEXTS) / sizeof(TEXTS[0]))
#define LARGE ((size_t)1 << 20)

static vocab_sample sample;
static sl_gguf *file;
static sl_tokenizer *tok;
static char *text;

static void fill_text(const nasty_text *nasty, size_t len) {
    uint32_t random = 1;
    size_t n_unit = nasty->unit == NULL ? 1 : strlen(nasty->unit);
    for (size_t i = 0; i < len; i++) {
        random = random * 1664525u + 1013904223u;
        text[i] = nasty->unit == NULL ? (char)((random >> 16) & nasty->mask)
                                      : nasty->unit[i % n_unit];
    }
}

static double work_per_byte(size_t len) {
    sl_ids ids;
    sl_ids_init(&ids, SIZE_MAX / 64);
    uint64_t before = sl_tokenizer_work();
    assert_int_equal(sl_tokenizer_encode(tok, (sl_slice){text, len}, true, &ids, NULL), SL_OK);
    uint64_t work = sl_tokenizer_work() - before;
    assert_true(work >= len / 2); /* the counter counts */
    sl_ids_deinit(&ids);
    return (double)work / (double)len;
}

static void check_all_texts(size_t len) {
    text = malloc(len);
    int n_bad = 0;
    for (size_t i = 0; i < N_TEXTS; i++) {
        fill_text(&TEXTS[i], len);
        double small = work_per_byte(len / 16), large = work_per_byte(len);
        if (large > 2 * small || large > 400) {
            print_error("%s, %s: %.1f operations per byte, %.1f in a sixteenth\n",
                        sl_tokenizer_kind(tok), TEXTS[i].name, large, small);
            n_bad++;
        }
    }
    free(text);
    assert_int_equal(n_bad, 0);
}

static void open_or_fail(void) {
    sl_error err = {0};
    assert_int_equal(vocab_sample_write(&sample), 0);
    if (vocab_sample_open(&sample, &file, &tok, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
}

/* Long tokens of one letter, so that merging goes through many levels. */
static char runs[12][2][4100];

static void fill_bpe(const char *pre) {
    vocab_sample_init(&sample, "gpt2", pre);
    vocab_sample_add_bytes(&sample);
    vocab_sample_add(&sample, "<|im_start|>", 3, 0);
    vocab_sample_add(&sample, "<|im_end|>", 4, 0);
    static char rules[12][2][8300];
    static const char *const letters[2] = {"a", "\xC4\xA0"}; /* and the space in GPT-2's spelling */
    for (size_t k = 0; k < 2; k++) {
        size_t unit = strlen(letters[k]);
        for (size_t level = 0; level < 11; level++) {
            size_t half = unit << level;
            for (size_t i = 0; i < 2 * half; i++) {
                runs[level][k][i] = letters[k][i % unit];
            }
            runs[level][k][2 * half] = 0;
            snprintf(rules[level][k], sizeof(rules[0][0]), "%.*s %.*s", (int)half, runs[level][k],
                     (int)half, runs[level][k]);
            vocab_sample_add(&sample, runs[level][k], 1, 0);
            vocab_sample_merge(&sample, rules[level][k]);
        }
    }
    open_or_fail();
}

static void test_byte_level(void **state) {
    (void)state;
    fill_bpe("llama-bpe");
    check_all_texts(LARGE);
    vocab_sample_close(&sample, file, tok);
}

static void test_byte_level_whole_words(void **state) {
    (void)state;
    fill_bpe("bloom"); /* cuts least: the longest words */
    check_all_texts(LARGE / 4);
    vocab_sample_close(&sample, file, tok);
}

static void test_sentencepiece(void **state) {
    (void)state;
    vocab_sample_init(&sample, "llama", NULL);
    sample.no_merges = true;
    vocab_sample_add_spm(&sample);
    vocab_sample_add(&sample, "<|im_start|>", 3, 0);
    vocab_sample_add(&sample, "a\xE2\x96\x81", 1,
                     -1); /* reaches over spaces: nothing is cut up first */
    static const char *const letters[2] = {"a", "\xE2\x96\x81"};
    for (size_t k = 0; k < 2; k++) {
        size_t unit = strlen(letters[k]);
        vocab_sample_add(&sample, letters[k], 1, -9);
        for (size_t level = 0; level < 6; level++) {
            for (size_t i = 0; i < (unit << (level + 1)); i++) {
                runs[level][k][i] = letters[k][i % unit];
            }
            runs[level][k][unit << (level + 1)] = 0;
            vocab_sample_add(&sample, runs[level][k], 1, (float)level);
        }
    }
    open_or_fail();
    check_all_texts(LARGE);
    vocab_sample_close(&sample, file, tok);
}

static void test_raw(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gemma4", NULL);
    vocab_sample_add_spm(&sample);
    vocab_sample_add(&sample, "<|im_start|>", 3, 0);
    static char rules[12][2][8300];
    static const char *const letters[2] = {"a", "\xE2\x96\x81"};
    for (size_t k = 0; k < 2; k++) {
        size_t unit = strlen(letters[k]);
        vocab_sample_add(&sample, letters[k], 1, 0);
        for (size_t level = 0; level < 10; level++) {
            size_t half = unit << level;
            for (size_t i = 0; i < 2 * half; i++) {
                runs[level][k][i] = letters[k][i % unit];
            }
            runs[level][k][2 * half] = 0;
            snprintf(rules[level][k], sizeof(rules[0][0]), "%.*s %.*s", (int)half, runs[level][k],
                     (int)half, runs[level][k]);
            vocab_sample_add(&sample, runs[level][k], 1, 0);
            vocab_sample_merge(&sample, rules[level][k]);
        }
    }
    open_or_fail();
    check_all_texts(LARGE);
    vocab_sample_close(&sample, file, tok);
}

/* All runs of `a` up to some length, and one that nearly matches everywhere. */
static void add_runs(const char *mark, size_t n) {
    static char texts[64][80];
    for (size_t i = 0; i <= n; i++) {
        size_t len = i < n ? i + 1 : n;
        size_t n_mark = strlen(mark);
        memcpy(texts[i], mark, n_mark);
        memset(texts[i] + n_mark, 'a', len);
        texts[i][n_mark + len] = i < n ? '\0' : 'b';
        texts[i][n_mark + len + 1] = '\0';
        vocab_sample_add(&sample, texts[i], 1, -(float)(i % 7));
    }
}

static void fill_unigram(bool spans) {
    vocab_sample_init(&sample, "t5", NULL);
    sample.no_merges = true;
    vocab_sample_add(&sample, "<pad>", 3, 0);
    vocab_sample_add(&sample, "</s>", 3, 0);
    vocab_sample_add(&sample, "<unk>", 2, 0);
    vocab_sample_add(&sample, "<|im_start|>", 3, 0);
    static const char *const words[] = {
        "\xE2\x96\x81", "\xE2\x96\x81\xE2\x96\x81", "1", "\xC3\xA9", "\xE4\xBB\x8A", "<", "b"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        vocab_sample_add(&sample, words[i], 1, -3);
    }
    vocab_sample_add(&sample, spans ? "a\xE2\x96\x81" : "c", 1, -3);
    add_runs("", 40);
    sample.add_prefix = 1;
    sample.joins_spaces = !spans;
}

/* Words one by one, and all of a text at once where a token reaches over spaces. */
static void test_unigram(void **state) {
    (void)state;
    for (int spans = 0; spans < 2; spans++) {
        fill_unigram(spans != 0);
        open_or_fail();
        check_all_texts(LARGE / 4);
        vocab_sample_close(&sample, file, tok);
    }
}

static void test_wordpiece(void **state) {
    (void)state;
    vocab_sample_init(&sample, "bert", NULL);
    sample.no_merges = true;
    vocab_sample_add(&sample, "[UNK]", 2, 0);
    vocab_sample_add(&sample, "[CLS]", 3, 0);
    vocab_sample_add(&sample, "[SEP]", 3, 0);
    vocab_sample_add(&sample, "<|im_start|>", 3, 0);
    add_runs("", 40);
    vocab_sample_add(&sample,
                     "\xE2\x96\x81"
                     "a",
                     1, 0);
    vocab_sample_add(&sample, "\xE2\x96\x81'", 1, 0);
    vocab_sample_add(&sample,
                     "\xE2\x96\x81"
                     "e",
                     1, 0);
    vocab_sample_add(&sample, "e", 1, 0);
    open_or_fail();
    check_all_texts(LARGE);
    vocab_sample_close(&sample, file, tok);
}

/* Special texts that nearly match everywhere: aa...a and aa...ab of many lengths. */
static void test_special_texts(void **state) {
    (void)state;
    static char special[300][400];
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    for (size_t i = 0; i < 300; i++) {
        memset(special[i], 'a', i + 50);
        special[i][i + 50] = i % 2 == 0 ? 'b' : 'c';
        vocab_sample_add(&sample, special[i], 3, 0);
    }
    open_or_fail();
    check_all_texts(LARGE / 8);
    vocab_sample_close(&sample, file, tok);
}

static void test_every_pretokenizer(void **state) {
    (void)state;
    static const char *const names[] = {
        "default",        "gpt-2",       "smollm",   "llama-bpe", "qwen2",   "qwen35",
        "gpt-4o",         "tekken",      "falcon",   "bloom",     "viking",  "deepseek-llm",
        "deepseek-coder", "deepseek-v3", "minicpm5", "jais-2",    "laguna",  "seed-coder",
        "ufakzeka",       "exaone-moe",  "tiny_aya", "youtu",     "kimi-k2", "chameleon",
        "superbpe",       "spark2_5",    "afmoe",    "gemma4"};
    size_t len = LARGE / 8;
    text = malloc(len);
    sl_char *ch = malloc(len * sizeof(*ch));
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        const sl_pretokenizer *pre = sl_pretokenizer_find(sl_slice_of(names[k]));
        assert_non_null(pre);
        for (size_t i = 0; i < N_TEXTS; i++) {
            fill_text(&TEXTS[i], len);
            size_t n_small = sl_pretokenizer_classify((sl_slice){text, len / 16}, ch);
            double small = (double)sl_pretokenizer_cut(pre, ch, n_small) / (double)n_small;
            size_t n_large = sl_pretokenizer_classify((sl_slice){text, len}, ch);
            double large = (double)sl_pretokenizer_cut(pre, ch, n_large) / (double)n_large;
            if (large > 2 * small || large > 60) {
                fail_msg("%s, %s: %.1f operations per character, %.1f in a sixteenth", names[k],
                         TEXTS[i].name, large, small);
            }
        }
    }
    assert_null(sl_pretokenizer_find(sl_slice_of("")));
    free(ch);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level),    cmocka_unit_test(test_byte_level_whole_words),
        cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_raw),
        cmocka_unit_test(test_unigram),       cmocka_unit_test(test_wordpiece),
        cmocka_unit_test(test_special_texts), cmocka_unit_test(test_every_pretokenizer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
