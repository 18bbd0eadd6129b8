/* What the matchers of pre-tokenisers are made of: looking at the characters of a piece, and runs
 * of them. For pretoken_*.c alone. A position beyond the piece has no class and no code point. */
#ifndef SL_TEXT_PRETOKEN_MATCH_H
#define SL_TEXT_PRETOKEN_MATCH_H

#include "text/tokenizer/pretokenizer.h"

#define SL_CHAR_WORD (SL_CHAR_LETTER | SL_CHAR_NUMBER)
#define SL_CHAR_NOT_OTHER (SL_CHAR_SPACE | SL_CHAR_LETTER | SL_CHAR_NUMBER)

static inline uint32_t code_at(const sl_pretoken_piece *p, size_t pos) {
    return pos < p->end ? p->ch[pos] & SL_CHAR_CODE : UINT32_MAX;
}

static inline bool is_any(const sl_pretoken_piece *p, size_t pos, uint32_t mask) {
    return pos < p->end && (p->ch[pos] & mask) != 0;
}

static inline bool is_none(const sl_pretoken_piece *p, size_t pos, uint32_t mask) {
    return pos < p->end && (p->ch[pos] & mask) == 0;
}

static inline bool is_line_break(uint32_t code) {
    return code == '\r' || code == '\n';
}

/* End of the run of characters with (any: true) or without one of the classes, from `pos`. */
static inline size_t run_end(sl_pretoken_piece *p, size_t pos, uint32_t mask, bool any) {
    size_t i = pos;
    while (i < p->end && ((p->ch[i] & mask) != 0) == any) {
        i++;
    }
    p->work += i - pos;
    return i;
}

/* End of the run of white space that `pos` lies in; p->break_end is then where the last line break
 * of the run ends, 0 if there is none. */
static inline size_t space_run_end(sl_pretoken_piece *p, size_t pos) {
    if (pos >= p->space_end) {
        p->space_end = run_end(p, pos, SL_CHAR_SPACE, true);
        p->break_end = p->space_end;
        while (p->break_end > pos && !is_line_break(p->ch[p->break_end - 1] & SL_CHAR_CODE)) {
            p->break_end--;
            p->work++;
        }
        p->break_end = p->break_end > pos ? p->break_end : 0;
    }
    return p->space_end;
}

/* End of the run of numbers that `pos` lies in. */
static inline size_t number_run_end(sl_pretoken_piece *p, size_t pos) {
    if (pos >= p->number_end) {
        p->number_end = run_end(p, pos, SL_CHAR_NUMBER, true);
    }
    return p->number_end;
}

#endif
