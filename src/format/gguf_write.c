/* GGUF files written in one pass: header from two buffers, then tensor data with padding
 * between.
 * Enters: metadata, tensor declarations, data in pieces; leaves: a file that sl_gguf_open
 * accepts, or nothing.
 * Memory: the header, which is kept until the first data; data pass through a 64 KB buffer.
 * Owner: the caller's thread. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#include "format/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "format/gguf_parse.h"

#define WRITE_BUFFER_BYTES ((size_t)64 << 10)
#define WRITE_VERSION 3u
#define KEY_ALIGNMENT "general.alignment"
#define PART_NAMES_MAX 16 /* random names that may be taken in a row */

struct sl_gguf_writer {
    sl_arena arena;   /* names */
    const char *path; /* for messages */
    const char *path_part;
    sl_buf *dest; /* borrowed; NULL when a file is written */
    int fd;       /* of path_part, or -1 */
    bool is_finished;
    sl_status status; /* the first failure */
    uint64_t alignment;
    sl_buf kvs, records; /* as the file will hold them */
    sl_buf keys, names;  /* sl_slice each, for the check that none comes twice */
    sl_buf sizes;        /* uint64_t per tensor, bytes */
    uint64_t n_kv, n_tensors;
    uint64_t data_bytes; /* of the tensors declared so far, each padded to the alignment */
    bool is_header_written;
    uint64_t i_tensor; /* whose turn it is, and how many of its bytes were given */
    uint64_t given_bytes;
    size_t pending_bytes; /* in `pending`, on their way to the file */
    unsigned char pending[WRITE_BUFFER_BYTES];
};

/* --- output ----------------------------------------------------------------------------------- */

static sl_status write_io_error(sl_gguf_writer *w, const char *verb, int number, sl_error *err) {
    w->status = SL_ERR_IO;
    return SL_FAIL(err, SL_ERR_IO, "%s: cannot %s the file: %s", w->path, verb,
                   sl_errno_text(number));
}

static sl_status write_no_memory(sl_gguf_writer *w, sl_error *err) {
    w->status = SL_ERR_MEMORY;
    return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory to write the file", w->path);
}

static sl_status write_all(sl_gguf_writer *w, const unsigned char *data, size_t len,
                           sl_error *err) {
    while (len > 0) {
        ssize_t n = write(w->fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return write_io_error(w, "write", n < 0 ? errno : ENOSPC, err);
        }
        data += n;
        len -= (size_t)n;
    }
    return SL_OK;
}

static sl_status write_flush(sl_gguf_writer *w, sl_error *err) {
    size_t len = w->pending_bytes;
    w->pending_bytes = 0;
    return write_all(w, w->pending, len, err);
}

static sl_status write_bytes(sl_gguf_writer *w, const void *data, size_t len, sl_error *err) {
    if (len == 0) {
        return SL_OK; /* `data` may be NULL */
    }
    if (w->dest != NULL) {
        sl_status status = sl_buf_append(w->dest, data, len);
        if (status != SL_OK) {
            w->status = status;
            return SL_FAIL(err, status, "%s: the file does not fit its buffer of at most %zu bytes",
                           w->path, w->dest->max);
        }
        return SL_OK;
    }
    if (len > sizeof(w->pending) - w->pending_bytes) {
        SL_TRY(write_flush(w, err));
    }
    if (len >= sizeof(w->pending)) {
        return write_all(w, data, len, err);
    }
    memcpy(w->pending + w->pending_bytes, data, len);
    w->pending_bytes += len;
    return SL_OK;
}

static uint64_t write_padding(const sl_gguf_writer *w, uint64_t size_bytes) {
    return (w->alignment - size_bytes % w->alignment) % w->alignment;
}

static sl_status write_zeros(sl_gguf_writer *w, uint64_t len, sl_error *err) {
    static const unsigned char zeros[4096];
    while (len > 0) {
        size_t n = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
        SL_TRY(write_bytes(w, zeros, n, err));
        len -= n;
    }
    return SL_OK;
}

/* --- little-endian fields --------------------------------------------------------------------- */

static void write_le(unsigned char *out, uint64_t value, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = (unsigned char)(value >> (8 * i));
    }
}

static void write_put_u32(sl_buf *b, uint32_t value) {
    unsigned char bytes[4];
    write_le(bytes, value, sizeof(bytes));
    (void)sl_buf_append(b, bytes, sizeof(bytes)); /* the buffer remembers a failure */
}

static void write_put_u64(sl_buf *b, uint64_t value) {
    unsigned char bytes[8];
    write_le(bytes, value, sizeof(bytes));
    (void)sl_buf_append(b, bytes, sizeof(bytes));
}

static void write_put_string(sl_buf *b, sl_slice text) {
    write_put_u64(b, text.len);
    (void)sl_buf_append(b, text.ptr, text.len);
}

/* --- life ------------------------------------------------------------------------------------- */

static sl_status write_create(const char *path, sl_buf *dest, uint32_t alignment,
                              sl_gguf_writer **out, sl_error *err) {
    if (alignment < SL_GGUF_ALIGNMENT_MIN || alignment > SL_GGUF_ALIGNMENT_MAX ||
        (alignment & (alignment - 1)) != 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: an alignment of %" PRIu32 " is not possible; it must be a "
                       "power of two from %d to %d",
                       path, alignment, SL_GGUF_ALIGNMENT_MIN, SL_GGUF_ALIGNMENT_MAX);
    }
    sl_gguf_writer *w = sl_alloc_zero(1, sizeof(*w));
    if (w == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory to write the file", path);
    }
    w->fd = -1;
    w->dest = dest;
    w->alignment = alignment;
    sl_arena_init(&w->arena, SL_GGUF_WRITER_HEADER_MAX);
    sl_buf *buffers[] = {&w->kvs, &w->records, &w->keys, &w->names, &w->sizes};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        sl_buf_init(buffers[i], SL_GGUF_WRITER_HEADER_MAX);
    }
    w->path = sl_arena_strndup(&w->arena, path, strlen(path));
    if (w->path == NULL) {
        sl_gguf_writer_free(w);
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory to write the file", path);
    }
    *out = w;
    return SL_OK;
}

/* A name of its own that no one else has: what lies at another name, a link above all, is never
 * written through. */
static sl_status write_open_part(sl_gguf_writer *w, sl_error *err) {
    const size_t size = strlen(w->path) + sizeof(".0123456789abcdef.part");
    char *path_part = sl_arena_alloc(&w->arena, size);
    if (path_part == NULL) {
        return write_no_memory(w, err);
    }
    int code = EEXIST;
    for (int i = 0; i < PART_NAMES_MAX && code == EEXIST; i++) {
        uint64_t number = sl_clock_mono_ns();
        (void)!getrandom(&number, sizeof(number), GRND_NONBLOCK); /* early at boot: the clock */
        (void)snprintf(path_part, size, "%s.%016" PRIx64 ".part", w->path, number);
        w->fd = open(path_part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        code = w->fd < 0 ? errno : 0;
    }
    if (code != 0) {
        return write_io_error(w, "create", code, err);
    }
    w->path_part = path_part;
    return SL_OK;
}

sl_status sl_gguf_writer_create(const char *path, uint32_t alignment, sl_gguf_writer **out,
                                sl_error *err) {
    sl_gguf_writer *w = NULL;
    SL_TRY(write_create(path, NULL, alignment, &w, err));
    sl_status status = write_open_part(w, err);
    if (status != SL_OK) {
        sl_gguf_writer_free(w);
        return status;
    }
    *out = w;
    return SL_OK;
}

sl_status sl_gguf_writer_create_buf(sl_buf *dest, uint32_t alignment, sl_gguf_writer **out,
                                    sl_error *err) {
    return write_create("(memory)", dest, alignment, out, err);
}

void sl_gguf_writer_free(sl_gguf_writer *w) {
    if (w == NULL) {
        return;
    }
    if (w->fd >= 0) {
        (void)close(w->fd); /* the file is given up */
    }
    if (w->path_part != NULL && !w->is_finished) {
        (void)unlink(w->path_part);
    }
    sl_buf *buffers[] = {&w->kvs, &w->records, &w->keys, &w->names, &w->sizes};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        sl_buf_deinit(buffers[i]);
    }
    sl_arena_deinit(&w->arena);
    sl_free(w);
}

/* --- metadata --------------------------------------------------------------------------------- */

static sl_status write_may_declare(sl_gguf_writer *w, sl_slice name, size_t len_max,
                                   sl_error *err) {
    char shown[SL_GGUF_SHOW_MAX];
    if (w->status != SL_OK) {
        return SL_FAIL(err, w->status, "%s: writing failed before", w->path);
    }
    if (w->is_header_written) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: '%s' comes after the first data; declare everything before", w->path,
                       sl_gguf_show(name, shown, sizeof(shown)));
    }
    if (name.len == 0 || name.len > len_max || memchr(name.ptr, 0, name.len) != NULL ||
        sl_utf8_valid_prefix(name.ptr, name.len) != name.len) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: the name '%s' is not UTF-8 text of 1 to %zu bytes", w->path,
                       sl_gguf_show(name, shown, sizeof(shown)), len_max);
    }
    return SL_OK;
}

static sl_status write_remember(sl_gguf_writer *w, sl_buf *list, sl_slice name, sl_error *err) {
    char *copy = sl_arena_strndup(&w->arena, name.ptr, name.len);
    sl_slice kept = {copy, name.len};
    if (copy == NULL || sl_buf_append(list, &kept, sizeof(kept)) != SL_OK) {
        return write_no_memory(w, err);
    }
    return SL_OK;
}

/* Begins an entry; its value is appended to w->kvs by the caller, who ends with write_kv_end. */
static sl_status write_kv_begin(sl_gguf_writer *w, sl_slice key, sl_gguf_type type, sl_error *err) {
    SL_TRY(write_may_declare(w, key, SL_GGUF_KEY_MAX, err));
    if (sl_slice_eq_str(key, KEY_ALIGNMENT)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: " KEY_ALIGNMENT " is given when the writer is created, not "
                       "as a key",
                       w->path);
    }
    SL_TRY(write_remember(w, &w->keys, key, err));
    write_put_string(&w->kvs, key);
    write_put_u32(&w->kvs, type);
    return SL_OK;
}

static sl_status write_kv_end(sl_gguf_writer *w, sl_error *err) {
    if (w->kvs.status != SL_OK) {
        w->status = w->kvs.status;
        return SL_FAIL(err, w->status,
                       "%s: no memory for the metadata, or more than %zu bytes of them", w->path,
                       SL_GGUF_WRITER_HEADER_MAX);
    }
    w->n_kv++;
    return SL_OK;
}

sl_status sl_gguf_writer_raw(sl_gguf_writer *w, sl_slice key, sl_gguf_type type, sl_slice stored,
                             sl_error *err) {
    SL_TRY(write_kv_begin(w, key, type, err));
    (void)sl_buf_append(&w->kvs, stored.ptr, stored.len);
    return write_kv_end(w, err);
}

static sl_status write_fixed(sl_gguf_writer *w, const char *key, sl_gguf_type type, uint64_t bits,
                             size_t size_bytes, sl_error *err) {
    unsigned char bytes[8];
    write_le(bytes, bits, size_bytes);
    return sl_gguf_writer_raw(w, sl_slice_of(key), type,
                              (sl_slice){(const char *)bytes, size_bytes}, err);
}

sl_status sl_gguf_writer_u32(sl_gguf_writer *w, const char *key, uint32_t value, sl_error *err) {
    return write_fixed(w, key, SL_GGUF_U32, value, 4, err);
}

sl_status sl_gguf_writer_f32(sl_gguf_writer *w, const char *key, float value, sl_error *err) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return write_fixed(w, key, SL_GGUF_F32, bits, 4, err);
}

sl_status sl_gguf_writer_bool(sl_gguf_writer *w, const char *key, bool value, sl_error *err) {
    return write_fixed(w, key, SL_GGUF_BOOL, value, 1, err);
}

sl_status sl_gguf_writer_string(sl_gguf_writer *w, const char *key, sl_slice value, sl_error *err) {
    SL_TRY(write_kv_begin(w, sl_slice_of(key), SL_GGUF_STRING, err));
    write_put_string(&w->kvs, value);
    return write_kv_end(w, err);
}

sl_status sl_gguf_writer_array(sl_gguf_writer *w, const char *key, sl_gguf_type elem_type,
                               const void *values, uint64_t n, sl_error *err) {
    size_t size_bytes;
    uint32_t elem_bytes = sl_gguf_fixed_bytes(elem_type);
    if (elem_bytes == 0 || !sl_mul_size(n, elem_bytes, &size_bytes)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: key '%s': an array of %" PRIu64 " %s cannot be written here", w->path,
                       key, n, sl_gguf_type_name(elem_type));
    }
    SL_TRY(write_kv_begin(w, sl_slice_of(key), SL_GGUF_ARRAY, err));
    write_put_u32(&w->kvs, elem_type);
    write_put_u64(&w->kvs, n);
    (void)sl_buf_append(&w->kvs, values, size_bytes);
    return write_kv_end(w, err);
}

sl_status sl_gguf_writer_strings(sl_gguf_writer *w, const char *key, const sl_slice *values,
                                 uint64_t n, sl_error *err) {
    SL_TRY(write_kv_begin(w, sl_slice_of(key), SL_GGUF_ARRAY, err));
    write_put_u32(&w->kvs, SL_GGUF_STRING);
    write_put_u64(&w->kvs, n);
    for (uint64_t i = 0; i < n; i++) {
        write_put_string(&w->kvs, values[i]);
    }
    return write_kv_end(w, err);
}

/* --- tensors ---------------------------------------------------------------------------------- */

/* Bytes of the tensor, and of all data with it and its padding. */
static bool write_tensor_size(const sl_gguf_writer *w, sl_type type, uint32_t n_dims,
                              const uint64_t *dims, uint64_t *size_bytes, uint64_t *data_bytes) {
    if (n_dims == 0 || n_dims > SL_GGUF_DIMS_MAX || !sl_type_row_bytes(type, dims[0], size_bytes)) {
        return false;
    }
    for (uint32_t d = 1; d < n_dims; d++) {
        if (!sl_mul_u64(*size_bytes, dims[d], size_bytes)) {
            return false;
        }
    }
    return *size_bytes != 0 && sl_add_u64(w->data_bytes, *size_bytes, data_bytes) &&
           sl_add_u64(*data_bytes, write_padding(w, *size_bytes), data_bytes) &&
           *data_bytes <= INT64_MAX;
}

sl_status sl_gguf_writer_tensor(sl_gguf_writer *w, const char *name, sl_type type, uint32_t n_dims,
                                const uint64_t *dims, sl_error *err) {
    uint64_t size_bytes = 0, data_bytes = 0;
    SL_TRY(write_may_declare(w, sl_slice_of(name), SL_GGUF_NAME_MAX, err));
    if (!write_tensor_size(w, type, n_dims, dims, &size_bytes, &data_bytes)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: tensor '%s': the type and shape do not go together", w->path, name);
    }
    SL_TRY(write_remember(w, &w->names, sl_slice_of(name), err));
    write_put_string(&w->records, sl_slice_of(name));
    write_put_u32(&w->records, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) {
        write_put_u64(&w->records, dims[d]);
    }
    write_put_u32(&w->records, type);
    write_put_u64(&w->records, w->data_bytes);
    if (w->records.status != SL_OK ||
        sl_buf_append(&w->sizes, &size_bytes, sizeof(size_bytes)) != SL_OK) {
        return write_no_memory(w, err);
    }
    w->data_bytes = data_bytes;
    w->n_tensors++;
    return SL_OK;
}

static sl_status write_check_names(sl_gguf_writer *w, const sl_buf *list, uint64_t n,
                                   const char *what, sl_error *err) {
    sl_arena arena;
    sl_gguf_index index;
    uint64_t i_twin = 0;
    sl_arena_init(&arena, SL_GGUF_WRITER_HEADER_MAX);
    sl_status status = sl_gguf_index_build(&index, &arena, list->data, sizeof(sl_slice), n,
                                           &i_twin);
    sl_arena_deinit(&arena);
    if (status == SL_ERR_FORMAT) {
        sl_slice name;
        char shown[SL_GGUF_SHOW_MAX];
        memcpy(&name, list->data + i_twin * sizeof(name), sizeof(name));
        w->status = SL_ERR_ARGUMENT;
        return SL_FAIL(err, SL_ERR_ARGUMENT, "%s: %s '%s' was given twice", w->path, what,
                       sl_gguf_show(name, shown, sizeof(shown)));
    }
    return status == SL_OK ? SL_OK : write_no_memory(w, err);
}

static sl_status write_header(sl_gguf_writer *w, sl_error *err) {
    if (w->n_kv > SL_GGUF_ENTRIES_MAX || w->n_tensors > SL_GGUF_ENTRIES_MAX) {
        w->status = SL_ERR_LIMIT;
        return SL_FAIL(err, SL_ERR_LIMIT, "%s: a file holds at most %u keys and tensors", w->path,
                       SL_GGUF_ENTRIES_MAX);
    }
    SL_TRY(write_check_names(w, &w->keys, w->n_kv, "key", err));
    SL_TRY(write_check_names(w, &w->names, w->n_tensors, "tensor", err));
    if (w->alignment !=
        SL_GGUF_ALIGNMENT_DEFAULT) { /* stated only where readers could not assume it */
        write_put_string(&w->kvs, sl_slice_of(KEY_ALIGNMENT));
        write_put_u32(&w->kvs, SL_GGUF_U32);
        write_put_u32(&w->kvs, (uint32_t)w->alignment);
        SL_TRY(write_kv_end(w, err));
    }
    unsigned char head[24] = {'G', 'G', 'U', 'F'};
    write_le(head + 4, WRITE_VERSION, 4);
    write_le(head + 8, w->n_tensors, 8);
    write_le(head + 16, w->n_kv, 8);
    SL_TRY(write_bytes(w, head, sizeof(head), err));
    SL_TRY(write_bytes(w, w->kvs.data, w->kvs.len, err));
    SL_TRY(write_bytes(w, w->records.data, w->records.len, err));
    SL_TRY(write_zeros(w, write_padding(w, sizeof(head) + w->kvs.len + w->records.len), err));
    sl_buf_deinit(&w->kvs);
    sl_buf_deinit(&w->records);
    w->is_header_written = true;
    return SL_OK;
}

static uint64_t write_size_of(const sl_gguf_writer *w, uint64_t i) {
    uint64_t size_bytes;
    memcpy(&size_bytes, w->sizes.data + i * sizeof(size_bytes), sizeof(size_bytes));
    return size_bytes;
}

sl_status sl_gguf_writer_data(sl_gguf_writer *w, const void *data, size_t size_bytes,
                              sl_error *err) {
    if (w->status != SL_OK) {
        return SL_FAIL(err, w->status, "%s: writing failed before", w->path);
    }
    if (w->is_finished || w->i_tensor >= w->n_tensors ||
        size_bytes > write_size_of(w, w->i_tensor) - w->given_bytes) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: %zu bytes are more than tensor %" PRIu64 " of %" PRIu64 " still needs",
                       w->path, size_bytes, w->i_tensor, w->n_tensors);
    }
    if (!w->is_header_written) {
        SL_TRY(write_header(w, err));
    }
    SL_TRY(write_bytes(w, data, size_bytes, err));
    w->given_bytes += size_bytes;
    uint64_t wanted_bytes = write_size_of(w, w->i_tensor);
    if (w->given_bytes == wanted_bytes) {
        SL_TRY(write_zeros(w, write_padding(w, wanted_bytes), err));
        w->i_tensor++;
        w->given_bytes = 0;
    }
    return SL_OK;
}

/* Without it a power cut could undo the renaming. Some file systems cannot do it: no error then. */
static void write_sync_folder(const char *path) {
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (len >= sizeof(folder)) {
        return;
    }
    memcpy(folder, path, len);
    memcpy(folder + len, slash == NULL ? "." : "", slash == NULL ? 2 : 1);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

static sl_status write_finish_file(sl_gguf_writer *w, sl_error *err) {
    SL_TRY(write_flush(w, err));
    if (fsync(w->fd) != 0 && errno != EINVAL && errno != EROFS) {
        return write_io_error(w, "store", errno, err);
    }
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0 && errno != EINTR) {
        return write_io_error(w, "close", errno, err);
    }
    if (rename(w->path_part, w->path) != 0) {
        return write_io_error(w, "rename", errno, err);
    }
    write_sync_folder(w->path);
    return SL_OK;
}

sl_status sl_gguf_writer_finish(sl_gguf_writer *w, sl_error *err) {
    if (w->status != SL_OK) {
        return SL_FAIL(err, w->status, "%s: writing failed before", w->path);
    }
    if (w->is_finished || w->i_tensor != w->n_tensors) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: finished with %" PRIu64 " of %" PRIu64 " tensors written", w->path,
                       w->i_tensor, w->n_tensors);
    }
    if (!w->is_header_written) {
        SL_TRY(write_header(w, err));
    }
    if (w->dest == NULL) {
        SL_TRY(write_finish_file(w, err));
    }
    w->is_finished = true;
    return SL_OK;
}
