/* UTF-8: strict decoding (no overlong forms, surrogates or values above U+10FFFF). */
#ifndef SL_BASE_UTF8_H
#define SL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at text[0..len), its code point in *out; 0 if none valid is there. */
size_t sl_utf8_decode(const char *text, size_t len, uint32_t *out);
/* Writes 1 to 4 bytes and returns how many; 0 for a value that has no UTF-8 form. */
size_t sl_utf8_encode(uint32_t code, char out[4]);
/* Offset of the first invalid byte, or len when all is valid. */
size_t sl_utf8_valid_prefix(const char *text, size_t len);
/* How many bytes at the end of text begin a character correctly but do not complete it: 0 to 3. */
size_t sl_utf8_incomplete_tail(const char *text, size_t len);
/* Makes text one printable line of valid UTF-8: control characters and what is no character become
 * '?'. With was_cut a character that lost its end at the end of text is dropped. */
void sl_utf8_make_printable(char *text, bool was_cut);

#endif
