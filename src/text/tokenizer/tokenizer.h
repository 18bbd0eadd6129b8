/* Text <-> token ids, as a model file's vocabulary defines it. Immutable after opening and
 * therefore shared by all threads; each call brings its own output buffer. */
#ifndef SL_TEXT_TOKENIZER_H
#define SL_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "format/gguf.h"
#include "text/span.h"

typedef struct sl_tokenizer sl_tokenizer;

/* A growing list of token ids, at most `max`. */
typedef struct sl_ids {
    int32_t *ids;
    size_t n, cap, max;
} sl_ids;
void sl_ids_init(sl_ids *l, size_t max);
void sl_ids_deinit(sl_ids *l);
SL_NODISCARD sl_status sl_ids_push(sl_ids *l, int32_t id); /* SL_ERR_LIMIT or SL_ERR_MEMORY */

/* Builds it from the file's tokenizer.ggml.* keys. The file must outlive the tokenizer (token texts
 * point into it). Errors name the file, the key and the value. */
SL_NODISCARD sl_status sl_tokenizer_open(const sl_gguf *file, sl_tokenizer **out, sl_error *err);
void sl_tokenizer_close(sl_tokenizer *t);

/* Appends the ids of `text` to `ids`. Any bytes are accepted (invalid UTF-8 goes through byte
 * tokens or becomes the unknown token; never an error). With `parse_special`, texts of control and
 * user-defined tokens are recognised; without it control tokens are plain text. Adds no BOS/EOS.
 * `ids->max` reached: SL_ERR_LIMIT at once (O(max) work done). Work is O(n log n) for any text. */
SL_NODISCARD sl_status sl_tokenizer_encode(const sl_tokenizer *t, sl_slice text, bool parse_special,
                                           sl_ids *ids, sl_error *err);
/* The same with special tokens recognised, except those that touch one of the spans `closed`: text
 * that came from outside never becomes a control token. */
SL_NODISCARD sl_status sl_tokenizer_encode_spans(const sl_tokenizer *t, sl_slice text,
                                                 const sl_spans *closed, sl_ids *ids,
                                                 sl_error *err);
/* The file's own rule around one sequence: BOS before, EOS after, where it asks for them; around
 * one of WordPiece always [CLS] and [SEP]. This is what an encoder's text is to be tokenised
 * with. */
SL_NODISCARD sl_status sl_tokenizer_encode_full(const sl_tokenizer *t, sl_slice text,
                                                bool add_special, bool parse_special, sl_ids *ids,
                                                sl_error *err);

/* Appends the text of ids[0..n): the inverse of encode (a leading space that encoding added is
 * removed when `at_start`). Control tokens give their text only with `show_special`. An id outside
 * the vocabulary is SL_ERR_ARGUMENT. */
SL_NODISCARD sl_status sl_tokenizer_decode(const sl_tokenizer *t, const int32_t *ids, size_t n,
                                           bool at_start, bool show_special, sl_buf *out,
                                           sl_error *err);

/* What a decoder that takes the ids of a text one by one remembers between them. */
typedef struct sl_decode_state {
    bool at_start;  /* see sl_tokenizer_decode; cleared by a token with text */
    bool has_quote; /* WordPiece: an apostrophe waits for what follows it */
} sl_decode_state;

uint32_t sl_tokenizer_n_vocab(const sl_tokenizer *t);
const char *sl_tokenizer_kind(const sl_tokenizer *t); /* "bpe/smollm", "spm", "unigram", ... */
/* As stored in the file; {NULL, 0} if outside. */
sl_slice sl_tokenizer_text(const sl_tokenizer *t, int32_t id);
bool sl_tokenizer_is_control(const sl_tokenizer *t, int32_t id);
bool sl_tokenizer_is_eog(const sl_tokenizer *t, int32_t id);             /* ends a generation */
size_t sl_tokenizer_eog(const sl_tokenizer *t, const int32_t **ids_out); /* sorted, borrowed */
int32_t sl_tokenizer_bos(const sl_tokenizer *t);                         /* -1 if none */
int32_t sl_tokenizer_eos(const sl_tokenizer *t);
int32_t sl_tokenizer_unk(const sl_tokenizer *t);
int32_t sl_tokenizer_pad(const sl_tokenizer *t);
bool sl_tokenizer_adds_bos(const sl_tokenizer *t);
bool sl_tokenizer_adds_eos(const sl_tokenizer *t);
/* -1 if no token has exactly this text (as stored in the file). */
int32_t sl_tokenizer_find(const sl_tokenizer *t, sl_slice text);

/* Basic operations (characters looked at, heap steps, hash probes) done by encode on this thread so
 * far: the work counter that tests assert on. */
uint64_t sl_tokenizer_work(void);

#endif
