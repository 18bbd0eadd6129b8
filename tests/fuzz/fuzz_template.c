/* Fuzz target: a template, then (after a zero byte) the JSON object of its variables. Either one
 * clear error, or a text whose spans are sorted, apart and inside of it, and the same once more. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static sl_status render(const sl_template *t, const sl_value *vars, sl_buf *out, sl_spans *spans) {
    sl_template_limits limits = {
        .fuel = 200000, .depth = 50, .output_bytes = 1u << 20, .memory_bytes = 4u << 20};
    sl_error err = {0};
    sl_status status = sl_template_render(t, vars, 1736944200, &limits, out, spans, &err);
    require(status == SL_OK || (err.message[0] != '\0' && out->len == 0 && spans->n == 0));
    size_t end = 0;
    for (size_t i = 0; i < spans->n; i++) {
        require(i == 0 || spans->spans[i].begin > end);
        require(spans->spans[i].end > spans->spans[i].begin);
        end = spans->spans[i].end;
    }
    require(end <= out->len);
    return status;
}

static void render_twice(const sl_template *t, const sl_value *vars) {
    sl_buf out[2];
    sl_spans spans[2] = {{0}};
    sl_status status[2];
    for (int i = 0; i < 2; i++) {
        sl_buf_init(&out[i], 1u << 20);
        status[i] = render(t, vars, &out[i], &spans[i]);
    }
    require(status[0] == status[1] && out[0].len == out[1].len && spans[0].n == spans[1].n);
    require(out[0].len == 0 || memcmp(out[0].data, out[1].data, out[0].len) == 0);
    for (int i = 0; i < 2; i++) {
        sl_spans_deinit(&spans[i]);
        sl_buf_deinit(&out[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = size == 0 ? "" : (const char *)data;
    const char *zero = size == 0 ? NULL : memchr(text, 0, size);
    size_t len = zero == NULL ? size : (size_t)(zero - text);
    sl_arena a;
    sl_value *vars = NULL;
    sl_template *t = NULL;
    sl_arena_init(&a, 1u << 20);
    if (zero == NULL ||
        sl_value_parse_json(&a, (sl_slice){zero + 1, size - len - 1}, &vars, NULL) != SL_OK ||
        sl_value_kind_of(vars) != SL_VALUE_OBJECT) {
        vars = NULL;
    }
    sl_error err = {0};
    if (sl_template_compile("fuzz", (sl_slice){text, len}, &t, &err) == SL_OK) {
        render_twice(t, vars);
        sl_template_free(t);
    } else {
        require(err.message[0] != '\0' && t == NULL);
    }
    sl_arena_deinit(&a);
    return 0;
}
