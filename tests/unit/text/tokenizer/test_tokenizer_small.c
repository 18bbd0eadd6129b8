/* The compact reference cases in tests/golden/tok (made by tests/golden/make/make_tok.py with other
 * tokenisers): one byte-level vocabulary under every pre-tokeniser, and at least one of every other
 * family. Stands alone. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "text/tokenizer/vocab_samples.h"

static vocab_sample sample;

static json_t *load(const char *path) {
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        fail_msg("%s: %s", path, error.text);
    }
    return root;
}

static sl_slice slice_of(const json_t *text) {
    return (sl_slice){json_string_value(text), json_string_length(text)};
}

/* Returns how many texts give other ids. */
static int count_wrong(const sl_tokenizer *t, const char *what, const json_t *texts,
                       const json_t *all_ids, bool comes_back) {
    int n_wrong = 0;
    size_t i;
    json_t *text;
    json_array_foreach(texts, i, text) {
        const json_t *want = json_array_get(all_ids, i);
        sl_ids got;
        sl_ids_init(&got, 1 << 16);
        assert_int_equal(sl_tokenizer_encode(t, slice_of(text), false, &got, NULL), SL_OK);
        bool same = json_array_size(want) == got.n;
        for (size_t k = 0; same && k < got.n; k++) {
            same = json_integer_value(json_array_get(want, k)) == got.ids[k];
        }
        sl_buf back;
        sl_buf_init(&back, 1 << 16);
        assert_int_equal(sl_tokenizer_decode(t, got.ids, got.n, true, true, &back, NULL), SL_OK);
        if (comes_back && !sl_slice_eq((sl_slice){back.data, back.len}, slice_of(text))) {
            print_message("%s: text %zu comes back differently\n", what, i);
            n_wrong++;
        }
        if (!same) {
            print_message("%s: text %zu, \"%s\": wrong ids\n", what, i, json_string_value(text));
            n_wrong++;
        }
        sl_buf_deinit(&back);
        sl_ids_deinit(&got);
    }
    return n_wrong;
}

/* Tokens, and types, scores and merges where there are some. */
static void fill_sample(const json_t *root) {
    const json_t *types = json_object_get(root, "types"), *scores = json_object_get(root, "scores");
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(root, "tokens"), i, one) {
        int32_t type = types == NULL ? 1 : (int32_t)json_integer_value(json_array_get(types, i));
        vocab_sample_add(&sample, json_string_value(one), type,
                         (float)json_number_value(json_array_get(scores, i)));
    }
    sample.no_merges = json_object_get(root, "merges") == NULL;
    json_array_foreach(json_object_get(root, "merges"), i, one) {
        vocab_sample_merge(&sample, json_string_value(one));
    }
}

/* Opens the sample, runs all texts and closes it. Returns how many are wrong. */
static int run_sample(const char *what, const json_t *root, const json_t *ids, bool comes_back) {
    sl_gguf *file;
    sl_tokenizer *t;
    sl_error err = {0};
    assert_int_equal(vocab_sample_write(&sample), 0);
    if (vocab_sample_open(&sample, &file, &t, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    int n_wrong = count_wrong(t, what, json_object_get(root, "texts"), ids, comes_back);
    vocab_sample_close(&sample, file, t);
    return n_wrong;
}

static void test_byte_level(void **state) {
    (void)state;
    json_t *root = load("tests/golden/tok/bpe.json");
    const char *pre;
    json_t *ids;
    int n_wrong = 0, n_kinds = 0;
    json_object_foreach(json_object_get(root, "ids"), pre, ids) {
        vocab_sample_init(&sample, "gpt2", pre);
        fill_sample(root);
        n_wrong += run_sample(pre, root, ids, true);
        n_kinds++;
    }
    json_decref(root);
    assert_int_equal(n_wrong, 0);
    assert_true(n_kinds >= 25);
}

static void test_raw(void **state) {
    (void)state;
    json_t *root = load("tests/golden/tok/raw.json");
    vocab_sample_init(&sample, "gemma4", NULL);
    fill_sample(root);
    assert_int_equal(run_sample("raw", root, json_object_get(root, "ids"), false), 0);
    json_decref(root);
}

static void test_sentencepiece(void **state) {
    (void)state;
    json_t *root = load("tests/golden/tok/spm.json");
    vocab_sample_init(&sample, "llama", NULL);
    fill_sample(root);
    assert_int_equal(run_sample("spm", root, json_object_get(root, "ids"), false), 0);
    json_decref(root);
}

static uint32_t base64_digit(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, c);
    return at == NULL || c == '\0' ? 0 : (uint32_t)(at - digits);
}

/* Four digits are three bytes; `out` has room for them all. Returns how many bytes there are. */
static size_t base64_decode(const char *text, uint8_t *out) {
    size_t n = 0, len = strlen(text);
    assert_int_equal(len % 4, 0);
    for (size_t i = 0; i < len; i += 4) {
        uint32_t bits = base64_digit(text[i]) << 18 | base64_digit(text[i + 1]) << 12 |
                        base64_digit(text[i + 2]) << 6 | base64_digit(text[i + 3]);
        out[n++] = (uint8_t)(bits >> 16);
        out[n++] = (uint8_t)(bits >> 8);
        out[n++] = (uint8_t)bits;
    }
    size_t padding = len == 0 ? 0 : (size_t)(text[len - 1] == '=') + (text[len - 2] == '=');
    return n - padding;
}

static void check_unigram(const char *path) {
    json_t *root = load(path);
    static uint8_t charsmap[8192];
    vocab_sample_init(&sample, "t5", "default");
    fill_sample(root);
    const char *text = json_string_value(json_object_get(root, "charsmap"));
    assert_true(strlen(text) < sizeof(charsmap));
    sample.charsmap = charsmap;
    sample.n_charsmap = base64_decode(text, charsmap);
    sample.add_prefix = 1;
    sample.joins_spaces = json_is_true(json_object_get(root, "joins_spaces"));
    assert_int_equal(run_sample(path, root, json_object_get(root, "ids"), false), 0);
    json_decref(root);
}

static void test_unigram(void **state) {
    (void)state;
    check_unigram("tests/golden/tok/unigram.json");
    check_unigram("tests/golden/tok/unigram_spaces.json");
}

static void check_wordpiece(const char *path) {
    json_t *root = load(path);
    vocab_sample_init(&sample, "bert", "default");
    fill_sample(root);
    sample.lowers = json_is_true(json_object_get(root, "lowers"));
    assert_int_equal(run_sample(path, root, json_object_get(root, "ids"), false), 0);
    json_decref(root);
}

static void test_wordpiece(void **state) {
    (void)state;
    check_wordpiece("tests/golden/tok/wordpiece.json");
    check_wordpiece("tests/golden/tok/wordpiece_cased.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level), cmocka_unit_test(test_raw),
        cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_wordpiece)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
