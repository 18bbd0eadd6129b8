/* Hostile templates and values: each ends quickly in an ordinary error; limits hold; a failure
 * leaves the output as it was; every failed allocation is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "text/template/template.h"

static sl_status compile_and_render(sl_slice source, const sl_template_limits *limits, sl_buf *out,
                                    sl_error *err) {
    sl_template *t = NULL;
    sl_arena a;
    sl_arena_init(&a, (size_t)1 << 20);
    sl_value *vars = NULL;
    sl_status status = sl_value_parse_json(
        &a, sl_slice_of("{\"s\": \"abc\", \"list\": [1, 2, 3], \"d\": {\"a\": 1}}"), &vars, err);
    if (status == SL_OK) {
        status = sl_template_compile("hostile", source, &t, err);
    }
    if (status == SL_OK) {
        status = sl_template_render(t, vars, 0, limits, out, NULL, err);
    }
    sl_template_free(t);
    sl_arena_deinit(&a);
    return status;
}

static void expect_failure(sl_slice source, sl_status wanted) {
    sl_buf out;
    sl_error err = {0};
    sl_buf_init(&out, (size_t)64 << 20);
    assert_int_equal(sl_buf_append_str(&out, "before"), SL_OK);
    sl_status status = compile_and_render(source, NULL, &out, &err);
    if (status == SL_OK || (wanted != SL_OK && status != wanted)) {
        fail_msg("%.*s: status %d (%s), wanted %d", (int)(source.len > 80 ? 80 : source.len),
                 source.ptr, status, err.message, wanted);
    }
    assert_true(err.message[0] != '\0');
    assert_int_equal(out.len, 6); /* as it was */
    assert_int_equal(out.status, SL_OK);
    sl_buf_deinit(&out);
}

static const struct {
    const char *source;
    sl_status status; /* SL_OK: any failure will do */
} HOSTILE[] = {
    {"{% for i in range(10**9) %}{% endfor %}", SL_ERR_LIMIT},
    {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
     SL_ERR_LIMIT},
    {"{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
     SL_ERR_LIMIT},
    {"{{ 'a' * 2 ** 30 }}", SL_ERR_LIMIT},
    {"{{ 'a' * 9223372036854775807 }}", SL_ERR_LIMIT},
    {"{{ [0] * 2 ** 30 }}", SL_ERR_LIMIT},
    {"{{ [0] * 9223372036854775807 }}", SL_ERR_LIMIT},
    {"{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(90) %}{% set ns.x = ns.x ~ ns.x "
     "%}{% endfor %}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(90) %}{% set ns.x = ns.x + ns.x "
     "%}{% endfor %}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = ns.x + ns.x %}{% "
     "endfor %}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x='a') %}{% for i in range(90) %}{% set ns.x = ns.x.replace('a', "
     "'aaaa') %}"
     "{% endfor %}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x='a') %}{% for i in range(90) %}{% set ns.x = [ns.x, "
     "ns.x]|join('b') %}"
     "{% endfor %}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}{% endfor "
     "%}{{ ns.x }}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}{% endfor "
     "%}"
     "{{ ns.x|tojson }}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x=[], y=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}"
     "{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x=(1,)) %}{% for i in range(500) %}{% set ns.x = (ns.x,) %}{% "
     "endfor %}"
     "{{ {ns.x: 1} }}",
     SL_OK},
    {"{% set ns = namespace(x=0, y=0) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
     "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x=0) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% "
     "endfor %}"
     "{{ ns.x|tojson }}",
     SL_ERR_LIMIT},
    {"{% set ns = namespace(x=0) %}{% for i in range(90) %}{% set ns.x = (ns.x, ns.x) %}{% "
     "endfor %}"
     "{{ {ns.x: 1} }}",
     SL_OK},
    {"{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", SL_ERR_LIMIT},
    {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", SL_ERR_LIMIT},
    {"{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
     SL_ERR_LIMIT},
    {"{% macro m() %}{% call m() %}{{ caller }}{% endcall %}{{ caller }}{% endmacro %}{{ m() "
     "}}",
     SL_OK},
    {"{% macro m(x=m()) %}{% endmacro %}{{ m() }}", SL_ERR_LIMIT},
    {"{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", SL_ERR_LIMIT},
    {"{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ "
     "f(60) }}",
     SL_ERR_LIMIT},
    {"{{ 'x'.center(10 ** 15) }}", SL_ERR_LIMIT},
    {"{{ 'x'|center(10 ** 15) }}", SL_ERR_LIMIT},
    {"{{ '{:>99999999999}'.format('x') }}", SL_OK},
    {"{{ '%99999999999d' % 1 }}", SL_OK},
    {"{{ '%*d' % (9223372036854775807, 1) }}", SL_OK},
    {"{{ '%.*f' % (99999, 1.0) }}", SL_OK},
    {"{{ 'x\ty'.expandtabs(10 ** 12) }}", SL_ERR_LIMIT},
    {"{{ s|indent(10 ** 12, true) }}", SL_ERR_LIMIT},
    {"{{ list|tojson(indent=10 ** 12) }}", SL_ERR_LIMIT},
    {"{{ list|batch(10 ** 12, 0) }}", SL_ERR_LIMIT},
    {"{{ list|slice(10 ** 12) }}", SL_ERR_LIMIT},
    {"{{ 9223372036854775807 + 1 }}", SL_OK},
    {"{{ -9223372036854775807 - 2 }}", SL_OK},
    {"{{ 9223372036854775807 * 2 }}", SL_OK},
    {"{{ 10 ** 30 }}", SL_OK},
    {"{{ 2 ** 9223372036854775807 }}", SL_OK},
    {"{{ (-9223372036854775807 - 1) // -1 }}", SL_OK},
    {"{{ -(-9223372036854775807 - 1) }}", SL_OK},
    {"{{ (-9223372036854775807 - 1)|abs }}", SL_OK},
    {"{{ 99999999999999999999 }}", SL_OK},
    {"{{ '99999999999999999999'|int }}", SL_OK},
    {"{{ 1e300|int }}", SL_OK},
    {"{{ [9223372036854775807, 1]|sum }}", SL_OK},
    {"{% set ns = namespace(x=0) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor "
     "%}{{ ns.x|pprint }}",
     SL_ERR_LIMIT},
    {"{% set x = 'a ' * 90000 %}{% for i in range(99999) %}{{ x|wordcount }}{% endfor %}",
     SL_ERR_LIMIT},
    {"{% set x = 'a-' * 90000 %}{% for i in range(999) %}{{ x|wordwrap(3) }}{% endfor %}",
     SL_ERR_LIMIT},
    {"{% macro m() %}{{ varargs }}{% endmacro %}{% for i in range(9999) %}{{ m(*range(99999)) }}{% "
     "endfor %}",
     SL_ERR_LIMIT},
    {"{{ ('{:60000}' * 5000).format(*range(5000)) }}", SL_ERR_LIMIT},
    {"{{ ('a' * 100000)|replace('a', 'b' * 100000) }}", SL_ERR_LIMIT},
    {"{{ range(100000)|join('x' * 100000) }}", SL_ERR_LIMIT},
    {"{% for i in range(9999) %}{{ range(99999)|list|sort(reverse=true)|length }}{% endfor %}",
     SL_ERR_LIMIT},
    {"{% set x = 'ab' * 500000 %}{{ x.rfind('b' * 400000) }}", SL_ERR_LIMIT},
    {"{% set x = 'ab' * 500000 %}{{ x.rsplit('b' * 400000) }}", SL_ERR_LIMIT},
};

static void test_hostile(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(HOSTILE) / sizeof(HOSTILE[0]); i++) {
        expect_failure(sl_slice_of(HOSTILE[i].source), HOSTILE[i].status);
    }
}

/* `head`, then n times `part`, then `tail`. */
static sl_buf repeated(const char *head, const char *part, size_t n, const char *tail) {
    sl_buf b;
    sl_buf_init(&b, (size_t)4 << 20);
    sl_buf_append_str(&b, head);
    for (size_t i = 0; i < n; i++) {
        sl_buf_append_str(&b, part);
    }
    assert_int_equal(sl_buf_append_str(&b, tail), SL_OK);
    return b;
}

static void test_deep_sources(void **state) {
    (void)state;
    static const struct {
        const char *head, *part, *tail;
    } CASES[] = {
        {"{{ ", "(", " }}"},
        {"{{ ", "[", " }}"},
        {"{{ ", "{'a':", " }}"},
        {"{{ ", "- ", "1 }}"},
        {"{{ ", "+", "1 }}"},
        {"{{ ", "not ", "1 }}"},
        {"{{ x", "[x", " }}"},
        {"{{ x", "(x", " }}"},
        {"{{ x", "|default(x", " }}"},
        {"", "{% if 1 %}", ""},
        {"", "{% for i in x %}", ""},
        {"", "{% set x %}", ""},
        {"", "{% macro m() %}", ""},
        {"", "{% call x() %}", ""},
        {"", "{% filter upper %}", ""},
        {"", "{% with %}", ""},
        {"{% set ", "(", ""},
        {"{{ 1 if ", "(1 if ", ""},
        {"{{ x is eq ", "(x is eq ", ""},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        sl_buf b = repeated(CASES[i].head, CASES[i].part, 60000, CASES[i].tail);
        expect_failure((sl_slice){b.data, b.len}, SL_OK);
        sl_buf_deinit(&b);
    }
    sl_buf b = repeated("{{ ", "(", 60000, "1");
    for (size_t i = 0; i < 60000; i++) {
        sl_buf_append_char(&b, ')');
    }
    sl_buf_append_str(&b, " }}");
    expect_failure((sl_slice){b.data, b.len}, SL_OK);
    sl_buf_deinit(&b);
}

/* Long chains are no nesting: they work. */
static void test_long_chains(void **state) {
    (void)state;
    static const struct {
        const char *head, *part, *tail;
    } CASES[] = {
        {"{{ 0", " + 1", " }}"},
        {"{{ ''", " ~ 'a'", " }}"},
        {"{{ 1", " and 1", " }}"},
        {"{{ 1", " < 2 > 1", " }}"},
        {"{{ s", "|upper", " }}"},
        {"{{ d", ".copy()", " }}"},
        {"{{ 1", " if 1 else 2", " }}"},
        {"{{ 1", " if 1", " }}"},
        {"{{ ", "'a'", " }}"},
        {"{% if 0 %}", "{% elif 0 %}", "{% endif %}"},
        {"{{ [", "1,", "] }}"},
        {"", "a{{ 1 }}", ""},
        {"", "{# c #}", ""},
        {"", "{ ", ""},
        {"{{ s", " is string == true", " }}"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        sl_buf b = repeated(CASES[i].head, CASES[i].part, 20000, CASES[i].tail), out;
        sl_error err = {0};
        sl_buf_init(&out, (size_t)4 << 20);
        sl_status status = compile_and_render((sl_slice){b.data, b.len}, NULL, &out, &err);
        if (status != SL_OK) {
            fail_msg("%s: %s", CASES[i].part, err.message);
        }
        sl_buf_deinit(&out);
        sl_buf_deinit(&b);
    }
}

/* What searches for an end that is not there does so once, not at every beginning. */
static void test_no_squares(void **state) {
    (void)state;
    static const struct {
        const char *source, *expected;
    } CASES[] = {
        {"{{ ('<' * 900000)|striptags|length }}", "900000"},
        {"{{ ('<!--' * 250000)|striptags|length }}", "1000000"},
        {"{{ ('a-' * 300000)|wordwrap(9)|length }}", "674999"},
        {"{{ ('-' * 900000)|wordwrap(300)|length }}", "902999"},
        {"{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = ns.x + [i] %}"
         "{% endfor %}{{ ns.x|length }}",
         "50000"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        sl_buf out;
        sl_error err = {0};
        sl_buf_init(&out, (size_t)4 << 20);
        sl_status status = compile_and_render(sl_slice_of(CASES[i].source), NULL, &out, &err);
        if (status != SL_OK) {
            fail_msg("%s: %s", CASES[i].source, err.message);
        }
        assert_string_equal(sl_buf_cstr(&out), CASES[i].expected);
        sl_buf_deinit(&out);
    }
}

/* A string that grows piece by piece costs its length, not its square. */
static void test_growing_string(void **state) {
    (void)state;
    sl_buf out;
    sl_error err = {0};
    sl_buf_init(&out, (size_t)4 << 20);
    const char *source = "{% set ns = namespace(x='') %}{% for i in range(50000) %}"
                         "{% set ns.x = ns.x + 'piece of text' %}{% endfor %}{{ ns.x }}";
    assert_int_equal(compile_and_render(sl_slice_of(source), NULL, &out, &err), SL_OK);
    assert_int_equal(out.len, 50000 * 13);
    sl_buf_deinit(&out);
}

/* Tree, values, output and spans of one rendering stay below 64 MB together. The parts that come
 * from values alternate with text, which is the most that spans can cost. */
static void test_peak_memory(void **state) {
    (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    static const char *const SOURCES[] = {
        "{% for i in range(99999) %}{% for j in range(99999) %}a{{ s }}{% endfor %}{% endfor %}",
        "{% set y %}{% for i in range(80000) %}a{{ s }}{% endfor %}{% endset %}"
        "{% for i in range(99999) %}{{ y }}{% endfor %}",
        "{% set y %}{% for i in range(99999) %}{% for j in range(99999) %}a{{ s }}{% endfor %}"
        "{% endfor %}{% endset %}",
        "{% set x = 'x' * 9000000 %}{% for i in range(99) %}{{ x }}{% endfor %}",
    };
    struct rusage before, after;
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    for (size_t i = 0; i < sizeof(SOURCES) / sizeof(SOURCES[0]); i++) {
        sl_template *t = NULL;
        sl_spans spans = {0};
        sl_error err = {0};
        sl_buf out;
        sl_arena a;
        sl_buf_init(&out, (size_t)64 << 20);
        sl_arena_init(&a, (size_t)1 << 20);
        sl_value *vars = sl_value_object(&a);
        sl_value *s = sl_value_string(&a, sl_slice_of("b"), false);
        assert_true(sl_value_object_set(&a, vars, sl_slice_of("s"), s));
        assert_int_equal(sl_template_compile("peak", sl_slice_of(SOURCES[i]), &t, &err), SL_OK);
        assert_int_equal(sl_template_render(t, vars, 0, NULL, &out, &spans, &err), SL_ERR_LIMIT);
        assert_int_equal(spans.n, 0);
        sl_template_free(t);
        sl_arena_deinit(&a);
        sl_buf_deinit(&out);
    }
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024);
    assert_true(after.ru_maxrss < 96 * 1024); /* with the tests before this one */
#endif
}

static void test_given_limits(void **state) {
    (void)state;
    sl_template_limits limits = sl_template_limits_default();
    sl_buf out;
    sl_error err = {0};
    sl_buf_init(&out, (size_t)4 << 20);
    limits.output_bytes = 10;
    assert_int_equal(compile_and_render(sl_slice_of("0123456789"), &limits, &out, &err), SL_OK);
    assert_int_equal(compile_and_render(sl_slice_of("01234567890"), &limits, &out, &err),
                     SL_ERR_LIMIT);
    limits = sl_template_limits_default();
    limits.fuel = 50;
    assert_int_equal(compile_and_render(sl_slice_of("{{ 1 }}"), &limits, &out, &err), SL_OK);
    assert_int_equal(compile_and_render(sl_slice_of("{% for i in range(99) %}{% endfor %}"),
                                        &limits, &out, &err),
                     SL_ERR_LIMIT);
    limits = sl_template_limits_default();
    limits.memory_bytes = 20000;
    assert_int_equal(compile_and_render(sl_slice_of("{{ 'a' * 15000 }}"), &limits, &out, &err),
                     SL_ERR_LIMIT);
    limits = sl_template_limits_default();
    limits.depth = 3;
    const char *recursive =
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(2) }}";
    assert_int_equal(compile_and_render(sl_slice_of(recursive), &limits, &out, &err), SL_OK);
    limits.depth = 2;
    assert_int_equal(compile_and_render(sl_slice_of(recursive), &limits, &out, &err), SL_ERR_LIMIT);
    sl_buf_deinit(&out);
    sl_buf_init(&out, 5); /* the caller's own maximum */
    assert_int_equal(compile_and_render(sl_slice_of("123456"), NULL, &out, &err), SL_ERR_LIMIT);
    assert_int_equal(out.len, 0);
    sl_buf_deinit(&out);
}

static void test_sources(void **state) {
    (void)state;
    sl_template *t = NULL;
    sl_error err = {0};
    assert_int_equal(sl_template_compile("x", (sl_slice){"a\xFF", 2}, &t, &err), SL_ERR_FORMAT);
    sl_buf b = repeated("", "0123456789abcdef", ((size_t)1 << 16) + 1, "");
    assert_int_equal(sl_template_compile("x", (sl_slice){b.data, b.len}, &t, &err), SL_ERR_LIMIT);
    sl_buf_deinit(&b);
    assert_int_equal(sl_template_compile("x", sl_slice_of("a\n\n{{ 1 + }}"), &t, &err),
                     SL_ERR_FORMAT);
    assert_non_null(strstr(err.message, "line 3"));
    assert_int_equal(sl_template_compile("x", (sl_slice){NULL, 0}, &t, &err), SL_OK);
    sl_template_free(t);
}

/* Methods that share their code still name themselves. */
static void test_messages_name_the_method(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"{{ 'a'.lstrip(1, 2) }}", " lstrip()"},
                                           {"{{ 'a'.rstrip(7) }}", " rstrip()"},
                                           {"{{ 'a'.strip(7) }}", " strip()"},
                                           {"{{ 'a'.removeprefix() }}", " removeprefix()"},
                                           {"{{ 'a'.removesuffix() }}", " removesuffix()"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sl_buf out;
        sl_error err = {0};
        sl_buf_init(&out, 100);
        assert_int_not_equal(compile_and_render(sl_slice_of(cases[i][0]), NULL, &out, &err), SL_OK);
        if (strstr(err.message, cases[i][1]) == NULL) {
            fail_msg("\"%s\" does not name%s", err.message, cases[i][1]);
        }
        sl_buf_deinit(&out);
    }
}

/* Every allocation fails once: an error each time, nothing leaks, nothing crashes. */
static void test_failed_allocations(void **state) {
    (void)state;
    const char *source =
        "{% macro m(a, b=[1, 2]) %}{{ a }}{{ b|map('string')|join(',') }}{% endmacro %}"
        "{% for k, v in d.items() %}{{ m(k ~ v) }}{{ loop.length }}{% endfor %}"
        "{% set x %}{{ s|upper|tojson(indent=2) }}{% endset %}{{ x * 500 }}";
    for (uint64_t n = 1; n < 200; n++) {
        sl_buf out;
        sl_error err = {0};
        sl_buf_init(&out, (size_t)1 << 20);
        sl_alloc_fail_nth(n, false);
        sl_status status = compile_and_render(sl_slice_of(source), NULL, &out, &err);
        sl_alloc_fail_nth(0, false);
        sl_buf_deinit(&out);
        if (status == SL_OK) {
            assert_true(n > 3);
            return;
        }
        assert_true(status == SL_ERR_MEMORY || status == SL_ERR_LIMIT);
    }
    fail_msg("the rendering never succeeded");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_deep_sources),
        cmocka_unit_test(test_long_chains),
        cmocka_unit_test(test_growing_string),
        cmocka_unit_test(test_no_squares),
        cmocka_unit_test(test_peak_memory),
        cmocka_unit_test(test_given_limits),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_messages_name_the_method),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
