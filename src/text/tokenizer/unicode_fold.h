/* What WordPiece makes of characters (Unicode 15.1.0): base letters, small letters, characters that
 * leave nothing. Constant tables, any thread. unicode_folds.c is made by tools/gen_unicode.py. */
#ifndef SL_TEXT_UNICODE_FOLD_H
#define SL_TEXT_UNICODE_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* first, first + step, ... last become code point + delta. */
typedef struct sl_unicode_run {
    uint32_t first, last;
    uint32_t step;
    int32_t delta;
} sl_unicode_run;

extern const sl_unicode_run sl_unicode_base_runs[], sl_unicode_lower_runs[]; /* sorted */
extern const size_t sl_unicode_n_base_runs, sl_unicode_n_lower_runs;
extern const uint32_t sl_unicode_silent_ranges[][2]; /* sorted, first and last */
extern const size_t sl_unicode_n_silent_ranges;

/* The first code point of the canonical decomposition (NFD), the character itself if it has none.
 * The rest of a decomposition is marks, which accent stripping drops anyway; of a Hangul syllable
 * the leading consonant alone stays, which is what GGUF's WordPiece vocabularies are used with. */
uint32_t sl_unicode_base(uint32_t code);
/* The simple small letter. */
uint32_t sl_unicode_lower(uint32_t code);
/* Control, format, private use (white space is none of these). */
bool sl_unicode_is_silent(uint32_t code);

#endif
