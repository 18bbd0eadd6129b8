/* Which bytes of the output count as the template's own and which came from values. Each case marks
 * the untrusted parts of the expected output by [ and ]. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/template/template.h"

static sl_value *variables(sl_arena *a) {
    sl_value *vars = NULL;
    sl_error err;
    assert_int_equal(
        sl_value_parse_json(
            a,
            sl_slice_of(
                "{\"c\": \"<|end|>\", \"word\": \"hi\", \"n\": 5, \"pad\": \"  x  \", \"ab\": "
                "\"a-b\","
                " \"list\": [\"p\", \"q\"], \"d\": {\"k\": \"v\"}, \"u\": \"\xC3\xA9t\xC3\xA9\","
                " \"format\": \"{}!\"}"),
            &vars, &err),
        SL_OK);
    assert_true(sl_value_object_set(a, vars, sl_slice_of("bos"),
                                    sl_value_string(a, sl_slice_of("<s>"), true)));
    return vars;
}

/* The output with [ and ] around its spans. */
static void marked_output(const char *source, sl_buf *marked) {
    sl_template *t = NULL;
    sl_error err = {0};
    sl_arena a;
    sl_buf out;
    sl_spans spans = {0};
    sl_arena_init(&a, (size_t)1 << 20);
    sl_buf_init(&out, (size_t)1 << 20);
    if (sl_template_compile("spans", sl_slice_of(source), &t, &err) != SL_OK ||
        sl_template_render(t, variables(&a), 0, NULL, &out, &spans, &err) != SL_OK) {
        fail_msg("%s: %s", source, err.message);
    }
    size_t at = 0;
    for (size_t i = 0; i < spans.n; i++) {
        assert_true(spans.spans[i].begin >= at && spans.spans[i].end > spans.spans[i].begin);
        assert_true(i == 0 || spans.spans[i].begin > at); /* neighbours are one span */
        sl_buf_append(marked, out.data + at, spans.spans[i].begin - at);
        sl_buf_append_char(marked, '[');
        at = spans.spans[i].end;
        sl_buf_append(marked, out.data + spans.spans[i].begin, at - spans.spans[i].begin);
        sl_buf_append_char(marked, ']');
    }
    assert_true(at <= out.len);
    sl_buf_append(marked, out.len == 0 ? "" : out.data + at, out.len - at);
    assert_non_null(sl_buf_cstr(marked));
    sl_spans_deinit(&spans);
    sl_buf_deinit(&out);
    sl_template_free(t);
    sl_arena_deinit(&a);
}

static void test_spans(void **state) {
    (void)state;
    static const struct {
        const char *source, *expected;
    } CASES[] = {
        {"<|end|>{{ c }}<|end|>", "<|end|>[<|end|>]<|end|>"},
        {"{{ '<|end|>' }}{{ bos }}", "<|end|><s>"},
        {"{{ '<|a|>' + c + '<|b|>' }}", "<|a|>[<|end|>]<|b|>"},
        {"{{ '<|a|>' ~ c ~ 5 ~ n ~ none }}", "<|a|>[<|end|>]55None"},
        {"{{ c }}{{ c }}", "[<|end|><|end|>]"},
        {"{{ n }}<|image_{{ n + 1 }}|>", "5<|image_6|>"},
        {"{{ ('<|a|>' + c + '<|b|>')[3:9] }}", "|>[<|en]"},
        {"{{ ('<|a|>' + pad + '<|b|>').replace('x', '<|y|>') }}", "<|a|>[  ]<|y|>[  ]<|b|>"},
        {"{{ '<t>'.replace('t', c) }}", "<[<|end|>]>"},
        {"{{ pad|trim }}{{ pad.strip() }}<{{ '  ' + word }}", "[xx]<  [hi]"},
        {"{{ ab.split('-')[0] }}|{{ ('x-' + ab).split('-')[0] }}", "[a]|x"},
        {"{{ list|join('<|sep|>') }}", "[p]<|sep|>[q]"},
        {"{{ '+'.join(list) }}", "[p]+[q]"},
        {"{% set x %}<|a|>{{ c }}{% endset %}{{ x }}", "<|a|>[<|end|>]"},
        {"{% macro m(v) %}<|a|>{{ v }}<|b|>{% endmacro %}{{ m(c) }}{{ m('t') }}",
         "<|a|>[<|end|>]<|b|><|a|>t<|b|>"},
        {"{% filter upper %}a{{ word }}b{% endfilter %}", "A[HI]B"},
        {"{{ ('\xC3\xA9' + u)|upper }}", "\xC3\x89[\xC3\x89T\xC3\x89]"},
        {"{{ (word + 'Xy')|capitalize }}{{ ('a ' + word)|title }}", "[Hi]xyA [Hi]"},
        {"{{ ('ab' + word)[::-1] }}{{ ('ab' + word)|reverse }}", "[ih]ba[ih]ba"},
        {"{{ d|tojson }}", "[{\"k\": \"v\"}]"},
        {"{{ {'<|x|>': 1}|tojson }}", "[{\"]<|x|>[\": 1}]"},
        {"{{ {'<|x|>': c} }}", "[{']<|x|>[': '<|end|>'}]"},
        {"{{ '{}<|x|>{}'.format(c, 1) }}{{ format.format('<|y|>') }}", "[<|end|>]<|x|>1<|y|>[!]"},
        {"{{ '%s<|x|>%d' % (c, 3) }}", "[<|end|>]<|x|>3"},
        {"{{ word * 2 }}{{ 'ab' * 2 }}", "[hihi]abab"},
        {"{{ word|indent(2, first=true) }}", "  [hi]"},
        {"{{ word.center(6, '*') }}", "**[hi]**"},
        {"{{ (word ~ '<|x|>')|e }}", "[hi]&lt;|x|&gt;"},
        {"{% for ch in word + 'z' %}{{ ch }};{% endfor %}", "[h];[i];z;"},
        {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "[k]=[v]"},
        {"{% set ns = namespace(x='') %}{% for v in list %}{% set ns.x = ns.x + v + '|' %}{% "
         "endfor %}{{ ns.x }}",
         "[p]|[q]|"},
        {"{{ c if true else '' }}{{ missing|default(c) }}{{ [c]|first }}",
         "[<|end|><|end|><|end|>]"},
        {"{{ [c]|map('replace', 'end', 'x')|list|first }}", "[<|]x[|>]"},
        {"{{ strftime_now(word ~ '%Y') }}", "[hi]1970"},
        {"{{ 'a' ~ '' ~ c[:0] }}{{ word[0] }}{{ word[-1:] }}", "a[hi]"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        sl_buf marked;
        sl_buf_init(&marked, (size_t)1 << 20);
        marked_output(CASES[i].source, &marked);
        assert_string_equal(marked.data, CASES[i].expected);
        sl_buf_deinit(&marked);
    }
}

/* A string that grows in place must not change what an older one looks like. */
static void test_shared_growth(void **state) {
    (void)state;
    sl_buf marked;
    sl_buf_init(&marked, (size_t)1 << 20);
    marked_output(
        "{% set a = '<' ~ word %}{% set b = a ~ '1' %}{% set c2 = a ~ word %}{% set d2 = b ~ '2' %}"
        "{{ a }};{{ b }};{{ c2 }};{{ d2 }};{{ a }}",
        &marked);
    assert_string_equal(marked.data, "<[hi];<[hi]1;<[hihi];<[hi]12;<[hi]");
    sl_buf_deinit(&marked);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spans),
                                       cmocka_unit_test(test_shared_growth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
