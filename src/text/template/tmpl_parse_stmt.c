/* Statements, and the helpers shared with tmpl_parse_expr.c. See tmpl_parser.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "text/template/tmpl_parser.h"

/* --- helpers
 * ------------------------------------------------------------------------------------ */

sl_status sl_tmpl_parse_fail(const tmpl_parser *p, uint32_t line, const char *format, ...) {
    char detail[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    return SL_FAIL(p->err, SL_ERR_FORMAT, "template %s, line %u: %s", p->t->name, (unsigned)line,
                   detail);
}

sl_status sl_tmpl_parse_full(const tmpl_parser *p) {
    return SL_FAIL(p->err, SL_ERR_LIMIT,
                   "template %s: its syntax tree needs more memory than allowed", p->t->name);
}

sl_status sl_tmpl_parse_unexpected(const tmpl_parser *p, const char *wanted) {
    char buf[64];
    return sl_tmpl_parse_fail(p, p->cur.line, "expected %s, found %s", wanted,
                              sl_tmpl_token_describe(&p->cur, buf, sizeof(buf)));
}

sl_status sl_tmpl_parse_advance(tmpl_parser *p) {
    if (p->has_ahead) {
        p->cur = p->ahead;
        p->has_ahead = false;
        return SL_OK;
    }
    return sl_tmpl_lexer_next(&p->lx, &p->cur, p->err);
}

sl_status sl_tmpl_parse_peek(tmpl_parser *p, const tmpl_token **out) {
    if (!p->has_ahead) {
        SL_TRY(sl_tmpl_lexer_next(&p->lx, &p->ahead, p->err));
        p->has_ahead = true;
    }
    *out = &p->ahead;
    return SL_OK;
}

sl_status sl_tmpl_parse_expect(tmpl_parser *p, tmpl_token_kind kind, const char *what) {
    return p->cur.kind == kind ? sl_tmpl_parse_advance(p) : sl_tmpl_parse_unexpected(p, what);
}

bool sl_tmpl_parse_at_word(const tmpl_parser *p, const char *word) {
    return p->cur.kind == TOK_NAME && sl_slice_eq_str(p->cur.text, word);
}

sl_status sl_tmpl_parse_enter(tmpl_parser *p) {
    if (++p->depth > TMPL_PARSE_DEPTH_MAX) {
        return SL_FAIL(p->err, SL_ERR_LIMIT, "template %s, line %u: nested deeper than %u levels",
                       p->t->name, (unsigned)p->cur.line, TMPL_PARSE_DEPTH_MAX);
    }
    return SL_OK;
}

sl_status sl_tmpl_parse_node(tmpl_parser *p, tmpl_node_kind kind, tmpl_node **out) {
    tmpl_node *n = sl_arena_alloc_zero(&p->t->arena, 1, sizeof(*n));
    if (n == NULL) {
        return sl_tmpl_parse_full(p);
    }
    n->kind = (uint8_t)kind;
    n->line = p->cur.line;
    *out = n;
    return SL_OK;
}

sl_status sl_tmpl_parse_text(tmpl_parser *p, sl_slice text, sl_value *out) {
    const tmpl_str *s = sl_tmpl_str_borrow(&p->t->arena, text.ptr, text.len, true);
    if (s == NULL) {
        return sl_tmpl_parse_full(p);
    }
    *out = tmpl_str_value(s);
    return SL_OK;
}

sl_status sl_tmpl_parse_intern(tmpl_parser *p, sl_slice text, uint32_t *out) {
    sl_template *t = p->t;
    const sl_value *known = sl_tmpl_map_find_text(p->names, text);
    if (known != NULL) {
        *out = (uint32_t)known->u.i;
        return SL_OK;
    }
    sl_value name;
    SL_TRY(sl_tmpl_parse_text(p, text, &name));
    if (t->n_names == p->cap_names) {
        size_t cap = p->cap_names == 0 ? 32 : p->cap_names * 2;
        const tmpl_str **names = sl_arena_alloc_zero(&t->arena, cap, sizeof(*names));
        if (names == NULL) {
            return sl_tmpl_parse_full(p);
        }
        if (t->n_names > 0) {
            memcpy(names, t->names, t->n_names * sizeof(*names));
        }
        t->names = names;
        p->cap_names = cap;
    }
    if (!sl_tmpl_map_put_new(&t->arena, p->names, name, tmpl_int(t->n_names))) {
        return sl_tmpl_parse_full(p);
    }
    t->names[t->n_names] = name.u.str;
    *out = t->n_names++;
    return SL_OK;
}

sl_status sl_tmpl_parse_check_unknown(tmpl_parser *p) {
    if (p->n_unknown == 0) {
        return SL_OK;
    }
    return sl_tmpl_parse_fail(
        p, p->unknown.line, "no %s is named '%.*s'", p->unknown_is_test ? "test" : "filter",
        (int)(p->unknown.text.len > 80 ? 80 : p->unknown.text.len), p->unknown.text.ptr);
}

/* --- statements
 * --------------------------------------------------------------------------------- */

static const char *const NO_END[] = {NULL};

static sl_status stmt_expr(tmpl_parser *p, tmpl_node **out) {
    SL_TRY(sl_tmpl_parse_expr(p, true, out));
    return sl_tmpl_parse_check_unknown(p);
}

static sl_status stmt_tuple(tmpl_parser *p, bool with_cond, const char *end_word, tmpl_node **out) {
    SL_TRY(sl_tmpl_parse_tuple(p, with_cond, end_word, out));
    return sl_tmpl_parse_check_unknown(p);
}

/* `%} body {% end`, the end word consumed; when there are several it is *end_out. */
static sl_status stmt_block(tmpl_parser *p, const char *const *ends, tmpl_node **out,
                            const char **end_out) {
    if (p->cur.kind == TOK_COLON) {
        SL_TRY(sl_tmpl_parse_advance(p));
    }
    SL_TRY(sl_tmpl_parse_expect(p, TOK_BLOCK_END, "'%}'"));
    SL_TRY(sl_tmpl_parse_body(p, ends, out));
    for (size_t i = 0; ends[i] != NULL; i++) {
        if (sl_tmpl_parse_at_word(p, ends[i])) {
            if (end_out != NULL) {
                *end_out = ends[i];
            }
            return sl_tmpl_parse_advance(p);
        }
    }
    char wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "'%s'", ends[0]);
    return sl_tmpl_parse_unexpected(p, wanted);
}

/* A block with a scope of its own, in which unknown filters are found at once again. */
static sl_status stmt_inner_block(tmpl_parser *p, const char *end, tmpl_node **out) {
    const char *const ends[] = {end, NULL};
    bool soft = p->soft;
    p->soft = false;
    SL_TRY(stmt_block(p, ends, out, NULL));
    p->soft = soft;
    return SL_OK;
}

/* A block that is a function of its own: loops outside do not reach into it. */
static sl_status stmt_function_block(tmpl_parser *p, const char *end, tmpl_node **out) {
    bool in_loop = p->in_loop;
    p->in_loop = false;
    SL_TRY(stmt_inner_block(p, end, out));
    p->in_loop = in_loop;
    return SL_OK;
}

static sl_status stmt_if(tmpl_parser *p, tmpl_node *n) {
    static const char *const ENDS[] = {"endif", "elif", "else", NULL};
    static const char *const LAST[] = {"endif", NULL};
    tmpl_node **to = &n->a;
    const char *end = "elif";
    bool soft = p->soft;
    p->soft = true;
    n->kind = STMT_IF;
    while (strcmp(end, "elif") == 0) {
        tmpl_node *branch;
        SL_TRY(sl_tmpl_parse_node(p, STMT_BRANCH, &branch));
        SL_TRY(stmt_tuple(p, false, NULL, &branch->a));
        SL_TRY(stmt_block(p, ENDS, &branch->b, &end));
        *to = branch;
        to = &branch->next;
    }
    if (strcmp(end, "else") == 0) {
        tmpl_node *branch;
        SL_TRY(sl_tmpl_parse_node(p, STMT_BRANCH, &branch));
        SL_TRY(stmt_block(p, LAST, &branch->b, NULL));
        *to = branch;
    }
    p->soft = soft;
    return SL_OK;
}

static sl_status stmt_for(tmpl_parser *p, tmpl_node *n) {
    static const char *const ENDS[] = {"endfor", "else", NULL};
    static const char *const LAST[] = {"endfor", NULL};
    const char *end = NULL;
    n->kind = STMT_FOR;
    p->n_for++;
    SL_TRY(sl_tmpl_parse_target(p, false, "in", &n->a));
    p->n_for--;
    if (!sl_tmpl_parse_at_word(p, "in")) {
        return sl_tmpl_parse_unexpected(p, "'in'");
    }
    SL_TRY(sl_tmpl_parse_advance(p));
    SL_TRY(stmt_tuple(p, false, "recursive", &n->b));
    bool soft = p->soft, in_loop = p->in_loop;
    p->soft = false;
    if (sl_tmpl_parse_at_word(p, "if")) {
        SL_TRY(sl_tmpl_parse_advance(p));
        SL_TRY(stmt_expr(p, &n->e));
    }
    if (sl_tmpl_parse_at_word(p, "recursive")) {
        n->flag = true;
        SL_TRY(sl_tmpl_parse_advance(p));
    }
    p->in_loop = true;
    p->n_for++;
    SL_TRY(stmt_block(p, ENDS, &n->c, &end));
    p->n_for--;
    p->in_loop = in_loop;
    if (strcmp(end, "else") == 0) {
        SL_TRY(stmt_block(p, LAST, &n->d, NULL));
    }
    p->soft = soft;
    return SL_OK;
}

static sl_status stmt_set(tmpl_parser *p, tmpl_node *n) {
    SL_TRY(sl_tmpl_parse_target(p, true, NULL, &n->a));
    if (p->cur.kind == TOK_ASSIGN) {
        n->kind = STMT_SET;
        SL_TRY(sl_tmpl_parse_advance(p));
        return stmt_tuple(p, true, NULL, &n->b);
    }
    n->kind = STMT_SET_BLOCK;
    SL_TRY(sl_tmpl_parse_filters(p, false, &n->b));
    return stmt_inner_block(p, "endset", &n->c);
}

/* (a, b=1, ...) */
static sl_status stmt_signature(tmpl_parser *p, tmpl_macro_def *m) {
    uint32_t cap = 0;
    SL_TRY(sl_tmpl_parse_expect(p, TOK_LPAREN, "'('"));
    while (p->cur.kind != TOK_RPAREN) {
        tmpl_node *name, *def = NULL;
        if (m->n_params > 0) {
            SL_TRY(sl_tmpl_parse_expect(p, TOK_COMMA, "',' or ')'"));
        }
        SL_TRY(sl_tmpl_parse_node(p, NODE_NAME, &name));
        sl_slice text = p->cur.text;
        SL_TRY(sl_tmpl_parse_expect(p, TOK_NAME, "the name of an argument"));
        SL_TRY(sl_tmpl_parse_intern(p, text, &name->name));
        if (p->cur.kind == TOK_ASSIGN) {
            SL_TRY(sl_tmpl_parse_advance(p));
            SL_TRY(stmt_expr(p, &def));
        } else if (m->n_params > 0 && m->params[m->n_params - 1].def != NULL) {
            return sl_tmpl_parse_fail(p, p->cur.line,
                                      "an argument without default follows one with");
        }
        if (m->n_params == cap) {
            cap = cap == 0 ? 4 : cap * 2;
            tmpl_param *params = sl_arena_alloc_zero(&p->t->arena, cap, sizeof(*params));
            if (params == NULL) {
                return sl_tmpl_parse_full(p);
            }
            if (m->n_params > 0) {
                memcpy(params, m->params, m->n_params * sizeof(*params));
            }
            m->params = params;
        }
        for (uint32_t i = 0; i < m->n_params; i++) {
            if (m->params[i].name == name->name) {
                return sl_tmpl_parse_fail(p, p->cur.line, "two arguments have the same name");
            }
        }
        m->explicit_caller |= name->name == NAME_CALLER;
        m->params[m->n_params++] = (tmpl_param){
            .name = name->name, .text = p->t->names[name->name], .def = def};
    }
    return sl_tmpl_parse_advance(p);
}

static sl_status stmt_macro_def(tmpl_parser *p, tmpl_macro_def **out) {
    *out = sl_arena_alloc_zero(&p->t->arena, 1, sizeof(**out));
    return *out == NULL ? sl_tmpl_parse_full(p) : SL_OK;
}

/* The body of a macro or of a call block, with a note of the special names that it reads. */
static sl_status stmt_macro_body(tmpl_parser *p, const char *end, tmpl_macro_def *m) {
    tmpl_parse_macro scan = {.outer = p->macro};
    tmpl_node *body;
    p->macro = &scan;
    sl_status status = stmt_function_block(p, end, &body);
    p->macro = scan.outer;
    SL_TRY(status);
    m->uses_caller = scan.uses_caller || m->explicit_caller;
    m->uses_kwargs = scan.uses_kwargs;
    m->uses_varargs = scan.uses_varargs;
    for (uint32_t i = 0; i < m->n_params; i++) {
        m->uses_kwargs &= m->params[i].name != NAME_KWARGS;
        m->uses_varargs &= m->params[i].name != NAME_VARARGS;
        if (m->params[i].name == NAME_CALLER && m->params[i].def == NULL) {
            return sl_tmpl_parse_fail(p, p->cur.line,
                                      "an argument named caller must have a default");
        }
    }
    m->body = body;
    return SL_OK;
}

static sl_status stmt_macro(tmpl_parser *p, tmpl_node *n) {
    sl_slice name = p->cur.text;
    n->kind = STMT_MACRO;
    SL_TRY(stmt_macro_def(p, &n->macro));
    SL_TRY(sl_tmpl_parse_expect(p, TOK_NAME, "the name of the macro"));
    SL_TRY(sl_tmpl_parse_intern(p, name, &n->name));
    n->macro->name = p->t->names[n->name];
    SL_TRY(stmt_signature(p, n->macro));
    return stmt_macro_body(p, "endmacro", n->macro);
}

static bool stmt_is_call(const tmpl_node *n) {
    if (n->kind != NODE_CHAIN) {
        return false;
    }
    const tmpl_node *last = n->b;
    while (last->next != NULL) {
        last = last->next;
    }
    return last->kind == LINK_CALL;
}

static sl_status stmt_call(tmpl_parser *p, tmpl_node *n) {
    n->kind = STMT_CALL;
    SL_TRY(stmt_macro_def(p, &n->macro));
    if (p->cur.kind == TOK_LPAREN) {
        SL_TRY(stmt_signature(p, n->macro));
    }
    SL_TRY(stmt_expr(p, &n->a));
    if (!stmt_is_call(n->a)) {
        return sl_tmpl_parse_fail(p, n->line, "a call block must call a macro");
    }
    return stmt_macro_body(p, "endcall", n->macro);
}

static sl_status stmt_with(tmpl_parser *p, tmpl_node *n) {
    tmpl_node **to = &n->a;
    n->kind = STMT_WITH;
    while (p->cur.kind != TOK_BLOCK_END) {
        tmpl_node *set;
        if (n->a != NULL) {
            SL_TRY(sl_tmpl_parse_expect(p, TOK_COMMA, "',' or '%}'"));
        }
        SL_TRY(sl_tmpl_parse_node(p, STMT_SET, &set));
        SL_TRY(sl_tmpl_parse_target(p, false, NULL, &set->a));
        SL_TRY(sl_tmpl_parse_expect(p, TOK_ASSIGN, "'='"));
        SL_TRY(stmt_expr(p, &set->b));
        *to = set;
        to = &set->next;
    }
    return stmt_inner_block(p, "endwith", &n->c);
}

static sl_status stmt_named_block(tmpl_parser *p, tmpl_node *n) {
    char name[64];
    n->kind = STMT_BLOCK;
    size_t len = p->cur.text.len < sizeof(name) - 1 ? p->cur.text.len : sizeof(name) - 1;
    if (p->cur.kind == TOK_NAME) {
        memcpy(name, p->cur.text.ptr, len);
    }
    name[len] = '\0';
    SL_TRY(sl_tmpl_parse_expect(p, TOK_NAME, "the name of the block"));
    n->flag = sl_tmpl_parse_at_word(p, "scoped");
    while (sl_tmpl_parse_at_word(p, "scoped") || sl_tmpl_parse_at_word(p, "required")) {
        SL_TRY(sl_tmpl_parse_advance(p));
    }
    SL_TRY(stmt_function_block(p, "endblock", &n->c));
    return sl_tmpl_parse_at_word(p, name) ? sl_tmpl_parse_advance(p) : SL_OK;
}

/* Statements that need other templates: there are none, so they fail when they are reached. */
static sl_status stmt_unavailable(tmpl_parser *p, tmpl_node *n, sl_slice word) {
    n->kind = STMT_UNAVAILABLE;
    SL_TRY(sl_tmpl_parse_text(p, word, &n->val));
    while (p->cur.kind != TOK_BLOCK_END && p->cur.kind != TOK_EOF) {
        SL_TRY(sl_tmpl_parse_advance(p));
    }
    return SL_OK;
}

static sl_status stmt_print(tmpl_parser *p, tmpl_node *n) {
    tmpl_node **to = &n->c;
    n->kind = STMT_SCOPE;
    while (p->cur.kind != TOK_BLOCK_END) {
        tmpl_node *print;
        if (n->c != NULL) {
            SL_TRY(sl_tmpl_parse_expect(p, TOK_COMMA, "',' or '%}'"));
        }
        SL_TRY(sl_tmpl_parse_node(p, STMT_PRINT, &print));
        SL_TRY(stmt_expr(p, &print->a));
        *to = print;
        to = &print->next;
    }
    return SL_OK;
}

static sl_status stmt_jump(tmpl_parser *p, tmpl_node *n, tmpl_node_kind kind) {
    n->kind = (uint8_t)kind;
    if (!p->in_loop) {
        return sl_tmpl_parse_fail(p, n->line, "'%s' stands outside of a loop",
                                  kind == STMT_BREAK ? "break" : "continue");
    }
    return SL_OK;
}

static sl_status stmt_filter(tmpl_parser *p, tmpl_node *n) {
    n->kind = STMT_FILTER;
    SL_TRY(sl_tmpl_parse_filters(p, true, &n->b));
    return stmt_inner_block(p, "endfilter", &n->c);
}

static sl_status stmt_generation(tmpl_parser *p, tmpl_node *n) {
    n->kind = STMT_SCOPE;
    return stmt_function_block(p, "endgeneration", &n->c);
}

static sl_status stmt_break(tmpl_parser *p, tmpl_node *n) {
    return stmt_jump(p, n, STMT_BREAK);
}

static sl_status stmt_continue(tmpl_parser *p, tmpl_node *n) {
    return stmt_jump(p, n, STMT_CONTINUE);
}

static const struct {
    const char *word;
    sl_status (*parse)(tmpl_parser *p, tmpl_node *n);
} STATEMENTS[] = {
    {"if", stmt_if},       {"for", stmt_for},           {"set", stmt_set},
    {"macro", stmt_macro}, {"call", stmt_call},         {"filter", stmt_filter},
    {"with", stmt_with},   {"block", stmt_named_block}, {"generation", stmt_generation},
    {"break", stmt_break}, {"continue", stmt_continue}, {"print", stmt_print},
};

static sl_status stmt_statement(tmpl_parser *p, tmpl_node *n) {
    if (p->cur.kind != TOK_NAME) {
        return sl_tmpl_parse_unexpected(p, "the name of a statement");
    }
    sl_slice word = p->cur.text;
    for (size_t i = 0; i < sizeof(STATEMENTS) / sizeof(STATEMENTS[0]); i++) {
        if (sl_slice_eq_str(word, STATEMENTS[i].word)) {
            SL_TRY(sl_tmpl_parse_advance(p));
            return STATEMENTS[i].parse(p, n);
        }
    }
    static const char *const OTHERS[] = {"include", "import", "from", "extends"};
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
        if (sl_slice_eq_str(word, OTHERS[i])) {
            return stmt_unavailable(p, n, word);
        }
    }
    return sl_tmpl_parse_unexpected(p, "a statement that exists");
}

/* Parses until `{%` followed by one of the end words, which becomes the present token; at the top
 * (no end words) until the end of the template. */
static sl_status stmt_items(tmpl_parser *p, const char *const *ends, tmpl_node **to) {
    for (;;) {
        tmpl_node *n;
        switch (p->cur.kind) {
        case TOK_DATA:
            SL_TRY(sl_tmpl_parse_node(p, STMT_TEXT, &n));
            SL_TRY(sl_tmpl_parse_text(p, p->cur.text, &n->val));
            SL_TRY(sl_tmpl_parse_advance(p));
            break;
        case TOK_VAR_BEGIN:
            SL_TRY(sl_tmpl_parse_node(p, STMT_PRINT, &n));
            SL_TRY(sl_tmpl_parse_advance(p));
            SL_TRY(stmt_tuple(p, true, NULL, &n->a));
            SL_TRY(sl_tmpl_parse_expect(p, TOK_VAR_END, "'}}'"));
            break;
        case TOK_BLOCK_BEGIN:
            SL_TRY(sl_tmpl_parse_advance(p));
            for (size_t i = 0; ends[i] != NULL; i++) {
                if (sl_tmpl_parse_at_word(p, ends[i])) {
                    return SL_OK;
                }
            }
            SL_TRY(sl_tmpl_parse_node(p, STMT_UNAVAILABLE, &n));
            SL_TRY(stmt_statement(p, n));
            SL_TRY(sl_tmpl_parse_expect(p, TOK_BLOCK_END, "'%}'"));
            break;
        default:
            return p->cur.kind == TOK_EOF && ends[0] == NULL
                       ? SL_OK
                       : sl_tmpl_parse_unexpected(p, ends[0] == NULL ? "text or a tag" : ends[0]);
        }
        *to = n;
        to = &n->next;
    }
}

sl_status sl_tmpl_parse_body(tmpl_parser *p, const char *const *ends, tmpl_node **out) {
    *out = NULL;
    SL_TRY(sl_tmpl_parse_enter(p));
    SL_TRY(stmt_items(p, ends, out));
    sl_tmpl_parse_leave(p);
    return SL_OK;
}

sl_status sl_tmpl_parse(sl_template *t, sl_slice source, sl_error *err) {
    static const char *const KNOWN[NAME_KNOWN_COUNT] = {"loop", "caller", "kwargs", "varargs"};
    tmpl_parser p = {.t = t, .err = err};
    tmpl_node *body;
    uint32_t id;
    sl_tmpl_lexer_init(&p.lx, t->name, source);
    p.names = sl_tmpl_map_new(&t->arena);
    if (p.names == NULL) {
        return sl_tmpl_parse_full(&p);
    }
    for (size_t i = 0; i < NAME_KNOWN_COUNT; i++) {
        SL_TRY(sl_tmpl_parse_intern(&p, sl_slice_of(KNOWN[i]), &id));
    }
    SL_TRY(sl_tmpl_parse_advance(&p));
    SL_TRY(sl_tmpl_parse_body(&p, NO_END, &body));
    t->body = body;
    return SL_OK;
}
