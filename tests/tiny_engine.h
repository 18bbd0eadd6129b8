/* The tests' small random model (tiny_model.h), loaded, with an engine over it. */
#ifndef SL_TESTS_TINY_ENGINE_H
#define SL_TESTS_TINY_ENGINE_H

#include "engine/engine.h"
#include "tiny_model.h"

typedef struct tiny_engine {
    sl_buf bytes; /* of the file, when it is in memory */
    sl_gguf *file;
    sl_model *model;
    sl_engine *engine;
} tiny_engine;

/* n_pages: KV pages (engine->kv_bytes is not looked at). path: an existing file to load, or NULL:
 * the model is made in memory. On failure nothing stays open. */
SL_NODISCARD sl_status tiny_engine_open(tiny_engine *t, const char *path,
                                        const tiny_model_options *model,
                                        const sl_engine_options *engine, uint32_t n_pages,
                                        sl_error *err);
void tiny_engine_close(tiny_engine *t);

#endif
