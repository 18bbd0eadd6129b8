/* The lexer: see tmpl_lexer.h. Rules after Jinja 3.1's documentation of white space control and
 * literals. */
#define _GNU_SOURCE /* memmem */
#include "text/template/tmpl_lexer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "text/template/tmpl_unicode.h"

#define LEX_FAIL(lx, err, ...) lex_fail((lx)->name, (lx)->line, err, __LINE__, __VA_ARGS__)

static sl_status lex_fail(const char *name, uint32_t line, sl_error *err, int at,
                          const char *format, ...) SL_PRINTF(5, 6);

static sl_status lex_fail(const char *name, uint32_t line, sl_error *err, int at,
                          const char *format, ...) {
    char detail[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    return sl_error_set(err, SL_ERR_FORMAT, __FILE__, at, "template %s, line %u: %s", name,
                        (unsigned)line, detail);
}

void sl_tmpl_lexer_init(tmpl_lexer *lx, const char *name, sl_slice normalised_source) {
    *lx = (tmpl_lexer){.name = name,
                       .src = normalised_source,
                       .line = 1,
                       .mode = LEX_DATA,
                       .pending = TOK_EOF,
                       .line_starting = true};
}

static int lex_at(const tmpl_lexer *lx, size_t pos) {
    return pos < lx->src.len ? (unsigned char)lx->src.ptr[pos] : -1;
}

static bool lex_is(const tmpl_lexer *lx, size_t pos, const char *text) {
    size_t n = strlen(text);
    return pos <= lx->src.len && lx->src.len - pos >= n && memcmp(lx->src.ptr + pos, text, n) == 0;
}

/* Bytes of the white space character at pos, 0 if there is none. */
static size_t lex_space(const tmpl_lexer *lx, size_t pos) {
    uint32_t c;
    if (pos >= lx->src.len) {
        return 0;
    }
    size_t n = sl_utf8_decode(lx->src.ptr + pos, lx->src.len - pos, &c);
    return n > 0 && sl_tmpl_char_is(c, TMPL_CHAR_SPACE) ? n : 0;
}

static size_t lex_skip_space(const tmpl_lexer *lx, size_t pos) {
    for (size_t n; (n = lex_space(lx, pos)) > 0;) {
        pos += n;
    }
    return pos;
}

/* Moves to pos, counting lines. */
static void lex_advance(tmpl_lexer *lx, size_t pos) {
    for (size_t i = lx->pos; i < pos; i++) {
        lx->line += lx->src.ptr[i] == '\n';
    }
    lx->line_starting = pos > lx->pos ? lx->src.ptr[pos - 1] == '\n' : lx->line_starting;
    lx->pos = pos;
}

/* --- data
 * --------------------------------------------------------------------------------------- */

/* Length of text without the white space that `sign` (or lstrip_blocks, for blocks) takes off its
 * end. */
static size_t lex_strip_end(const tmpl_lexer *lx, sl_slice text, int sign, bool is_var) {
    if (sign == '-') {
        return sl_tmpl_rstrip_len(text);
    }
    if (sign == '+' || is_var) {
        return text.len;
    }
    size_t line = text.len;
    while (line > 0 && text.ptr[line - 1] != '\n') {
        line--;
    }
    if (line == 0 && !lx->line_starting) {
        return text.len;
    }
    sl_slice last = {text.ptr + line, text.len - line};
    return sl_tmpl_rstrip_len(last) == 0 ? line : text.len;
}

/* `{%[-+]? raw -?%}` at pos: where its content begins; 0 if it is not there. */
static size_t lex_raw_begin(const tmpl_lexer *lx, size_t pos) {
    size_t at = pos + 2;
    at += lex_at(lx, at) == '-' || lex_at(lx, at) == '+';
    at = lex_skip_space(lx, at);
    if (!lex_is(lx, at, "raw")) {
        return 0;
    }
    at = lex_skip_space(lx, at + 3);
    if (lex_is(lx, at, "-%}")) {
        return lex_skip_space(lx, at + 3);
    }
    return lex_is(lx, at, "%}") ? at + 2 : 0;
}

/* After a tag's closing sign: one newline is dropped (trim_blocks). */
static size_t lex_trim(const tmpl_lexer *lx, size_t pos) {
    return pos + (lex_at(lx, pos) == '\n');
}

/* `[-+]?%}` at pos: the position behind it with the white space it takes; 0 if it is not there. */
static size_t lex_block_end(const tmpl_lexer *lx, size_t pos) {
    if (lex_is(lx, pos, "-%}")) {
        return lex_skip_space(lx, pos + 3);
    }
    if (lex_is(lx, pos, "+%}")) {
        return pos + 3;
    }
    return lex_is(lx, pos, "%}") ? lex_trim(lx, pos + 2) : 0;
}

static sl_status lex_comment(tmpl_lexer *lx, size_t pos, sl_error *err) {
    const char *end = memmem(lx->src.ptr + pos, lx->src.len - pos, "#}", 2);
    if (end == NULL) {
        return LEX_FAIL(lx, err, "a comment is not closed by #}");
    }
    size_t at = (size_t)(end - lx->src.ptr);
    int sign = at > pos ? lex_at(lx, at - 1) : -1;
    at += 2;
    lex_advance(lx, sign == '-' ? lex_skip_space(lx, at) : sign == '+' ? at : lex_trim(lx, at));
    return SL_OK;
}

/* The text of a raw block up to its end tag. */
static sl_status lex_raw(tmpl_lexer *lx, tmpl_token *out, sl_error *err) {
    size_t from = lx->pos;
    for (size_t at = from; at < lx->src.len; at++) {
        if (!lex_is(lx, at, "{%")) {
            continue;
        }
        size_t p = at + 2;
        int sign = lex_at(lx, p);
        p += sign == '-' || sign == '+';
        p = lex_skip_space(lx, p);
        if (!lex_is(lx, p, "endraw")) {
            continue;
        }
        size_t end = lex_block_end(lx, lex_skip_space(lx, p + 6));
        if (end == 0) {
            continue;
        }
        sl_slice text = {lx->src.ptr + from, at - from};
        text.len = lex_strip_end(lx, text, sign, false);
        *out = (tmpl_token){.kind = TOK_DATA, .line = lx->line, .text = text};
        lex_advance(lx, end);
        lx->mode = LEX_DATA;
        return SL_OK;
    }
    return LEX_FAIL(lx, err, "a raw block is not closed by endraw");
}

static size_t lex_find_tag(const tmpl_lexer *lx) {
    const char *base = lx->src.ptr;
    for (size_t at = lx->pos; at + 1 < lx->src.len;) {
        const char *brace = memchr(base + at, '{', lx->src.len - at - 1);
        if (brace == NULL) {
            break;
        }
        at = (size_t)(brace - base);
        if (base[at + 1] == '{' || base[at + 1] == '%' || base[at + 1] == '#') {
            return at;
        }
        at++;
    }
    return lx->src.len;
}

/* Data up to the next tag; consumes the tag's start too and remembers it in `pending`. */
static sl_status lex_data(tmpl_lexer *lx, tmpl_token *out, sl_error *err) {
    size_t at = lex_find_tag(lx);
    sl_slice text = {lx->src.ptr + lx->pos, at - lx->pos};
    *out = (tmpl_token){.kind = TOK_DATA, .line = lx->line, .text = text};
    if (at == lx->src.len) {
        lex_advance(lx, at);
        return SL_OK;
    }
    int kind = lex_at(lx, at + 1), sign = lex_at(lx, at + 2);
    out->text.len = lex_strip_end(lx, text, sign, kind == '{');
    size_t raw = kind == '%' ? lex_raw_begin(lx, at) : 0;
    size_t next = raw > 0 ? raw : at + 2 + (sign == '-' || sign == '+');
    lex_advance(lx, next);
    if (raw > 0) {
        lx->mode = LEX_RAW;
    } else if (kind == '#') {
        return lex_comment(lx, next, err);
    } else {
        lx->mode = kind == '{' ? LEX_VAR : LEX_BLOCK;
        lx->pending = kind == '{' ? TOK_VAR_BEGIN : TOK_BLOCK_BEGIN;
    }
    return SL_OK;
}

/* --- tags
 * --------------------------------------------------------------------------------------- */

static bool lex_digit(int c, int base) {
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return v < base;
}

/* End of `digit (_? digit)*` from pos; pos itself if no digit is there. */
static size_t lex_digits(const tmpl_lexer *lx, size_t pos, int base) {
    size_t at = pos;
    while (lex_digit(lex_at(lx, at), base) ||
           (at > pos && lex_at(lx, at) == '_' && lex_digit(lex_at(lx, at + 1), base))) {
        at++;
    }
    return at;
}

static size_t lex_float_end(const tmpl_lexer *lx, size_t pos) {
    size_t whole = lex_digits(lx, pos, 10), at = whole;
    bool is_float = false;
    if (lex_at(lx, at) == '.' && lex_digit(lex_at(lx, at + 1), 10)) {
        at = lex_digits(lx, at + 1, 10);
        is_float = true;
    }
    if (lex_at(lx, at) == 'e' || lex_at(lx, at) == 'E') {
        size_t e = at + 1;
        e += lex_at(lx, e) == '+' || lex_at(lx, e) == '-';
        if (lex_digit(lex_at(lx, e), 10)) {
            at = lex_digits(lx, e, 10);
            is_float = true;
        }
    }
    return is_float ? at : 0;
}

/* Copies a number without its underscores; false if it is too long. */
static bool lex_number_text(const tmpl_lexer *lx, size_t from, size_t to, char *buf, size_t size) {
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        if (lx->src.ptr[i] != '_') {
            if (n + 1 >= size) {
                return false;
            }
            buf[n++] = lx->src.ptr[i];
        }
    }
    buf[n] = '\0';
    return true;
}

static sl_status lex_number(tmpl_lexer *lx, tmpl_token *out, sl_error *err) {
    char buf[512];
    size_t pos = lx->pos, end = pos > 0 && lex_at(lx, pos - 1) == '.' ? 0 : lex_float_end(lx, pos);
    if (end > 0) {
        if (!lex_number_text(lx, pos, end, buf, sizeof(buf))) {
            return LEX_FAIL(lx, err, "a number has too many digits");
        }
        *out = (tmpl_token){.kind = TOK_FLOAT, .line = lx->line, .float_val = strtod(buf, NULL)};
        lex_advance(lx, end);
        return SL_OK;
    }
    int base = 10, x = lex_at(lx, pos + 1) | 0x20;
    if (lex_at(lx, pos) == '0') {
        base = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 1;
        size_t digits = pos + 2 + (lex_at(lx, pos + 2) == '_');
        if (base > 1 && lex_digit(lex_at(lx, digits), base)) {
            pos = digits;
        } else {
            base = 1; /* zeros only: 007 is not a number */
        }
    }
    end = lex_digits(lx, pos, base);
    errno = 0;
    long long v = 0;
    if (!lex_number_text(lx, pos, end, buf, sizeof(buf)) ||
        (v = strtoll(buf, NULL, base == 1 ? 10 : base), errno != 0)) {
        return LEX_FAIL(lx, err, "an integer does not fit into 64 bits");
    }
    *out = (tmpl_token){.kind = TOK_INT, .line = lx->line, .int_val = v};
    lex_advance(lx, end);
    return SL_OK;
}

static sl_status lex_string(tmpl_lexer *lx, tmpl_token *out, sl_error *err) {
    int quote = lex_at(lx, lx->pos);
    for (size_t at = lx->pos + 1; at < lx->src.len; at++) {
        int c = lex_at(lx, at);
        if (c == '\\') {
            at++;
        } else if (c == quote) {
            *out = (tmpl_token){.kind = TOK_STRING,
                                .line = lx->line,
                                .text = {lx->src.ptr + lx->pos + 1, at - lx->pos - 1}};
            lex_advance(lx, at + 1);
            return SL_OK;
        }
    }
    return LEX_FAIL(lx, err, "a string is not closed by %c", quote);
}

static size_t lex_name_end(const tmpl_lexer *lx, size_t pos) {
    for (size_t at = pos;;) {
        uint32_t c;
        size_t n = at < lx->src.len ? sl_utf8_decode(lx->src.ptr + at, lx->src.len - at, &c) : 0;
        if (n == 0 || !(c == '_' || sl_tmpl_char_is(c, TMPL_CHAR_ALPHA | TMPL_CHAR_NUMERIC))) {
            return at;
        }
        at += n;
    }
}

static const struct {
    char text[3];
    uint8_t kind;
} OPERATORS[] = {
    /* longer ones first */
    {"//", TOK_FLOORDIV}, {"**", TOK_POW},      {"==", TOK_EQ},    {"!=", TOK_NE},
    {">=", TOK_GE},       {"<=", TOK_LE},       {"+", TOK_ADD},    {"-", TOK_SUB},
    {"/", TOK_DIV},       {"*", TOK_MUL},       {"%", TOK_MOD},    {"~", TOK_TILDE},
    {"[", TOK_LBRACKET},  {"]", TOK_RBRACKET},  {"(", TOK_LPAREN}, {")", TOK_RPAREN},
    {"{", TOK_LBRACE},    {"}", TOK_RBRACE},    {">", TOK_GT},     {"<", TOK_LT},
    {"=", TOK_ASSIGN},    {".", TOK_DOT},       {":", TOK_COLON},  {"|", TOK_PIPE},
    {",", TOK_COMMA},     {";", TOK_SEMICOLON},
};

static sl_status lex_bracket(tmpl_lexer *lx, int c, sl_error *err) {
    int closes = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;
    if (closes != 0) {
        if (lx->n_brackets == TMPL_BRACKETS_MAX) {
            return LEX_FAIL(lx, err, "brackets are nested too deeply");
        }
        lx->brackets[lx->n_brackets++] = (char)closes;
    } else if (c == ')' || c == ']' || c == '}') {
        if (lx->n_brackets == 0 || lx->brackets[lx->n_brackets - 1] != c) {
            return LEX_FAIL(lx, err, "unexpected %c", c);
        }
        lx->n_brackets--;
    }
    return SL_OK;
}

static sl_status lex_operator(tmpl_lexer *lx, tmpl_token *out, sl_error *err) {
    for (size_t i = 0; i < sizeof(OPERATORS) / sizeof(OPERATORS[0]); i++) {
        if (lex_is(lx, lx->pos, OPERATORS[i].text)) {
            *out = (tmpl_token){.kind = (tmpl_token_kind)OPERATORS[i].kind,
                                .line = lx->line,
                                .text = {lx->src.ptr + lx->pos, strlen(OPERATORS[i].text)}};
            SL_TRY(lex_bracket(lx, lex_at(lx, lx->pos), err));
            lex_advance(lx, lx->pos + out->text.len);
            return SL_OK;
        }
    }
    return LEX_FAIL(lx, err, "unexpected character in a tag");
}

/* The end of the tag that we are in; false if it is not here. */
static bool lex_tag_end(tmpl_lexer *lx, tmpl_token *out) {
    if (lx->n_brackets > 0) {
        return false;
    }
    size_t end = 0;
    if (lx->mode == LEX_BLOCK) {
        end = lex_block_end(lx, lx->pos);
    } else if (lex_is(lx, lx->pos, "-}}")) {
        end = lex_skip_space(lx, lx->pos + 3);
    } else if (lex_is(lx, lx->pos, "}}")) {
        end = lx->pos + 2;
    }
    if (end == 0) {
        return false;
    }
    *out = (tmpl_token){.kind = lx->mode == LEX_BLOCK ? TOK_BLOCK_END : TOK_VAR_END,
                        .line = lx->line};
    lex_advance(lx, end);
    lx->mode = LEX_DATA;
    return true;
}

static sl_status lex_tag(tmpl_lexer *lx, tmpl_token *out, sl_error *err) {
    if (lex_tag_end(lx, out)) {
        return SL_OK;
    }
    lex_advance(lx, lex_skip_space(lx, lx->pos));
    if (lex_tag_end(lx, out)) {
        return SL_OK;
    }
    int c = lex_at(lx, lx->pos);
    if (c < 0) {
        *out = (tmpl_token){.kind = TOK_EOF, .line = lx->line};
        return SL_OK;
    }
    if (c >= '0' && c <= '9') {
        return lex_number(lx, out, err);
    }
    if (c == '"' || c == '\'') {
        return lex_string(lx, out, err);
    }
    size_t end = lex_name_end(lx, lx->pos);
    if (end > lx->pos) {
        *out = (tmpl_token){
            .kind = TOK_NAME, .line = lx->line, .text = {lx->src.ptr + lx->pos, end - lx->pos}};
        lex_advance(lx, end);
        return SL_OK;
    }
    return lex_operator(lx, out, err);
}

sl_status sl_tmpl_lexer_next(tmpl_lexer *lx, tmpl_token *out, sl_error *err) {
    for (;;) {
        if (lx->pending != TOK_EOF) {
            *out = (tmpl_token){.kind = lx->pending, .line = lx->line};
            lx->pending = TOK_EOF;
            return SL_OK;
        }
        if (lx->mode == LEX_BLOCK || lx->mode == LEX_VAR) {
            return lex_tag(lx, out, err);
        }
        if (lx->mode == LEX_DATA && lx->pos >= lx->src.len) {
            *out = (tmpl_token){.kind = TOK_EOF, .line = lx->line};
            return SL_OK;
        }
        SL_TRY(lx->mode == LEX_RAW ? lex_raw(lx, out, err) : lex_data(lx, out, err));
        if (out->text.len > 0) {
            return SL_OK;
        }
    }
}

const char *sl_tmpl_token_describe(const tmpl_token *t, char *buf, size_t buf_size) {
    switch (t->kind) {
    case TOK_EOF:
        return "the end of the template";
    case TOK_DATA:
        return "text";
    case TOK_VAR_BEGIN:
        return "'{{'";
    case TOK_VAR_END:
        return "'}}'";
    case TOK_BLOCK_BEGIN:
        return "'{%'";
    case TOK_BLOCK_END:
        return "'%}'";
    case TOK_STRING:
        return "a string";
    case TOK_INT:
    case TOK_FLOAT:
        return "a number";
    default:
        break;
    }
    (void)snprintf(buf, buf_size, "'%.*s'", (int)(t->text.len > 40 ? 40 : t->text.len),
                   t->text.ptr);
    return buf;
}

/* --- string escapes
 * ----------------------------------------------------------------------------- */

/* Value of n hexadecimal digits at p, or -1. */
static int64_t lex_hex(const char *p, const char *end, int n) {
    int64_t v = 0;
    if (end - p < n) {
        return -1;
    }
    for (int i = 0; i < n; i++) {
        int c = (unsigned char)p[i];
        if (!lex_digit(c, 16)) {
            return -1;
        }
        v = v * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

static const char *lex_escape_number(const char *p, const char *end, char **out) {
    int n_digits = *p == 'x' ? 2 : *p == 'u' ? 4 : 8;
    int64_t v;
    if (*p >= '0' && *p <= '7') {
        v = 0;
        for (int i = 0; i < 3 && p < end && *p >= '0' && *p <= '7'; i++) {
            v = v * 8 + (*p++ - '0');
        }
    } else {
        v = lex_hex(p + 1, end, n_digits);
        p += 1 + n_digits;
    }
    size_t n = v < 0 || v > 0x10FFFF ? 0 : sl_utf8_encode((uint32_t)v, *out);
    *out += n;
    return n == 0 ? NULL : p;
}

/* A backslash before a character outside ASCII stays, and the character turns into its own escape:
 * what Jinja's way of decoding literals gives. */
static const char *lex_escape_other(const char *p, const char *end, char **out) {
    uint32_t c;
    size_t n = sl_utf8_decode(p, (size_t)(end - p), &c);
    char text[16];
    int len;
    if (n == 0) {
        return NULL;
    }
    if (c < 0x80) {
        len = snprintf(text, sizeof(text), "\\%c", (int)c);
    } else if (c < 0x100) {
        len = snprintf(text, sizeof(text), "\\x%02x", (unsigned)c);
    } else {
        len = snprintf(text, sizeof(text), c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    }
    memcpy(*out, text, (size_t)len);
    *out += len;
    return p + n;
}

/* p points behind a backslash. Returns the position after the escape, NULL if it is malformed. */
static const char *lex_escape(const char *p, const char *end, char **out) {
    static const char FROM[] = "\\'\"abfnrtv", TO[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = *p == '\0' ? NULL : strchr(FROM, *p);
    if (known != NULL) {
        *(*out)++ = TO[known - FROM];
        return p + 1;
    }
    if (*p == '\n') {
        return p + 1;
    }
    if (*p == 'N') {
        return NULL; /* \N{name}: character names are not carried along */
    }
    if (*p == 'x' || *p == 'u' || *p == 'U' || (*p >= '0' && *p <= '7')) {
        return lex_escape_number(p, end, out);
    }
    return lex_escape_other(p, end, out);
}

sl_status sl_tmpl_unescape(const char *name, const tmpl_token *t, char *out, size_t *len_out,
                           sl_error *err) {
    const char *p = t->text.ptr, *end = p + t->text.len;
    char *to = out;
    while (p < end) {
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        p = p + 1 < end ? lex_escape(p + 1, end, &to) : NULL;
        if (p == NULL) {
            return lex_fail(name, t->line, err, __LINE__, "malformed escape in a string");
        }
    }
    *len_out = (size_t)(to - out);
    return SL_OK;
}
