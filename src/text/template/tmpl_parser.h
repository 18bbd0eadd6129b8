/* State and helpers that the two halves of the parser share (expressions, statements). */
#ifndef SL_TEXT_TMPL_PARSER_H
#define SL_TEXT_TMPL_PARSER_H

#include "text/template/tmpl_ast.h"
#include "text/template/tmpl_lexer.h"

#define TMPL_PARSE_DEPTH_MAX 100u

/* What the innermost macro (or call block) says about special names; outer ones are told too. */
typedef struct tmpl_parse_macro {
    struct tmpl_parse_macro *outer;
    bool uses_caller, uses_kwargs, uses_varargs;
} tmpl_parse_macro;

typedef struct tmpl_parser {
    sl_template *t;
    tmpl_lexer lx;
    tmpl_token cur, ahead;
    bool has_ahead;
    unsigned depth;
    tmpl_map *names; /* text -> number */
    size_t cap_names;
    tmpl_parse_macro *macro;
    unsigned n_for; /* for loops around this place: `loop` must not be assigned */
    bool in_loop;   /* break and continue have a loop to act on */
    /* Unknown filters and tests are errors of the template, except where the reference only finds
     * them when they run: directly in an if statement or a conditional expression. */
    bool soft;
    unsigned n_unknown;
    tmpl_token unknown; /* the first of them */
    bool unknown_is_test;
    sl_error *err;
} tmpl_parser;

SL_NODISCARD sl_status sl_tmpl_parse_fail(const tmpl_parser *p, uint32_t line, const char *format,
                                          ...) SL_PRINTF(3, 4);
SL_NODISCARD sl_status sl_tmpl_parse_full(const tmpl_parser *p);
SL_NODISCARD sl_status sl_tmpl_parse_unexpected(const tmpl_parser *p, const char *wanted);
SL_NODISCARD sl_status sl_tmpl_parse_advance(tmpl_parser *p);
/* the one after cur */
SL_NODISCARD sl_status sl_tmpl_parse_peek(tmpl_parser *p, const tmpl_token **out);
SL_NODISCARD sl_status sl_tmpl_parse_expect(tmpl_parser *p, tmpl_token_kind kind, const char *what);
SL_NODISCARD sl_status sl_tmpl_parse_node(tmpl_parser *p, tmpl_node_kind kind, tmpl_node **out);
SL_NODISCARD sl_status sl_tmpl_parse_intern(tmpl_parser *p, sl_slice text, uint32_t *out);
/* borrowed */
SL_NODISCARD sl_status sl_tmpl_parse_text(tmpl_parser *p, sl_slice text, sl_value *out);
/* After a whole expression: unknown filters and tests that nothing excuses. */
SL_NODISCARD sl_status sl_tmpl_parse_check_unknown(tmpl_parser *p);
bool sl_tmpl_parse_at_word(const tmpl_parser *p, const char *word);

/* One nesting level; every recursive rule enters and leaves. */
SL_NODISCARD sl_status sl_tmpl_parse_enter(tmpl_parser *p);
static inline void sl_tmpl_parse_leave(tmpl_parser *p) {
    p->depth--;
}

/* Expressions. */
SL_NODISCARD sl_status sl_tmpl_parse_expr(tmpl_parser *p, bool with_cond, tmpl_node **out);
/* An expression or a tuple without brackets; ends before the word `end_word` (may be NULL). */
SL_NODISCARD sl_status sl_tmpl_parse_tuple(tmpl_parser *p, bool with_cond, const char *end_word,
                                           tmpl_node **out);
SL_NODISCARD sl_status sl_tmpl_parse_target(tmpl_parser *p, bool with_attr, const char *end_word,
                                            tmpl_node **out);
/* `|f(...)|g` or, with inline_start, `f(...)|g`: a NODE_CHAIN without base; NULL if there is
 * none. */
SL_NODISCARD sl_status sl_tmpl_parse_filters(tmpl_parser *p, bool inline_start, tmpl_node **out);

/* Statements. */
SL_NODISCARD sl_status sl_tmpl_parse_body(tmpl_parser *p, const char *const *ends, tmpl_node **out);

#endif
