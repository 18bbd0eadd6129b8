/* Writing GGUF version 3: metadata, then tensors, streamed in one pass. Used by whatever makes
 * model files (the quantiser, the tests).
 *
 * Order of calls: create; metadata and tensor declarations in any order; the data of every
 * tensor in the order of declaration, in pieces of any size; finish; free. The header is written
 * before the first data, so nothing can be declared after it. A file appears under its name only
 * when finish succeeds: until then it is PATH.NUMBER.part, a new file, which free removes. A wrong
 * argument changes nothing; after any other failure every later call but free fails with the same
 * status. One owner, not thread-safe.
 */
#ifndef SL_FORMAT_GGUF_WRITE_H
#define SL_FORMAT_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "format/gguf.h"

/* Most bytes of metadata, and of tensor records, that one file may get. */
#define SL_GGUF_WRITER_HEADER_MAX ((size_t)1 << 30)

typedef struct sl_gguf_writer sl_gguf_writer;

/* `alignment`: of tensor data in bytes, a power of two from 8 to 65536 (general.alignment is
 * written when it is not 32, and cannot be set as a key). An existing file at `path` is replaced
 * by finish. */
SL_NODISCARD sl_status sl_gguf_writer_create(const char *path, uint32_t alignment,
                                             sl_gguf_writer **out, sl_error *err);
/* The same into `dest` (appended to; borrowed until free), whose maximum bounds the file. */
SL_NODISCARD sl_status sl_gguf_writer_create_buf(sl_buf *dest, uint32_t alignment,
                                                 sl_gguf_writer **out, sl_error *err);
void sl_gguf_writer_free(sl_gguf_writer *w); /* NULL is fine; an unfinished file is removed */

/* Keys: UTF-8, 1 to 65535 bytes, each once. Values are copied. */
SL_NODISCARD sl_status sl_gguf_writer_u32(sl_gguf_writer *w, const char *key, uint32_t value,
                                          sl_error *err);
SL_NODISCARD sl_status sl_gguf_writer_f32(sl_gguf_writer *w, const char *key, float value,
                                          sl_error *err);
SL_NODISCARD sl_status sl_gguf_writer_bool(sl_gguf_writer *w, const char *key, bool value,
                                           sl_error *err);
SL_NODISCARD sl_status sl_gguf_writer_string(sl_gguf_writer *w, const char *key, sl_slice value,
                                             sl_error *err);
/* `values`: n little-endian values of a fixed-size type, as an array in memory has them. */
SL_NODISCARD sl_status sl_gguf_writer_array(sl_gguf_writer *w, const char *key,
                                            sl_gguf_type elem_type, const void *values, uint64_t n,
                                            sl_error *err);
SL_NODISCARD sl_status sl_gguf_writer_strings(sl_gguf_writer *w, const char *key,
                                              const sl_slice *values, uint64_t n, sl_error *err);
/* A value of any type in its stored form (sl_gguf_stored_value). The bytes must be a right value
 * of the type: they are checked only by who opens the file. */
SL_NODISCARD sl_status sl_gguf_writer_raw(sl_gguf_writer *w, sl_slice key, sl_gguf_type type,
                                          sl_slice stored, sl_error *err);

/* Declares a tensor: name of 1 to 64 bytes, each once; 1 to 4 dimensions, dims[0] contiguous. */
SL_NODISCARD sl_status sl_gguf_writer_tensor(sl_gguf_writer *w, const char *name, sl_type type,
                                             uint32_t n_dims, const uint64_t *dims, sl_error *err);

/* The next bytes of the tensor whose turn it is; a piece must not reach into the next tensor. */
SL_NODISCARD sl_status sl_gguf_writer_data(sl_gguf_writer *w, const void *data, size_t size_bytes,
                                           sl_error *err);
/* All data were given: writes what is left, makes it durable and gives the file its name. */
SL_NODISCARD sl_status sl_gguf_writer_finish(sl_gguf_writer *w, sl_error *err);

#endif
