/* Chat templates against the reference: every case of ../shared/golden/templates, when it is there
 * (SLUICE_SHARED names another place). Cases that must fail must fail; all others must match to the
 * byte. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/alloc.h"
#include "text/template/template.h"

#define NOW_UNIX_S 1736944200 /* 2025-01-15 12:30:00 UTC */

static const char *golden_root(void) {
    const char *shared = getenv("SLUICE_SHARED");
    return shared == NULL ? "../shared" : shared;
}

static char *read_whole(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return NULL;
    }
    char *data = malloc((size_t)4 << 20);
    *len = data == NULL ? 0 : fread(data, 1, (size_t)4 << 20, f);
    fclose(f);
    return data;
}

static void set_json(sl_arena *a, sl_value *vars, const char *key, const json_t *node) {
    char *text = json_dumps(node, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    sl_value *v = NULL;
    sl_error err = {0};
    assert_int_equal(sl_value_parse_json(a, sl_slice_of(text), &v, &err), SL_OK);
    assert_true(sl_value_object_set(a, vars, sl_slice_of(key), v));
    free(text);
}

static void set_text(sl_arena *a, sl_value *vars, const char *key, const char *text) {
    sl_value *v = sl_value_string(a, sl_slice_of(text), true);
    assert_true(sl_value_object_set(a, vars, sl_slice_of(key), v));
}

static sl_value *case_vars(sl_arena *a, json_t *row) {
    sl_value *vars = sl_value_object(a);
    set_text(a, vars, "bos_token", "<s>");
    set_text(a, vars, "eos_token", "</s>");
    set_text(a, vars, "unk_token", "<unk>");
    set_text(a, vars, "pad_token", "<pad>");
    assert_true(sl_value_object_set(a, vars, sl_slice_of("documents"), sl_value_none(a)));
    set_json(a, vars, "messages", json_object_get(row, "messages"));
    set_json(a, vars, "tools", json_object_get(row, "tools"));
    set_json(a, vars, "add_generation_prompt", json_object_get(row, "add_generation_prompt"));
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(row, "kwargs"), key, v) {
        set_json(a, vars, key, v);
    }
    return vars;
}

/* True if the case came out as it should. */
static bool run_case(const char *name, const sl_template *t, const sl_error *compile_err,
                     json_t *row) {
    sl_arena a;
    sl_buf out;
    sl_error err = *compile_err;
    sl_spans spans = {0};
    sl_arena_init(&a, (size_t)64 << 20);
    sl_buf_init(&out, (size_t)64 << 20);
    sl_status status = SL_ERR_FORMAT;
    if (t != NULL) {
        status = sl_template_render(t, case_vars(&a, row), NOW_UNIX_S, NULL, &out, &spans, &err);
    }
    const char *expected = json_string_value(json_object_get(row, "expected"));
    bool ok = expected == NULL ? status != SL_OK
                               : status == SL_OK && out.len == strlen(expected) &&
                                     memcmp(out.data, expected, out.len) == 0;
    if (!ok) {
        printf("FAIL %s / %s: %s\n", name, json_string_value(json_object_get(row, "id")),
               status == SL_OK ? (expected == NULL ? "should have failed" : "text differs")
                               : err.message);
        if (status == SL_OK && expected != NULL && getenv("SLUICE_TEST_VERBOSE") != NULL) {
            printf("--- expected\n%s\n--- got\n%.*s\n", expected, (int)out.len, out.data);
        }
    }
    sl_spans_deinit(&spans);
    sl_buf_deinit(&out);
    sl_arena_deinit(&a);
    return ok;
}

static void run_file(const char *name, size_t *n_ok, size_t *n_all) {
    char path[1024];
    size_t len = 0;
    json_error_t detail;
    (void)snprintf(path, sizeof(path), "%s/golden/templates/cases/%s.json", golden_root(), name);
    json_t *root = json_load_file(path, 0, &detail);
    assert_non_null(root);
    (void)snprintf(path, sizeof(path), "%s/golden/templates/jinja/%s.jinja", golden_root(), name);
    char *source = read_whole(path, &len);
    assert_non_null(source);
    sl_template *t = NULL;
    sl_error err = {0};
    (void)!sl_template_compile(name, (sl_slice){source, len}, &t, &err);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(root, "cases"), i, row) {
        *n_ok += run_case(name, t, &err, row);
        *n_all += 1;
    }
    sl_template_free(t);
    free(source);
    json_decref(root);
}

static void test_golden(void **state) {
    (void)state;
    char path[1024];
    size_t n_ok = 0, n_all = 0, n_files = 0;
    (void)snprintf(path, sizeof(path), "%s/golden/templates/cases", golden_root());
    DIR *dir = opendir(path);
    if (dir == NULL) {
        print_message("no %s: skipped\n", path);
        skip();
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char name[256];
        size_t len = strlen(e->d_name);
        if (len > 5 && len < sizeof(name) && strcmp(e->d_name + len - 5, ".json") == 0) {
            memcpy(name, e->d_name, len - 5);
            name[len - 5] = '\0';
            run_file(name, &n_ok, &n_all);
            n_files++;
        }
    }
    closedir(dir);
    print_message("templates: %zu files, %zu of %zu cases as the reference\n", n_files, n_ok,
                  n_all);
    assert_true(n_all > 0);
    assert_int_equal(n_ok, n_all);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
