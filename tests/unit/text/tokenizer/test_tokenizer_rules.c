/* Rules around the words: special texts, BOS and EOS, end-of-generation set, limits, invalid bytes,
 * odd vocabularies; and files that are wrong, each of which must give one clear error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "text/tokenizer/vocab_samples.h"

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

static void expect_ids_full(const char *text, size_t len, bool add, bool parse, const int32_t *want,
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
        expect_ids_full(text, sizeof(text) - 1, add, parse, want_,                                 \
                        sizeof(want_) / sizeof(want_[0]));                                         \
    } while (0)

static void expect_text(const int32_t *ids, size_t n, bool start, bool special, const char *want) {
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    assert_int_equal(sl_tokenizer_decode(tok, ids, n, start, special, &out, NULL), SL_OK);
    assert_string_equal(sl_buf_cstr(&out), want);
    sl_buf_deinit(&out);
}

static void test_special_texts(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    vocab_sample_add(&sample, "<a>", 3, 0);   /* 256 */
    vocab_sample_add(&sample, "<a><b", 3, 0); /* 257 */
    vocab_sample_add(&sample, "<u>", 4, 0);   /* 258: user-defined */
    vocab_sample_add(&sample, "<?>", 2, 0);   /* 259: unknown */
    vocab_sample_add(&sample, "    ", 4, 0);  /* 260 */
    vocab_sample_add(&sample, "  ", 4, 0);    /* 261 */
    vocab_sample_add(&sample, "<n>", 1, 0);   /* 262: normal, no merges lead to it */
    open_or_fail();
    EXPECT("x<a>y", false, true, 'x', 256, 'y');
    EXPECT("x<a>y", false, false, 'x', '<', 'a', '>', 'y');
    EXPECT("<u><?>", false, true, 258, 259);
    EXPECT("<u><?>", false, false, 258, '<', '?', '>');
    EXPECT("<a><b>", false, true, 257, '>'); /* the longest at a place */
    EXPECT("<a><a><b", false, true, 256, 257);
    EXPECT("<a><", false, true, 256, '<');
    EXPECT("<<a>>", false, true, '<', 256, '>');
    EXPECT("       a", false, false, 260, 261, ' ', 'a');
    EXPECT("<n>", false, true, '<', 'n', '>');
    EXPECT("", true, true, );
    const int32_t ids[] = {256, 'x', 258, 259};
    expect_text(ids, 4, true, true, "<a>x<u><?>");
    expect_text(ids, 4, true, false, "x<u>");
    assert_int_equal(sl_tokenizer_find(tok, sl_slice_of("<a><b")), 257);
    assert_int_equal(sl_tokenizer_find(tok, sl_slice_of("<a><")), -1);
    assert_true(sl_tokenizer_is_control(tok, 256));
    assert_false(sl_tokenizer_is_control(tok, 258));
    assert_false(sl_tokenizer_is_control(tok, -1));
    assert_int_equal(sl_tokenizer_text(tok, 9999).len, 0);
    close_all();
}

/* Many special texts that are beginnings, ends and middles of each other, against trying all. */
static void test_special_texts_random(void **state) {
    (void)state;
    static char texts[60][8];
    uint32_t random = 5;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    size_t n = 0;
    while (n < 60) {
        random = random * 1664525u + 1013904223u;
        size_t len = 1 + (random >> 8) % 6;
        for (size_t i = 0; i < len; i++) {
            texts[n][i] = (char)('a' + ((random >> (12 + 2 * i)) & 1));
        }
        texts[n][len] = 0;
        bool twin = len < 2;
        for (size_t i = 0; i < n; i++) {
            twin = twin || strcmp(texts[i], texts[n]) == 0;
        }
        if (!twin) {
            vocab_sample_add(&sample, texts[n], (n & 1) != 0 ? 3 : 4, 0);
            n++;
        }
    }
    open_or_fail();
    for (int round = 0; round < 2000; round++) {
        char text[40];
        int32_t want[40];
        size_t len = 0, n_want = 0;
        for (; len < sizeof(text); len++) {
            random = random * 1664525u + 1013904223u;
            text[len] = "aab"[(random >> 9) % 3];
        }
        bool parse = round % 2 == 0;
        for (size_t i = 0; i < len;) {
            size_t longest = 0;
            int32_t id = (unsigned char)text[i];
            for (size_t k = 0; k < n; k++) {
                size_t k_len = strlen(texts[k]);
                if ((parse || (k & 1) == 0) && k_len > longest && i + k_len <= len &&
                    memcmp(texts[k], text + i, k_len) == 0) {
                    longest = k_len;
                    id = 256 + (int32_t)k;
                }
            }
            want[n_want++] = id;
            i += longest == 0 ? 1 : longest;
        }
        expect_ids_full(text, len, false, parse, want, n_want);
    }
    close_all();
}

/* Text from outside stays text: special texts that touch a closed span are not recognised, shorter
 * ones that do not touch it are. */
static size_t expect_with_closed(const char *text, size_t len, const sl_span list[2],
                                 int32_t *want) {
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        int32_t best = -1;
        size_t best_len = 0;
        for (int32_t id = 256; id <= 260; id++) {
            sl_slice special = sl_tokenizer_text(tok, id);
            bool fits = i + special.len <= len && memcmp(special.ptr, text + i, special.len) == 0;
            for (size_t k = 0; k < 2 && id != 258; k++) {
                fits = fits && (list[k].end <= i || list[k].begin >= i + special.len);
            }
            if (fits && special.len > best_len) {
                best = id;
                best_len = special.len;
            }
        }
        want[n++] = best < 0 ? (unsigned char)text[i] : best;
        i += best < 0 ? 1 : best_len;
    }
    return n;
}

static void test_closed_spans(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    vocab_sample_add(&sample, "<a>", 3, 0);     /* 256 */
    vocab_sample_add(&sample, "<a><b>", 3, 0);  /* 257 */
    vocab_sample_add(&sample, "<u>", 4, 0);     /* 258: user-defined, recognised everywhere */
    vocab_sample_add(&sample, "<u><a>", 3, 0);  /* 259 */
    vocab_sample_add(&sample, "<a><u>x", 3, 0); /* 260 */
    open_or_fail();
    const char *text = "<a><b><u><a><a><u>x";
    const size_t len = strlen(text);
    for (size_t begin = 0; begin < len; begin++) {
        for (size_t end = begin + 1; end <= len; end++) {
            for (size_t second = end; second < len; second += 3) {
                sl_span list[2] = {{begin, end}, {second, len}};
                sl_spans spans = {list, 2};
                int32_t want[32];
                size_t n = expect_with_closed(text, len, list, want);
                sl_ids ids;
                sl_ids_init(&ids, 100);
                sl_slice slice = {text, len};
                assert_int_equal(sl_tokenizer_encode_spans(tok, slice, &spans, &ids, NULL), SL_OK);
                assert_int_equal(ids.n, n);
                assert_memory_equal(ids.ids, want, n * sizeof(*want));
                sl_ids_deinit(&ids);
            }
        }
    }
    close_all();
}

static void test_begin_and_end(void **state) {
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        vocab_sample_init(&sample, "gpt2", mode == 3 ? "llama-bpe" : "gpt-2");
        vocab_sample_add_bytes(&sample);
        sample.bos = vocab_sample_add(&sample, "<s>", 3, 0);
        sample.eos = vocab_sample_add(&sample, "</s>", 3, 0);
        sample.add_bos = mode == 1 ? 1 : mode == 2 ? 0 : -1;
        sample.add_eos = mode == 1 ? 1 : -1;
        open_or_fail();
        if (mode == 1) {
            EXPECT("a", true, true, 256, 'a', 257);
            EXPECT("", true, true, 256, 257);
            EXPECT("<s>a", true, true, 256, 256, 'a',
                   257); /* as the reference: the caller looks first */
        } else if (mode == 3) {
            EXPECT("a", true, true, 256, 'a'); /* the default of this pre-tokeniser */
        } else {
            EXPECT("a", true, true, 'a');
        }
        EXPECT("a", false, true, 'a');
        assert_int_equal(sl_tokenizer_bos(tok), 256);
        assert_int_equal(sl_tokenizer_eos(tok), 257);
        assert_int_equal(sl_tokenizer_unk(tok), -1);
        close_all();
    }
}

static void test_end_of_generation(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    vocab_sample_add(&sample, "<|eot_id|>", 3, 0); /* 256: by its name */
    vocab_sample_add(&sample, "<|endoftext|>", 1,
                     0);                          /* 257: too, though the file calls it normal */
    vocab_sample_add(&sample, "<|start|>", 3, 0); /* 258 */
    vocab_sample_add(&sample, "<stop>", 3, 0);    /* 259: the file's eos */
    vocab_sample_add(&sample, "<turn>", 3, 0);    /* 260: the file's eot */
    sample.eos = 259;
    sample.eot = 260;
    sample.pad = 261; /* one past the end, as some published files have it */
    open_or_fail();
    const int32_t *eog;
    assert_int_equal(sl_tokenizer_eog(tok, &eog), 4);
    const int32_t want[] = {256, 257, 259, 260};
    assert_memory_equal(eog, want, sizeof(want));
    assert_true(sl_tokenizer_is_eog(tok, 257));
    assert_false(sl_tokenizer_is_eog(tok, 258));
    assert_int_equal(sl_tokenizer_pad(tok), -1);
    close_all();
}

static void test_merge_order(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    vocab_sample_add(&sample, "aa", 1, 0);  /* 256 */
    vocab_sample_add(&sample, "bc", 1, 0);  /* 257 */
    vocab_sample_add(&sample, "abc", 1, 0); /* 258: through "ab", which is no token */
    vocab_sample_merge(&sample, "a a");
    vocab_sample_merge(&sample, "a b");
    vocab_sample_merge(&sample, "b c");
    vocab_sample_merge(&sample, "ab c");
    vocab_sample_merge(&sample, "a a"); /* a rule given twice counts once */
    open_or_fail();
    EXPECT("aaa", false, false, 256, 'a');
    EXPECT("aaaaa", false, false, 256, 256, 'a');
    EXPECT("abc", false, false, 258);
    EXPECT("ab", false, false, 'a', 'b');
    EXPECT("bc", false, false, 257);
    /* The same by the queue: a word of more bytes than the short way takes. */
    EXPECT("zzzzzzzzzzzzzzzzzzzzzzzzzzzzaaabcab", false, false, 'z', 'z', 'z', 'z', 'z', 'z', 'z',
           'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z', 'z',
           'z', 'z', 'z', 256, 258, 'a', 'b');
    close_all();
}

static void test_missing_bytes(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    sample.tokens[0xF1] = sl_slice_of("[no F1]");
    sample.tokens['d'] = sl_slice_of("[no d]");
    vocab_sample_add(&sample, "ab", 1, 0); /* 256 */
    vocab_sample_merge(&sample, "a b");
    open_or_fail();
    EXPECT("adab", false, false, 'a', 256); /* a byte without a token leaves nothing */
    EXPECT("a\xF1\x80\x80\x80", false, false, 'a', 0x80, 0x80, 0x80);
    EXPECT("a\xF1", false, false, 'a', 0xEF, 0xBF, 0xBD); /* and as invalid text is U+FFFD */
    EXPECT("a\xFF\xC3", false, false, 'a', 0xFF, 0xC3);   /* invalid bytes with tokens are kept */
    close_all();
}

static void test_sentencepiece(void **state) {
    (void)state;
    vocab_sample_init(&sample, "llama", "default");
    sample.no_merges = true;
    vocab_sample_add_spm(&sample);
    vocab_sample_add(&sample, "\xE2\x96\x81", 1, -5); /* 259 */
    vocab_sample_add(&sample, "a", 1, -1);            /* 260 */
    vocab_sample_add(&sample, "<s", 1, -2);           /* 261 */
    vocab_sample_add(&sample, "aa", 1, -3);           /* 262 */
    vocab_sample_add(&sample,
                     "\xE2\x96\x81"
                     "a",
                     1, -4);                /* 263 */
    vocab_sample_add(&sample, "bb", 1, -6); /* 264: its letters are no tokens */
    open_or_fail();
    EXPECT("a", true, true, 1, 263);
    EXPECT("", true, true, 1);
    EXPECT("aaa", false, true, 259, 262, 260); /* the better score first, not the leftmost */
    EXPECT("bbb", false, true, 259, 264, 3 + 'b');
    EXPECT(" a", false, true, 259, 263);
    EXPECT("a<s>a<s> a", false, true, 263, 1, 263, 1, 259,
           263);                                    /* a space after each special token */
    EXPECT("<s>", false, false, 259, 261, 3 + '>'); /* content never spells a control token */
    EXPECT("\xC3\xA9\xFF", false, false, 259, 3 + 0xC3, 3 + 0xA9, 3 + 0xFF);
    EXPECT("<0x41>", false, false, 259, 3 + '<', 3 + '0', 3 + 'x', 3 + '4', 3 + '1', 3 + '>');
    const int32_t ids[] = {1, 263, 263, 3 + 'x', 0};
    expect_text(ids, 5, true, false, "a ax");
    expect_text(ids, 5, false, false, " a ax");
    expect_text(ids, 5, true, true, "<s>a ax<unk>");
    close_all();
}

static void test_sentencepiece_options(void **state) {
    (void)state;
    vocab_sample_init(&sample, "llama", NULL);
    sample.no_merges = true;
    vocab_sample_add(&sample, "<unk>", 2, 0);
    vocab_sample_add(&sample, "<s>", 3, 0);
    vocab_sample_add(&sample, "</s>", 3, 0);
    vocab_sample_add(&sample, "\xE2\x96\x81", 1, -1); /* 3 */
    vocab_sample_add(&sample,
                     "a\xE2\x96\x81"
                     "b",
                     1, -2);                           /* 4: reaches over a space */
    vocab_sample_add(&sample, "a\xE2\x96\x81", 1, -3); /* 5 */
    vocab_sample_add(&sample, "b", 1, -4);             /* 6 */
    sample.add_prefix = 0;
    sample.add_bos = 0;
    open_or_fail();
    EXPECT("a b", true, true, 4);
    EXPECT("b", true, true, 6);
    EXPECT("x\xE4\xBD\xA0"
           "b",
           true, true, 0, 0, 6); /* no byte tokens: one unknown each */
    close_all();
}

/* White space after most special tokens of Phi-3 is swallowed; GGUF does not say so, its name
 * does. */
static void test_strip(void **state) {
    (void)state;
    for (int phi = 0; phi < 2; phi++) {
        vocab_sample_init(&sample, "llama", NULL);
        sample.no_merges = true;
        sample.name = phi != 0 ? "Phi-3 Mini" : "Other";
        sample.add_prefix = 0;
        vocab_sample_add_spm(&sample);
        vocab_sample_add(&sample, "<|user|>", 3, 0);      /* 259 */
        vocab_sample_add(&sample, "\xE2\x96\x81", 1, -1); /* 260 */
        open_or_fail();
        if (phi != 0) {
            EXPECT("<|user|>\n \tx<s> <|user|>  ", false, true, 259, 3 + 'x', 1, 260, 259);
        } else {
            EXPECT("<|user|>\nx", false, true, 259, 3 + '\n', 3 + 'x');
        }
        close_all();
    }
}

/* What cannot fit is refused after one look for special tokens, before any word is tokenised; what
 * they swallow takes no room. */
static void test_strip_limits(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    sample.name = "Phi-3 Mini";
    vocab_sample_add_bytes(&sample);
    vocab_sample_add(&sample, "<|user|>", 3, 0);
    open_or_fail();
    size_t len = 1 << 20;
    char *text = malloc(len);
    sl_ids ids;
    sl_ids_init(&ids, 10);
    sl_error err = {0};
    for (int spaces = 0; spaces < 2; spaces++) {
        memset(text, spaces != 0 ? ' ' : 'x', len);
        memcpy(text, "x<|user|>", 9);
        uint64_t work = sl_tokenizer_work();
        sl_status status = sl_tokenizer_encode(tok, (sl_slice){text, len}, true, &ids, &err);
        assert_int_equal(status, spaces != 0 ? SL_OK : SL_ERR_LIMIT);
        assert_int_equal(ids.n, spaces != 0 ? 2 : 0);
        assert_true(sl_tokenizer_work() - work < 2 * len); /* the look alone */
        ids.n = 0;
    }
    sl_ids_deinit(&ids);
    free(text);
    close_all();
}

static void test_limits(void **state) {
    (void)state;
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
    vocab_sample_add(&sample, "aaaaaaaa", 1, 0);
    open_or_fail();
    size_t len = 1 << 20;
    char *text = malloc(len);
    memset(text, 'a', len);
    sl_ids ids;
    sl_ids_init(&ids, 100);
    assert_int_equal(sl_ids_push(&ids, 7), SL_OK);
    sl_error err = {0};
    uint64_t work = sl_tokenizer_work();
    assert_int_equal(sl_tokenizer_encode(tok, (sl_slice){text, len}, true, &ids, &err),
                     SL_ERR_LIMIT);
    assert_true(sl_tokenizer_work() - work < 10000); /* at once, not after a megabyte */
    assert_int_equal(ids.n, 1);                      /* nothing but what was there */
    assert_non_null(strstr(err.message, "100"));
    assert_int_equal(sl_tokenizer_encode(tok, (sl_slice){text, 99}, true, &ids, &err), SL_OK);
    assert_int_equal(ids.n, 100);
    assert_int_equal(sl_tokenizer_encode(tok, (sl_slice){text, 1}, true, &ids, &err), SL_ERR_LIMIT);
    sl_buf out;
    sl_buf_init(&out, 10);
    assert_int_equal(sl_tokenizer_decode(tok, ids.ids, ids.n, true, true, &out, &err),
                     SL_ERR_LIMIT);
    sl_buf_deinit(&out);
    sl_buf_init(&out, 1000);
    ids.ids[50] = 257;
    assert_int_equal(sl_tokenizer_decode(tok, ids.ids, ids.n, true, true, &out, &err),
                     SL_ERR_ARGUMENT);
    assert_int_equal(out.len, 0);
    sl_buf_deinit(&out);
    sl_ids_deinit(&ids);
    free(text);
    close_all();
}

/* Every allocation of opening and encoding fails once: an error each time, and nothing is left
 * behind. */
static void test_no_memory(void **state) {
    (void)state;
    for (int spm = 0; spm < 2; spm++) {
        vocab_sample_init(&sample, spm != 0 ? "llama" : "gpt2", spm != 0 ? NULL : "gpt-2");
        sample.no_merges = spm != 0;
        if (spm != 0) {
            vocab_sample_add_spm(&sample);
        } else {
            vocab_sample_add_bytes(&sample);
            vocab_sample_add(&sample, "<s>", 3, 0);
            vocab_sample_merge(&sample, "q w"); /* a symbol that is no token */
        }
        open_or_fail();
        static char text[3000];
        memset(text, 'a', sizeof(text));
        memcpy(text + 100, "<s> ", 4);
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

/* --- files that are wrong
 * ------------------------------------------------------------------------ */

static void expect_refused(sl_status want, const char *part) {
    sl_error err = {0};
    sl_status status = vocab_sample_open(&sample, &file, &tok, &err);
    if (status != want || strstr(err.message, part) == NULL ||
        strstr(err.message, "sample.gguf") == NULL) {
        fail_msg("status %d, \"%s\"; want %d and \"%s\"", (int)status, err.message, (int)want,
                 part);
    }
    assert_null(tok);
    close_all();
}

static void start_bpe(void) {
    vocab_sample_init(&sample, "gpt2", "gpt-2");
    vocab_sample_add_bytes(&sample);
}

static void start_spm(void) {
    vocab_sample_init(&sample, "llama", NULL);
    sample.no_merges = true;
    vocab_sample_add_spm(&sample);
}

static void write_and_refuse(sl_status want, const char *part) {
    assert_int_equal(vocab_sample_write(&sample), 0);
    expect_refused(want, part);
}

static void test_wrong_kind(void **state) {
    (void)state;
    start_bpe();
    sample.model = NULL;
    write_and_refuse(SL_ERR_NOT_FOUND, "tokenizer.ggml.model");
    start_bpe();
    sample.model = "rwkv";
    write_and_refuse(SL_ERR_UNSUPPORTED, "'rwkv'");
    start_bpe();
    sample.pre = "no-such-words";
    write_and_refuse(SL_ERR_UNSUPPORTED, "'no-such-words'");
    start_bpe();
    sample.no_tokens = true;
    write_and_refuse(SL_ERR_NOT_FOUND, "tokenizer.ggml.tokens");
    start_bpe();
    sample.n_tokens = 0;
    write_and_refuse(SL_ERR_FORMAT, "tokenizer.ggml.tokens");
    start_bpe();
    sample.no_merges = true;
    write_and_refuse(SL_ERR_NOT_FOUND, "tokenizer.ggml.merges");
}

static void test_wrong_arrays(void **state) {
    (void)state;
    start_bpe();
    sample.n_types--;
    write_and_refuse(SL_ERR_FORMAT, "tokenizer.ggml.token_type has 255 entries");
    start_bpe();
    sample.types[7] = 9;
    write_and_refuse(SL_ERR_FORMAT, "entry 7 of tokenizer.ggml.token_type is 9");
    start_bpe();
    sample.types[7] = -1;
    write_and_refuse(SL_ERR_FORMAT, "is -1");
    start_spm();
    sample.n_scores--;
    write_and_refuse(SL_ERR_FORMAT, "tokenizer.ggml.scores has 258 entries");
    start_spm();
    sample.n_scores = 0;
    write_and_refuse(SL_ERR_NOT_FOUND, "tokenizer.ggml.scores");
    start_spm();
    sample.scores[5] = 0.0f / (sample.scores[5] * 0.0f);
    write_and_refuse(SL_ERR_FORMAT, "entry 5 of tokenizer.ggml.scores");
    start_bpe();
    sample.no_tokens = true;
    assert_int_equal(vocab_sample_write(&sample), 0);
    assert_int_equal(sl_gguf_writer_array(sample.writer, "tokenizer.ggml.tokens", SL_GGUF_I32,
                                          sample.types, 4, NULL),
                     SL_OK);
    expect_refused(SL_ERR_FORMAT, "tokenizer.ggml.tokens");
    start_spm();
    sample.n_types = 0;
    assert_int_equal(vocab_sample_write(&sample), 0);
    assert_int_equal(sl_gguf_writer_array(sample.writer, "tokenizer.ggml.token_type", SL_GGUF_F32,
                                          sample.scores, sample.n_tokens, NULL),
                     SL_OK);
    expect_refused(SL_ERR_FORMAT, "tokenizer.ggml.token_type");
}

static void test_wrong_entries(void **state) {
    (void)state;
    static const char *const bad_bytes[] = {"<0x-1>", "<0xG0>", "<0x1>", "<0x123>",
                                            "0x41",   "",       "<0x4 >"};
    for (size_t i = 0; i < sizeof(bad_bytes) / sizeof(bad_bytes[0]); i++) {
        start_spm();
        sample.tokens[3 + 0x41] = sl_slice_of(bad_bytes[i]);
        write_and_refuse(SL_ERR_FORMAT, "entry 68 of tokenizer.ggml.tokens is a byte token");
    }
    start_bpe();
    vocab_sample_add(&sample, "twin", 1, 0);
    vocab_sample_add(&sample, "twin", 3, 0);
    write_and_refuse(SL_ERR_FORMAT, "entries 256 and 257 of tokenizer.ggml.tokens are both 'twin'");
    static const char *const bad_merges[] = {"ab", "a ", " a", " ", "", "a"};
    for (size_t i = 0; i < sizeof(bad_merges) / sizeof(bad_merges[0]); i++) {
        start_bpe();
        vocab_sample_merge(&sample, "a b");
        vocab_sample_merge(&sample, bad_merges[i]);
        write_and_refuse(SL_ERR_FORMAT, "entry 1 of tokenizer.ggml.merges");
    }
    static char long_text[70000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    start_bpe();
    vocab_sample_add(&sample, long_text, 1, 0);
    write_and_refuse(SL_ERR_FORMAT, "entry 256 of tokenizer.ggml.tokens has 69999 bytes");
    start_bpe();
    vocab_sample_add(&sample, "", 1, 0); /* empty texts are no error, and no twins */
    vocab_sample_add(&sample, "", 3, 0);
    vocab_sample_add(&sample, "", 4, 0);
    open_or_fail();
    EXPECT("ab", true, true, 'a', 'b');
    close_all();
}

static void test_wrong_ids(void **state) {
    (void)state;
    start_bpe();
    sample.bos = 256;
    write_and_refuse(SL_ERR_FORMAT,
                     "tokenizer.ggml.bos_token_id is 256, but the vocabulary has 256 tokens");
    start_bpe();
    sample.eos = 1 << 30;
    write_and_refuse(SL_ERR_FORMAT, "tokenizer.ggml.eos_token_id");
    start_bpe();
    sample.eot = 300;
    write_and_refuse(SL_ERR_FORMAT, "tokenizer.ggml.eot_token_id");
    start_bpe();
    assert_int_equal(vocab_sample_write(&sample), 0);
    assert_int_equal(sl_gguf_writer_string(sample.writer, "tokenizer.ggml.bos_token_id",
                                           sl_slice_of("<s>"), NULL),
                     SL_OK);
    expect_refused(SL_ERR_FORMAT, "tokenizer.ggml.bos_token_id");
    start_bpe();
    assert_int_equal(vocab_sample_write(&sample), 0);
    assert_int_equal(sl_gguf_writer_u32(sample.writer, "tokenizer.ggml.add_bos_token", 1, NULL),
                     SL_OK);
    expect_refused(SL_ERR_FORMAT, "tokenizer.ggml.add_bos_token");
    start_bpe(); /* 2^32 - 1 is how files say "none" */
    assert_int_equal(vocab_sample_write(&sample), 0);
    assert_int_equal(
        sl_gguf_writer_u32(sample.writer, "tokenizer.ggml.bos_token_id", UINT32_MAX, NULL), SL_OK);
    sl_error err = {0};
    assert_int_equal(vocab_sample_open(&sample, &file, &tok, &err), SL_OK);
    assert_int_equal(sl_tokenizer_bos(tok), -1);
    close_all();
}

static void test_embedding_rows(void **state) {
    (void)state;
    start_bpe();
    assert_int_equal(vocab_sample_write(&sample), 0);
    uint64_t dims[2] = {1, 255};
    static const float rows[256];
    assert_int_equal(
        sl_gguf_writer_tensor(sample.writer, "token_embd.weight", SL_TYPE_F32, 2, dims, NULL),
        SL_OK);
    assert_int_equal(sl_gguf_writer_data(sample.writer, rows, 255 * sizeof(float), NULL), SL_OK);
    expect_refused(SL_ERR_FORMAT, "token_embd.weight 255 rows");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_texts),
        cmocka_unit_test(test_special_texts_random),
        cmocka_unit_test(test_closed_spans),
        cmocka_unit_test(test_begin_and_end),
        cmocka_unit_test(test_end_of_generation),
        cmocka_unit_test(test_merge_order),
        cmocka_unit_test(test_missing_bytes),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_sentencepiece_options),
        cmocka_unit_test(test_strip),
        cmocka_unit_test(test_strip_limits),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_wrong_kind),
        cmocka_unit_test(test_wrong_arrays),
        cmocka_unit_test(test_wrong_entries),
        cmocka_unit_test(test_wrong_ids),
        cmocka_unit_test(test_embedding_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
