/* The tests' small random model, loaded, with an engine over it. See tiny_engine.h. */
#include "tiny_engine.h"

#include "base/error.h"

#define BYTES_MAX ((size_t)64 << 20)

static sl_status tiny_open_file(tiny_engine *t, const char *path, const tiny_model_options *model,
                                sl_error *err) {
    if (path != NULL) {
        return sl_gguf_open(path, &t->file, err);
    }
    SL_TRY(tiny_model_write_buf(&t->bytes, model, err));
    return sl_gguf_open_memory("tiny", t->bytes.data, t->bytes.len, &t->file, err);
}

static sl_status tiny_open(tiny_engine *t, const char *path, const tiny_model_options *model,
                           const sl_engine_options *engine, uint32_t n_pages, sl_error *err) {
    SL_TRY(tiny_open_file(t, path, model, err));
    SL_TRY(sl_model_open(t->file, &t->model, err));
    sl_engine_options options = *engine;
    options.kv_bytes = (uint64_t)1 << 30;
    sl_engine_memory memory;
    SL_TRY(sl_engine_estimate(t->model, &options, &memory, err));
    options.kv_bytes = n_pages * memory.page_bytes;
    return sl_engine_create(t->model, &options, &t->engine, err);
}

sl_status tiny_engine_open(tiny_engine *t, const char *path, const tiny_model_options *model,
                           const sl_engine_options *engine, uint32_t n_pages, sl_error *err) {
    *t = (tiny_engine){0};
    sl_buf_init(&t->bytes, BYTES_MAX);
    const sl_status status = tiny_open(t, path, model, engine, n_pages, err);
    if (status != SL_OK) {
        tiny_engine_close(t);
    }
    return status;
}

void tiny_engine_close(tiny_engine *t) {
    sl_engine_free(t->engine);
    sl_model_close(t->model);
    sl_gguf_close(t->file);
    sl_buf_deinit(&t->bytes);
    *t = (tiny_engine){0};
}
