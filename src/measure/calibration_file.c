/* The file:
 *
 *   sluice calibration 1
 *   threads 2
 *   head 0.0005 logits 0.00012 decode 3.1e-09 prefill 1.2e-09
 *   rows 1 0.0021
 *   ...
 *   sum 0123456789abcdef
 *
 * Times in seconds (plan/cost.h); the sum is one of all bytes before its line. */
#include "measure/calibration_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/folder.h"

#define FILE_BYTES_MAX 2048
#define FILE_VERSION 1 /* also to be raised when old figures stop to hold: new kernels, say */
#define SUFFIX ".calibration"

/* --- the key ---------------------------------------------------------------------------------- */

typedef struct key_hash {
    uint64_t h[2];
} key_hash;

static void key_add(key_hash *k, const void *data, size_t n) {
    for (int i = 0; i < 2; i++) {
        k->h[i] = sl_checksum(data, n, k->h[i]);
    }
}

void sl_calibration_key(sl_engine *e, char out[SL_CALIBRATION_KEY_BYTES]) {
    const sl_plan *plan = sl_engine_plan(e);
    key_hash k = {{1, 2}};
    key_add(&k, sl_cpu_model(), strlen(sl_cpu_model()));
    const uint64_t machine[] = {FILE_VERSION,
                                (uint64_t)sl_cpu_isa(),
                                sl_cpu_count_logical(),
                                sl_cpu_count_physical(),
                                sl_pool_n_threads(sl_engine_pool(e)),
                                sl_engine_rows_max(e),
                                sl_engine_exact(e),
                                (uint64_t)sl_engine_kv_type(e)};
    key_add(&k, machine, sizeof(machine));
    for (uint32_t i = 0; i < plan->n_weights; i++) {
        const sl_plan_weight *w = &plan->weights[i];
        const uint64_t shape[] = {(uint64_t)w->type, w->n_in, w->n_out, w->n_mats};
        key_add(&k, shape, sizeof(shape));
    }
    for (uint32_t g = 0; g < plan->n_groups; g++) {
        const sl_plan_group *p = &plan->groups[g];
        const uint64_t group[] = {p->n_layers, p->n_kv_head, p->d_k, p->d_v, p->window};
        key_add(&k, group, sizeof(group));
    }
    const uint64_t n_ops = plan->n_ops;
    key_add(&k, &n_ops, sizeof(n_ops));
    (void)snprintf(out, SL_CALIBRATION_KEY_BYTES, "%016" PRIx64 "%016" PRIx64, k.h[0], k.h[1]);
}

static bool path_of(const char *dir, const char *key, const char *suffix, char out[PATH_MAX]) {
    int n = snprintf(out, PATH_MAX, "%s/%s" SUFFIX "%s", dir, key, suffix);
    return n > 0 && n < PATH_MAX;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The whole file as a string; 0 if it is absent, not to be trusted or too long. */
static size_t read_text(const char *path, char text[FILE_BYTES_MAX]) {
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0) {
        return 0;
    }
    ssize_t n = 0;
    if (fstat(fd, &st) == 0 && sl_file_is_ours(&st) && st.st_size < FILE_BYTES_MAX) {
        n = read(fd, text, FILE_BYTES_MAX - 1);
    }
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* The bytes before the line with the sum, or 0 if that is wrong. */
static size_t summed_bytes(const char *text, size_t n) {
    const char *line = strstr(text, "\nsum ");
    char expected[32];
    if (line == NULL || strlen(text) != n) {
        return 0;
    }
    const size_t before = (size_t)(line + 1 - text);
    (void)snprintf(expected, sizeof(expected), "sum %016" PRIx64 "\n",
                   sl_checksum(text, before, FILE_VERSION));
    return strcmp(line + 1, expected) == 0 ? before : 0;
}

static bool parse(const char *text, sl_cost *out) {
    int version = 0, at = 0;
    sl_cost c = {0};
    if (sscanf(text,
               "sluice calibration %d threads %" SCNu32
               " head %lf logits %lf decode %lf prefill %lf%n",
               &version, &c.n_threads, &c.head_s, &c.logits_s, &c.decode_s, &c.prefill_s,
               &at) != 6 ||
        version != FILE_VERSION) {
        return false;
    }
    for (int more = 0; c.n_points < SL_COST_POINTS_MAX; at += more) {
        sl_cost_point *p = &c.points[c.n_points];
        if (sscanf(text + at, " rows %" SCNu32 " %lf%n", &p->n_rows, &p->seconds, &more) != 2) {
            break;
        }
        c.n_points++;
    }
    if (c.n_points == 0 || !sl_cost_is_valid(&c)) {
        return false;
    }
    *out = c;
    return true;
}

bool sl_calibration_load(const char *dir, const char *key, sl_cost *out) {
    char path[PATH_MAX], text[FILE_BYTES_MAX];
    if (!path_of(dir, key, "", path)) {
        return false;
    }
    const size_t n = read_text(path, text);
    return n > 0 && summed_bytes(text, n) > 0 && parse(text, out);
}

/* --- writing ---------------------------------------------------------------------------------- */

static size_t write_text(const sl_cost *c, char text[FILE_BYTES_MAX]) {
    int n = snprintf(text, FILE_BYTES_MAX,
                     "sluice calibration %d\nthreads %" PRIu32
                     "\nhead %.6g logits %.6g decode %.6g prefill %.6g\n",
                     FILE_VERSION, c->n_threads, c->head_s, c->logits_s, c->decode_s, c->prefill_s);
    for (uint32_t i = 0; i < c->n_points; i++) {
        n += snprintf(text + n, FILE_BYTES_MAX - (size_t)n, "rows %" PRIu32 " %.6g\n",
                      c->points[i].n_rows, c->points[i].seconds);
    }
    n += snprintf(text + n, FILE_BYTES_MAX - (size_t)n, "sum %016" PRIx64 "\n",
                  sl_checksum(text, (size_t)n, FILE_VERSION));
    return (size_t)n;
}

static sl_status write_part(const char *part, const char *text, size_t n, sl_error *err) {
    const int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                        S_IRUSR | S_IWUSR);
    if (fd < 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be made: %s", part, sl_errno_text(errno));
    }
    const ssize_t written = write(fd, text, n);
    const int reason = written < 0 ? errno : ENOSPC; /* of a part that was left out */
    (void)close(fd);
    return written == (ssize_t)n
               ? SL_OK
               : SL_FAIL(err, SL_ERR_IO, "%s: cannot be written: %s", part, sl_errno_text(reason));
}

sl_status sl_calibration_store(const char *dir, const char *key, const sl_cost *cost,
                               sl_error *err) {
    char path[PATH_MAX], part[PATH_MAX], suffix[32], text[FILE_BYTES_MAX];
    (void)snprintf(suffix, sizeof(suffix), ".%ld", (long)getpid());
    if (!path_of(dir, key, "", path) || !path_of(dir, key, suffix, part)) {
        return SL_FAIL(err, SL_ERR_IO, "the name of the cache's folder is too long");
    }
    SL_TRY(sl_folder_make(dir, err));
    (void)unlink(part); /* of a process of the same number that was killed */
    sl_status status = write_part(part, text, write_text(cost, text), err);
    if (status == SL_OK && rename(part, path) != 0) {
        status = SL_FAIL(err, SL_ERR_IO, "%s: cannot be replaced: %s", path, sl_errno_text(errno));
    }
    if (status != SL_OK) {
        (void)unlink(part);
    }
    return status;
}
