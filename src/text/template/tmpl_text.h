/* Operations on text that both the string methods and the text filters offer. */
#ifndef SL_TEXT_TMPL_TEXT_H
#define SL_TEXT_TMPL_TEXT_H

#include "text/template/tmpl_exec.h"

typedef enum tmpl_recase {
    RECASE_UPPER,
    RECASE_LOWER,
    RECASE_CAPITAL,
    RECASE_TITLE,
    RECASE_SWAP,
    RECASE_FOLD
} tmpl_recase;
typedef enum tmpl_strip { STRIP_BOTH, STRIP_LEFT, STRIP_RIGHT } tmpl_strip;
typedef enum tmpl_align { ALIGN_LEFT, ALIGN_RIGHT, ALIGN_CENTER } tmpl_align;

SL_NODISCARD sl_status sl_tmpl_text_recase(tmpl_run *r, const tmpl_str *s, tmpl_recase how,
                                           sl_value *out);
/* chars NULL: white space. */
SL_NODISCARD sl_status sl_tmpl_text_strip(tmpl_run *r, const tmpl_str *s, tmpl_strip side,
                                          const tmpl_str *chars, sl_value *out);
/* max < 0: all. */
SL_NODISCARD sl_status sl_tmpl_text_replace(tmpl_run *r, const tmpl_str *s, const tmpl_str *old,
                                            const tmpl_str *with, int64_t max, sl_value *out);
/* sep NULL: runs of white space; max < 0: all; the list may not be empty-separated. */
SL_NODISCARD sl_status sl_tmpl_text_split(tmpl_run *r, const tmpl_str *s, const tmpl_str *sep,
                                          int64_t max, bool from_right, tmpl_list **out);
SL_NODISCARD sl_status sl_tmpl_text_lines(tmpl_run *r, const tmpl_str *s, bool keep_ends,
                                          tmpl_list **out);
/* Items must be strings, unless `convert`: then they are printed. */
SL_NODISCARD sl_status sl_tmpl_text_join(tmpl_run *r, const tmpl_str *sep, sl_value items,
                                         bool convert, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_text_align(tmpl_run *r, const tmpl_str *s, int64_t width,
                                          const tmpl_str *fill, tmpl_align how, sl_value *out);

#endif
