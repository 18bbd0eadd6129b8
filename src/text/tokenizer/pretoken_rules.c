/* The matchers of pre-tokenisers: one function per regular expression, written by hand so that each
 * runs in time linear in its piece. A position in a piece enters, the end of the match there
 * leaves. No state beyond the piece; any thread. Those that ask for scripts are in
 * pretoken_script.c.
 *
 * Runs of white space and of digits are where a backtracking engine goes quadratic; here the end of
 * the run that was looked at last is kept in the piece. */
#include "text/tokenizer/pretoken_match.h"

/* \s+(?!\S)|\s+ */
static size_t match_spaces(sl_pretoken_piece *p, size_t pos) {
    if (!is_any(p, pos, SL_CHAR_SPACE)) {
        return pos;
    }
    size_t end = space_run_end(p, pos);
    return end < p->end && end - pos > 1 ? end - 1 : end;
}

/* \s*[\r\n]+ */
static size_t match_to_line_break(sl_pretoken_piece *p, size_t pos) {
    if (!is_any(p, pos, SL_CHAR_SPACE)) {
        return pos;
    }
    (void)space_run_end(p, pos);
    return p->break_end > pos ? p->break_end : pos;
}

/* 's|'t|'re|'ve|'m|'ll|'d, with capitals too if `fold` */
static size_t match_contraction(const sl_pretoken_piece *p, size_t pos, bool fold) {
    if (code_at(p, pos) != '\'') {
        return pos;
    }
    /* Maps capitals to small letters, and no other character to one of ours. */
    uint32_t bit = fold ? 0x20 : 0;
    uint32_t a = code_at(p, pos + 1) | bit;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
        return pos + 2;
    }
    uint32_t b = code_at(p, pos + 2) | bit;
    bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
    return two ? pos + 3 : pos;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t sl_pretoken_gpt2(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_contraction(p, pos, false);
    if (end > pos) {
        return end;
    }
    size_t start = code_at(p, pos) == ' ' ? pos + 1 : pos;
    if (is_any(p, start, SL_CHAR_LETTER)) {
        return run_end(p, start, SL_CHAR_LETTER, true);
    }
    if (is_any(p, start, SL_CHAR_NUMBER)) {
        return run_end(p, start, SL_CHAR_NUMBER, true);
    }
    if (is_none(p, start, SL_CHAR_NOT_OTHER)) {
        return run_end(p, start, SL_CHAR_NOT_OTHER, false);
    }
    return match_spaces(p, pos);
}

/* What may follow a run of other characters: [\r\n]*, [\r\n/]*, [\r\n/]? */
typedef enum other_tail { TAIL_BREAKS, TAIL_BREAKS_SLASHES, TAIL_ONE } other_tail;

/* ` ?[^\s\p{L}\p{N}]+` and a tail, with classes `none` in place of the negated ones */
static size_t match_other(sl_pretoken_piece *p, size_t pos, uint32_t none, other_tail tail) {
    size_t start = code_at(p, pos) == ' ' ? pos + 1 : pos;
    if (!is_none(p, start, none)) {
        return pos;
    }
    size_t end = run_end(p, start, none, false);
    size_t end_max = tail == TAIL_ONE ? end + 1 : SIZE_MAX;
    while (end < end_max &&
           (is_line_break(code_at(p, end)) || (tail != TAIL_BREAKS && code_at(p, end) == '/'))) {
        end++;
        p->work++;
    }
    return end;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_blank(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_to_line_break(p, pos);
    return end > pos ? end : match_spaces(p, pos);
}

/* \p{N}{1,max} */
static size_t match_digits(const sl_pretoken_piece *p, size_t pos, size_t max) {
    size_t end = pos;
    while (end - pos < max && is_any(p, end, SL_CHAR_NUMBER)) {
        end++;
    }
    return end;
}

/* `[^\r\n\p{L}\p{N}]?` + a run of the classes `letters` */
static size_t match_letters(sl_pretoken_piece *p, size_t pos, uint32_t letters) {
    if (is_none(p, pos, SL_CHAR_WORD) && !is_line_break(code_at(p, pos)) &&
        is_any(p, pos + 1, letters)) {
        return run_end(p, pos + 1, letters, true);
    }
    return run_end(p, pos, letters, true);
}

/* The family of Llama 3: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}
 * | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_llama3(sl_pretoken_piece *p, size_t pos, uint32_t letters, size_t digits_max) {
    size_t end = match_contraction(p, pos, true);
    end = end > pos ? end : match_letters(p, pos, letters);
    end = end > pos ? end : match_digits(p, pos, digits_max);
    end = end > pos ? end : match_other(p, pos, letters | SL_CHAR_NOT_OTHER, TAIL_BREAKS);
    return end > pos ? end : match_blank(p, pos);
}

size_t sl_pretoken_llama3(sl_pretoken_piece *p, size_t pos) {
    return match_llama3(p, pos, SL_CHAR_LETTER, 3);
}

/* As Llama 3, but \p{N} alone. */
size_t sl_pretoken_qwen2(sl_pretoken_piece *p, size_t pos) {
    return match_llama3(p, pos, SL_CHAR_LETTER, 1);
}

/* As Qwen 2 without the contractions. */
size_t sl_pretoken_ufakzeka(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_letters(p, pos, SL_CHAR_LETTER);
    end = end > pos ? end : match_digits(p, pos, 1);
    end = end > pos ? end : match_other(p, pos, SL_CHAR_NOT_OTHER, TAIL_BREAKS);
    return end > pos ? end : match_blank(p, pos);
}

/* As Qwen 2, but line breaks are no part of what follows: ` ?[^\s\p{L}\p{N}\r\n]+` */
size_t sl_pretoken_seed_coder(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_contraction(p, pos, true);
    end = end > pos ? end : match_letters(p, pos, SL_CHAR_LETTER);
    end = end > pos ? end : match_digits(p, pos, 1);
    if (end == pos) {
        size_t start = code_at(p, pos) == ' ' ? pos + 1 : pos;
        end = is_none(p, start, SL_CHAR_NOT_OTHER) ? run_end(p, start, SL_CHAR_NOT_OTHER, false)
                                                   : match_blank(p, pos);
    }
    return end;
}

/* As Llama 3, but white space without a line break goes by powers of two:
 * \s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1} */
size_t sl_pretoken_jais2(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_contraction(p, pos, true);
    end = end > pos ? end : match_letters(p, pos, SL_CHAR_LETTER);
    end = end > pos ? end : match_digits(p, pos, 3);
    end = end > pos ? end : match_other(p, pos, SL_CHAR_NOT_OTHER, TAIL_BREAKS);
    end = end > pos ? end : match_to_line_break(p, pos);
    if (end > pos || !is_any(p, pos, SL_CHAR_SPACE)) {
        return end;
    }
    size_t n = space_run_end(p, pos) - pos;
    n -= p->space_end < p->end && n > 1; /* the last one belongs to what follows */
    size_t part = 512;
    while (part > n) {
        part /= 2;
    }
    return pos + part;
}

/* \p{L}\p{M}*(?: \p{L}\p{M}*)* and more of it: words with single spaces between */
static size_t words_end(sl_pretoken_piece *p, size_t pos) {
    size_t i = pos;
    while (is_any(p, i, SL_CHAR_LETTER) ||
           (i > pos && (is_any(p, i, SL_CHAR_MARK) ||
                        (code_at(p, i) == ' ' && is_any(p, i + 1, SL_CHAR_LETTER))))) {
        i++;
    }
    p->work += i - pos;
    return i;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}
 * | ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+ */
size_t sl_pretoken_exaone_moe(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_contraction(p, pos, true);
    if (end > pos) {
        return end;
    }
    bool prefix = is_none(p, pos, SL_CHAR_WORD) && !is_line_break(code_at(p, pos)) &&
                  is_any(p, pos + 1, SL_CHAR_LETTER);
    end = words_end(p, prefix ? pos + 1 : pos);
    end = end > pos ? end : match_digits(p, pos, 1);
    end = end > pos ? end : match_other(p, pos, SL_CHAR_NOT_OTHER, TAIL_ONE);
    return end > pos ? end : match_blank(p, pos);
}

/* As Qwen 2, but [\p{L}\p{M}]+ for letters. */
size_t sl_pretoken_qwen35(sl_pretoken_piece *p, size_t pos) {
    return match_llama3(p, pos, SL_CHAR_LETTER | SL_CHAR_MARK, 1);
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] (upper) or [\p{Ll}\p{Lm}\p{Lo}\p{M}], without Han characters if
 * `no_han` */
static bool is_cased(const sl_pretoken_piece *p, size_t pos, bool upper, bool no_han) {
    return is_any(p, pos, SL_CHAR_LETTER | SL_CHAR_MARK) &&
           is_none(p, pos, upper ? SL_CHAR_LOWER : SL_CHAR_UPPER) &&
           !(no_han && sl_pretoken_is_han(code_at(p, pos)));
}

static size_t cased_run(sl_pretoken_piece *p, size_t pos, bool upper, bool no_han) {
    size_t i = pos;
    while (is_cased(p, i, upper, no_han)) {
        i++;
    }
    p->work += i - pos;
    return i;
}

/* UPPER*LOWER+ from `pos`. Letters without case are in both sets: when no small letter follows the
 * run, it is given back up to and without its last such letter. After that only capitals are left
 * of the run, so a run is walked back at most twice. */
static size_t match_upper_lower(sl_pretoken_piece *p, size_t pos, bool no_han) {
    size_t upper_end = cased_run(p, pos, true, no_han);
    if (is_cased(p, upper_end, false, no_han)) {
        return cased_run(p, upper_end, false, no_han);
    }
    for (size_t i = upper_end; i > pos; i--) {
        p->work++;
        if (is_cased(p, i - 1, false, no_han)) {
            return i;
        }
    }
    return pos;
}

/* UPPER+LOWER* from `pos` */
static size_t match_upper(sl_pretoken_piece *p, size_t pos, bool no_han) {
    size_t end = cased_run(p, pos, true, no_han);
    return end > pos ? cased_run(p, end, false, no_han) : pos;
}

/* [^\r\n\p{L}\p{N}]?UPPER*LOWER+ | [^\r\n\p{L}\p{N}]?UPPER+LOWER* */
static size_t match_cased_word(sl_pretoken_piece *p, size_t pos, bool no_han) {
    bool prefix = is_none(p, pos, SL_CHAR_WORD) && !is_line_break(code_at(p, pos));
    size_t (*const forms[2])(sl_pretoken_piece *, size_t, bool) = {match_upper_lower, match_upper};
    for (size_t i = 0; i < 2; i++) {
        size_t end = prefix ? forms[i](p, pos + 1, no_han) : pos;
        if (prefix && end > pos + 1) {
            return end;
        }
        end = forms[i](p, pos, no_han);
        if (end > pos) {
            return end;
        }
    }
    return pos;
}

static size_t match_o200k(sl_pretoken_piece *p, size_t pos, bool contractions, size_t digits_max) {
    size_t end = match_cased_word(p, pos, false);
    if (end > pos) {
        return contractions ? match_contraction(p, end, true) : end;
    }
    end = match_digits(p, pos, digits_max);
    end = end > pos ? end : match_other(p, pos, SL_CHAR_NOT_OTHER, TAIL_BREAKS_SLASHES);
    return end > pos ? end : match_blank(p, pos);
}

/* [^\r\n\p{L}\p{N}]?UPPER*LOWER+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |[^\r\n\p{L}\p{N}]?UPPER+LOWER*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}
 * | ?[^\s\p{L}\p{N}]+[\r\n/]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t sl_pretoken_o200k(sl_pretoken_piece *p, size_t pos) {
    return match_o200k(p, pos, true, 3);
}

/* As o200k with \p{N} alone. */
size_t sl_pretoken_youtu(sl_pretoken_piece *p, size_t pos) {
    return match_o200k(p, pos, true, 1);
}

/* [\p{Han}]+, then as o200k, but words are without Han characters and `/` is no line break */
size_t sl_pretoken_kimi(sl_pretoken_piece *p, size_t pos) {
    size_t end = pos;
    while (sl_pretoken_is_han(code_at(p, end))) {
        end++;
    }
    p->work += end - pos;
    if (end > pos) {
        return end;
    }
    end = match_cased_word(p, pos, true);
    if (end > pos) {
        return match_contraction(p, end, true);
    }
    end = match_digits(p, pos, 3);
    end = end > pos ? end : match_other(p, pos, SL_CHAR_NOT_OTHER, TAIL_BREAKS);
    return end > pos ? end : match_blank(p, pos);
}

/* As o200k without contractions and with \p{N} alone. */
size_t sl_pretoken_tekken(sl_pretoken_piece *p, size_t pos) {
    return match_o200k(p, pos, false, 1);
}

/* \p{N} */
size_t sl_pretoken_digit(sl_pretoken_piece *p, size_t pos) {
    return match_digits(p, pos, 1);
}

/* \p{N}+ */
size_t sl_pretoken_digits(sl_pretoken_piece *p, size_t pos) {
    return run_end(p, pos, SL_CHAR_NUMBER, true);
}

/* \p{N}{1,3} */
size_t sl_pretoken_digits_1_3(sl_pretoken_piece *p, size_t pos) {
    return match_digits(p, pos, 3);
}

/* [0-9][0-9][0-9] */
size_t sl_pretoken_ascii_digits_3(sl_pretoken_piece *p, size_t pos) {
    for (size_t i = pos; i < pos + 3; i++) {
        if (code_at(p, i) - '0' > 9) {
            return pos;
        }
    }
    return pos + 3;
}

/* Digits by three, counted from the end of their run. */
size_t sl_pretoken_digits_from_end(sl_pretoken_piece *p, size_t pos) {
    if (!is_any(p, pos, SL_CHAR_NUMBER)) {
        return pos;
    }
    size_t n = number_run_end(p, pos) - pos;
    return pos + (n % 3 == 0 ? 3 : n % 3);
}

/* (?=([0-9]{3})+(?![0-9])): the same of ASCII digits; the piece is numbers alone */
size_t sl_pretoken_ascii_digits_from_end(sl_pretoken_piece *p, size_t pos) {
    if (pos >= p->number_end) {
        p->number_end = pos;
        while (code_at(p, p->number_end) - '0' <= 9) {
            p->number_end++;
            p->work++;
        }
    }
    size_t n = p->number_end - pos;
    return n == 0 ? pos : pos + (n % 3 == 0 ? 3 : n % 3);
}

/* \d{1,3}(?=(?:\d{3})*\b): numbers by three from the end of their run, where that ends a word */
size_t sl_pretoken_digits_of_word(sl_pretoken_piece *p, size_t pos) {
    if (!is_any(p, pos, SL_CHAR_NUMBER)) {
        return pos;
    }
    size_t end = number_run_end(p, pos);
    bool goes_on = is_any(p, end, SL_CHAR_LETTER | SL_CHAR_MARK) || code_at(p, end) == '_';
    return goes_on ? pos : sl_pretoken_digits_from_end(p, pos);
}

/* [^\n]+|\n+ */
size_t sl_pretoken_lines(sl_pretoken_piece *p, size_t pos) {
    bool breaks = code_at(p, pos) == '\n';
    size_t end = pos + 1;
    while (end < p->end && (code_at(p, end) == '\n') == breaks) {
        end++;
    }
    p->work += end - pos;
    return end;
}

/* <sentinel:[0-9]+> */
size_t sl_pretoken_sentinel(sl_pretoken_piece *p, size_t pos) {
    static const char name[] = "<sentinel:";
    size_t i = 0;
    while (name[i] != '\0' && code_at(p, pos + i) == (unsigned char)name[i]) {
        i++;
    }
    size_t end = pos + i;
    while (name[i] == '\0' && code_at(p, end) - '0' <= 9) {
        end++;
    }
    p->work += end - pos;
    return end > pos + sizeof(name) - 1 && code_at(p, end) == '>' ? end + 1 : pos;
}

/* IMGIMG[A-I]{1,4}Z */
size_t sl_pretoken_image(sl_pretoken_piece *p, size_t pos) {
    static const char name[] = "IMGIMG";
    for (size_t i = 0; name[i] != '\0'; i++) {
        if (code_at(p, pos + i) != (unsigned char)name[i]) {
            return pos;
        }
    }
    size_t begin = pos + sizeof(name) - 1, end = begin;
    while (end - begin < 4 && code_at(p, end) - 'A' <= 'I' - 'A') {
        end++;
    }
    return end > begin && code_at(p, end) == 'Z' ? end + 1 : pos;
}

/* [\t\n]|    |  : a tab, a line break, four spaces or two */
size_t sl_pretoken_indent(sl_pretoken_piece *p, size_t pos) {
    if (code_at(p, pos) == '\t' || code_at(p, pos) == '\n') {
        return pos + 1;
    }
    size_t n = 0;
    while (n < 4 && code_at(p, pos + n) == ' ') {
        n++;
    }
    return n == 4 ? pos + 4 : n >= 2 ? pos + 2 : pos;
}

/* [\p{P}!-/:-@\[-`{-~] */
size_t sl_pretoken_mark(sl_pretoken_piece *p, size_t pos) {
    uint32_t c = code_at(p, pos);
    bool ascii = c > 0x20 && c < 0x7F && is_any(p, pos, SL_CHAR_PUNCT | SL_CHAR_SYMBOL);
    return ascii || is_any(p, pos, SL_CHAR_PUNCT) ? pos + 1 : pos;
}

/* [\p{P}\$\+<=>\^~\|]+ and, with `tick`, the grave accent */
static size_t match_punct(sl_pretoken_piece *p, size_t pos, bool tick) {
    size_t i = pos;
    for (; i < p->end; i++) {
        uint32_t c = code_at(p, i);
        bool listed = c == '$' || c == '+' || (c >= '<' && c <= '>') || c == '^' || c == '~' ||
                      c == '|' || (tick && c == '`');
        if (!listed && !is_any(p, i, SL_CHAR_PUNCT)) {
            break;
        }
    }
    p->work += i - pos;
    return i;
}

size_t sl_pretoken_punct_default(sl_pretoken_piece *p, size_t pos) {
    return match_punct(p, pos, false);
}

size_t sl_pretoken_punct_falcon(sl_pretoken_piece *p, size_t pos) {
    return match_punct(p, pos, true);
}

static bool is_bloom_stop(const sl_pretoken_piece *p, size_t pos) {
    switch (code_at(p, pos)) {
    case UINT32_MAX:
    case '(':
    case ')':
    case '|':
    case '.':
    case ',':
    case '!':
    case '?':
    case 0x2026:
    case 0x3002:
    case 0xFF0C:
    case 0x3001:
    case 0x0964:
    case 0x06D4:
    case 0x060C:
        return true;
    default:
        return is_any(p, pos, SL_CHAR_SPACE);
    }
}

/* ` ?[^(\s|.,!?...)]+`: everything up to white space or one of the listed marks */
size_t sl_pretoken_bloom(sl_pretoken_piece *p, size_t pos) {
    size_t start = code_at(p, pos) == ' ' ? pos + 1 : pos;
    size_t i = start;
    while (!is_bloom_stop(p, i)) {
        i++;
    }
    p->work += i - pos;
    return i > start ? i : pos;
}

/* [\r\n] */
size_t sl_pretoken_line_break(sl_pretoken_piece *p, size_t pos) {
    return is_line_break(code_at(p, pos)) ? pos + 1 : pos;
}

/* \s? + a run of one class */
static size_t match_space_run(sl_pretoken_piece *p, size_t pos, uint32_t mask) {
    size_t start = is_any(p, pos, SL_CHAR_SPACE) ? pos + 1 : pos;
    return is_any(p, start, mask) ? run_end(p, start, mask, true) : pos;
}

/* \s?\p{L}+ */
size_t sl_pretoken_space_letters(sl_pretoken_piece *p, size_t pos) {
    return match_space_run(p, pos, SL_CHAR_LETTER);
}

/* \s?\p{P}+ */
size_t sl_pretoken_space_punct(sl_pretoken_piece *p, size_t pos) {
    return match_space_run(p, pos, SL_CHAR_PUNCT);
}

static bool is_ascii_letter(uint32_t code) {
    return code != UINT32_MAX && (code | 0x20) - 'a' < 26;
}

/* [ASCII punctuation][A-Za-z]+ */
static size_t match_mark_ascii_word(sl_pretoken_piece *p, size_t pos) {
    uint32_t c = code_at(p, pos);
    bool mark = c > 0x20 && c < 0x7F && !is_ascii_letter(c) && c - '0' > 9;
    size_t end = pos + 1;
    while (mark && is_ascii_letter(code_at(p, end))) {
        end++;
    }
    p->work += end - pos;
    return end > pos + 1 ? end : pos;
}

/* [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+ */
static size_t match_deepseek3(sl_pretoken_piece *p, size_t pos) {
    const uint32_t letters = SL_CHAR_LETTER | SL_CHAR_MARK;
    const uint32_t marks = SL_CHAR_PUNCT | SL_CHAR_SYMBOL;
    size_t end = match_mark_ascii_word(p, pos);
    if (end > pos) {
        return end;
    }
    bool prefix = is_none(p, pos, SL_CHAR_LETTER | marks) && !is_line_break(code_at(p, pos));
    if (prefix && is_any(p, pos + 1, letters)) {
        return run_end(p, pos + 1, letters, true);
    }
    if (is_any(p, pos, letters)) {
        return run_end(p, pos, letters, true);
    }
    size_t start = code_at(p, pos) == ' ' ? pos + 1 : pos;
    return is_any(p, start, marks) ? run_end(p, start, marks, true) : pos;
}

/* [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
 * | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+
 * |\s+(?!\S)|\s+ */
size_t sl_pretoken_deepseek3(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_deepseek3(p, pos);
    if (end == pos) {
        return match_blank(p, pos);
    }
    if (is_any(p, end - 1, SL_CHAR_PUNCT | SL_CHAR_SYMBOL)) { /* the third form alone ends so */
        while (is_line_break(code_at(p, end))) {
            end++;
            p->work++;
        }
    }
    return end;
}

/* As DeepSeek 3, but each line break is alone: ` ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+` at the end */
size_t sl_pretoken_spark(sl_pretoken_piece *p, size_t pos) {
    size_t end = match_deepseek3(p, pos);
    end = end > pos ? end : sl_pretoken_line_break(p, pos);
    return end > pos ? end : match_spaces(p, pos);
}
