/* Classes of characters (Unicode 15.1.0), as the patterns of pre-tokenisers name them. Constant
 * tables, any thread. unicode_tables.c is made by tools/gen_unicode.py. */
#ifndef SL_TEXT_UNICODE_CLASS_H
#define SL_TEXT_UNICODE_CLASS_H

#include <stdint.h>

enum {
    SL_UNICODE_LETTER = 1, /* \p{L} */
    SL_UNICODE_NUMBER = 2, /* \p{N} */
    SL_UNICODE_PUNCT = 4,  /* \p{P} */
    SL_UNICODE_SYMBOL = 8, /* \p{S} */
    SL_UNICODE_MARK = 16,  /* \p{M} */
    SL_UNICODE_SPACE = 32, /* \s: the property White_Space */
    SL_UNICODE_UPPER = 64, /* \p{Lu} and \p{Lt} */
    SL_UNICODE_LOWER = 128 /* \p{Ll} */
};

#define SL_UNICODE_BLOCK 128

extern const uint8_t sl_unicode_block_index[0x110000 / SL_UNICODE_BLOCK];
extern const uint8_t sl_unicode_block_class[][SL_UNICODE_BLOCK];

/* `code` must be below 0x110000. */
static inline uint32_t sl_unicode_class(uint32_t code) {
    return sl_unicode_block_class[sl_unicode_block_index[code / SL_UNICODE_BLOCK]]
                                 [code % SL_UNICODE_BLOCK];
}

#endif
