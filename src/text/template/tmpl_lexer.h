/* Template source -> tokens, one at a time.
 *
 * Data (text outside of tags) comes out with Jinja's white space rules applied: trim_blocks,
 * lstrip_blocks, the `-` and `+` signs, and one newline at the end of the source dropped. Comments
 * and raw markers never come out. The source must outlive the tokens: they point into it.
 */
#ifndef SL_TEXT_TMPL_LEXER_H
#define SL_TEXT_TMPL_LEXER_H

#include "text/template/tmpl_value.h"

typedef enum tmpl_token_kind {
    TOK_EOF,
    TOK_DATA,
    TOK_VAR_BEGIN,
    TOK_VAR_END,
    TOK_BLOCK_BEGIN,
    TOK_BLOCK_END,
    TOK_NAME,
    TOK_STRING,
    TOK_INT,
    TOK_FLOAT,
    TOK_ADD,
    TOK_SUB,
    TOK_MUL,
    TOK_DIV,
    TOK_FLOORDIV,
    TOK_MOD,
    TOK_POW,
    TOK_TILDE,
    TOK_EQ,
    TOK_NE,
    TOK_LT,
    TOK_LE,
    TOK_GT,
    TOK_GE,
    TOK_ASSIGN,
    TOK_DOT,
    TOK_COLON,
    TOK_PIPE,
    TOK_COMMA,
    TOK_SEMICOLON,
    TOK_LPAREN,
    TOK_RPAREN,
    TOK_LBRACKET,
    TOK_RBRACKET,
    TOK_LBRACE,
    TOK_RBRACE
} tmpl_token_kind;

typedef struct tmpl_token {
    tmpl_token_kind kind;
    uint32_t line;
    sl_slice text; /* DATA, NAME; the raw inside of a STRING */
    int64_t int_val;
    double float_val;
} tmpl_token;

#define TMPL_BRACKETS_MAX 256

typedef struct tmpl_lexer {
    const char *name; /* of the template, for messages */
    sl_slice src;     /* newlines are \n; the last one is gone */
    size_t pos;
    uint32_t line;
    enum { LEX_DATA, LEX_RAW, LEX_BLOCK, LEX_VAR } mode;
    tmpl_token_kind pending; /* a tag start that follows data already given out, or TOK_EOF */
    bool line_starting;      /* the last piece consumed ended with a newline */
    uint32_t n_brackets;
    char brackets[TMPL_BRACKETS_MAX]; /* closing signs that are due */
} tmpl_lexer;

void sl_tmpl_lexer_init(tmpl_lexer *lx, const char *name, sl_slice normalised_source);
SL_NODISCARD sl_status sl_tmpl_lexer_next(tmpl_lexer *lx, tmpl_token *out, sl_error *err);
/* "'x'" or "end of template": for messages; writes into buf. */
const char *sl_tmpl_token_describe(const tmpl_token *t, char *buf, size_t buf_size);
/* Decodes the escapes of a string token into `out` (room for 5 bytes per byte of raw). */
SL_NODISCARD sl_status sl_tmpl_unescape(const char *name, const tmpl_token *t, char *out,
                                        size_t *len_out, sl_error *err);

#endif
