/* sluice inspect: exit codes, the JSON's fields, folding of layers, and that a hostile file
 * cannot steer the terminal. The command's sources are compiled in, since programs are no
 * library. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <unistd.h>

#include "unit/format/gguf_samples.h"

#include "../../../cmd/cmd_inspect.c"
#include "../../../cmd/flags.c"
#include "../../../cmd/flags_help.c"
#include "../../../cmd/inspect_json.c"
#include "../../../cmd/inspect_text.c"

static char model_path[64];

static int make_model(void **state) {
    (void)state;
    static const uint64_t dims[] = {32, 2};
    static const char data[256];
    static const char *const names[] = {
        "token_embd.weight",   "blk.0.attn_q.weight",    "blk.1.attn_q.weight",
        "blk.1.ffn_up.weight", "blk.0.attn_norm.weight", "output.weight",
        "odd\x1B[31m"};
    sl_gguf_writer *w = NULL;
    (void)snprintf(model_path, sizeof(model_path), "/tmp/sluice-inspect-%ld.gguf", (long)getpid());
    CHECK_OK(sl_gguf_writer_create(model_path, 32, &w, err));
    CHECK_OK(sl_gguf_writer_string(w, "general.architecture", sl_slice_of("no\x1B[2Jsuch"), err));
    CHECK_OK(sl_gguf_writer_string(w, "evil\x07key", sl_slice_of("\"q\"\\ \xC2\x9B\xFF\n"), err));
    sample_write_scalars(w);
    static const float not_finite[] = {NAN, INFINITY, -INFINITY, 0.1f};
    CHECK_OK(sl_gguf_writer_array(w, "floats", SL_GGUF_F32, not_finite, 4, err));
    static const sl_slice words[] = {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1},
                                     {"f", 1}, {"g", 1}, {"h", 1}, {"i", 1}};
    CHECK_OK(sl_gguf_writer_strings(w, "words", words, 9, err));
    CHECK_OK(sl_gguf_writer_raw(w, sl_slice_of("nested"), SL_GGUF_ARRAY,
                                sample_bytes(sample_nested, sizeof(sample_nested)), err));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CHECK_OK(sl_gguf_writer_tensor(w, names[i], SL_TYPE_F32, 2, dims, err));
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CHECK_OK(sl_gguf_writer_data(w, data, sizeof(data), err));
    }
    CHECK_OK(sl_gguf_writer_finish(w, err));
    sl_gguf_writer_free(w);
    return 0;
}

static int drop_model(void **state) {
    (void)state;
    return unlink(model_path);
}

/* Runs the command with standard output and error in files; returns what it wrote (freed by the
 * caller). */
static char *run(const char *const *args, int wanted_code) {
    char *argv[8] = {NULL};
    int argc = 0;
    argv[argc++] = strdup("inspect");
    for (; args[argc - 1] != NULL; argc++) {
        argv[argc] = strdup(args[argc - 1]);
    }
    FILE *file = tmpfile();
    assert_non_null(file);
    (void)fflush(stdout);
    (void)fflush(stderr);
    int old_out = dup(1), old_err = dup(2);
    (void)dup2(fileno(file), 1);
    (void)dup2(fileno(file), 2);
    int code = sl_cmd_inspect(argc, argv);
    (void)fflush(stdout);
    (void)fflush(stderr);
    (void)dup2(old_out, 1);
    (void)dup2(old_err, 2);
    (void)close(old_out);
    (void)close(old_err);
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    assert_true(size >= 0);
    rewind(file);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, file), size);
    (void)fclose(file);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    if (code != wanted_code) {
        fail_msg("exit code %d, not %d: %s", code, wanted_code, text);
    }
    return text;
}

static void check_harmless(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        assert_true(*p == '\n' || (*p >= 0x20 && *p != 0x7F));
        assert_false(p[0] == 0xC2 && p[1] < 0xA0); /* C1 controls */
    }
    assert_int_equal(sl_utf8_valid_prefix(text, strlen(text)), strlen(text));
}

static void check_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("no '%s' in:\n%s", part, text);
    }
}

static void test_text(void **state) {
    (void)state;
    char *text = run((const char *const[]){model_path, NULL}, 0);
    check_harmless(text);
    check_has(text, "Does not run here: ");
    check_has(text, "evil\\x07key");
    check_has(text, "[9 string] \"a\", \"b\", \"c\", \"d\", ...");
    check_has(text, "[4 f32] nan, inf, -inf, 0.1\n");
    check_has(text, "[3 array]\n");
    check_has(text, "blk.*.attn_q.weight ");
    check_has(text, "blk.1.ffn_up.weight ");
    check_has(text, "odd\\x1b[31m");
    assert_null(strstr(text, "blk.0.attn_q.weight"));
    free(text);
    text = run((const char *const[]){model_path, "--tensors", NULL}, 0);
    check_has(text, "blk.0.attn_q.weight ");
    check_has(text, "blk.1.attn_q.weight ");
    free(text);
}

static json_int_t number_at(const json_t *root, const char *object, const char *name,
                            const char *field) {
    const json_t *v = json_object_get(json_object_get(json_object_get(root, object), name), field);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

static void check_metadata(const json_t *metadata) {
    const json_t *v = json_object_get(json_object_get(metadata, "evil\x07key"), "value");
    assert_string_equal(json_string_value(v), "\"q\"\\ \xC2\x9B\xEF\xBF\xBD\n");
    v = json_object_get(json_object_get(metadata, "t.i32"), "value");
    assert_true(json_integer_value(v) == INT32_MIN);
    v = json_object_get(json_object_get(metadata, "t.f64"), "value");
    assert_true(json_real_value(v) == 1.5);
    const json_t *words = json_object_get(metadata, "words");
    assert_string_equal(json_string_value(json_object_get(words, "type")), "array");
    assert_string_equal(json_string_value(json_object_get(words, "elem_type")), "string");
    assert_int_equal(json_integer_value(json_object_get(words, "count")), 9);
    const json_t *first = json_object_get(words, "first");
    assert_int_equal(json_array_size(first), 8);
    assert_string_equal(json_string_value(json_array_get(first, 7)), "h");
    first = json_object_get(json_object_get(metadata, "floats"), "first");
    assert_string_equal(json_string_value(json_array_get(first, 0)), "nan");
    assert_string_equal(json_string_value(json_array_get(first, 2)), "-inf");
    assert_true(json_real_value(json_array_get(first, 3)) == 0.1);
    first = json_object_get(json_object_get(metadata, "nested"), "first");
    assert_int_equal(json_array_size(first), 0);
}

static void test_json(void **state) {
    (void)state;
    char *text = run((const char *const[]){model_path, "--json", NULL}, 0);
    check_harmless(text);
    json_error_t problem;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &problem);
    if (root == NULL) {
        fail_msg("%s at %d in %s", problem.text, problem.position, text);
    }
    assert_string_equal(json_string_value(json_object_get(root, "file")), model_path);
    assert_int_equal(json_integer_value(json_object_get(root, "version")), 3);
    assert_int_equal(json_integer_value(json_object_get(root, "n_params")), 7 * 64);
    assert_true(json_is_false(json_object_get(root, "runs")));
    assert_true(json_is_string(json_object_get(root, "reason")));
    assert_true(json_is_null(json_object_get(root, "tokenizer")));
    assert_true(json_is_string(json_object_get(root, "tokenizer_error")));
    assert_int_equal(json_array_size(json_object_get(root, "eog")), 0);
    assert_null(json_object_get(root, "plan"));
    check_metadata(json_object_get(root, "metadata"));
    const json_t *tensors = json_object_get(root, "tensors");
    assert_int_equal(json_array_size(tensors), 7);
    const json_t *t = json_array_get(tensors, 1);
    assert_string_equal(json_string_value(json_object_get(t, "name")), "blk.0.attn_q.weight");
    assert_string_equal(json_string_value(json_object_get(t, "type")), "F32");
    assert_string_equal(json_string_value(json_object_get(t, "kind")), "attention");
    assert_int_equal(json_integer_value(json_object_get(t, "bytes")), 256);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(t, "shape"), 0)), 32);
    static const struct {
        const char *kind;
        int n;
    } kinds[] = {{"embedding", 1}, {"attention", 2}, {"ffn", 1},  {"norms", 1},
                 {"output", 1},    {"other", 1},     {"total", 7}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        assert_int_equal(number_at(root, "memory", kinds[i].kind, "tensors"), kinds[i].n);
        assert_int_equal(number_at(root, "memory", kinds[i].kind, "bytes"), kinds[i].n * 256);
    }
    assert_int_equal(number_at(root, "formats", "F32", "elements"), 7 * 64);
    json_decref(root);
    free(text);
}

/* A tensor of each number format: named in the text, in the table of tensors and in the sums. */
static void test_every_format(void **state) {
    (void)state;
    static const char data[1024];
    char path[80], name[16];
    sl_gguf_writer *w = NULL;
    (void)snprintf(path, sizeof(path), "%s.formats", model_path);
    CHECK_OK(sl_gguf_writer_create(path, 32, &w, err));
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
            const sl_type_info *info = sl_type_info_of(type);
            const uint64_t dims[] = {info->block_elems, 2};
            (void)snprintf(name, sizeof(name), "t%u.weight", type);
            if (info->name != NULL && pass == 0) {
                CHECK_OK(sl_gguf_writer_tensor(w, name, (sl_type)type, 2, dims, err));
            } else if (info->name != NULL) {
                CHECK_OK(sl_gguf_writer_data(w, data, 2 * (size_t)info->block_bytes, err));
            }
        }
    }
    CHECK_OK(sl_gguf_writer_finish(w, err));
    sl_gguf_writer_free(w);
    char *text = run((const char *const[]){path, "--tensors", NULL}, 0);
    char *json = run((const char *const[]){path, "--json", NULL}, 0);
    json_t *root = json_loads(json, 0, NULL);
    assert_non_null(root);
    size_t i = 0;
    for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
        const sl_type_info *info = sl_type_info_of(type);
        if (info->name == NULL) {
            continue;
        }
        char word[24];
        (void)snprintf(word, sizeof(word), " %s ", info->name);
        check_has(text, word);
        const json_t *t = json_array_get(json_object_get(root, "tensors"), i++);
        assert_string_equal(json_string_value(json_object_get(t, "type")), info->name);
        assert_int_equal(json_integer_value(json_object_get(t, "bytes")), 2 * info->block_bytes);
        assert_int_equal(number_at(root, "formats", info->name, "elements"), 2 * info->block_elems);
    }
    json_decref(root);
    free(text);
    free(json);
    assert_int_equal(unlink(path), 0);
}

static void test_errors(void **state) {
    (void)state;
    char *text = run((const char *const[]){"/tmp/sluice-inspect-absent.gguf", NULL},
                     SL_EXIT_FAILURE);
    check_has(text, "sluice inspect: ");
    check_has(text, "absent.gguf");
    free(text);
    text = run((const char *const[]){model_path, "--plan", NULL}, SL_EXIT_FAILURE);
    check_has(text, model_path);
    free(text);
    text = run((const char *const[]){NULL}, SL_EXIT_USAGE);
    free(text);
    text = run((const char *const[]){model_path, "--nonsense", NULL}, SL_EXIT_USAGE);
    check_has(text, "--nonsense");
    free(text);
    text = run((const char *const[]){"--help", NULL}, SL_EXIT_OK);
    check_has(text, "sluice inspect FILE");
    free(text);
}

/* A model that runs: plan, vocabulary and KV memory are there. */
static void test_reference_model(void **state) {
    (void)state;
    char path[512];
    const char *shared = getenv("SLUICE_SHARED");
    (void)snprintf(path, sizeof(path), "%s/golden/arch/llama-tied/llama-tied.f32.gguf",
                   shared != NULL ? shared : "../shared");
    if (access(path, R_OK) != 0) {
        skip();
    }
    char *text = run((const char *const[]){path, "--json", "--plan", NULL}, 0);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    assert_true(json_is_true(json_object_get(root, "runs")));
    assert_true(json_is_null(json_object_get(root, "reason")));
    assert_true(json_is_object(json_object_get(root, "tokenizer")));
    assert_true(json_array_size(json_object_get(root, "eog")) > 0);
    assert_true(json_integer_value(json_object_get(root, "kv_bytes_per_token")) > 0);
    json_t *by_type = json_object_get(root, "kv_bytes_per_token_by_type");
    assert_int_equal(json_object_size(by_type), SL_KV_TYPE_COUNT);
    assert_int_equal(json_integer_value(json_object_get(by_type, "f16")),
                     json_integer_value(json_object_get(root, "kv_bytes_per_token")));
    assert_true(json_integer_value(json_object_get(by_type, "int8")) <
                json_integer_value(json_object_get(by_type, "f16")));
    check_has(json_string_value(json_object_get(root, "plan")), "norm");
    json_decref(root);
    free(text);
    text = run((const char *const[]){path, "--plan", NULL}, 0);
    check_has(text, "Runs here: llama");
    check_has(text, "Generation ends at: ");
    check_has(text, "\nPlan\n");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_every_format),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_reference_model),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
