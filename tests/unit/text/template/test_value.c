/* Value trees and the JSON reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/template/template.h"

static sl_status parse(sl_arena *a, const char *json, sl_value **out, sl_error *err) {
    return sl_value_parse_json(a, sl_slice_of(json), out, err);
}

static void test_json_good(void **state) {
    (void)state;
    static const char *const GOOD[] = {"null",
                                       "true",
                                       "1",
                                       "-9223372036854775808",
                                       "9223372036854775807",
                                       "1.5e3",
                                       "\"x\"",
                                       "[]",
                                       "{}",
                                       "{\"b\": 1, \"a\": [1, {\"c\": null}]}",
                                       "\"\\u0000\\ud83d\\ude00\"",
                                       " [1 , 2 ] "};
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
        sl_arena a;
        sl_value *v = NULL;
        sl_error err = {0};
        sl_arena_init(&a, (size_t)1 << 20);
        if (parse(&a, GOOD[i], &v, &err) != SL_OK) {
            fail_msg("%s: %s", GOOD[i], err.message);
        }
        sl_arena_deinit(&a);
    }
}

static void test_json_bad(void **state) {
    (void)state;
    static const struct {
        const char *text;
        sl_status status;
    } BAD[] = {{"", SL_ERR_FORMAT},
               {"[1,]", SL_ERR_FORMAT},
               {"{'a': 1}", SL_ERR_FORMAT},
               {"[1] x", SL_ERR_FORMAT},
               {"{\"a\": 1, \"a\": 2}", SL_ERR_FORMAT},
               {"NaN", SL_ERR_FORMAT},
               {"\"\\ud800\"", SL_ERR_FORMAT},
               {"\"\xFF\"", SL_ERR_FORMAT},
               {"01", SL_ERR_FORMAT},
               {"9223372036854775808", SL_ERR_UNSUPPORTED},
               {"-9223372036854775809", SL_ERR_UNSUPPORTED},
               {"[1e999]", SL_ERR_UNSUPPORTED}};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        sl_arena a;
        sl_value *v = NULL;
        sl_error err = {0};
        sl_arena_init(&a, (size_t)1 << 20);
        sl_status status = parse(&a, BAD[i].text, &v, &err);
        if (status != BAD[i].status) {
            fail_msg("%s: status %d (%s)", BAD[i].text, status, err.message);
        }
        assert_null(v);
        sl_arena_deinit(&a);
    }
}

static void test_json_depth_and_memory(void **state) {
    (void)state;
    char text[512];
    for (int depth = 60; depth < 200; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        sl_arena a;
        sl_value *v = NULL;
        sl_error err = {0};
        sl_arena_init(&a, (size_t)1 << 20);
        assert_int_equal(parse(&a, text, &v, &err), depth <= 64 ? SL_OK : SL_ERR_LIMIT);
        sl_arena_deinit(&a);
    }
    sl_arena a;
    sl_value *v = NULL;
    sl_error err = {0};
    sl_arena_init(&a, 100);
    assert_int_equal(parse(&a, "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", &v, &err), SL_ERR_LIMIT);
    sl_arena_deinit(&a);
}

/* Many members: found by the index, in the order they came, replaced in place. */
static void test_large_object(void **state) {
    (void)state;
    sl_arena a;
    sl_arena_init(&a, (size_t)64 << 20);
    sl_value *obj = sl_value_object(&a);
    char key[32];
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(key, sizeof(key), "key%d", i);
        assert_true(sl_value_object_set(&a, obj, sl_slice_of(key), sl_value_int(&a, i)));
    }
    assert_true(sl_value_object_set(&a, obj, sl_slice_of("key7"), sl_value_bool(&a, true)));
    assert_null(sl_value_get(obj, "key20000"));
    assert_int_equal(sl_value_kind_of(sl_value_get(obj, "key7")), SL_VALUE_BOOL);
    assert_int_equal(sl_value_kind_of(sl_value_get(obj, "key19999")), SL_VALUE_INT);
    assert_null(sl_value_get(sl_value_int(&a, 1), "x"));
    sl_template *t = NULL;
    sl_error err;
    sl_buf out;
    sl_buf_init(&out, (size_t)1 << 20);
    sl_value *vars = sl_value_object(&a);
    assert_true(sl_value_object_set(&a, vars, sl_slice_of("o"), obj));
    const char *source = "{{ o.key7 }} {{ o|length }} {{ o|first }} {{ o|last }} {{ o.key123 }}";
    assert_int_equal(sl_template_compile("x", sl_slice_of(source), &t, &err), SL_OK);
    assert_int_equal(sl_template_render(t, vars, 0, NULL, &out, NULL, &err), SL_OK);
    assert_string_equal(sl_buf_cstr(&out), "True 20000 key0 key19999 123");
    sl_buf_deinit(&out);
    sl_template_free(t);
    sl_arena_deinit(&a);
}

/* Bytes that are no UTF-8 become U+FFFD, so that templates only ever see characters. */
static void test_invalid_utf8(void **state) {
    (void)state;
    sl_arena a;
    sl_arena_init(&a, (size_t)1 << 20);
    sl_value *vars = sl_value_object(&a);
    sl_value *s = sl_value_string(&a, (sl_slice){"a\xFF\xC3\xA9\xF0\x9F", 6}, false);
    assert_true(sl_value_object_set(&a, vars, sl_slice_of("s"), s));
    sl_template *t = NULL;
    sl_error err;
    sl_buf out;
    sl_buf_init(&out, (size_t)1 << 20);
    assert_int_equal(sl_template_compile("x", sl_slice_of("{{ s }}{{ s|length }}"), &t, &err),
                     SL_OK);
    assert_int_equal(sl_template_render(t, vars, 0, NULL, &out, NULL, &err), SL_OK);
    assert_string_equal(sl_buf_cstr(&out), "a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD"
                                           "5");
    sl_buf_deinit(&out);
    sl_template_free(t);
    sl_arena_deinit(&a);
}

static void test_full_arena(void **state) {
    (void)state;
    sl_arena a;
    sl_arena_init(&a, 64);
    sl_value *list = sl_value_list(&a);
    assert_null(sl_value_string(
        &a, sl_slice_of("this text does not fit into what is left of the arena"), false));
    assert_false(list != NULL &&
                 sl_value_list_push(&a, list, sl_value_string(&a, sl_slice_of("no room"), true)));
    sl_arena_deinit(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_good),
        cmocka_unit_test(test_json_bad),
        cmocka_unit_test(test_json_depth_and_memory),
        cmocka_unit_test(test_large_object),
        cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_full_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
