/* What templates need to know of characters: classes and case, as Python's str methods see them. */
#ifndef SL_TEXT_TMPL_UNICODE_H
#define SL_TEXT_TMPL_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Classes; several may hold for one character. */
#define TMPL_CHAR_SPACE 0x001u
#define TMPL_CHAR_ALPHA 0x002u
#define TMPL_CHAR_DECIMAL 0x004u
#define TMPL_CHAR_DIGIT 0x008u
#define TMPL_CHAR_NUMERIC 0x010u
#define TMPL_CHAR_PRINTABLE 0x020u
#define TMPL_CHAR_UPPER 0x040u
#define TMPL_CHAR_LOWER 0x080u
#define TMPL_CHAR_TITLE 0x100u
/* skipped when a word's end is sought for the Greek final sigma */
#define TMPL_CHAR_IGNORABLE 0x200u
#define TMPL_CHAR_CASED (TMPL_CHAR_UPPER | TMPL_CHAR_LOWER | TMPL_CHAR_TITLE)

typedef enum tmpl_case {
    TMPL_CASE_UPPER,
    TMPL_CASE_LOWER,
    TMPL_CASE_TITLE,
    TMPL_CASE_FOLD
} tmpl_case;

uint32_t sl_tmpl_char_classes(uint32_t code);
static inline bool sl_tmpl_char_is(uint32_t code, uint32_t classes) {
    return (sl_tmpl_char_classes(code) & classes) != 0;
}
/* Full case mapping: 1 to 3 characters; returns how many. The final sigma is the caller's
 * business. */
size_t sl_tmpl_char_case(uint32_t code, tmpl_case to, uint32_t out[3]);

size_t sl_tmpl_rstrip_len(sl_slice text);   /* length without white space at the end */
size_t sl_tmpl_lstrip_start(sl_slice text); /* bytes of white space at the start */

/* --- the tables (tmpl_unicode_table.c, generated)
 * ------------------------------------------------ */
typedef struct tmpl_class_run {
    uint32_t first; /* the run ends where the next one begins */
    uint32_t classes;
} tmpl_class_run;
typedef struct tmpl_case_run {
    uint32_t first, last, step;
    int32_t delta;
} tmpl_case_run;
typedef struct tmpl_case_special {
    uint32_t code, to[3];
} tmpl_case_special;
typedef struct tmpl_case_table {
    const tmpl_case_run *runs;
    const tmpl_case_special *specials;
    size_t n_runs, n_specials;
} tmpl_case_table;
extern const tmpl_class_run sl_tmpl_class_runs[];
extern const size_t sl_tmpl_n_class_runs;
extern const tmpl_case_table sl_tmpl_case_tables[4];

#endif
