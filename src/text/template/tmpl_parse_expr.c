/* Expressions: the grammar of Jinja 3.1, whose levels are, from loose to tight: if-else, or, and,
 * not, comparison, + -, ~, * / // %, unary signs with filters and tests, **.
 */
#include <string.h>

#include "base/error.h"
#include "text/template/tmpl_exec.h"
#include "text/template/tmpl_parser.h"

#define CALL_NAMED_MAX 256u /* arguments before a named one: bounds the search for its name */

static sl_status expr_unary(tmpl_parser *p, bool with_filter, tmpl_node **out);
static sl_status expr_arguments(tmpl_parser *p, tmpl_node **out);

/* A list of siblings under construction. */
typedef struct expr_list {
    tmpl_node *first, **end;
    size_t n;
} expr_list;

static void list_add(expr_list *l, tmpl_node *n) {
    if (l->first == NULL) {
        l->first = n;
    } else {
        *l->end = n;
    }
    l->end = &n->next;
    l->n++;
}

/* --- binary levels
 * ------------------------------------------------------------------------------ */

typedef enum expr_level {
    LEVEL_OR,
    LEVEL_AND,
    LEVEL_NOT,
    LEVEL_COMPARE,
    LEVEL_ADD,
    LEVEL_CONCAT,
    LEVEL_MUL,
    LEVEL_POW,
    LEVEL_UNARY
} expr_level;

static const struct {
    uint8_t token, level, op;
} BINARY[] = {
    {TOK_EQ, LEVEL_COMPARE, OP_EQ},    {TOK_NE, LEVEL_COMPARE, OP_NE},
    {TOK_LT, LEVEL_COMPARE, OP_LT},    {TOK_LE, LEVEL_COMPARE, OP_LE},
    {TOK_GT, LEVEL_COMPARE, OP_GT},    {TOK_GE, LEVEL_COMPARE, OP_GE},
    {TOK_ADD, LEVEL_ADD, OP_ADD},      {TOK_SUB, LEVEL_ADD, OP_SUB},
    {TOK_TILDE, LEVEL_CONCAT, OP_ADD}, {TOK_MUL, LEVEL_MUL, OP_MUL},
    {TOK_DIV, LEVEL_MUL, OP_DIV},      {TOK_FLOORDIV, LEVEL_MUL, OP_FLOORDIV},
    {TOK_MOD, LEVEL_MUL, OP_MOD},      {TOK_POW, LEVEL_POW, OP_POW},
};

/* The operator of this level at the present token, consumed; OP_NONE if there is none. */
static sl_status expr_operator(tmpl_parser *p, expr_level level, tmpl_op *op) {
    *op = OP_NONE;
    if (p->cur.kind == TOK_NAME) {
        if (level == LEVEL_OR && sl_tmpl_parse_at_word(p, "or")) {
            *op = OP_ADD;
        } else if (level == LEVEL_AND && sl_tmpl_parse_at_word(p, "and")) {
            *op = OP_ADD;
        } else if (level == LEVEL_COMPARE && sl_tmpl_parse_at_word(p, "in")) {
            *op = OP_IN;
        } else if (level == LEVEL_COMPARE && sl_tmpl_parse_at_word(p, "not")) {
            const tmpl_token *ahead;
            SL_TRY(sl_tmpl_parse_peek(p, &ahead));
            if (ahead->kind == TOK_NAME && sl_slice_eq_str(ahead->text, "in")) {
                *op = OP_NOT_IN;
                SL_TRY(sl_tmpl_parse_advance(p));
            }
        }
    } else {
        for (size_t i = 0; i < sizeof(BINARY) / sizeof(BINARY[0]); i++) {
            if (BINARY[i].token == (uint8_t)p->cur.kind && BINARY[i].level == (uint8_t)level) {
                *op = (tmpl_op)BINARY[i].op;
            }
        }
    }
    return *op == OP_NONE ? SL_OK : sl_tmpl_parse_advance(p);
}

static sl_status expr_binary(tmpl_parser *p, expr_level level, tmpl_node **out) {
    static const uint8_t KIND[] = {NODE_OR,    NODE_AND,    NODE_NOT,   NODE_COMPARE,
                                   NODE_ARITH, NODE_CONCAT, NODE_ARITH, NODE_ARITH};
    if (level == LEVEL_UNARY) {
        return expr_unary(p, true, out);
    }
    if (level == LEVEL_NOT && sl_tmpl_parse_at_word(p, "not")) {
        tmpl_node *n;
        SL_TRY(sl_tmpl_parse_node(p, NODE_NOT, &n));
        SL_TRY(sl_tmpl_parse_advance(p));
        SL_TRY(sl_tmpl_parse_enter(p));
        SL_TRY(expr_binary(p, LEVEL_NOT, &n->a));
        sl_tmpl_parse_leave(p);
        *out = n;
        return SL_OK;
    }
    uint32_t line = p->cur.line;
    expr_list items = {0};
    tmpl_op op = OP_NONE;
    do {
        tmpl_node *operand;
        SL_TRY(expr_binary(p, (expr_level)(level + 1), &operand));
        operand->op = (uint8_t)op; /* NOLINT(clang-analyzer-core.NullDereference) */
        list_add(&items, operand);
        op = OP_NONE;
        if (level != LEVEL_NOT) {
            SL_TRY(expr_operator(p, level, &op));
        }
    } while (op != OP_NONE);
    *out = items.first;
    if (items.n > 1) {
        tmpl_node *n;
        SL_TRY(sl_tmpl_parse_node(p, (tmpl_node_kind)KIND[level], &n));
        n->line = line;
        n->a = items.first;
        *out = n;
    }
    return SL_OK;
}

/* `a if b else c if d else e` is a list from left to right; each else part is the next node's
 * place. */
static sl_status expr_conditional(tmpl_parser *p, tmpl_node **out) {
    unsigned n_unknown = p->n_unknown;
    SL_TRY(expr_binary(p, LEVEL_OR, out));
    while (sl_tmpl_parse_at_word(p, "if")) {
        tmpl_node *cond;
        SL_TRY(sl_tmpl_parse_node(p, NODE_COND, &cond));
        SL_TRY(sl_tmpl_parse_advance(p));
        cond->b = *out;
        SL_TRY(expr_binary(p, LEVEL_OR, &cond->a));
        *out = cond;
        p->n_unknown = n_unknown; /* found only when it runs: see `soft` */
        if (sl_tmpl_parse_at_word(p, "else")) {
            SL_TRY(sl_tmpl_parse_advance(p));
            out = &cond->c;
            SL_TRY(expr_binary(p, LEVEL_OR, out));
            /* What follows belongs to this else part: the loop goes on inside it. */
        }
        p->n_unknown = n_unknown;
    }
    return SL_OK;
}

sl_status sl_tmpl_parse_expr(tmpl_parser *p, bool with_cond, tmpl_node **out) {
    SL_TRY(sl_tmpl_parse_enter(p));
    if (with_cond) {
        SL_TRY(expr_conditional(p, out));
    } else {
        SL_TRY(expr_binary(p, LEVEL_OR, out));
    }
    sl_tmpl_parse_leave(p);
    return SL_OK;
}

/* --- primary
 * ------------------------------------------------------------------------------------ */

static sl_status expr_string(tmpl_parser *p, tmpl_node **out) {
    SL_TRY(sl_tmpl_parse_node(p, NODE_CONST, out));
    /* Adjacent strings are one. They are decoded one after the other into a buffer that doubles. */
    char *text = NULL;
    size_t len = 0, cap = 0;
    while (p->cur.kind == TOK_STRING) {
        size_t need = len + p->cur.text.len * 2 + 16, n;
        if (need > cap) {
            cap = need + (text == NULL ? 0 : cap * 2);
            char *bigger = sl_arena_alloc(&p->t->arena, cap);
            if (bigger == NULL) {
                return sl_tmpl_parse_full(p);
            }
            if (len > 0) {
                memcpy(bigger, text, len); /* NOLINT(clang-analyzer-core.NonNullParamChecker) */
            }
            text = bigger;
        }
        SL_TRY(sl_tmpl_unescape(p->t->name, &p->cur, text + len, &n, p->err));
        len += n;
        SL_TRY(sl_tmpl_parse_advance(p));
    }
    return sl_tmpl_parse_text(p, (sl_slice){text, len}, &(*out)->val);
}

static void expr_note_special(tmpl_parser *p, uint32_t name) {
    for (tmpl_parse_macro *m = p->macro; m != NULL; m = m->outer) {
        m->uses_caller |= name == NAME_CALLER;
        m->uses_kwargs |= name == NAME_KWARGS;
        m->uses_varargs |= name == NAME_VARARGS;
    }
}

static bool expr_constant(sl_slice word, sl_value *out) {
    if (sl_slice_eq_str(word, "true") || sl_slice_eq_str(word, "True")) {
        *out = tmpl_bool(true);
    } else if (sl_slice_eq_str(word, "false") || sl_slice_eq_str(word, "False")) {
        *out = tmpl_bool(false);
    } else if (sl_slice_eq_str(word, "none") || sl_slice_eq_str(word, "None")) {
        *out = tmpl_none();
    } else {
        return false;
    }
    return true;
}

static sl_status expr_name(tmpl_parser *p, bool load, tmpl_node **out) {
    sl_value val;
    if (expr_constant(p->cur.text, &val)) {
        SL_TRY(sl_tmpl_parse_node(p, NODE_CONST, out));
        (*out)->val = val;
        return sl_tmpl_parse_advance(p);
    }
    SL_TRY(sl_tmpl_parse_node(p, NODE_NAME, out));
    SL_TRY(sl_tmpl_parse_intern(p, p->cur.text, &(*out)->name));
    if (load) {
        expr_note_special(p, (*out)->name);
    }
    return sl_tmpl_parse_advance(p);
}

static sl_status expr_items(tmpl_parser *p, tmpl_token_kind close, bool pairs, tmpl_node **out) {
    expr_list items = {0};
    SL_TRY(sl_tmpl_parse_advance(p));
    while (p->cur.kind != close) {
        tmpl_node *item;
        SL_TRY(sl_tmpl_parse_expr(p, true, &item));
        list_add(&items, item);
        if (pairs) {
            SL_TRY(sl_tmpl_parse_expect(p, TOK_COLON, "':' after a key"));
            SL_TRY(sl_tmpl_parse_expr(p, true, &item));
            list_add(&items, item);
        }
        if (p->cur.kind != close) {
            SL_TRY(sl_tmpl_parse_expect(p, TOK_COMMA, "',' or the closing bracket"));
        }
    }
    *out = items.first;
    return sl_tmpl_parse_advance(p);
}

static sl_status expr_parenthesis(tmpl_parser *p, tmpl_node **out) {
    SL_TRY(sl_tmpl_parse_advance(p));
    if (p->cur.kind == TOK_RPAREN) {
        SL_TRY(sl_tmpl_parse_node(p, NODE_TUPLE, out));
        return sl_tmpl_parse_advance(p);
    }
    SL_TRY(sl_tmpl_parse_tuple(p, true, NULL, out));
    return sl_tmpl_parse_expect(p, TOK_RPAREN, "')'");
}

static sl_status expr_primary(tmpl_parser *p, tmpl_node **out) {
    switch (p->cur.kind) {
    case TOK_NAME:
        return expr_name(p, true, out);
    case TOK_STRING:
        return expr_string(p, out);
    case TOK_INT:
    case TOK_FLOAT:
        SL_TRY(sl_tmpl_parse_node(p, NODE_CONST, out));
        (*out)->val = p->cur.kind == TOK_INT ? tmpl_int(p->cur.int_val)
                                             : tmpl_float(p->cur.float_val);
        return sl_tmpl_parse_advance(p);
    case TOK_LPAREN:
        return expr_parenthesis(p, out);
    case TOK_LBRACKET:
        SL_TRY(sl_tmpl_parse_node(p, NODE_LIST, out));
        return expr_items(p, TOK_RBRACKET, false, &(*out)->a);
    case TOK_LBRACE:
        SL_TRY(sl_tmpl_parse_node(p, NODE_DICT, out));
        return expr_items(p, TOK_RBRACE, true, &(*out)->a);
    default:
        return sl_tmpl_parse_unexpected(p, "an expression");
    }
}

/* --- links: subscripts, calls, filters, tests
 * --------------------------------------------------- */

static bool expr_slice_ends(const tmpl_parser *p) {
    return p->cur.kind == TOK_RBRACKET || p->cur.kind == TOK_COMMA || p->cur.kind == TOK_COLON;
}

static sl_status expr_subscript(tmpl_parser *p, tmpl_node **out) {
    tmpl_node *start = NULL;
    SL_TRY(sl_tmpl_parse_advance(p));
    if (p->cur.kind != TOK_COLON) {
        SL_TRY(sl_tmpl_parse_tuple(p, true, NULL, &start));
    }
    SL_TRY(sl_tmpl_parse_node(p, p->cur.kind == TOK_COLON ? LINK_SLICE : LINK_ITEM, out));
    (*out)->a = start;
    if (p->cur.kind == TOK_COLON) {
        SL_TRY(sl_tmpl_parse_advance(p));
        if (!expr_slice_ends(p)) {
            SL_TRY(sl_tmpl_parse_expr(p, true, &(*out)->b));
        }
        if (p->cur.kind == TOK_COLON) {
            SL_TRY(sl_tmpl_parse_advance(p));
            if (!expr_slice_ends(p)) {
                SL_TRY(sl_tmpl_parse_expr(p, true, &(*out)->c));
            }
        }
    }
    return sl_tmpl_parse_expect(p, TOK_RBRACKET, "']'");
}

static sl_status expr_dot(tmpl_parser *p, tmpl_node **out) {
    SL_TRY(sl_tmpl_parse_advance(p));
    if (p->cur.kind == TOK_INT) {
        tmpl_node *key;
        SL_TRY(sl_tmpl_parse_node(p, LINK_ITEM, out));
        SL_TRY(sl_tmpl_parse_node(p, NODE_CONST, &key));
        key->val = tmpl_int(p->cur.int_val);
        (*out)->a = key;
        return sl_tmpl_parse_advance(p);
    }
    if (p->cur.kind != TOK_NAME) {
        return sl_tmpl_parse_unexpected(p, "a name or number after '.'");
    }
    SL_TRY(sl_tmpl_parse_node(p, LINK_ATTR, out));
    SL_TRY(sl_tmpl_parse_text(p, p->cur.text, &(*out)->val));
    return sl_tmpl_parse_advance(p);
}

static sl_status expr_argument(tmpl_parser *p, tmpl_node **out) {
    tmpl_node_kind kind = ARG_POS;
    sl_value name = tmpl_none();
    if (p->cur.kind == TOK_MUL || p->cur.kind == TOK_POW) {
        kind = p->cur.kind == TOK_MUL ? ARG_LIST : ARG_MAP;
        SL_TRY(sl_tmpl_parse_advance(p));
    } else if (p->cur.kind == TOK_NAME) {
        const tmpl_token *ahead;
        SL_TRY(sl_tmpl_parse_peek(p, &ahead));
        if (ahead->kind == TOK_ASSIGN) {
            kind = ARG_NAMED;
            SL_TRY(sl_tmpl_parse_text(p, p->cur.text, &name));
            SL_TRY(sl_tmpl_parse_advance(p));
            SL_TRY(sl_tmpl_parse_advance(p));
        }
    }
    SL_TRY(sl_tmpl_parse_node(p, kind, out));
    (*out)->val = name;
    return sl_tmpl_parse_expr(p, true, &(*out)->arg);
}

/* Names of arguments are few: each is compared with those before it, up to a limit. */
static sl_status expr_check_named(tmpl_parser *p, const tmpl_node *first, const tmpl_node *arg,
                                  uint32_t line) {
    unsigned n = 0;
    for (const tmpl_node *a = first; arg->kind == ARG_NAMED && a != NULL; a = a->next) {
        if (a->kind == ARG_NAMED &&
            sl_slice_eq(tmpl_slice(a->val.u.str), tmpl_slice(arg->val.u.str))) {
            return sl_tmpl_parse_fail(p, line, "an argument of a call is named twice");
        }
        if (++n > CALL_NAMED_MAX) {
            return sl_tmpl_parse_fail(p, line, "a call has too many arguments");
        }
    }
    return SL_OK;
}

static sl_status expr_arguments(tmpl_parser *p, tmpl_node **out) {
    expr_list args = {0};
    unsigned last = ARG_POS;
    SL_TRY(sl_tmpl_parse_expect(p, TOK_LPAREN, "'('"));
    while (p->cur.kind != TOK_RPAREN) {
        tmpl_node *arg;
        uint32_t line = p->cur.line;
        SL_TRY(expr_argument(p, &arg));
        /* Positional ones first; *args before **kwargs; each of those at most once. */
        bool ok = arg->kind == ARG_POS     ? last == ARG_POS
                  : arg->kind == ARG_NAMED ? last != ARG_MAP
                                           : last < arg->kind;
        if (!ok) {
            return sl_tmpl_parse_fail(p, line,
                                      "arguments of a call are in an order that is not allowed");
        }
        last = arg->kind > last ? arg->kind : last;
        SL_TRY(expr_check_named(p, args.first, arg, line));
        list_add(&args, arg);
        if (p->cur.kind != TOK_RPAREN) {
            SL_TRY(sl_tmpl_parse_expect(p, TOK_COMMA, "',' or ')' in a call"));
        }
    }
    *out = args.first;
    return sl_tmpl_parse_advance(p);
}

/* name(.name)*; the tokens are joined without white space. */
static sl_status expr_dotted_name(tmpl_parser *p, tmpl_node *n) {
    if (p->cur.kind != TOK_NAME) {
        return sl_tmpl_parse_unexpected(p, "the name of a filter or test");
    }
    sl_slice name = p->cur.text;
    SL_TRY(sl_tmpl_parse_advance(p));
    while (p->cur.kind == TOK_DOT) {
        SL_TRY(sl_tmpl_parse_advance(p));
        if (p->cur.kind != TOK_NAME) {
            return sl_tmpl_parse_unexpected(p, "a name after '.'");
        }
        name.len = (size_t)(p->cur.text.ptr + p->cur.text.len - name.ptr);
        SL_TRY(sl_tmpl_parse_advance(p));
    }
    return sl_tmpl_parse_text(p, name, &n->val);
}

static void expr_note_unknown(tmpl_parser *p, const tmpl_node *n, bool is_test) {
    if (n->index != TMPL_UNKNOWN || p->soft) {
        return;
    }
    if (p->n_unknown++ == 0) {
        p->unknown = (tmpl_token){.line = n->line, .text = tmpl_slice(n->val.u.str)};
        p->unknown_is_test = is_test;
    }
}

static sl_status expr_filter(tmpl_parser *p, tmpl_node **out) {
    tmpl_node *n;
    SL_TRY(sl_tmpl_parse_node(p, LINK_FILTER, &n));
    SL_TRY(expr_dotted_name(p, n));
    n->index = sl_tmpl_filter_index(tmpl_slice(n->val.u.str));
    expr_note_unknown(p, n, false);
    if (p->cur.kind == TOK_LPAREN) {
        SL_TRY(expr_arguments(p, &n->arg));
    }
    *out = n;
    return SL_OK;
}

static bool expr_starts_operand(const tmpl_parser *p) {
    switch (p->cur.kind) {
    case TOK_NAME:
        return !sl_tmpl_parse_at_word(p, "else") && !sl_tmpl_parse_at_word(p, "or") &&
               !sl_tmpl_parse_at_word(p, "and");
    case TOK_STRING:
    case TOK_INT:
    case TOK_FLOAT:
    case TOK_LBRACKET:
    case TOK_LBRACE:
        return true;
    default:
        return false;
    }
}

static sl_status expr_postfix(tmpl_parser *p, tmpl_node **node, bool filters);

static sl_status expr_test(tmpl_parser *p, tmpl_node **out) {
    tmpl_node *n, *arg;
    SL_TRY(sl_tmpl_parse_advance(p));
    bool negated = sl_tmpl_parse_at_word(p, "not");
    if (negated) {
        SL_TRY(sl_tmpl_parse_advance(p));
    }
    SL_TRY(sl_tmpl_parse_node(p, LINK_TEST, &n));
    SL_TRY(expr_dotted_name(p, n));
    n->flag = negated;
    n->index = sl_tmpl_test_index(tmpl_slice(n->val.u.str));
    expr_note_unknown(p, n, true);
    *out = n;
    if (p->cur.kind == TOK_LPAREN) {
        return expr_arguments(p, &n->arg);
    }
    if (!expr_starts_operand(p)) {
        return SL_OK;
    }
    if (sl_tmpl_parse_at_word(p, "is")) {
        return sl_tmpl_parse_fail(p, p->cur.line, "tests cannot be chained with 'is'");
    }
    SL_TRY(sl_tmpl_parse_node(p, ARG_POS, &arg));
    SL_TRY(sl_tmpl_parse_enter(p));
    SL_TRY(expr_primary(p, &arg->a));
    SL_TRY(expr_postfix(p, &arg->a, false));
    sl_tmpl_parse_leave(p);
    n->arg = arg;
    return SL_OK;
}

/* Adds links to *node, wrapping it into a chain when there is at least one. With `filters`, filters
 * and tests; without, subscripts. Calls in both. */
static sl_status expr_links(tmpl_parser *p, tmpl_node **node, bool filters) {
    expr_list links = {0};
    bool wrapped = false;
    for (;;) {
        tmpl_node *link;
        if (p->cur.kind == TOK_LPAREN) {
            SL_TRY(sl_tmpl_parse_node(p, LINK_CALL, &link));
            SL_TRY(expr_arguments(p, &link->arg));
        } else if (!filters && p->cur.kind == TOK_DOT) {
            SL_TRY(expr_dot(p, &link));
        } else if (!filters && p->cur.kind == TOK_LBRACKET) {
            SL_TRY(expr_subscript(p, &link));
        } else if (filters && p->cur.kind == TOK_PIPE) {
            SL_TRY(sl_tmpl_parse_advance(p));
            SL_TRY(expr_filter(p, &link));
        } else if (filters && sl_tmpl_parse_at_word(p, "is")) {
            SL_TRY(expr_test(p, &link));
        } else {
            return SL_OK;
        }
        list_add(&links, link);
        if (!wrapped) {
            wrapped = true;
            tmpl_node *chain;
            SL_TRY(sl_tmpl_parse_node(p, NODE_CHAIN, &chain));
            chain->a = *node;
            chain->b = link;
            *node = chain;
        }
    }
}

static sl_status expr_postfix(tmpl_parser *p, tmpl_node **node, bool filters) {
    SL_TRY(expr_links(p, node, false));
    return filters ? expr_links(p, node, true) : SL_OK;
}

static sl_status expr_unary(tmpl_parser *p, bool with_filter, tmpl_node **out) {
    if (p->cur.kind == TOK_SUB || p->cur.kind == TOK_ADD) {
        tmpl_node *n;
        SL_TRY(sl_tmpl_parse_node(p, p->cur.kind == TOK_SUB ? NODE_NEG : NODE_POS, &n));
        SL_TRY(sl_tmpl_parse_advance(p));
        SL_TRY(sl_tmpl_parse_enter(p));
        SL_TRY(expr_unary(p, false, &n->a));
        sl_tmpl_parse_leave(p);
        *out = n;
    } else {
        SL_TRY(expr_primary(p, out));
    }
    return expr_postfix(p, out, with_filter);
}

sl_status sl_tmpl_parse_filters(tmpl_parser *p, bool inline_start, tmpl_node **out) {
    expr_list links = {0};
    *out = NULL;
    while (inline_start || p->cur.kind == TOK_PIPE) {
        tmpl_node *link;
        if (!inline_start) {
            SL_TRY(sl_tmpl_parse_advance(p));
        }
        inline_start = false;
        SL_TRY(expr_filter(p, &link));
        list_add(&links, link);
    }
    if (links.n > 0) {
        SL_TRY(sl_tmpl_parse_node(p, NODE_CHAIN, out));
        (*out)->b = links.first;
    }
    return sl_tmpl_parse_check_unknown(p);
}

/* --- tuples and targets
 * ------------------------------------------------------------------------- */

static bool expr_tuple_ends(const tmpl_parser *p, const char *end_word) {
    return p->cur.kind == TOK_VAR_END || p->cur.kind == TOK_BLOCK_END ||
           p->cur.kind == TOK_RPAREN || p->cur.kind == TOK_RBRACKET ||
           (end_word != NULL && sl_tmpl_parse_at_word(p, end_word));
}

typedef sl_status (*expr_item_fn)(tmpl_parser *p, bool flag, tmpl_node **out);

static sl_status expr_tuple(tmpl_parser *p, expr_item_fn item_fn, bool flag, const char *end_word,
                            tmpl_node **out) {
    expr_list items = {0};
    bool comma = false;
    if (expr_tuple_ends(p, end_word)) {
        return sl_tmpl_parse_unexpected(p, "an expression");
    }
    do {
        tmpl_node *item;
        SL_TRY(item_fn(p, flag, &item));
        list_add(&items, item);
        if (p->cur.kind != TOK_COMMA) {
            break;
        }
        comma = true;
        SL_TRY(sl_tmpl_parse_advance(p));
    } while (!expr_tuple_ends(p, end_word));
    *out = items.first;
    if (comma) {
        SL_TRY(sl_tmpl_parse_node(p, NODE_TUPLE, out));
        (*out)->a = items.first;
    }
    return SL_OK;
}

sl_status sl_tmpl_parse_tuple(tmpl_parser *p, bool with_cond, const char *end_word,
                              tmpl_node **out) {
    return expr_tuple(p, sl_tmpl_parse_expr, with_cond, end_word, out);
}

/* One item of a target: a name, name.attribute, or items in parentheses. */
static sl_status expr_target_item(tmpl_parser *p, bool with_attr, tmpl_node **out) {
    SL_TRY(sl_tmpl_parse_enter(p));
    if (p->cur.kind == TOK_LPAREN) {
        SL_TRY(sl_tmpl_parse_advance(p));
        SL_TRY(expr_tuple(p, expr_target_item, with_attr, NULL, out));
        SL_TRY(sl_tmpl_parse_expect(p, TOK_RPAREN, "')'"));
    } else if (p->cur.kind == TOK_NAME) {
        uint32_t line = p->cur.line;
        SL_TRY(expr_name(p, false, out));
        if ((*out)->kind != NODE_NAME) {
            return sl_tmpl_parse_fail(p, line, "a constant cannot be assigned to");
        }
        bool attr = with_attr && p->cur.kind == TOK_DOT;
        if (!attr && (*out)->name == NAME_LOOP && p->n_for > 0) {
            return sl_tmpl_parse_fail(p, line, "the special variable 'loop' cannot be assigned");
        }
        if (attr) {
            SL_TRY(sl_tmpl_parse_advance(p));
            if (p->cur.kind != TOK_NAME) {
                return sl_tmpl_parse_unexpected(p, "an attribute name");
            }
            (*out)->kind = TARGET_ATTR;
            SL_TRY(sl_tmpl_parse_text(p, p->cur.text, &(*out)->val));
            SL_TRY(sl_tmpl_parse_advance(p));
        }
    } else {
        return sl_tmpl_parse_unexpected(p, "a name to assign to");
    }
    sl_tmpl_parse_leave(p);
    return SL_OK;
}

sl_status sl_tmpl_parse_target(tmpl_parser *p, bool with_attr, const char *end_word,
                               tmpl_node **out) {
    return expr_tuple(p, expr_target_item, with_attr, end_word, out);
}
