/* Pre-tokenisers: how a byte-level BPE vocabulary cuts text into words before merging. Each is a
 * row of a table: its names in tokenizer.ggml.pre, its options and up to SL_PRETOKEN_STAGES
 * patterns. Each pattern is a hand-written matcher for one regular expression; patterns are applied
 * one after the other, each to the pieces that those before left, and both what matches and what
 * lies between matches become pieces. */
#ifndef SL_TEXT_PRETOKENIZER_H
#define SL_TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "text/tokenizer/unicode_class.h"

/* A classified character: code point in bits 0 to 20, sl_unicode_class above, then two marks. */
typedef uint32_t sl_char;
#define SL_CHAR_CODE 0x1FFFFFu
#define SL_CHAR_CLASS_SHIFT 21
#define SL_CHAR_LETTER ((uint32_t)SL_UNICODE_LETTER << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_NUMBER ((uint32_t)SL_UNICODE_NUMBER << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_PUNCT ((uint32_t)SL_UNICODE_PUNCT << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_SYMBOL ((uint32_t)SL_UNICODE_SYMBOL << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_MARK ((uint32_t)SL_UNICODE_MARK << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_SPACE ((uint32_t)SL_UNICODE_SPACE << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_UPPER ((uint32_t)SL_UNICODE_UPPER << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_LOWER ((uint32_t)SL_UNICODE_LOWER << SL_CHAR_CLASS_SHIFT)
#define SL_CHAR_INVALID (1u << 29) /* one byte that is no UTF-8; its code is U+FFFD */
#define SL_CHAR_CUT (1u << 30)     /* a word begins here */

/* The piece [begin, end) of ch being cut, and what a matcher may remember between calls on it. */
typedef struct sl_pretoken_piece {
    const sl_char *ch;
    size_t begin, end;
    /* Where the run of white space, and of numbers, that was looked at last ends; 0: none yet. */
    size_t space_end, number_end;
    size_t break_end; /* end of the last line break of that white space, 0: it has none */
    uint64_t work;    /* characters looked at */
} sl_pretoken_piece;

/* End of the match that begins at `pos`, or `pos` if the pattern does not match there. */
typedef size_t (*sl_pretoken_match)(sl_pretoken_piece *p, size_t pos);

#define SL_PRETOKEN_STAGES 6
#define SL_PRETOKEN_NAMES 24 /* of one row */

typedef struct sl_pretokenizer {
    const char *names[SL_PRETOKEN_NAMES];         /* the first one is shown; NULL ends the list */
    sl_pretoken_match stages[SL_PRETOKEN_STAGES]; /* NULL ends the list */
    bool ignore_merges; /* a word that is a token as a whole is not merged up */
    bool adds_bos;      /* when the file does not say */
    bool always_bos;    /* whatever the file says */
    bool is_raw; /* words are merged from characters, not from bytes; spaces are written U+2581 */
} sl_pretokenizer;

/* NULL if there is none of this name. */
const sl_pretokenizer *sl_pretokenizer_find(sl_slice name);

/* Sets SL_CHAR_CUT at the first character of every word of ch[0..n). Returns the work done. */
uint64_t sl_pretokenizer_cut(const sl_pretokenizer *pre, sl_char *ch, size_t n);
/* Fills ch (room for text.len) from text and returns how many characters there are. */
size_t sl_pretokenizer_classify(sl_slice text, sl_char *ch);
/* Bytes that a classified character takes in the text. */
static inline uint32_t sl_char_bytes(sl_char c) {
    uint32_t code = c & SL_CHAR_CODE;
    if ((c & SL_CHAR_INVALID) != 0 || code < 0x80) {
        return 1;
    }
    return 2u + (code >= 0x800) + (code >= 0x10000);
}

/* pretoken_rules.c: the matchers. Comments there give the expression of each. */
size_t sl_pretoken_gpt2(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_llama3(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_qwen2(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_qwen35(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_ufakzeka(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_seed_coder(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_jais2(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_exaone_moe(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_o200k(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_youtu(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_kimi(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_tekken(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_digit(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_digits(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_digits_1_3(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_digits_from_end(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_ascii_digits_from_end(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_digits_of_word(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_ascii_digits_3(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_lines(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_sentinel(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_image(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_indent(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_mark(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_punct_default(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_punct_falcon(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_bloom(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_line_break(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_space_letters(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_space_punct(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_deepseek3(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_spark(sl_pretoken_piece *p, size_t pos);
/* pretoken_script.c: those that ask for scripts. */
size_t sl_pretoken_space_cased(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_space_marks(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_space_at_end(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_han_hangul(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_han_kana(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_spaceless(sl_pretoken_piece *p, size_t pos);
size_t sl_pretoken_youtu_scripts(sl_pretoken_piece *p, size_t pos);
bool sl_pretoken_is_han(uint32_t code); /* the script Han */

#endif
