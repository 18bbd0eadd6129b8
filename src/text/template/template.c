/* Compiling and freeing templates, starting and ending a rendering, and its errors and limits. */
#include "text/template/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "text/template/tmpl_exec.h"

#define TEMPLATE_SOURCE_MAX ((size_t)1 << 20)
/* The trees of real templates take less than 1 MB. */
#define TEMPLATE_TREE_MAX ((size_t)8 << 20)

/* --- compiling
 * ---------------------------------------------------------------------------------- */

/* The source with every line break as \n and the last one dropped. */
static sl_slice template_normalise(sl_arena *a, sl_slice source) {
    char *text = sl_arena_alloc(a, source.len == 0 ? 1 : source.len);
    size_t n = 0;
    for (size_t i = 0; text != NULL && i < source.len; i++) {
        char c = source.ptr[i];
        if (c == '\r') {
            i += i + 1 < source.len && source.ptr[i + 1] == '\n';
            c = '\n';
        }
        text[n++] = c;
    }
    n -= n > 0 && text[n - 1] == '\n';
    return (sl_slice){text, n};
}

sl_status sl_template_compile(const char *name, sl_slice source, sl_template **out, sl_error *err) {
    if (source.len > TEMPLATE_SOURCE_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT, "template %s: %zu bytes; at most %zu are allowed", name,
                       source.len, TEMPLATE_SOURCE_MAX);
    }
    size_t valid = sl_utf8_valid_prefix(source.ptr, source.len);
    if (valid < source.len) {
        return SL_FAIL(err, SL_ERR_FORMAT, "template %s: invalid UTF-8 at byte %zu", name, valid);
    }
    sl_template *t = sl_alloc_zero(1, sizeof(*t));
    if (t == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "template %s: out of memory", name);
    }
    sl_arena_init(&t->arena, TEMPLATE_TREE_MAX);
    t->name = sl_arena_strndup(&t->arena, name, strlen(name));
    sl_slice text = template_normalise(&t->arena, source);
    sl_status status = t->name == NULL || text.ptr == NULL
                           ? SL_FAIL(err, SL_ERR_MEMORY, "template %s: out of memory", name)
                           : sl_tmpl_parse(t, text, err);
    if (status != SL_OK) {
        sl_template_free(t);
        return status;
    }
    *out = t;
    return SL_OK;
}

void sl_template_free(sl_template *t) {
    if (t != NULL) {
        sl_arena_deinit(&t->arena);
        sl_free(t);
    }
}

/* --- errors and limits of a rendering
 * ----------------------------------------------------------- */

sl_template_limits sl_template_limits_default(void) {
    return (sl_template_limits){.fuel = 32u << 20,
                                .depth = 100,
                                .output_bytes = (size_t)16 << 20,
                                .memory_bytes = (size_t)32 << 20};
}

sl_status sl_tmpl_fail_at(tmpl_run *r, sl_status code, const char *file, int line,
                          const char *format, ...) {
    char detail[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    return sl_error_set(r->err, code, file, line, "template %s, line %u: %s", r->t->name,
                        (unsigned)r->line, detail);
}

sl_status sl_tmpl_full(tmpl_run *r, const char *file, int line) {
    return sl_tmpl_fail_at(r, SL_ERR_LIMIT, file, line,
                           "its values need more than %zu bytes of memory", r->limits.memory_bytes);
}

sl_status sl_tmpl_out_of_fuel(tmpl_run *r) {
    return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__, "more than %llu steps of work",
                           (unsigned long long)r->limits.fuel);
}

sl_status sl_tmpl_enter(tmpl_run *r) {
    SL_TRY(tmpl_burn(r, 0));
    if (++r->n_nested > r->limits.depth * TMPL_NESTED_PER_CALL) {
        return sl_tmpl_fail_at(r, SL_ERR_LIMIT, __FILE__, __LINE__, "nested too deeply");
    }
    return SL_OK;
}

/* --- rendering
 * ---------------------------------------------------------------------------------- */

void sl_spans_deinit(sl_spans *s) {
    sl_free(s->spans);
    *s = (sl_spans){0};
}

/* The outermost scope: the caller's variables, else the functions of the environment. */
static sl_status render_globals(tmpl_run *r, const sl_value *vars, tmpl_scope *root) {
    size_t n = r->t->n_names;
    root->by_name = sl_arena_alloc_zero(&r->arena, n, sizeof(sl_value));
    if (root->by_name == NULL) {
        return TMPL_FULL(r);
    }
    for (size_t i = 0; i < n; i++) {
        sl_slice name = tmpl_slice(r->t->names[i]);
        const sl_value *v = vars == NULL ? NULL : sl_tmpl_map_find_text(vars->u.map, name);
        const tmpl_global *g = v == NULL ? sl_tmpl_find_global(name) : NULL;
        root->by_name[i] = v != NULL   ? *v
                           : g != NULL ? (sl_value){.kind = TMPL_GLOBAL, .u.global = g}
                                       : tmpl_missing();
    }
    return SL_OK;
}

sl_status sl_template_render(const sl_template *t, const sl_value *vars, int64_t now_unix_s,
                             const sl_template_limits *limits, sl_buf *out, sl_spans *spans_out,
                             sl_error *err) {
    if (vars != NULL && vars->kind != SL_VALUE_OBJECT) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "template %s: the variables must be an object",
                       t->name);
    }
    tmpl_run r = {.t = t,
                  .limits = limits == NULL ? sl_template_limits_default() : *limits,
                  .now_unix_s = now_unix_s,
                  .out = out,
                  .out_begin = out->len,
                  .keep_spans = spans_out != NULL,
                  .err = err,
                  .line = 1};
    r.fuel = r.limits.fuel;
    sl_arena_init(&r.arena, r.limits.memory_bytes);
    tmpl_scope root = {0};
    sl_status status = render_globals(&r, vars, &root);
    if (status == SL_OK) {
        status = sl_tmpl_exec(&r, &root, t->body);
    }
    sl_arena_deinit(&r.arena);
    if (status != SL_OK) {
        out->len = r.out_begin;
        out->status = SL_OK;
        sl_spans_deinit(&r.spans);
        return status;
    }
    if (spans_out != NULL) {
        *spans_out = r.spans;
    }
    return SL_OK;
}
