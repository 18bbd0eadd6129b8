/* Drafts from the text itself: what followed the last time that the newest tokens stood there.
 *
 * An index of one request's prompt and output by hashes of SL_NGRAM_MIN tokens, newest first, as a
 * match finder of a compressor keeps it. The longest match among the newest SL_NGRAM_TRIES is
 * taken, and the tokens behind it are the draft; where it overlaps the end, the draft repeats
 * itself.
 *
 * Source: prompt lookup decoding (A. Saxena, 2023), reference text instead of a draft model (Yang
 * et al., arXiv 2304.04487); Ziv and Lempel 1977 for the rest.
 *
 * Lives in memory of the caller; nothing is allocated. One owner at a time. */
#ifndef SL_SAMPLE_NGRAM_H
#define SL_SAMPLE_NGRAM_H

#include <stddef.h>
#include <stdint.h>

#define SL_NGRAM_MIN 3    /* tokens that must match */
#define SL_NGRAM_LONG 32  /* longer matches count as this long */
#define SL_NGRAM_TRIES 16 /* places that are looked at */

typedef struct sl_ngram {
    uint32_t *heads;  /* [mask + 1] newest place + 1 of each hash; 0: none */
    uint32_t *before; /* [n_max] of each place, the next older one + 1 */
    uint32_t n;       /* tokens that are known */
    uint32_t n_max, mask;
} sl_ngram;

/* The tokens that the index is about: the prompt, then what follows. */
typedef struct sl_ngram_text {
    const int32_t *prompt_ids;
    const int32_t *out_ids;
    uint32_t n_prompt;
} sl_ngram_text;

/* Where to copy from. */
typedef struct sl_ngram_match {
    uint32_t place; /* of the token that followed */
    uint32_t len;   /* tokens that matched, up to SL_NGRAM_LONG; 0: there is no match */
} sl_ngram_match;

/* Bytes for n_tokens_max tokens. */
size_t sl_ngram_bytes(uint32_t n_tokens_max);
/* memory: 8-byte aligned, that many bytes, the caller's; any contents. */
void sl_ngram_init(sl_ngram *g, void *memory, uint32_t n_tokens_max);
/* The text has n tokens now (what is beyond n_tokens_max is left out). They never change. */
void sl_ngram_grow(sl_ngram *g, const sl_ngram_text *text, uint32_t n);
sl_ngram_match sl_ngram_find(const sl_ngram *g, const sl_ngram_text *text);
/* n tokens of the draft; `out` is where they would stand in text->out_ids, so that a draft may copy
 * its own beginning. */
void sl_ngram_copy(const sl_ngram_text *text, const sl_ngram_match *match, uint32_t n,
                   int32_t *out);

#endif
