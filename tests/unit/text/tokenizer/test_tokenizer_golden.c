/* Runs the reference tokeniser cases over every vocabulary file that can be found:
 * - $SLUICE_SHARED (default ../shared) /golden/tok: vocab_cases and extra_cases, vocabularies
 * beside them, in $SLUICE_VOCAB_DIR (ggml-vocab-NAME.gguf) or $SLUICE_MODEL_DIR (smollm2, gemma3
 * model files);
 * - .../golden/arch: tokenizer_cases of each small model. Every case must be exact, and every kind
 *   of
 * vocabulary supported. Without the shared folder the test is
 * skipped: test_tokenizer_small.c has cases of its own. */
#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "text/tokenizer/tokenizer.h"

static char shared_dir[512];
static int n_exact, n_wrong, n_vocabularies, n_unsupported, n_missing;

static bool file_exists(const char *path) {
    return access(path, R_OK) == 0;
}

static void report(const char *vocab, const char *what, const char *text, const json_t *want,
                   const sl_ids *got) {
    n_wrong++;
    if (n_wrong > 20) {
        return;
    }
    fprintf(stderr, "%s: %s of \"%s\"\n  want", vocab, what, text);
    for (size_t i = 0; i < json_array_size(want) && i < 40; i++) {
        fprintf(stderr, " %d", (int)json_integer_value(json_array_get(want, i)));
    }
    fprintf(stderr, "\n  got ");
    for (size_t i = 0; i < got->n && i < 40; i++) {
        fprintf(stderr, " %d", (int)got->ids[i]);
    }
    fprintf(stderr, "\n");
}

static bool same_ids(const json_t *want, const sl_ids *got) {
    if (json_array_size(want) != got->n) {
        return false;
    }
    for (size_t i = 0; i < got->n; i++) {
        if (json_integer_value(json_array_get(want, i)) != got->ids[i]) {
            return false;
        }
    }
    return true;
}

static void check_ids(const sl_tokenizer *t, const char *vocab, const json_t *text,
                      const json_t *want, bool add_special, bool parse_special) {
    sl_slice slice = {json_string_value(text), json_string_length(text)};
    sl_ids ids;
    sl_ids_init(&ids, 1 << 20);
    assert_int_equal(sl_tokenizer_encode_full(t, slice, add_special, parse_special, &ids, NULL),
                     SL_OK);
    if (same_ids(want, &ids)) {
        n_exact++;
    } else {
        report(vocab, add_special ? "full ids" : "ids", slice.ptr, want, &ids);
    }
    sl_ids_deinit(&ids);
}

static void check_back(const sl_tokenizer *t, const char *vocab, const json_t *text,
                       const json_t *ids_json) {
    sl_slice slice = {json_string_value(text), json_string_length(text)};
    size_t n = json_array_size(ids_json);
    int32_t *ids = calloc(n + 1, sizeof(*ids));
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(ids_json, i));
    }
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    assert_int_equal(sl_tokenizer_decode(t, ids, n, true, true, &out, NULL), SL_OK);
    if (!sl_slice_eq((sl_slice){out.data, out.len}, slice)) {
        n_wrong++;
        fprintf(stderr, "%s: \"%s\" comes back as \"%.*s\"\n", vocab, slice.ptr, (int)out.len,
                out.data);
    } else {
        n_exact++;
    }
    sl_buf_deinit(&out);
    free(ids);
}

static void check_invalid(const sl_tokenizer *t, const char *hex) {
    char bytes[256];
    size_t n = strlen(hex) / 2;
    assert_true(n <= sizeof(bytes));
    for (size_t i = 0; i < n; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (char)strtoul(digits, NULL, 16);
    }
    sl_ids ids;
    sl_ids_init(&ids, 4096);
    assert_int_equal(sl_tokenizer_encode_full(t, (sl_slice){bytes, n}, true, true, &ids, NULL),
                     SL_OK);
    sl_buf out;
    sl_buf_init(&out, 1 << 16);
    assert_int_equal(sl_tokenizer_decode(t, ids.ids, ids.n, true, false, &out, NULL), SL_OK);
    sl_buf_deinit(&out);
    sl_ids_deinit(&ids);
}

/* NULL: the kind is not supported yet, which has been said. */
static sl_tokenizer *open_vocabulary(const char *path, const char *name, sl_gguf **file_out) {
    sl_error err = {0};
    if (sl_gguf_open(path, file_out, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    sl_tokenizer *t = NULL;
    sl_status status = sl_tokenizer_open(*file_out, &t, &err);
    if (status == SL_ERR_UNSUPPORTED) {
        n_unsupported++;
        printf("not supported yet: %s: %s\n", name, err.message);
        sl_gguf_close(*file_out);
        return NULL;
    }
    if (status != SL_OK) {
        fail_msg("%s", err.message);
    }
    n_vocabularies++;
    return t;
}

static bool find_vocabulary(const char *name, const char *file_name, char *path, size_t cap) {
    const char *vocab_dir = getenv("SLUICE_VOCAB_DIR");
    const char *model_dir = getenv("SLUICE_MODEL_DIR");
    snprintf(path, cap, "%s/golden/tok/vocab/ggml-vocab-%s.gguf", shared_dir, name);
    if (!file_exists(path) && vocab_dir != NULL) {
        snprintf(path, cap, "%s/ggml-vocab-%s.gguf", vocab_dir, name);
    }
    if (!file_exists(path) && model_dir != NULL && file_name != NULL) {
        snprintf(path, cap, "%s/%s", model_dir, file_name);
    }
    return file_exists(path);
}

static void run_cases(const sl_tokenizer *t, const char *name, const json_t *cases) {
    size_t i;
    json_t *one;
    json_array_foreach(cases, i, one) {
        const json_t *text = json_object_get(one, "text");
        text = text != NULL ? text : json_object_get(one, "input");
        const json_t *ids = json_object_get(one, "ids");
        check_ids(t, name, text, ids, false, false);
        const json_t *full = json_object_get(one, "ids_add_special_parse_special");
        if (full != NULL) {
            check_ids(t, name, text, full, true, true);
        }
        full = json_object_get(one, "ids_with_special");
        if (full != NULL) {
            check_ids(t, name, text, full, true, false);
        }
        if (json_is_true(json_object_get(one, "llama_cpp_detokenizes_back"))) {
            check_back(t, name, text, ids);
        }
    }
}

static void run_file(const char *folder, const char *file) {
    char path[1024], name[128];
    snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(".json")), file);
    snprintf(path, sizeof(path), "%s/golden/tok/%s/%s", shared_dir, folder, file);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    sl_gguf *gguf = NULL;
    sl_tokenizer *t = NULL;
    if (!find_vocabulary(name, json_string_value(json_object_get(root, "gguf")), path,
                         sizeof(path))) {
        n_missing++;
        printf("no vocabulary file for %s/%s\n", folder, name);
    } else {
        t = open_vocabulary(path, name, &gguf);
    }
    if (t != NULL) {
        run_cases(t, name, json_object_get(root, "cases"));
        const json_t *meta = json_object_get(root, "meta");
        if (meta != NULL) {
            assert_int_equal(json_integer_value(json_object_get(meta, "n_tokens")),
                             sl_tokenizer_n_vocab(t));
            assert_int_equal(json_integer_value(json_object_get(meta, "bos")), sl_tokenizer_bos(t));
            assert_int_equal(json_integer_value(json_object_get(meta, "eos")), sl_tokenizer_eos(t));
            assert_int_equal(json_is_true(json_object_get(meta, "add_bos")),
                             sl_tokenizer_adds_bos(t));
            assert_int_equal(json_is_true(json_object_get(meta, "add_eos")),
                             sl_tokenizer_adds_eos(t));
        }
        size_t i;
        json_t *one;
        json_array_foreach(json_object_get(root, "invalid_utf8"), i, one) {
            check_invalid(t, json_string_value(json_object_get(one, "bytes_hex")));
        }
        sl_tokenizer_close(t);
        sl_gguf_close(gguf);
    }
    json_decref(root);
}

static void run_folder(const char *folder) {
    char path[1024];
    snprintf(path, sizeof(path), "%s/golden/tok/%s", shared_dir, folder);
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(entries[i]->d_name);
        if (len > 5 && strcmp(entries[i]->d_name + len - 5, ".json") == 0) {
            run_file(folder, entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
}

static void test_vocabularies(void **state) {
    (void)state;
    run_folder("vocab_cases");
    run_folder("extra_cases");
    printf("%d vocabularies, %d exact, %d wrong; %d not supported yet, %d without a file\n",
           n_vocabularies, n_exact, n_wrong, n_unsupported, n_missing);
    assert_int_equal(n_wrong, 0);
    assert_int_equal(n_unsupported, 0);
    assert_true(n_exact > 0);
}

static void run_model(const char *name) {
    char path[1024], gguf_path[2048];
    snprintf(path, sizeof(path), "%s/golden/arch/%s/golden.json", shared_dir, name);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, NULL);
    const json_t *cases = json_object_get(root, "tokenizer_cases");
    static const char *const types[] = {"f32", "f16", "bf16"};
    for (size_t k = 0; k < 3 && cases != NULL; k++) {
        snprintf(gguf_path, sizeof(gguf_path), "%s/golden/arch/%s/%s.%s.gguf", shared_dir, name,
                 name, types[k]);
        if (!file_exists(gguf_path)) {
            continue;
        }
        sl_gguf *gguf = NULL;
        sl_tokenizer *t = open_vocabulary(gguf_path, name, &gguf);
        if (t != NULL) {
            run_cases(t, name, cases);
            sl_tokenizer_close(t);
            sl_gguf_close(gguf);
        }
    }
    json_decref(root);
}

static void test_small_models(void **state) {
    (void)state;
    char path[1024];
    snprintf(path, sizeof(path), "%s/golden/arch", shared_dir);
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    n_exact = n_wrong = n_vocabularies = n_unsupported = 0;
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.') {
            run_model(entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    printf("%d model files, %d exact, %d wrong; %d not supported yet\n", n_vocabularies, n_exact,
           n_wrong, n_unsupported);
    assert_int_equal(n_wrong, 0);
    assert_int_equal(n_unsupported, 0);
    assert_true(n_exact > 0);
}

int main(void) {
    const char *dir = getenv("SLUICE_SHARED");
    snprintf(shared_dir, sizeof(shared_dir), "%s", dir != NULL ? dir : "../shared");
    char path[1024];
    snprintf(path, sizeof(path), "%s/golden/tok", shared_dir);
    if (!file_exists(path)) {
        printf("skipped: no %s\n", path);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vocabularies),
                                       cmocka_unit_test(test_small_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
