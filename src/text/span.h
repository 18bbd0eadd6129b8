/* Parts of a text, shared by the template renderer (which makes them) and the tokenizer (which
 * heeds them). */
#ifndef SL_TEXT_SPAN_H
#define SL_TEXT_SPAN_H

#include <stddef.h>

/* Part of a text that came from a value (message content, tool text) and not from the template's
 * own text: special tokens are recognised only outside of such spans. */
typedef struct sl_span {
    size_t begin, end; /* bytes of the text; lists are sorted and do not overlap */
} sl_span;

typedef struct sl_spans {
    sl_span *spans; /* sl_alloc'ed; freed by sl_spans_deinit */
    size_t n;
} sl_spans;

void sl_spans_deinit(sl_spans *s); /* template.c */

#endif
