/* Error messages: one printable line of UTF-8 whatever enters, cut at a character. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

static void test_names_are_unique(void **state) {
    (void)state;
    for (int i = SL_ERR_INTERNAL; i <= SL_AGAIN; i++) {
        const char *name = sl_status_name((sl_status)i);
        assert_string_not_equal(name, "unknown");
        for (int j = SL_ERR_INTERNAL; j < i; j++) {
            assert_string_not_equal(name, sl_status_name((sl_status)j));
        }
    }
    assert_string_equal(sl_status_name((sl_status)-99), "unknown");
}

static sl_status fail_twice(sl_error *err) {
    SL_TRY(SL_OK);
    SL_TRY(SL_FAIL(err, SL_ERR_FORMAT, "key %s has value %d", "a.b", 7));
    return SL_FAIL(err, SL_ERR_INTERNAL, "not reached");
}

static void test_first_error_is_kept(void **state) {
    (void)state;
    sl_error err = {0};
    assert_int_equal(fail_twice(&err), SL_ERR_FORMAT);
    assert_int_equal(err.code, SL_ERR_FORMAT);
    assert_string_equal(err.message, "key a.b has value 7");
    assert_non_null(strstr(err.file, "test_error.c"));
    assert_true(err.line > 0);
    assert_int_equal(fail_twice(NULL), SL_ERR_FORMAT);
}

static void test_message_is_one_printable_line(void **state) {
    (void)state;
    sl_error err;
    (void)SL_FAIL(&err, SL_ERR_IO, "%s", "a\nb\x1b[31m\x7f\xC2\x9B é\xFF\xE2\x82z");
    assert_string_equal(err.message, "a?b?[31m??? é???z");
}

static void test_long_message_is_cut_at_a_character(void **state) {
    (void)state;
    char text[2 * SL_ERROR_MESSAGE_MAX];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof(text); i += 4) {
            memcpy(text + i, "\xF0\x9F\x98\x80", 4); /* an emoji */
            text[i + 4] = '\0';
        }
        sl_error err;
        (void)SL_FAIL(&err, SL_ERR_IO, "%s", text);
        size_t len = strlen(err.message);
        assert_in_range(len, SL_ERROR_MESSAGE_MAX - 4, SL_ERROR_MESSAGE_MAX - 1);
        assert_int_equal(sl_utf8_valid_prefix(err.message, len), len);
        assert_null(strchr(err.message, '?'));
    }
}

static void test_errno_text(void **state) {
    (void)state;
    assert_non_null(strstr(sl_errno_text(2), "No such file"));
    assert_non_null(sl_errno_text(-12345));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_first_error_is_kept),
        cmocka_unit_test(test_message_is_one_printable_line),
        cmocka_unit_test(test_long_message_is_cut_at_a_character),
        cmocka_unit_test(test_errno_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
