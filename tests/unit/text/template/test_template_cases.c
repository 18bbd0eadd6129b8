/* Template snippets against the reference's output: tests/golden/template/cases.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "text/template/template.h"

#define CASES_PATH "tests/golden/template/cases.json"
#define NOW_UNIX_S 1736944200 /* 2025-01-15 12:30:00 UTC */

static bool run_case(const sl_value *vars, json_t *row) {
    const char *source = json_string_value(json_object_get(row, "template"));
    const char *expected = json_string_value(json_object_get(row, "expected"));
    sl_template *t = NULL;
    sl_error err = {0};
    sl_buf out;
    sl_spans spans = {0};
    sl_buf_init(&out, (size_t)16 << 20);
    sl_status status = sl_template_compile("case", sl_slice_of(source), &t, &err);
    if (status == SL_OK) {
        status = sl_template_render(t, vars, NOW_UNIX_S, NULL, &out, &spans, &err);
    }
    bool ok = expected == NULL ? status != SL_OK && err.message[0] != '\0'
                               : status == SL_OK && out.len == strlen(expected) &&
                                     strncmp(sl_buf_cstr(&out), expected, out.len) == 0;
    size_t end = 0;
    for (size_t i = 0; i < spans.n; i++) { /* sorted, apart, inside the text */
        ok = ok && spans.spans[i].begin >= end && spans.spans[i].begin < spans.spans[i].end;
        end = spans.spans[i].end;
    }
    ok = ok && end <= out.len;
    if (!ok) {
        printf("FAIL %s\n  expected %s\n  got      %.*s%s\n", source,
               expected == NULL ? "an error" : expected, (int)out.len, out.len == 0 ? "" : out.data,
               status == SL_OK ? "" : err.message);
    }
    sl_spans_deinit(&spans);
    sl_buf_deinit(&out);
    sl_template_free(t);
    return ok;
}

static void test_cases(void **state) {
    (void)state;
    json_error_t detail;
    json_t *root = json_load_file(CASES_PATH, 0, &detail);
    if (root == NULL) {
        fail_msg("%s: %s", CASES_PATH, detail.text);
    }
    char *text = json_dumps(json_object_get(root, "vars"), JSON_REAL_PRECISION(17));
    sl_arena a;
    sl_arena_init(&a, (size_t)1 << 20);
    sl_value *vars = NULL;
    sl_error err;
    assert_int_equal(sl_value_parse_json(&a, sl_slice_of(text), &vars, &err), SL_OK);
    json_t *cases = json_object_get(root, "cases"), *row;
    size_t i, n_ok = 0;
    json_array_foreach(cases, i, row) {
        n_ok += run_case(vars, row);
    }
    print_message("snippets: %zu of %zu as the reference\n", n_ok, json_array_size(cases));
    assert_true(json_array_size(cases) >= 150);
    assert_int_equal(n_ok, json_array_size(cases));
    free(text);
    sl_arena_deinit(&a);
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
