#define _GNU_SOURCE
#include "measure/eval_state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "measure/logprob_row.h"

static const char state_magic[8] = {'S', 'L', 'E', 'V', 'A', 'L', '0', '1'};

typedef struct state_head {
    char magic[8];
    uint64_t key, check;
} state_head;

sl_status sl_eval_state_init(sl_eval_state *s, uint32_t n_pieces, uint32_t n_scored, bool has_base,
                             sl_error *err) {
    *s = (sl_eval_state){.n_pieces = n_pieces, .n_scored = n_scored};
    size_t n_rows;
    bool fits = sl_mul_size(n_pieces, n_scored, &n_rows);
    s->sums = sl_alloc_zero(n_pieces, sizeof(*s->sums));
    if (has_base && fits) {
        s->kl = sl_alloc_zero(n_rows, sizeof(*s->kl));
        s->delta_p = sl_alloc_zero(n_rows, sizeof(*s->delta_p));
    }
    if (s->sums == NULL || (has_base && (s->kl == NULL || s->delta_p == NULL))) {
        sl_eval_state_deinit(s);
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the figures of %u pieces", n_pieces);
    }
    return SL_OK;
}

void sl_eval_state_deinit(sl_eval_state *s) {
    if (s->file != NULL) {
        (void)fclose(s->file); /* all of it was flushed */
    }
    sl_free(s->sums);
    sl_free(s->kl);
    sl_free(s->delta_p);
    *s = (sl_eval_state){0};
}

/* --- the file --------------------------------------------------------------------------------- */

/* Of piece i: its figures per row, or NULL. */
static float *rows_of(const sl_eval_state *s, float *values, uint32_t i) {
    return values == NULL ? NULL : values + (size_t)i * s->n_scored;
}

static uint64_t piece_check(const sl_eval_state *s, uint32_t i) {
    uint64_t h = sl_logprob_check(i, &s->sums[i], sizeof(s->sums[i]));
    if (s->kl != NULL) {
        size_t n_bytes = s->n_scored * sizeof(float);
        h = sl_logprob_check(h, rows_of(s, s->kl, i), n_bytes);
        h = sl_logprob_check(h, rows_of(s, s->delta_p, i), n_bytes);
    }
    return h;
}

static uint64_t piece_bytes(const sl_eval_state *s) {
    uint64_t rows = s->kl == NULL ? 0 : 2 * (uint64_t)s->n_scored * sizeof(float);
    return sizeof(sl_eval_sums) + rows + sizeof(uint64_t);
}

static bool read_piece(sl_eval_state *s, uint32_t i) {
    uint64_t check;
    bool is_read = fread(&s->sums[i], sizeof(s->sums[i]), 1, s->file) == 1;
    if (s->kl != NULL) {
        is_read = is_read &&
                  fread(rows_of(s, s->kl, i), sizeof(float), s->n_scored, s->file) == s->n_scored &&
                  fread(rows_of(s, s->delta_p, i), sizeof(float), s->n_scored, s->file) ==
                      s->n_scored;
    }
    return is_read && fread(&check, sizeof(check), 1, s->file) == 1 && check == piece_check(s, i);
}

static bool write_piece(sl_eval_state *s, uint32_t i) {
    uint64_t check = piece_check(s, i);
    bool is_written = fwrite(&s->sums[i], sizeof(s->sums[i]), 1, s->file) == 1;
    if (s->kl != NULL) {
        is_written = is_written &&
                     fwrite(rows_of(s, s->kl, i), sizeof(float), s->n_scored, s->file) ==
                         s->n_scored &&
                     fwrite(rows_of(s, s->delta_p, i), sizeof(float), s->n_scored, s->file) ==
                         s->n_scored;
    }
    return is_written && fwrite(&check, sizeof(check), 1, s->file) == 1 && fflush(s->file) == 0;
}

static sl_status state_failed(const sl_eval_state *s, sl_error *err) {
    return SL_FAIL(err, SL_ERR_IO, "%s: cannot be written: %s", s->path, sl_errno_text(errno));
}

/* An existing file is opened as it is, a new one made. Two runs must not go on with one state: the
 * lock lasts until the file is closed, by the system if need be. A file system without locks has to
 * do. */
static sl_status state_open(sl_eval_state *s, const char *path, sl_error *err) {
    s->path = path;
    s->file = fopen(path, "r+b");
    if (s->file == NULL && errno == ENOENT) {
        s->file = fopen(path, "w+b");
    }
    if (s->file == NULL) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", path, sl_errno_text(errno));
    }
    struct stat st;
    if (fstat(fileno(s->file), &st) != 0 || !S_ISREG(st.st_mode)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s is not a regular file but a device or pipe: it would keep nothing",
                       path);
    }
    if (flock(fileno(s->file), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        return SL_FAIL(err, SL_ERR_IO,
                       "%s is in use by another evaluation; let it end, or name another file for "
                       "--resume",
                       path);
    }
    return SL_OK;
}

sl_status sl_eval_state_resume(sl_eval_state *s, const char *path, uint64_t key, sl_error *err) {
    SL_TRY(state_open(s, path, err));
    state_head wanted = {.key = key}, found = {0};
    memcpy(wanted.magic, state_magic, sizeof(wanted.magic));
    wanted.check = sl_logprob_check(0, &wanted, offsetof(state_head, check));
    size_t n = fread(&found, 1, sizeof(found), s->file);
    if (n == 0 && !ferror(s->file)) {
        rewind(s->file);
        return fwrite(&wanted, sizeof(wanted), 1, s->file) == 1 && fflush(s->file) == 0
                   ? SL_OK
                   : state_failed(s, err);
    }
    if (n != sizeof(found) || memcmp(&found, &wanted, sizeof(found)) != 0) {
        bool is_state = n == sizeof(found) && memcmp(found.magic, state_magic, 8) == 0;
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s %s; name another file for --resume, or remove this one", path,
                       is_state ? "was begun with another model, text or flags"
                                : "is not the state of an evaluation");
    }
    while (s->n_done < s->n_pieces && read_piece(s, s->n_done)) {
        s->nll += s->sums[s->n_done++].nll;
    }
    return SL_OK;
}

/* What lies behind the pieces done, a broken one perhaps, is cut off. */
sl_status sl_eval_state_keep(sl_eval_state *s, sl_error *err) {
    if (s->file != NULL) {
        off_t at = (off_t)(sizeof(state_head) + s->n_done * piece_bytes(s));
        if (fseeko(s->file, at, SEEK_SET) != 0 || ftruncate(fileno(s->file), at) != 0 ||
            !write_piece(s, s->n_done)) {
            return state_failed(s, err);
        }
    }
    s->nll += s->sums[s->n_done++].nll;
    return SL_OK;
}

/* --- figures ---------------------------------------------------------------------------------- */

static int order_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Sorts values [n]. p99: the smallest value that at least 99 % are not above. */
static sl_eval_spread spread_of(float *values, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)values[i];
    }
    qsort(values, n, sizeof(*values), order_floats);
    return (sl_eval_spread){.mean = sum / (double)n,
                            .p99 = (double)values[(n * 99 + 99) / 100 - 1],
                            .max = (double)values[n - 1]};
}

double sl_eval_state_ppl(const sl_eval_state *s) {
    return s->n_done == 0 ? 0.0 : exp(s->nll / ((double)s->n_done * s->n_scored));
}

void sl_eval_state_result(sl_eval_state *s, sl_eval_result *out) {
    sl_eval_sums all = {0};
    for (uint32_t i = 0; i < s->n_done; i++) {
        all.nll2 += s->sums[i].nll2;
        all.base_nll += s->sums[i].base_nll;
        all.n_same += s->sums[i].n_same;
    }
    size_t n_rows = (size_t)s->n_done * s->n_scored;
    double n = (double)n_rows, mean = s->nll / n;
    double variance = all.nll2 / n - mean * mean;
    *out = (sl_eval_result){.n_scored = n_rows,
                            .nll = mean,
                            .nll_stderr = variance > 0.0 && n > 1.0 ? sqrt(variance / (n - 1.0))
                                                                    : 0.0,
                            .ppl = exp(mean),
                            .has_base = s->kl != NULL};
    if (s->kl != NULL && s->delta_p != NULL) {
        out->kl = spread_of(s->kl, n_rows);
        out->delta_p = spread_of(s->delta_p, n_rows);
        out->same_top = (double)all.n_same / n;
        out->base_nll = all.base_nll / n;
    }
}
