#define _GNU_SOURCE
#include "measure/logprob_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"

static const char file_magic[8] = {'S', 'L', 'L', 'O', 'G', 'P', '0', '1'};

typedef struct file_head {
    char magic[8];
    uint32_t ctx, n_vocab, n_pieces, n_scored;
    uint64_t check;
} file_head;
_Static_assert(sizeof(file_head) == 32, "the head of the file has no gaps");

static file_head head_of(const sl_logprob_shape *s) {
    file_head h = {
        .ctx = s->ctx, .n_vocab = s->n_vocab, .n_pieces = s->n_pieces, .n_scored = s->n_scored};
    memcpy(h.magic, file_magic, sizeof(h.magic));
    h.check = sl_logprob_check(0, &h, offsetof(file_head, check));
    return h;
}

static uint64_t piece_bytes(const sl_logprob_shape *s) {
    return sizeof(uint64_t) + (uint64_t)s->n_scored * sl_logprob_row_bytes(s->n_vocab);
}

/* Of the file's first n pieces; UINT64_MAX where that is no size of a file. */
static uint64_t bytes_until(const sl_logprob_shape *s, uint32_t n) {
    uint64_t bytes;
    bool fits = sl_mul_u64(piece_bytes(s), n, &bytes) &&
                sl_add_u64(bytes, sizeof(file_head), &bytes) && bytes <= INT64_MAX;
    return fits ? bytes : UINT64_MAX;
}

uint64_t sl_logprob_file_bytes(const sl_logprob_shape *s) {
    return bytes_until(s, s->n_pieces);
}

/* --- writing ---------------------------------------------------------------------------------- */

static sl_status write_failed(const sl_logprob_writer *w, sl_error *err) {
    return SL_FAIL(err, SL_ERR_IO, "%s: cannot be written: %s", w->path, sl_errno_text(errno));
}

static sl_status write_bytes(sl_logprob_writer *w, const void *data, size_t n, sl_error *err) {
    return fwrite(data, 1, n, w->file) == n ? SL_OK : write_failed(w, err);
}

/* Cuts a file that an earlier run began to its first n_done pieces. */
static sl_status writer_continue(sl_logprob_writer *w, const sl_logprob_shape *s, uint32_t n_done,
                                 sl_error *err) {
    file_head wanted = head_of(s), found = {0};
    uint64_t keep = bytes_until(s, n_done);
    if (fread(&found, sizeof(found), 1, w->file) != 1 ||
        memcmp(&found, &wanted, sizeof(found)) != 0 || fseeko(w->file, 0, SEEK_END) != 0 ||
        (uint64_t)ftello(w->file) < keep) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s does not hold the %" PRIu32
                       " chunks that were done before; begin again with a new --resume file",
                       w->path, n_done);
    }
    if (ftruncate(fileno(w->file), (off_t)keep) != 0 || fseeko(w->file, 0, SEEK_END) != 0) {
        return write_failed(w, err);
    }
    return SL_OK;
}

sl_status sl_logprob_writer_open(const char *path, const sl_logprob_shape *s, uint32_t n_done,
                                 sl_logprob_writer *out, sl_error *err) {
    sl_logprob_writer w = {.file = fopen(path, n_done > 0 ? "r+b" : "wb"), .path = path};
    if (w.file == NULL) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", path, sl_errno_text(errno));
    }
    sl_status status;
    if (n_done > 0) {
        status = writer_continue(&w, s, n_done, err);
    } else {
        file_head head = head_of(s);
        status = write_bytes(&w, &head, sizeof(head), err);
    }
    if (status != SL_OK) {
        (void)fclose(w.file);
        return status;
    }
    *out = w;
    return SL_OK;
}

sl_status sl_logprob_writer_piece(sl_logprob_writer *w, uint64_t ids_check, sl_error *err) {
    return write_bytes(w, &ids_check, sizeof(ids_check), err);
}

sl_status sl_logprob_writer_rows(sl_logprob_writer *w, const uint8_t *rows, size_t n_bytes,
                                 sl_error *err) {
    return write_bytes(w, rows, n_bytes, err);
}

sl_status sl_logprob_writer_flush(sl_logprob_writer *w, sl_error *err) {
    return fflush(w->file) == 0 ? SL_OK : write_failed(w, err);
}

sl_status sl_logprob_writer_close(sl_logprob_writer *w, sl_error *err) {
    sl_status status = SL_OK;
    if (w->file != NULL && fclose(w->file) != 0) {
        status = write_failed(w, err);
    }
    w->file = NULL;
    return status;
}

void sl_logprob_file_remove(const char *path) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)remove(path);
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

static sl_status base_check(sl_logprob_base *b, sl_error *err) {
    file_head head;
    size_t size = sl_mapfile_size(b->map);
    if (size < sizeof(head)) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: too short for a base of log-probabilities",
                       b->path);
    }
    memcpy(&head, sl_mapfile_data(b->map), sizeof(head));
    b->shape = (sl_logprob_shape){.ctx = head.ctx,
                                  .n_vocab = head.n_vocab,
                                  .n_pieces = head.n_pieces,
                                  .n_scored = head.n_scored};
    file_head wanted = head_of(&b->shape);
    if (memcmp(&head, &wanted, sizeof(head)) != 0) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: not a base of log-probabilities (or its head is damaged); "
                       "sluice eval --save-logits writes one",
                       b->path);
    }
    if (sl_logprob_file_bytes(&b->shape) != size) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: a base of %" PRIu32 " chunks has %" PRIu64
                       " bytes, but the file has %zu; was it finished?",
                       b->path, b->shape.n_pieces, sl_logprob_file_bytes(&b->shape), size);
    }
    return SL_OK;
}

sl_status sl_logprob_base_open(const char *path, sl_logprob_base *out, sl_error *err) {
    sl_logprob_base b = {.path = path};
    SL_TRY(sl_mapfile_open(path, &b.map, err));
    sl_status status = base_check(&b, err);
    if (status != SL_OK) {
        sl_mapfile_close(b.map);
        return status;
    }
    *out = b;
    return SL_OK;
}

void sl_logprob_base_close(sl_logprob_base *b) {
    sl_mapfile_close(b->map);
    *b = (sl_logprob_base){0};
}

static const uint8_t *base_piece(const sl_logprob_base *b, uint32_t piece) {
    const uint8_t *data = sl_mapfile_data(b->map);
    return data + bytes_until(&b->shape, piece);
}

uint64_t sl_logprob_base_ids_check(const sl_logprob_base *b, uint32_t piece) {
    uint64_t check;
    memcpy(&check, base_piece(b, piece), sizeof(check));
    return check;
}

const uint8_t *sl_logprob_base_row(const sl_logprob_base *b, uint32_t piece, uint32_t row) {
    return base_piece(b, piece) + sizeof(uint64_t) +
           (size_t)row * sl_logprob_row_bytes(b->shape.n_vocab);
}
