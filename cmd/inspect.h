/* What `sluice inspect` finds out about a file, and its two ways of saying it. Private to cmd. */
#ifndef SL_CMD_INSPECT_H
#define SL_CMD_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/buf.h"
#include "format/gguf.h"
#include "kernels/kv_type.h"
#include "model/model.h"
#include "text/tokenizer/tokenizer.h"

typedef enum sl_inspect_kind {
    SL_INSPECT_EMBEDDING,
    SL_INSPECT_ATTENTION,
    SL_INSPECT_FFN,
    SL_INSPECT_NORMS,
    SL_INSPECT_OUTPUT,
    SL_INSPECT_OTHER,
    SL_INSPECT_KIND_COUNT
} sl_inspect_kind;

typedef struct sl_inspect_sum {
    uint64_t n_tensors, n_elems, size_bytes;
} sl_inspect_sum;

typedef struct sl_inspect {
    sl_gguf *file;
    sl_tokenizer *tokenizer; /* NULL when the vocabulary cannot be used: */
    sl_error tokenizer_error;
    sl_model *model; /* NULL when this program cannot run the file: */
    sl_error model_error;
    sl_inspect_sum kinds[SL_INSPECT_KIND_COUNT];
    sl_inspect_sum formats[SL_TYPE_COUNT];
    sl_inspect_sum total;
    /* Keys and values in each type, over all layers, of one token, and in F16 of a sequence of
     * n_ctx_train, of which layers with a window keep the end; 0 without a model. */
    uint64_t kv_token_bytes[SL_KV_TYPE_COUNT], kv_ctx_bytes;
    bool with_plan;
    sl_buf plan; /* its text, with with_plan */
} sl_inspect;

const char *sl_inspect_kind_name(sl_inspect_kind kind); /* "embedding", ... */
sl_inspect_kind sl_inspect_kind_of(const sl_gguf_tensor *t);
uint64_t sl_inspect_n_elems(const sl_gguf_tensor *t);

/* Element i of an array as an entry of its own, for i = 0, 1, ...: false at the end, and at once
 * for arrays of arrays. `it` is zero-initialised before the first call. */
typedef struct sl_inspect_walk {
    sl_gguf_iter it;
    bool is_begun;
} sl_inspect_walk;
bool sl_inspect_next(const sl_inspect *s, const sl_gguf_kv *array, sl_inspect_walk *walk,
                     sl_gguf_kv *out);

/* Both write to standard output; a failed write is for the caller to see by ferror. */
void sl_inspect_print_text(const sl_inspect *s, bool all_tensors);
void sl_inspect_print_json(const sl_inspect *s);

#endif
