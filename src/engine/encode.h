/* Token sequences -> one vector each: an encoder's rows, pooled. Needs the engine and nothing of
 * the scheduler: a sequence is one run of one step, and its pages are free again after it. As many
 * sequences share a step as rows, runs and pages of the engine allow. Used by the engine's thread.
 * Pooling as in arXiv 1908.10084; the sums run in float64.
 */
#ifndef SL_ENGINE_ENCODE_H
#define SL_ENGINE_ENCODE_H

#include "engine/engine.h"

typedef struct sl_encode_options {
    sl_pooling pooling; /* not NONE */
    bool normalize;     /* vectors of Euclidean length 1; one of zeros stays as it is */
} sl_encode_options;

/* Called once for each sequence, in their order, while the engine is idle. `vector` has n_result
 * floats, all finite, and lasts for the call. A status other than SL_OK ends the whole. */
typedef sl_status (*sl_encode_fn)(void *user, size_t i_seq, const float *vector, sl_error *err);

/* Sequence i is the next lens[i] of `ids`. A vector depends on its own sequence alone, not on what
 * shares the step. Errors: SL_ERR_UNSUPPORTED for a decoder; SL_ERR_ARGUMENT, before anything is
 * computed, for a sequence that is empty or longer than the context, the rows of a step or the
 * pages allow; SL_ERR_NUMERIC for a vector that is not finite; those of sl_engine_step. */
SL_NODISCARD sl_status sl_engine_encode(sl_engine *e, const sl_encode_options *options,
                                        const int32_t *ids, const uint32_t *lens, size_t n_seqs,
                                        sl_encode_fn fn, void *user, sl_error *err);

#endif
