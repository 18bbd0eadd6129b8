/* The streaming detokenizer against a plain restatement of what it promises, over every way to cut
 * short texts into tokens and over many random ones. The tokens are the 256 bytes and some longer
 * texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/vocab_samples.h"

static vocab_sample sample;
static sl_gguf *file;
static sl_tokenizer *tok;
static int32_t id_control, id_user, id_stop_word;

static int open_sample(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    id_control = vocab_sample_add(&sample, "<|im_end|>", 3, 0);
    id_user = vocab_sample_add(&sample, "user\xC3\xA9", 4, 0);
    id_stop_word = vocab_sample_add(&sample, "abSTOPcd", 1, 0);
    sl_error err = {0};
    if (vocab_sample_write(&sample) != 0 ||
        vocab_sample_open(&sample, &file, &tok, &err) != SL_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int close_sample(void **state) {
    (void)state;
    vocab_sample_close(&sample, file, tok);
    return 0;
}

/* What the bytes mean, whole: one U+FFFD for each longest beginning of a character that goes
 * wrong. */
static size_t replace_invalid(const unsigned char *raw, size_t len, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        uint32_t code;
        size_t n_char = sl_utf8_decode((const char *)raw + i, len - i, &code);
        if (n_char > 0) {
            memcpy(out + n, raw + i, n_char);
            n += n_char;
            i += n_char;
            continue;
        }
        memcpy(out + n, "\xEF\xBF\xBD", 3);
        n += 3;
        /* The lead byte and what may follow it: the table of well-formed sequences, second byte
         * narrowed. */
        unsigned c = raw[i];
        size_t need = c >= 0xC2 && c <= 0xDF   ? 2
                      : c >= 0xE0 && c <= 0xEF ? 3
                      : c >= 0xF0 && c <= 0xF4 ? 4
                                               : 1;
        unsigned low = c == 0xE0   ? 0xA0
                       : c == 0xF0 ? 0x90
                                   : 0x80,
                 high = c == 0xED   ? 0x9F
                        : c == 0xF4 ? 0x8F
                                    : 0xBF;
        size_t used = 1;
        while (used < need && i + used < len && raw[i + used] >= low && raw[i + used] <= high) {
            used++;
            low = 0x80;
            high = 0xBF;
        }
        i += used;
    }
    return n;
}

/* Where the text ends: before the stop string that is complete first, the longest of several. */
static size_t find_stop(const char *text, size_t len, const sl_slice *stops, size_t n_stops,
                        bool *found) {
    *found = false;
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n_stops; i++) {
            if (stops[i].len > longest && stops[i].len <= end &&
                memcmp(text + end - stops[i].len, stops[i].ptr, stops[i].len) == 0) {
                longest = stops[i].len;
            }
        }
        if (longest > 0) {
            *found = true;
            return end - longest;
        }
    }
    return len;
}

/* Feeds ids; what came out must be valid at every moment, a beginning of the wanted text, and it in
 * the end. */
static void check_stream(const int32_t *ids, size_t n, const char *want, size_t want_len,
                         bool want_stop, const sl_slice *stops, size_t n_stops) {
    sl_detokenizer d;
    sl_detokenizer_init(&d, tok, stops, n_stops, false);
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    bool stopped = false;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sl_detokenizer_push(&d, ids[i], &out, &stopped, NULL), SL_OK);
        assert_true(out.len <= want_len);
        assert_int_equal(sl_utf8_valid_prefix(out.data, out.len), out.len);
    }
    assert_int_equal(sl_detokenizer_finish(&d, &out, NULL), SL_OK);
    assert_int_equal(d.stopped, want_stop);
    assert_true(!stopped || d.stopped); /* only what finish adds may stop later */
    assert_int_equal(out.len, want_len);
    assert_memory_equal(out.data == NULL ? "" : out.data, want, want_len);
    sl_buf_deinit(&out);
    sl_detokenizer_deinit(&d);
}

static void check_bytes(const unsigned char *raw, size_t len, const sl_slice *stops,
                        size_t n_stops) {
    char text[1024];
    int32_t ids[256];
    bool stop;
    assert_true(len <= 256);
    size_t n = replace_invalid(raw, len, text);
    size_t end = find_stop(text, n, stops, n_stops, &stop);
    for (size_t i = 0; i < len; i++) {
        ids[i] = raw[i];
    }
    check_stream(ids, len, text, end, stop, stops, n_stops);
}

static uint32_t random_state;
static uint32_t random_below(uint32_t n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static void test_random_bytes(void **state) {
    (void)state;
    static const unsigned char alphabet[] = {'a',  'b',  0xC3, 0xA9, 0xE4, 0xBD, 0xA0, 0xF0, 0x9F,
                                             0x99, 0x82, 0xED, 0x80, 0xFF, 0xF4, 0x90, 'a',  'b'};
    static const char *const words[] = {"a",
                                        "ab",
                                        "aba",
                                        "bab",
                                        "aab",
                                        "\xC3\xA9",
                                        "\xEF\xBF\xBD",
                                        "abab",
                                        "b\xEF\xBF\xBD",
                                        "aaab",
                                        ("\xE4\xBD\xA0"
                                         "a"),
                                        ""};
    random_state = 7;
    for (int round = 0; round < 30000; round++) {
        unsigned char raw[24];
        size_t len = random_below(sizeof(raw)), n_stops = random_below(4);
        uint32_t narrow = random_below(2) != 0 ? 2 : sizeof(alphabet);
        for (size_t i = 0; i < len; i++) {
            raw[i] = alphabet[random_below(narrow)];
        }
        sl_slice stops[4];
        for (size_t i = 0; i < n_stops; i++) {
            stops[i] = sl_slice_of(words[random_below(sizeof(words) / sizeof(words[0]))]);
        }
        check_bytes(raw, len, stops, n_stops);
    }
}

/* Every cut of a text into two and three tokens, and all bytes alone: vocabulary entries are made
 * for it. */
static void test_all_cuts(void **state) {
    (void)state;
    const char *text = "h\xC3\xA9\xF0\x9F\x99\x83 ST\xE2\x82\xAC.";
    static vocab_sample cuts;
    static char pieces[256][64];
    size_t len = strlen(text), n_pieces = 0;
    vocab_sample_init(&cuts, "llama", NULL); /* texts are taken as they are there */
    cuts.no_merges = true;
    vocab_sample_add_spm(&cuts);
    for (size_t i = 0; i < len; i++) {
        for (size_t k = i + 1; k <= len; k++) {
            snprintf(pieces[n_pieces], sizeof(pieces[0]), "%.*s", (int)(k - i), text + i);
            for (size_t m = 0; m < n_pieces; m++) {
                assert_string_not_equal(pieces[m],
                                        pieces[n_pieces]); /* ids follow from i and k alone */
            }
            vocab_sample_add(&cuts, pieces[n_pieces++], 4, 0);
        }
    }
    sl_gguf *cut_file;
    sl_tokenizer *cut_tok;
    sl_error err = {0};
    assert_int_equal(vocab_sample_write(&cuts), 0);
    if (vocab_sample_open(&cuts, &cut_file, &cut_tok, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    const sl_tokenizer *before = tok;
    const sl_slice stops[] = {sl_slice_of("ST\xE2\x82\xAC"), sl_slice_of("never")};
    tok = cut_tok;
    for (size_t i = 0; i <= len; i++) {
        for (size_t k = i; k <= len; k++) {
            size_t bounds[4] = {0, i, k, len};
            int32_t ids[3];
            size_t n = 0;
            for (size_t part = 0; part < 3; part++) {
                size_t from = bounds[part], to = bounds[part + 1], before_from = 0;
                for (size_t m = 0; m < from; m++) {
                    before_from += len - m;
                }
                if (to > from) {
                    ids[n++] = (int32_t)(259 + before_from + (to - from - 1));
                }
            }
            check_stream(ids, n, text, len, false, NULL, 0);
            check_stream(ids, n, text, len - 6, true, stops, 2);
        }
    }
    tok = (sl_tokenizer *)(uintptr_t)before;
    vocab_sample_close(&cuts, cut_file, cut_tok);
}

static void test_stop_inside_token(void **state) {
    (void)state;
    const sl_slice stop = sl_slice_of("STOP");
    const int32_t one[] = {'x', id_stop_word, 'y'};
    check_stream(one, 3, "xab", 3, true, &stop, 1);
    const int32_t spread[] = {'S', 'T', 'S', 'T', 'O', 'S', 'T', 'O', 'P', 'z'};
    check_stream(spread, 10, "STSTO", 5, true, &stop, 1);
    const int32_t partial[] = {'S', 'T', 'O'};
    check_stream(partial, 3, "STO", 3, false, &stop, 1);
}

static void test_held_back(void **state) {
    (void)state;
    const sl_slice stop = sl_slice_of("\n\nUser:");
    sl_detokenizer d;
    sl_detokenizer_init(&d, tok, &stop, 1, false);
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    bool stopped;
    const char *text = "hi\n\nUs";
    for (size_t i = 0; text[i] != 0; i++) {
        assert_int_equal(sl_detokenizer_push(&d, (unsigned char)text[i], &out, &stopped, NULL),
                         SL_OK);
    }
    assert_int_equal(out.len, 2); /* the rest may begin the stop string */
    assert_int_equal(sl_detokenizer_push(&d, 'x', &out, &stopped, NULL), SL_OK);
    assert_int_equal(out.len, 7);
    sl_buf_deinit(&out);
    sl_detokenizer_deinit(&d);
}

static void test_special_tokens(void **state) {
    (void)state;
    const int32_t ids[] = {'a', id_control, id_user, 'b'};
    check_stream(ids, 4,
                 "auser\xC3\xA9"
                 "b",
                 8, false, NULL, 0);
    sl_detokenizer d;
    sl_detokenizer_init(&d, tok, NULL, 0, true);
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    bool stopped;
    assert_int_equal(sl_detokenizer_push(&d, id_control, &out, &stopped, NULL), SL_OK);
    assert_int_equal(out.len, 10);
    assert_memory_equal(out.data, "<|im_end|>", 10);
    assert_int_equal(sl_detokenizer_push(&d, 100000, &out, &stopped, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_detokenizer_push(&d, -1, &out, &stopped, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_detokenizer_push(&d, 'c', &out, &stopped, NULL), SL_OK); /* goes on */
    assert_int_equal(out.len, 11);
    sl_buf_deinit(&out);
    sl_detokenizer_deinit(&d);
}

static void test_too_much(void **state) {
    (void)state;
    static char long_text[SL_STOP_BYTES_MAX + 1];
    memset(long_text, 'a', sizeof(long_text));
    sl_slice stops[SL_STOP_MAX + 1];
    for (size_t i = 0; i <= SL_STOP_MAX; i++) {
        stops[i] = (sl_slice){long_text, 1};
    }
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    bool stopped;
    sl_error err = {0};
    sl_detokenizer d;
    sl_detokenizer_init(&d, tok, stops, SL_STOP_MAX + 1, false);
    assert_int_equal(sl_detokenizer_push(&d, 'a', &out, &stopped, &err), SL_ERR_ARGUMENT);
    sl_detokenizer_deinit(&d);
    stops[0].len = sizeof(long_text);
    sl_detokenizer_init(&d, tok, stops, 1, false);
    assert_int_equal(sl_detokenizer_push(&d, 'a', &out, &stopped, &err), SL_ERR_ARGUMENT);
    sl_detokenizer_deinit(&d);
    stops[0].len--; /* the longest allowed: 1024 of one letter */
    sl_detokenizer_init(&d, tok, stops, 1, false);
    for (int i = 0; i < SL_STOP_BYTES_MAX; i++) {
        assert_int_equal(sl_detokenizer_push(&d, 'a', &out, &stopped, &err), SL_OK);
        assert_int_equal(stopped, i == SL_STOP_BYTES_MAX - 1);
    }
    assert_int_equal(out.len, 0);
    sl_detokenizer_deinit(&d);
    sl_buf_deinit(&out);
}

/* The space that encoding puts in front of a SentencePiece text goes, and only that one. */
static void test_text_start(void **state) {
    (void)state;
    static vocab_sample spm;
    vocab_sample_init(&spm, "llama", NULL);
    spm.no_merges = true;
    vocab_sample_add_spm(&spm);
    int32_t word = vocab_sample_add(&spm, "\xE2\x96\x81hi", 1, -1);
    sl_gguf *spm_file;
    sl_tokenizer *t;
    assert_int_equal(vocab_sample_write(&spm), 0);
    assert_int_equal(vocab_sample_open(&spm, &spm_file, &t, NULL), SL_OK);
    for (int start = 0; start < 2; start++) {
        sl_detokenizer d;
        sl_detokenizer_init(&d, t, NULL, 0, false);
        d.state.at_start = start != 0;
        sl_buf out;
        sl_buf_init(&out, 1 << 20);
        bool stopped;
        const int32_t ids[] = {1, word, word}; /* <s> is silent and leaves the start where it is */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(sl_detokenizer_push(&d, ids[i], &out, &stopped, NULL), SL_OK);
        }
        assert_string_equal(sl_buf_cstr(&out), start != 0 ? "hi hi" : " hi hi");
        sl_buf_deinit(&out);
        sl_detokenizer_deinit(&d);
    }
    vocab_sample_close(&spm, spm_file, t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bytes),      cmocka_unit_test(test_all_cuts),
        cmocka_unit_test(test_stop_inside_token), cmocka_unit_test(test_held_back),
        cmocka_unit_test(test_special_tokens),    cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_text_start)};
    return cmocka_run_group_tests(tests, open_sample, close_sample);
}
