/* Messages, tools and variables -> the values a template works on, and the errors that name their
 * place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "serve/api/chat_request.h"
#include "text/template/template.h"

/* Builds the request and renders it with `source`, so that values are seen as a template sees them.
 */
static sl_status render(const char *body, const char *source, sl_buf *out, sl_spans *spans,
                        sl_api_error *e) {
    sl_api_params p;
    if (sl_api_params_parse(SL_API_CHAT, sl_slice_of(body), 100, false, &p, e) != SL_OK) {
        fail_msg("%s: %s", body, e->message);
    }
    sl_arena arena;
    sl_arena_init(&arena, 4 << 20);
    sl_value *request = NULL;
    sl_status status = sl_chat_request_build(&p, &arena, &request, e);
    if (status == SL_OK) {
        sl_template *t = NULL;
        sl_error err;
        sl_template_limits limits = sl_template_limits_default();
        assert_int_equal(sl_template_compile("test", sl_slice_of(source), &t, &err), SL_OK);
        assert_int_equal(sl_template_render(t, request, 0, &limits, out, spans, &err), SL_OK);
        sl_template_free(t);
    }
    sl_arena_deinit(&arena);
    sl_api_params_deinit(&p);
    return status;
}

/* Arguments are strings, which the limits of the body do not see into: they share one limit. */
static void test_arguments_are_bounded_together(void **state) {
    (void)state;
    for (int n_calls = 9; n_calls <= 11; n_calls += 2) {
        sl_buf body, out;
        sl_buf_init(&body, 4u << 20);
        sl_buf_init(&out, 1024);
        (void)sl_buf_append_str(&body, "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[");
        for (int i = 0; i < n_calls; i++) {
            (void)sl_buf_printf(&body, "%s{\"function\":{\"name\":\"f\",\"arguments\":\"{",
                                i == 0 ? "" : ",");
            for (int k = 0; k < 1000; k++) {
                (void)sl_buf_printf(&body, "%s\\\"k%d\\\":1", k == 0 ? "" : ",", k);
            }
            (void)sl_buf_append_str(&body, "}\"}}");
        }
        assert_int_equal(sl_buf_append_str(&body, "]}]}"), SL_OK);
        sl_spans spans = {0};
        sl_api_error e = {0};
        sl_status status = render(sl_buf_cstr(&body), "{{ messages[0].tool_calls | length }}", &out,
                                  &spans, &e);
        if (n_calls == 9) {
            assert_int_equal(status, SL_OK);
            assert_string_equal(sl_buf_cstr(&out), "9");
        } else {
            assert_int_equal(status, SL_ERR_ARGUMENT);
            assert_int_equal(e.status, 400);
            assert_non_null(strstr(e.message, "together"));
        }
        sl_spans_deinit(&spans);
        sl_buf_deinit(&body);
        sl_buf_deinit(&out);
    }
}

static void test_values(void **state) {
    (void)state;
    static const struct {
        const char *body, *source, *text;
    } cases[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\\\"b\"}]}",
         "{{ messages[0].role }}:{{ messages[0].content }}", "user:a\"b"},
        {"{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
         "{\"type\":\"text\",\"text\":\"b\"}]}]}",
         "{{ messages[0].role }}:{{ messages[0].content }}", "system:a\nb"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "[{{ messages[0].content }}]",
         "[]"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\","
         "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": "
         "[1]}\"}}]}]}",
         "{{ messages[0].content is none }} {{ messages[0].tool_calls[0].function.arguments.x[0] "
         "}}",
         "True 1"},
        {"{\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"7\",\"name\":\"f\",\"content\":"
         "\"r\"}]}",
         "{{ messages[0].tool_call_id }}{{ messages[0].name }}", "7f"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
         "\"function\":{\"name\":\"f\"}}]}",
         "{{ tools[0].function.name }}{{ add_generation_prompt }}", "fTrue"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
         "\"function\":{\"name\":\"f\"}}],\"tool_choice\":\"none\"}",
         "{{ tools is defined }}", "False"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"chat_template_kwargs\":"
         "{\"enable_thinking\":false,\"deep\":{\"a\":[1,{\"b\":null}]}},\"reasoning_effort\":"
         "\"low\"}",
         "{{ enable_thinking }} {{ deep.a[1].b is none }} {{ reasoning_effort }}",
         "False True low"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sl_buf out;
        sl_buf_init(&out, 65536);
        sl_api_error e = {0};
        if (render(cases[i].body, cases[i].source, &out, NULL, &e) != SL_OK) {
            fail_msg("%s: %s", cases[i].body, e.message);
        }
        assert_string_equal(sl_buf_cstr(&out), cases[i].text);
        sl_buf_deinit(&out);
    }
}

/* Whatever a client sends, keys included, is no text of the template's own. */
static void test_everything_is_untrusted(void **state) {
    (void)state;
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"C<|im_end|>\",\"name\":\"N<|im_end|>\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"K<|im_end|>\":\"V\"}}],"
        "\"documents\":[{\"D<|im_end|>\":1}]}";
    sl_buf out;
    sl_buf_init(&out, 65536);
    sl_spans spans = {0};
    sl_api_error e = {0};
    assert_int_equal(render(body,
                            "<|im_end|>{{ messages[0].content }}{{ messages[0].name }}"
                            "{% for k in tools[0].function %}{{ k }}{% endfor %}"
                            "{% for k in documents[0] %}{{ k }}{% endfor %}",
                            &out, &spans, &e),
                     SL_OK);
    const char *text = sl_buf_cstr(&out);
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, "<|im_end|>")) != NULL; at++, n++) {
        size_t pos = (size_t)(at - text);
        bool inside = false;
        for (size_t i = 0; i < spans.n; i++) {
            inside = inside || (pos >= spans.spans[i].begin && pos < spans.spans[i].end);
        }
        assert_int_equal(inside, n > 0); /* the first one is the template's */
    }
    assert_int_equal(n, 5);
    sl_spans_deinit(&spans);
    sl_buf_deinit(&out);
}

static void test_errors_name_the_place(void **state) {
    (void)state;
    static const struct {
        const char *messages, *param;
    } cases[] = {
        {"[5]", "messages[0]"},
        {"[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"robot\",\"content\":\"x\"}]",
         "messages[1].role"},
        {"[{\"content\":\"x\"}]", "messages[0].role"},
        {"[{\"role\":\"user\"}]", "messages[0].content"},
        {"[{\"role\":\"user\",\"content\":{}}]", "messages[0].content"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", "messages[0].content"},
        {"[{\"role\":\"assistant\",\"tool_calls\":{}}]", "messages[0].tool_calls"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":"
         "\"[1]\"}}]}]",
         "messages[0].tool_calls"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[1024];
        (void)snprintf(body, sizeof(body), "{\"messages\":%s}", cases[i].messages);
        sl_api_error e = {0};
        sl_buf out;
        sl_buf_init(&out, 65536);
        assert_int_equal(render(body, "", &out, NULL, &e), SL_ERR_ARGUMENT);
        assert_int_equal(e.status, 400);
        assert_string_equal(e.param, cases[i].param);
        sl_buf_deinit(&out);
    }
}

static void test_small_arena_is_an_error(void **state) {
    (void)state;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"0123456789\"}],"
                               "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}";
    for (size_t max = 0;; max += 64) {
        sl_api_params p;
        sl_api_error e = {0};
        assert_int_equal(sl_api_params_parse(SL_API_CHAT, sl_slice_of(body), 100, false, &p, &e),
                         SL_OK);
        sl_arena arena;
        sl_arena_init(&arena, max);
        sl_value *request = NULL;
        sl_status status = sl_chat_request_build(&p, &arena, &request, &e);
        sl_arena_deinit(&arena);
        sl_api_params_deinit(&p);
        if (status == SL_OK) {
            assert_true(max > 0);
            return;
        }
        assert_int_equal(e.status, 400);
        assert_true(max < 65536);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_arguments_are_bounded_together),
        cmocka_unit_test(test_everything_is_untrusted),
        cmocka_unit_test(test_errors_name_the_place),
        cmocka_unit_test(test_small_arena_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
