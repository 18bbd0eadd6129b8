/* A small random llama model as a GGUF file, for tests that need a whole engine but no meaning.
 *
 * The same options give the same bytes on every machine. Vocabulary (300 tokens): three control
 * tokens <|endoftext|> (0), <|im_start|> (1, bos), <|im_end|> (2, eos), the 256 bytes in GPT-2's
 * spelling (id 3 + rank), and 41 merges; a ChatML template. The rows of the output matrix that
 * belong to control tokens are zero: greedy decoding practically never ends by itself, sampling now
 * and then does.
 */
#ifndef SL_TESTS_TINY_MODEL_H
#define SL_TESTS_TINY_MODEL_H

#include <stdint.h>

#include <sluice/status.h>

#include "base/buf.h"

#define TINY_N_VOCAB 300
#define TINY_EOS 2

typedef struct tiny_model_options {
    uint64_t seed;
    uint32_t n_layers;  /* 0: 2 */
    uint32_t n_embd;    /* 0: 64; n_embd / n_head is the head size */
    uint32_t n_head;    /* 0: 4 */
    uint32_t n_kv_head; /* 0: 2 */
    uint32_t n_ff;      /* 0: 128 */
    uint32_t n_ctx;     /* 0: 2048 */
    uint32_t poison_id; /* not 0: the embedding of this token is not a number */
} tiny_model_options;

/* Writes the file, replacing one that is there. */
SL_NODISCARD sl_status tiny_model_write(const char *path, const tiny_model_options *options,
                                        sl_error *err);
/* The same into memory, for sl_gguf_open_memory. */
SL_NODISCARD sl_status tiny_model_write_buf(sl_buf *dest, const tiny_model_options *options,
                                            sl_error *err);

#endif
