/* The matchers of pre-tokenisers that ask for scripts: characters in listed ranges. As in
 * pretoken_rules.c: a position in a piece enters, the end of the match there leaves, in time linear
 * in the piece. No state beyond the piece; any thread. */
#include "text/tokenizer/pretoken_match.h"

typedef struct char_range {
    uint32_t first, last;
} char_range;

/* Is the code point in one of the sorted ranges? */
static bool is_in(uint32_t code, const char_range *ranges, size_t n) {
    size_t low = 0, high = n; /* the first range that ends at or after the code */
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ranges[mid].last < code) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < n && ranges[low].first <= code;
}

/* End of the run of characters in sorted ranges, from `pos`. */
static size_t range_run_end(sl_pretoken_piece *p, size_t pos, const char_range *ranges, size_t n) {
    size_t i = pos;
    while (i < p->end && is_in(code_at(p, i), ranges, n)) {
        i++;
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

/* Letters of scripts that are written without spaces, as AFMoE lists them: Thai, Lao, Myanmar,
 * Khmer, Hangul, Han, kana. */
size_t sl_pretoken_spaceless(sl_pretoken_piece *p, size_t pos) {
    static const char_range RANGES[] = {
        {0xE40, 0xEFF},   {0x1000, 0x109F}, {0x1100, 0x11FF}, {0x1780, 0x17FF}, {0x2F00, 0x2FDF},
        {0x3040, 0x30FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xA9E0, 0xA9FF}, {0xAA60, 0xAA7F},
        {0xAC00, 0xD7AF}, {0xF900, 0xFAFF}, {0xFF65, 0xFF9F}};
    return range_run_end(p, pos, RANGES, N_RANGES(RANGES));
}

/* Runs of Hangul, of wide marks, of Bopomofo, of Han and kana */
size_t sl_pretoken_youtu_scripts(sl_pretoken_piece *p, size_t pos) {
    static const char_range HANGUL[] = {{0x3131, 0x318E}, {0xAC00, 0xD7A3}};
    static const char_range MARKS[] = {{0x2014, 0x2014}, {0x2018, 0x2019}, {0x201C, 0x201D},
                                       {0x2026, 0x2026}, {0x3001, 0x303F}, {0xFE30, 0xFE4F},
                                       {0xFF01, 0xFF01}, {0xFF0C, 0xFF0C}, {0xFF1A, 0xFF1B}};
    static const char_range BOPOMOFO[] = {{0x3105, 0x312F}};
    size_t end = range_run_end(p, pos, HANGUL, N_RANGES(HANGUL));
    end = end > pos ? end : range_run_end(p, pos, MARKS, N_RANGES(MARKS));
    end = end > pos ? end : range_run_end(p, pos, BOPOMOFO, N_RANGES(BOPOMOFO));
    return end > pos ? end : sl_pretoken_han_kana(p, pos);
}

bool sl_pretoken_is_han(uint32_t code) {
    static const char_range HAN[] = {
        {0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},
        {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},
        {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
        {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739}, {0x2B740, 0x2B81D},
        {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D},
        {0x30000, 0x3134A}, {0x31350, 0x323AF}};
    return is_in(code, HAN, N_RANGES(HAN));
}
