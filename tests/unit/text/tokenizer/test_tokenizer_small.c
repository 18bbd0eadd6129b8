/* The compact reference cases in tests/golden/tok (made by tests/golden/make/make_tok.py with other
 * tokenisers): one byte-level vocabulary under every pre-tokeniser, one SentencePiece vocabulary.
 * Stands alone. */
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

static void fill_tokens(const json_t *root) {
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(root, "tokens"), i, token) {
        vocab_sample_add(&sample, json_string_value(token), 1, 0);
    }
}

static void test_byte_level(void **state) {
    (void)state;
    json_t *root = load("tests/golden/tok/bpe.json");
    const char *pre;
    json_t *ids;
    int n_wrong = 0, n_kinds = 0;
    json_object_foreach(json_object_get(root, "ids"), pre, ids) {
        vocab_sample_init(&sample, "gpt2", pre);
        fill_tokens(root);
        size_t i;
        json_t *rule;
        json_array_foreach(json_object_get(root, "merges"), i, rule) {
            vocab_sample_merge(&sample, json_string_value(rule));
        }
        sl_gguf *file;
        sl_tokenizer *t;
        sl_error err = {0};
        assert_int_equal(vocab_sample_write(&sample), 0);
        if (vocab_sample_open(&sample, &file, &t, &err) != SL_OK) {
            fail_msg("%s", err.message);
        }
        n_wrong += count_wrong(t, pre, json_object_get(root, "texts"), ids, true);
        n_kinds++;
        vocab_sample_close(&sample, file, t);
    }
    json_decref(root);
    assert_int_equal(n_wrong, 0);
    assert_true(n_kinds >= 10);
}

static void test_sentencepiece(void **state) {
    (void)state;
    json_t *root = load("tests/golden/tok/spm.json");
    vocab_sample_init(&sample, "llama", NULL);
    fill_tokens(root);
    for (size_t i = 0; i < sample.n_tokens; i++) {
        sample.types[i] = (int32_t)json_integer_value(
            json_array_get(json_object_get(root, "types"), i));
        sample.scores[i] = (float)json_number_value(
            json_array_get(json_object_get(root, "scores"), i));
    }
    sample.no_merges = true;
    sl_gguf *file;
    sl_tokenizer *t;
    sl_error err = {0};
    assert_int_equal(vocab_sample_write(&sample), 0);
    if (vocab_sample_open(&sample, &file, &t, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(
        count_wrong(t, "spm", json_object_get(root, "texts"), json_object_get(root, "ids"), false),
        0);
    vocab_sample_close(&sample, file, t);
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_byte_level),
                                       cmocka_unit_test(test_sentencepiece)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
