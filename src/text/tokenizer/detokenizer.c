/* Streaming detokenizer. Ids enter one at a time, valid UTF-8 that no stop string can claim any
 * more leaves. Owner: one thread.
 *
 * Stop strings are followed by one Knuth-Morris-Pratt automaton each (SIAM J. Comput. 6, 1977), so
 * a byte costs amortised O(1) per stop string, and what must be held back is the longest automaton
 * state. */
#include "text/tokenizer/detokenizer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer/tokenizer_internal.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
/* Held back text and the text of one token, each byte of which may become U+FFFD. */
#define DETOKENIZER_PENDING_MAX (SL_STOP_BYTES_MAX + 4 * SL_TOKEN_BYTES_MAX)

void sl_detokenizer_init(sl_detokenizer *d, const sl_tokenizer *tok, const sl_slice *stops,
                         size_t n_stops, bool show_special) {
    *d = (sl_detokenizer){.tok = tok, .n_stops = n_stops, .show_special = show_special};
    for (size_t i = 0; i < n_stops && i < SL_STOP_MAX; i++) {
        d->stops[i] = stops[i];
    }
    sl_buf_init(&d->pending, DETOKENIZER_PENDING_MAX);
}

void sl_detokenizer_deinit(sl_detokenizer *d) {
    sl_buf_deinit(&d->pending);
    sl_free(d->fail);
    d->fail = NULL;
}

/* fail[i]: the longest proper beginning of the stop string that its first i + 1 bytes end with. */
static void detokenizer_set_fail(sl_slice stop, uint16_t *fail) {
    fail[0] = 0;
    uint16_t k = 0;
    for (size_t i = 1; i < stop.len; i++) {
        while (k > 0 && stop.ptr[i] != stop.ptr[k]) {
            k = fail[k - 1];
        }
        k = (uint16_t)(k + (stop.ptr[i] == stop.ptr[k]));
        fail[i] = k;
    }
}

static sl_status detokenizer_prepare(sl_detokenizer *d, sl_error *err) {
    if (d->n_stops > SL_STOP_MAX) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "%zu stop strings are more than the %d allowed",
                       d->n_stops, SL_STOP_MAX);
    }
    size_t n_bytes = 0;
    for (size_t i = 0; i < d->n_stops; i++) {
        if (d->stops[i].len > SL_STOP_BYTES_MAX) {
            return SL_FAIL(err, SL_ERR_ARGUMENT,
                           "a stop string of %zu bytes is longer than the %d allowed",
                           d->stops[i].len, SL_STOP_BYTES_MAX);
        }
        n_bytes += d->stops[i].len;
    }
    if (n_bytes == 0 || d->fail != NULL) {
        return SL_OK;
    }
    d->fail = sl_realloc_array(NULL, n_bytes, sizeof(*d->fail));
    if (d->fail == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the stop strings");
    }
    uint16_t *fail = d->fail;
    for (size_t i = 0; i < d->n_stops; i++) {
        if (d->stops[i].len > 0) {
            detokenizer_set_fail(d->stops[i], fail);
            fail += d->stops[i].len;
        }
    }
    return SL_OK;
}

/* One more byte of text. Returns the length of the stop string that it completes, the longest of
 * several; 0 if none. */
static size_t detokenizer_step(sl_detokenizer *d, char c) {
    size_t completed = 0;
    const uint16_t *fail = d->fail;
    for (size_t i = 0; i < d->n_stops; i++) {
        sl_slice stop = d->stops[i];
        if (stop.len == 0) {
            continue;
        }
        uint16_t k = d->n_matched[i];
        while (k > 0 && stop.ptr[k] != c) {
            k = fail[k - 1];
        }
        k = (uint16_t)(k + (stop.ptr[k] == c));
        if (k == stop.len) {
            completed = stop.len > completed ? stop.len : completed;
            k = fail[k - 1]; /* unused: the text ends here */
        }
        d->n_matched[i] = k;
        fail += stop.len;
    }
    return completed;
}

/* How many bytes at the beginning of text, which begins with no character, are one wrong unit: the
 * longest correct but incomplete beginning of a character, or one byte. */
static size_t detokenizer_wrong_len(const char *text, size_t len) {
    size_t n = len < 3 ? len : 3;
    while (n > 1 && sl_utf8_incomplete_tail(text, n) != n) {
        n--;
    }
    return n;
}

/* Appends raw bytes as valid text; with `last`, an incomplete character at their end too. Returns
 * how many bytes were used. */
static size_t detokenizer_add_text(sl_buf *text, const char *raw, size_t len, bool last) {
    size_t i = 0;
    size_t tail = last ? 0 : sl_utf8_incomplete_tail(raw, len);
    while (i < len - tail) {
        size_t n_valid = sl_utf8_valid_prefix(raw + i, len - tail - i);
        sl_buf_append(text, raw + i, n_valid);
        i += n_valid;
        if (i < len - tail) {
            i += detokenizer_wrong_len(raw + i, len - tail - i);
            sl_buf_append(text, REPLACEMENT, 3);
        }
    }
    return i;
}

/* Turns the bytes of pending behind the text into text, but for an incomplete character at their
 * end. */
static sl_status detokenizer_extend_text(sl_detokenizer *d, bool last, sl_error *err) {
    size_t n_raw = d->pending.len - d->n_text;
    const char *raw = d->pending.data + d->n_text;
    size_t n_valid = sl_utf8_valid_prefix(raw, n_raw);
    if (n_valid == n_raw || (!last && n_raw - n_valid == sl_utf8_incomplete_tail(raw, n_raw))) {
        d->n_text += n_valid; /* nothing to replace */
        return SL_OK;
    }
    sl_buf copy;
    sl_buf_init(&copy, DETOKENIZER_PENDING_MAX);
    sl_buf_append(&copy, raw, n_raw);
    if (copy.status == SL_OK) {
        d->pending.len = d->n_text;
        size_t n_used = detokenizer_add_text(&d->pending, copy.data, n_raw, last);
        d->n_text = d->pending.len;
        sl_buf_append(&d->pending, copy.data + n_used, n_raw - n_used);
    }
    sl_status status = copy.status != SL_OK ? copy.status : d->pending.status;
    sl_buf_deinit(&copy);
    return status == SL_OK ? SL_OK : SL_FAIL(err, status, "no room for the text of a token");
}

/* Runs the automatons over the new text and gives out what has become certain. */
static sl_status detokenizer_release(sl_detokenizer *d, bool last, sl_buf *out, sl_error *err) {
    if (d->pending.len == 0) {
        return SL_OK;
    }
    size_t n_old = d->n_text;
    SL_TRY(detokenizer_extend_text(d, last, err));
    size_t n_certain = d->n_text, held = 0;
    for (size_t i = n_old; i < d->n_text && d->fail != NULL && !d->stopped; i++) {
        size_t completed = detokenizer_step(d, d->pending.data[i]);
        if (completed > 0) {
            d->stopped = true;
            n_certain = i + 1 - completed;
        }
    }
    for (size_t i = 0; i < d->n_stops && !d->stopped && !last; i++) {
        held = d->n_matched[i] > held ? d->n_matched[i] : held;
    }
    n_certain -= held;
    if (sl_buf_append(out, d->pending.data, n_certain) != SL_OK) {
        return SL_FAIL(err, out->status, "no room for %zu bytes of text", n_certain);
    }
    sl_buf_drop_front(&d->pending, d->stopped ? d->pending.len : n_certain);
    d->n_text = d->stopped ? 0 : d->n_text - n_certain;
    return SL_OK;
}

sl_status sl_detokenizer_push(sl_detokenizer *d, int32_t id, sl_buf *out, bool *stopped_out,
                              sl_error *err) {
    if (!d->stopped) {
        SL_TRY(detokenizer_prepare(d, err));
        SL_TRY(sl_tokenizer_decode_one(d->tok, id, d->show_special, &d->state, &d->pending, err));
        SL_TRY(detokenizer_release(d, false, out, err));
    }
    *stopped_out = d->stopped;
    return SL_OK;
}

sl_status sl_detokenizer_finish(sl_detokenizer *d, sl_buf *out, sl_error *err) {
    if (d->stopped) {
        return SL_OK;
    }
    SL_TRY(sl_tokenizer_decode_end(&d->state, &d->pending, err));
    return detokenizer_release(d, true, out, err);
}
