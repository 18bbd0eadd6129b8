/* Rules of the families that are not byte-level: Unigram, WordPiece, raw BPE; tokens that are
 * special by their names; and files of these kinds that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/vocab_samples.h"

#define MARK "\xE2\x96\x81"

static vocab_sample sample;
static sl_gguf *file;
static sl_tokenizer *tok;

static void open_or_fail(void) {
    sl_error err = {0};
    assert_int_equal(vocab_sample_write(&sample), 0);
    if (vocab_sample_open(&sample, &file, &tok, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
}

static void close_all(void) {
    vocab_sample_close(&sample, file, tok);
    file = NULL;
    tok = NULL;
}

static void expect_refused(sl_status want, const char *part) {
    sl_error err = {0};
    assert_int_equal(vocab_sample_write(&sample), 0);
    sl_status status = vocab_sample_open(&sample, &file, &tok, &err);
    if (status != want || strstr(err.message, part) == NULL) {
        fail_msg("status %d, \"%s\"; want %d and \"%s\"", (int)status, err.message, (int)want,
                 part);
    }
    close_all();
}

static void expect_ids(const char *text, size_t len, bool add, bool parse, const int32_t *want,
                       size_t n) {
    sl_ids ids;
    sl_ids_init(&ids, 1 << 20);
    assert_int_equal(sl_tokenizer_encode_full(tok, (sl_slice){text, len}, add, parse, &ids, NULL),
                     SL_OK);
    if (ids.n != n || (n > 0 && memcmp(ids.ids, want, n * sizeof(*want)) != 0)) {
        print_error("\"%s\" gives", text);
        for (size_t i = 0; i < ids.n; i++) {
            print_error(" %d", (int)ids.ids[i]);
        }
        print_error("\n");
        fail();
    }
    sl_ids_deinit(&ids);
}

#define EXPECT(text, add, parse, ...)                                                              \
    do {                                                                                           \
        const int32_t want_[] = {__VA_ARGS__};                                                     \
        expect_ids(text, sizeof(text) - 1, add, parse, want_, sizeof(want_) / sizeof(want_[0]));   \
    } while (0)
#define EXPECT_NOTHING(text) expect_ids(text, sizeof(text) - 1, false, false, NULL, 0)

/* The text of ids, at once and streamed. */
static void expect_text(const int32_t *ids, size_t n, bool special, const char *want) {
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    assert_int_equal(sl_tokenizer_decode(tok, ids, n, true, special, &out, NULL), SL_OK);
    assert_string_equal(sl_buf_cstr(&out), want);
    sl_buf_clear(&out);
    sl_detokenizer d;
    sl_detokenizer_init(&d, tok, NULL, 0, special);
    d.state.at_start = true;
    bool stopped;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sl_detokenizer_push(&d, ids[i], &out, &stopped, NULL), SL_OK);
    }
    assert_int_equal(sl_detokenizer_finish(&d, &out, NULL), SL_OK);
    assert_string_equal(sl_buf_cstr(&out), want);
    sl_detokenizer_deinit(&d);
    sl_buf_deinit(&out);
}

#define EXPECT_TEXT(special, want, ...)                                                            \
    do {                                                                                           \
        const int32_t ids_[] = {__VA_ARGS__};                                                      \
        expect_text(ids_, sizeof(ids_) / sizeof(ids_[0]), special, want);                          \
    } while (0)

/* 0 <pad>, 1 </s>, 2 <unk>, then the words. */
static void start_unigram(void) {
    vocab_sample_init(&sample, "t5", NULL);
    sample.no_merges = true;
    vocab_sample_add(&sample, "<pad>", 3, 0);
    vocab_sample_add(&sample, "</s>", 3, 0);
    vocab_sample_add(&sample, "<unk>", 2, 0);
    vocab_sample_add(&sample, MARK, 1, -2);        /* 3 */
    vocab_sample_add(&sample, "a", 1, -3);         /* 4 */
    vocab_sample_add(&sample, "ab", 1, -4);        /* 5 */
    vocab_sample_add(&sample, "b", 1, -3);         /* 6 */
    vocab_sample_add(&sample, MARK "a", 1, -3.5F); /* 7 */
    vocab_sample_add(&sample, "<c>", 4, -50);      /* 8 */
    vocab_sample_add(&sample, "bb", 5, -4);        /* 9: unused, but text can become it */
    sample.add_prefix = 1;
    sample.joins_spaces = 1;
}

static void test_unigram(void **state) {
    (void)state;
    start_unigram();
    open_or_fail();
    assert_string_equal(sl_tokenizer_kind(tok), "unigram");
    EXPECT("a", false, false, 7);
    EXPECT("a", true, false, 7, 1); /* T5 ends with </s> and begins with nothing */
    EXPECT("", true, true, 1);
    EXPECT("ab", false, false, 3, 5); /* -6, better than 7 6 at -6.5 */
    EXPECT("bb", false, false, 3, 9);
    EXPECT("  a  a ", false, false, 7, 7); /* one space for a run, none at the ends */
    EXPECT_NOTHING("   ");
    EXPECT_NOTHING("");
    EXPECT("x\xC3\xA9y a", false, false, 3, 2, 7); /* a run of unknown text is one token */
    EXPECT("x a", false, false, 3, 2, 7);
    EXPECT("\xFF", false, false, 3, 2);
    EXPECT("a<c>a", false, false, 7, 8, 7); /* a user-defined one; the space comes anew */
    EXPECT("a</s>", false, true, 7, 1);
    EXPECT("a</s>", false, false, 7, 2);
    EXPECT_TEXT(true, "a ab</s>", 7, 3, 5, 1);
    EXPECT_TEXT(false, "ab", 3, 5, 1);
    close_all();
}

static void test_unigram_keeps_spaces(void **state) {
    (void)state;
    start_unigram();
    vocab_sample_add(&sample, "a" MARK "b", 1, -1); /* 10: reaches over a space */
    sample.joins_spaces = 0;
    open_or_fail();
    EXPECT("a  a", false, false, 7, 3, 7);
    EXPECT(" a", false, false, 3, 7);
    EXPECT("a b", false, false, 3, 10);
    EXPECT("xy", false, false, 3, 2);
    close_all();
    start_unigram();
    for (unsigned b = 0; b < 256; b++) { /* 10 + byte: unknown text is bytes */
        snprintf(sample.bytes[b], sizeof(sample.bytes[b]), "<0x%02X>", b);
        vocab_sample_add(&sample, sample.bytes[b], 6, 0);
    }
    open_or_fail();
    EXPECT("xy\xFF", false, false, 3, 10 + 'x', 10 + 'y', 10 + 0xEF, 10 + 0xBF, 10 + 0xBD);
    EXPECT_TEXT(false, "xy", 3, 10 + 'x', 10 + 'y');
    close_all();
    start_unigram();
    sample.add_prefix = 0;
    open_or_fail();
    EXPECT(" a a", false, false, 4, 7);
    close_all();
}

/* A map of one rule, "a" to "bb": unit 0 leads to unit 0x61, whose value is unit 0x60. */
static size_t fill_charsmap(uint8_t *out, const char *values, size_t n_values) {
    memset(out, 0, 4 + 4 * 256);
    out[1] = 4; /* 1024 bytes of units */
    const uint32_t unit = 0x61 | 1u << 8 | 1u << 10;
    for (size_t i = 0; i < 4; i++) {
        out[4 + 4 * 0x61 + i] = (uint8_t)(unit >> (8 * i));
    }
    memcpy(out + 4 + 4 * 256, values, n_values);
    return 4 + 4 * 256 + n_values;
}

static void test_charsmap(void **state) {
    (void)state;
    static uint8_t map[2048];
    start_unigram();
    sample.charsmap = map;
    sample.n_charsmap = fill_charsmap(map, "bb", 3);
    open_or_fail();
    EXPECT("a", false, false, 3, 9);
    EXPECT("bxa", false, false, 3, 6, 2, 9);
    close_all();
    static const struct {
        size_t n_values; /* of which the first `n_zero` bytes are "bb" and the rest no end */
        size_t n;        /* bytes of the map in all; 0: as it is */
    } wrong[] = {{2, 0}, {300, 0}, {3, 3}, {3, 100}, {3, 4 + 4 * 256}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        static char values[300];
        memset(values, 'b', sizeof(values));
        values[2] = wrong[i].n_values == 3 ? '\0' : 'b';
        start_unigram();
        sample.charsmap = map;
        sample.n_charsmap = fill_charsmap(map, values, wrong[i].n_values);
        sample.n_charsmap = wrong[i].n == 0 ? sample.n_charsmap : wrong[i].n;
        expect_refused(SL_ERR_FORMAT, "tokenizer.ggml.precompiled_charsmap");
    }
    /* Units that lead out of the array are no rules. */
    start_unigram();
    sample.charsmap = map;
    sample.n_charsmap = fill_charsmap(map, "bb", 3);
    memset(map + 4, 0xFF, 4);
    open_or_fail();
    EXPECT("a", false, false, 7);
    close_all();
}

/* 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], then the words. */
static void start_wordpiece(void) {
    vocab_sample_init(&sample, "bert", "default");
    sample.no_merges = true;
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
    for (size_t i = 0; i < 4; i++) {
        vocab_sample_add(&sample, special[i], 3, 0);
    }
    static const char *const words[] = {MARK "a",        "b",      "bc",     MARK "'",
                                        MARK ".",        MARK "s", MARK "A", MARK "\xE4\xBD\xA0",
                                        MARK "\xC3\xA9", MARK "e"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        vocab_sample_add(&sample, words[i], 1, 0); /* 4 ... 13 */
    }
}

static void test_wordpiece(void **state) {
    (void)state;
    start_wordpiece();
    open_or_fail();
    assert_string_equal(sl_tokenizer_kind(tok), "wordpiece");
    assert_int_equal(sl_tokenizer_bos(tok), 2); /* by their texts */
    assert_int_equal(sl_tokenizer_unk(tok), 1);
    EXPECT("a", true, false, 2, 4, 3);
    EXPECT("", true, false, 2, 3);
    EXPECT("ABC abb", false, false, 4, 6, 4, 5, 5); /* longest first */
    EXPECT("abx a", false, false, 1, 4);            /* the whole word is unknown */
    EXPECT("a.a'a", false, false, 4, 8, 4, 7, 4);
    EXPECT("a\xE4\xBD\xA0\xE4\xBD\xA0", false, false, 4, 11, 11);
    EXPECT("\xC3\x89 e\xCC\x81", false, false, 13, 13); /* accents go */
    EXPECT("a\xE2\x80\x8B\x01\xFF"
           "b",
           false, false, 4, 5); /* what is no text goes, too */
    EXPECT("[SEP]", true, true, 2, 3, 3);
    EXPECT("a [SEP]", false, false, 4, 1, 1, 1);
    EXPECT_NOTHING(" \t\n\xC2\xA0");
    EXPECT_TEXT(false, " a. a", 4, 8, 4);
    EXPECT_TEXT(false, " a's", 4, 7, 9); /* nothing beside an apostrophe between words */
    EXPECT_TEXT(false, " a '. s", 4, 7, 8, 9);
    EXPECT_TEXT(false, " ab '", 4, 5, 7);
    EXPECT_TEXT(true, "[CLS] a '[SEP]", 2, 4, 7, 3);
    close_all();
}

static void test_wordpiece_options(void **state) {
    (void)state;
    start_wordpiece();
    sample.lowers = 0; /* and so accents stay */
    sample.cls = 0;
    sample.sep = 1;
    sample.add_bos = sample.add_eos = 0; /* these speak of other families */
    open_or_fail();
    EXPECT("A \xC3\xA9", true, false, 0, 10, 12, 1);
    close_all();
    start_wordpiece();
    sample.lowers = 0;
    sample.strips = 1;
    open_or_fail();
    EXPECT("A \xC3\xA9", false, false, 10, 13);
    close_all();
}

/* The spelling of BERT's own files. */
static void test_wordpiece_spelling(void **state) {
    (void)state;
    vocab_sample_init(&sample, "bert", NULL);
    sample.no_merges = true;
    vocab_sample_add(&sample, "[CLS]", 3, 0);
    vocab_sample_add(&sample, "[SEP]", 3, 0);
    vocab_sample_add(&sample, "[UNK]", 2, 0);
    vocab_sample_add(&sample, "un", 1, 0);
    vocab_sample_add(&sample, "##able", 1, 0);
    vocab_sample_add(&sample, "able", 1, 0);
    vocab_sample_add(&sample, "#", 1, 0);
    open_or_fail();
    EXPECT("unable able", true, false, 0, 3, 4, 5, 1);
    EXPECT("##able", false, false, 6, 6, 5);
    EXPECT_TEXT(false, " unable able", 3, 4, 5);
    assert_int_equal(sl_tokenizer_find(tok, sl_slice_of("able")), 4); /* as it is spelt now */
    close_all();
}

static void start_raw(void) {
    vocab_sample_init(&sample, "gemma4", NULL);
    vocab_sample_add_spm(&sample);             /* 3 + byte */
    vocab_sample_add(&sample, "a", 1, 0);      /* 259 */
    vocab_sample_add(&sample, MARK, 1, 0);     /* 260 */
    vocab_sample_add(&sample, MARK "a", 1, 0); /* 261 */
    vocab_sample_add(&sample, "\n", 1, 0);     /* 262 */
    vocab_sample_add(&sample, "\n\n\n", 1, 0); /* 263: no merge leads to it */
    vocab_sample_add(&sample, "a" MARK, 1, 0); /* 264 */
    vocab_sample_merge(&sample, MARK " a");
    vocab_sample_merge(&sample, "a " MARK);
    sample.bos = 1;
}

static void test_raw(void **state) {
    (void)state;
    start_raw();
    sample.add_bos = 0; /* published files say so by mistake */
    open_or_fail();
    EXPECT("a", true, false, 1, 259);
    EXPECT("a a", false, false, 259, 261); /* over what elsewhere were words, by rank */
    EXPECT("a \n\n\na", false, false, 264, 263, 259);
    EXPECT("\n\n", false, false, 262, 262);
    EXPECT("\xC3\xA9\xFF", false, false, 3 + 0xC3, 3 + 0xA9, 3 + 0xFF);
    EXPECT_TEXT(false, "a a\xC3\xA9", 259, 261, 3 + 0xC3, 3 + 0xA9);
    EXPECT_TEXT(false, " a", 261); /* no space was put in front */
    close_all();
}

/* Names that make a token special: what the file calls normal or user-defined is the token in a
 * template and plain text in content. */
static void test_named(void **state) {
    (void)state;
    for (int markup = 0; markup < 2; markup++) {
        start_raw();
        int32_t id = vocab_sample_add(&sample, "</t>", 4, 0);
        if (markup != 0) {
            vocab_sample_add(&sample, "<|tool_response>", 3, 0);
        }
        int32_t fim = vocab_sample_add(&sample, "<PRE>", 4, 0);
        sample.tokens[2] = sl_slice_of("</s>"); /* from vocab_sample_add_spm */
        sample.types[2] = 4;
        open_or_fail();
        EXPECT("a</t>", false, false, 259, id);
        EXPECT("a<PRE>", false, true, 259, fim);
        EXPECT("<PRE>", false, false, 3 + '<', 3 + 'P', 3 + 'R', 3 + 'E', 3 + '>');
        if (markup != 0) {
            EXPECT("</s>", false, true, 3 + '<', 3 + '/', 3 + 's', 3 + '>');
        } else {
            EXPECT("</s>", false, true, 2);
            EXPECT("</s>", false, false, 3 + '<', 3 + '/', 3 + 's', 3 + '>');
        }
        EXPECT_TEXT(false, "</s>", 2); /* an answer may hold it */
        assert_false(sl_tokenizer_is_eog(tok, 2));
        close_all();
    }
}

/* gpt-oss: <|end|> ends a part of an answer. */
static void test_answers_in_parts(void **state) {
    (void)state;
    for (int parts = 0; parts < 2; parts++) {
        start_raw();
        int32_t end = vocab_sample_add(&sample, "<|end|>", 3, 0);
        int32_t ret = vocab_sample_add(&sample, "<|return|>", 3, 0);
        int32_t call = parts != 0 ? vocab_sample_add(&sample, "<|call|>", 3, 0) : ret;
        open_or_fail();
        assert_int_equal(sl_tokenizer_is_eog(tok, end), parts == 0);
        assert_true(sl_tokenizer_is_eog(tok, ret) && sl_tokenizer_is_eog(tok, call));
        assert_true(sl_tokenizer_is_control(tok, end));
        close_all();
    }
}

static void test_wrong_files(void **state) {
    (void)state;
    start_unigram();
    sample.n_scores = 0;
    expect_refused(SL_ERR_NOT_FOUND, "tokenizer.ggml.scores");
    static char longest[1026];
    memset(longest, 'a', sizeof(longest) - 1);
    start_wordpiece();
    vocab_sample_add(&sample, longest, 1, 0);
    expect_refused(SL_ERR_UNSUPPORTED, "1025 bytes");
    start_raw();
    sample.no_merges = true;
    expect_refused(SL_ERR_NOT_FOUND, "tokenizer.ggml.merges");
    vocab_sample_init(&sample, "gpt2", "words-of-mine");
    vocab_sample_add_bytes(&sample);
    expect_refused(SL_ERR_UNSUPPORTED, "'words-of-mine'");
    vocab_sample_init(&sample, "plamo2", NULL);
    vocab_sample_add_bytes(&sample);
    expect_refused(SL_ERR_UNSUPPORTED, "'plamo2'");
}

/* Too many tokens, and each allocation that fails once: an error, and nothing left behind. */
static void test_no_room(void **state) {
    (void)state;
    static void (*const start[])(void) = {start_unigram, start_wordpiece, start_raw};
    static char text[3000];
    memset(text, 'a', sizeof(text));
    for (size_t i = 1; i < sizeof(text); i += 2) {
        text[i] = ' ';
    }
    for (size_t kind = 0; kind < 3; kind++) {
        start[kind]();
        open_or_fail();
        sl_ids few;
        sl_ids_init(&few, 100);
        assert_int_equal(sl_ids_push(&few, 7), SL_OK);
        assert_int_equal(sl_tokenizer_encode(tok, (sl_slice){text, sizeof(text)}, true, &few, NULL),
                         SL_ERR_LIMIT);
        assert_int_equal(few.n, 1);
        sl_ids_deinit(&few);
        bool done = false;
        for (uint64_t n = 1; !done; n++) {
            assert_true(n < 500);
            sl_tokenizer *second = NULL;
            sl_ids ids;
            sl_ids_init(&ids, 1 << 20);
            sl_alloc_fail_nth(n, false);
            sl_status status = sl_tokenizer_open(file, &second, NULL);
            if (status == SL_OK) {
                status = sl_tokenizer_encode(second, (sl_slice){text, sizeof(text)}, true, &ids,
                                             NULL);
            }
            sl_alloc_fail_nth(0, false);
            done = status == SL_OK;
            assert_true(done || status == SL_ERR_MEMORY);
            sl_ids_deinit(&ids);
            sl_tokenizer_close(second);
        }
        close_all();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_unigram),
                                       cmocka_unit_test(test_unigram_keeps_spaces),
                                       cmocka_unit_test(test_charsmap),
                                       cmocka_unit_test(test_wordpiece),
                                       cmocka_unit_test(test_wordpiece_options),
                                       cmocka_unit_test(test_wordpiece_spelling),
                                       cmocka_unit_test(test_raw),
                                       cmocka_unit_test(test_named),
                                       cmocka_unit_test(test_answers_in_parts),
                                       cmocka_unit_test(test_wrong_files),
                                       cmocka_unit_test(test_no_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
