/* Token ids -> text, one id at a time, for streaming: holds back bytes that are an incomplete
 * character and text that may be the beginning of a stop string. Owned by one thread; one per
 * choice of a request. */
#ifndef SL_TEXT_DETOKENIZER_H
#define SL_TEXT_DETOKENIZER_H

#include "text/tokenizer/tokenizer.h"

#define SL_STOP_MAX 16         /* stop strings of one request */
#define SL_STOP_BYTES_MAX 1024 /* bytes of one stop string */

typedef struct sl_detokenizer {
    const sl_tokenizer *tok;
    sl_slice stops[SL_STOP_MAX]; /* borrowed from the request */
    size_t n_stops;
    bool show_special, stopped;
    sl_decode_state state;
    /* Decoded, not yet given out: n_text bytes of text, then at most 3 bytes of a character. */
    sl_buf pending;
    size_t n_text;
    uint16_t n_matched[SL_STOP_MAX]; /* bytes of each stop string that the text ends with */
    uint16_t *fail; /* per byte of all stop strings: the KMP failure lengths; made on first use */
} sl_detokenizer;

/* Nothing is allocated here. Text goes on after a prompt: a caller that decodes from the very
 * beginning of a text sets state.at_start to true afterwards (see sl_tokenizer_decode). Stop
 * strings are UTF-8; empty ones are ignored, one that is too long or too many of them make the
 * first push fail with SL_ERR_ARGUMENT. The text ends before the stop string that is complete
 * first, or the longest of those that end together. */
void sl_detokenizer_init(sl_detokenizer *d, const sl_tokenizer *tok, const sl_slice *stops,
                         size_t n_stops, bool show_special);
void sl_detokenizer_deinit(sl_detokenizer *d);

/* Appends to `out` the text that has become certain. Output is always valid UTF-8: bytes that can
 * never become a character are replaced by U+FFFD. *stopped_out is set when a stop string appeared:
 * the text before it has been given out, later ids are ignored. */
SL_NODISCARD sl_status sl_detokenizer_push(sl_detokenizer *d, int32_t id, sl_buf *out,
                                           bool *stopped_out, sl_error *err);
/* At the end: gives out what was held back (an incomplete character as U+FFFD; should that complete
 * a stop string, the text before it, and d->stopped is set). */
SL_NODISCARD sl_status sl_detokenizer_finish(sl_detokenizer *d, sl_buf *out, sl_error *err);

#endif
