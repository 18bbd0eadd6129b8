/* The matchers of pre-tokenisers: one function per regular expression, written by hand so that each
 * runs in time linear in its piece. A position in a piece enters, the end of the match there
 * leaves. No state beyond the piece; any thread.
 *
 * Runs of white space are where a backtracking engine goes quadratic; here the end of the run that
 * was looked at last is kept in the piece. */
#include "text/tokenizer/pretokenizer.h"

#define WORD_MASK (SL_CHAR_LETTER | SL_CHAR_NUMBER)
#define NOT_OTHER (SL_CHAR_SPACE | SL_CHAR_LETTER | SL_CHAR_NUMBER)

typedef struct char_range {
    uint32_t first, last;
} char_range;

static uint32_t code_at(const sl_pretoken_piece *p, size_t pos) {
    return pos < p->end ? p->ch[pos] & SL_CHAR_CODE : UINT32_MAX;
}

static bool is_any(const sl_pretoken_piece *p, size_t pos, uint32_t mask) {
    return pos < p->end && (p->ch[pos] & mask) != 0;
}

static bool is_none(const sl_pretoken_piece *p, size_t pos, uint32_t mask) {
    return pos < p->end && (p->ch[pos] & mask) == 0;
}

static bool is_line_break(uint32_t code) {
    return code == '\r' || code == '\n';
}

/* End of the run of characters with (any: true) or without one of the classes, from `pos`. */
static size_t run_end(sl_pretoken_piece *p, size_t pos, uint32_t mask, bool any) {
    size_t i = pos;
    while (i < p->end && ((p->ch[i] & mask) != 0) == any) {
        i++;
    }
    p->work += i - pos;
    return i;
}

/* End of the run of white space that `pos` lies in. */
static size_t space_run_end(sl_pretoken_piece *p, size_t pos) {
    if (pos >= p->space_end) {
        p->space_end = run_end(p, pos, SL_CHAR_SPACE, true);
    }
    return p->space_end;
}

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
    size_t end = space_run_end(p, pos);
    while (end > pos && !is_line_break(p->ch[end - 1] & SL_CHAR_CODE)) {
        end--;
        p->work++;
    }
    return end;
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
    if (is_none(p, start, NOT_OTHER)) {
        return run_end(p, start, NOT_OTHER, false);
    }
    return match_spaces(p, pos);
}

/* ` ?[^\s\p{L}\p{N}]+[\r\n]*`, with classes `none` in place of the negated ones, and `/` in the
 * tail if `slash` */
static size_t match_other(sl_pretoken_piece *p, size_t pos, uint32_t none, bool slash) {
    size_t start = code_at(p, pos) == ' ' ? pos + 1 : pos;
    if (!is_none(p, start, none)) {
        return pos;
    }
    size_t end = run_end(p, start, none, false);
    while (is_line_break(code_at(p, end)) || (slash && code_at(p, end) == '/')) {
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
    if (is_none(p, pos, WORD_MASK) && !is_line_break(code_at(p, pos)) &&
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
    end = end > pos ? end : match_other(p, pos, letters | NOT_OTHER, false);
    return end > pos ? end : match_blank(p, pos);
}

size_t sl_pretoken_llama3(sl_pretoken_piece *p, size_t pos) {
    return match_llama3(p, pos, SL_CHAR_LETTER, 3);
}

/* As Llama 3, but \p{N} alone. */
size_t sl_pretoken_qwen2(sl_pretoken_piece *p, size_t pos) {
    return match_llama3(p, pos, SL_CHAR_LETTER, 1);
}

/* As Qwen 2, but [\p{L}\p{M}]+ for letters. */
size_t sl_pretoken_qwen35(sl_pretoken_piece *p, size_t pos) {
    return match_llama3(p, pos, SL_CHAR_LETTER | SL_CHAR_MARK, 1);
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
static bool is_upper_set(const sl_pretoken_piece *p, size_t pos) {
    return is_any(p, pos, SL_CHAR_LETTER | SL_CHAR_MARK) && is_none(p, pos, SL_CHAR_LOWER);
}

/* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
static bool is_lower_set(const sl_pretoken_piece *p, size_t pos) {
    return is_any(p, pos, SL_CHAR_LETTER | SL_CHAR_MARK) && is_none(p, pos, SL_CHAR_UPPER);
}

static size_t cased_run(sl_pretoken_piece *p, size_t pos, bool upper) {
    size_t i = pos;
    while (upper ? is_upper_set(p, i) : is_lower_set(p, i)) {
        i++;
    }
    p->work += i - pos;
    return i;
}

/* UPPER*LOWER+ from `pos`. Letters without case are in both sets: when no small letter follows the
 * run, it is given back up to and without its last such letter. After that only capitals are left
 * of the run, so a run is walked back at most twice. */
static size_t match_upper_lower(sl_pretoken_piece *p, size_t pos) {
    size_t upper_end = cased_run(p, pos, true);
    if (is_lower_set(p, upper_end)) {
        return cased_run(p, upper_end, false);
    }
    for (size_t i = upper_end; i > pos; i--) {
        p->work++;
        if (is_lower_set(p, i - 1)) {
            return i;
        }
    }
    return pos;
}

/* UPPER+LOWER* from `pos` */
static size_t match_upper(sl_pretoken_piece *p, size_t pos) {
    size_t end = cased_run(p, pos, true);
    return end > pos ? cased_run(p, end, false) : pos;
}

/* [^\r\n\p{L}\p{N}]?UPPER*LOWER+ | [^\r\n\p{L}\p{N}]?UPPER+LOWER* */
static size_t match_cased_word(sl_pretoken_piece *p, size_t pos) {
    bool prefix = is_none(p, pos, WORD_MASK) && !is_line_break(code_at(p, pos));
    size_t (*const forms[2])(sl_pretoken_piece *, size_t) = {match_upper_lower, match_upper};
    for (size_t i = 0; i < 2; i++) {
        size_t end = prefix ? forms[i](p, pos + 1) : pos;
        if (prefix && end > pos + 1) {
            return end;
        }
        end = forms[i](p, pos);
        if (end > pos) {
            return end;
        }
    }
    return pos;
}

static size_t match_o200k(sl_pretoken_piece *p, size_t pos, bool contractions, size_t digits_max) {
    size_t end = match_cased_word(p, pos);
    if (end > pos) {
        return contractions ? match_contraction(p, end, true) : end;
    }
    end = match_digits(p, pos, digits_max);
    end = end > pos ? end : match_other(p, pos, NOT_OTHER, true);
    return end > pos ? end : match_blank(p, pos);
}

/* [^\r\n\p{L}\p{N}]?UPPER*LOWER+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |[^\r\n\p{L}\p{N}]?UPPER+LOWER*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}
 * | ?[^\s\p{L}\p{N}]+[\r\n/]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t sl_pretoken_o200k(sl_pretoken_piece *p, size_t pos) {
    return match_o200k(p, pos, true, 3);
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

/* End of the run of characters in sorted ranges, from `pos`. */
static size_t range_run_end(sl_pretoken_piece *p, size_t pos, const char_range *ranges, size_t n) {
    size_t i = pos;
    for (; i < p->end; i++) {
        uint32_t code = code_at(p, i);
        size_t low = 0, high = n; /* the first range that ends at or after the code */
        while (low < high) {
            size_t mid = (low + high) / 2;
            if (ranges[mid].last < code) {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        if (low == n || ranges[low].first > code) {
            break;
        }
    }
    p->work += i - pos;
    return i;
}

/* \s? + a run of characters in ranges */
static size_t match_space_ranges(sl_pretoken_piece *p, size_t pos, const char_range *ranges,
                                 size_t n) {
    if (is_any(p, pos, SL_CHAR_SPACE)) {
        size_t end = range_run_end(p, pos + 1, ranges, n);
        if (end > pos + 1) {
            return end;
        }
    }
    return range_run_end(p, pos, ranges, n);
}

#define N_RANGES(ranges) (sizeof(ranges) / sizeof((ranges)[0]))

/* Letters with case, as DeepSeek's tokenizer lists them. */
static const char_range CASED_LETTERS[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},
    {0xD8, 0xF6},       {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},
    {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x377},     {0x37B, 0x37D},
    {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},     {0x38C, 0x38C},
    {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
    {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},
    {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},
    {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},
    {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},
    {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
    {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},
    {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},
    {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
    {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};

/* \s?[A-Za-z...]+ */
size_t sl_pretoken_space_cased(sl_pretoken_piece *p, size_t pos) {
    return match_space_ranges(p, pos, CASED_LETTERS, N_RANGES(CASED_LETTERS));
}

/* \s?[!-/:-~ and their wide, quoting and ideographic forms]+ */
size_t sl_pretoken_space_marks(sl_pretoken_piece *p, size_t pos) {
    static const char_range MARKS[] = {{'!', '/'},       {':', '~'},       {0x2018, 0x201F},
                                       {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
    return match_space_ranges(p, pos, MARKS, N_RANGES(MARKS));
}

/* \s+$ */
size_t sl_pretoken_space_at_end(sl_pretoken_piece *p, size_t pos) {
    return is_any(p, pos, SL_CHAR_SPACE) && space_run_end(p, pos) == p->end ? p->end : pos;
}

/* [U+4E00-U+9FA5 U+0800-U+4E00 U+AC00-U+D7FF]+ */
size_t sl_pretoken_han_hangul(sl_pretoken_piece *p, size_t pos) {
    static const char_range RANGES[] = {{0x800, 0x9FA5}, {0xAC00, 0xD7FF}};
    return range_run_end(p, pos, RANGES, N_RANGES(RANGES));
}

/* [U+4E00-U+9FA5 U+3040-U+309F U+30A0-U+30FF]+ */
size_t sl_pretoken_han_kana(sl_pretoken_piece *p, size_t pos) {
    static const char_range RANGES[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
    return range_run_end(p, pos, RANGES, N_RANGES(RANGES));
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

/* [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
 * | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+
 * |\s+(?!\S)|\s+ */
size_t sl_pretoken_deepseek3(sl_pretoken_piece *p, size_t pos) {
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
    if (is_any(p, start, marks)) {
        end = run_end(p, start, marks, true);
        while (is_line_break(code_at(p, end))) {
            end++;
            p->work++;
        }
        return end;
    }
    return match_blank(p, pos);
}
