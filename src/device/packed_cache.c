/* Cache files of packed weights (packed_cache.h). Any thread; all state is in the file system. */
#define _GNU_SOURCE
#include "device/packed_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/folder.h"

#define FORMAT_VERSION 1u
#define STAMP_AT 4096u
#define SUMS_AT 8192u
#define BODY_ALIGN 65536u                 /* of any page size */
#define WRITE_BYTES_MAX ((size_t)8 << 20) /* of one call */
#define SUFFIX ".packed"
#define SUFFIX_PART ".part" /* of a file that is being written */
#define NAME_HEX 32         /* digits before the suffix */

typedef struct packed_header {
    char magic[8];
    uint64_t version;
    sl_packed_key key;
    uint64_t body_at, file_bytes;
    uint64_t sums_checksum;
    uint64_t checksum; /* of everything above */
} packed_header;

typedef struct packed_stamp {
    uint64_t stamp, checksum;
} packed_stamp;

/* A stamp belongs to one table of sums: in another file it says nothing. */
static packed_stamp stamp_make(uint64_t stamp, uint64_t sums_checksum) {
    return (packed_stamp){stamp, sl_checksum(&stamp, sizeof(stamp), sums_checksum)};
}

static uint64_t sums_checksum(const sl_packed_sum *sums, const sl_packed_key *key) {
    return sl_checksum(sums, key->n_sums * sizeof(*sums), FORMAT_VERSION);
}

/* What a file of this key begins with; false if it would be larger than files can be. */
static bool header_make(const sl_packed_key *key, packed_header *out) {
    packed_header h = {.magic = "SLPACKED", .version = FORMAT_VERSION, .key = *key};
    uint64_t sums_bytes, end;
    if (!sl_mul_u64(key->n_sums, sizeof(sl_packed_sum), &sums_bytes) ||
        !sl_add_u64(sums_bytes, SUMS_AT + BODY_ALIGN - 1, &end) ||
        !sl_add_u64(end / BODY_ALIGN * BODY_ALIGN, key->body_bytes, &h.file_bytes) ||
        h.file_bytes > INT64_MAX) {
        return false;
    }
    h.body_at = end / BODY_ALIGN * BODY_ALIGN;
    *out = h;
    return true;
}

static uint64_t header_checksum(const packed_header *h) {
    return sl_checksum(h, offsetof(packed_header, checksum), FORMAT_VERSION);
}

static bool path_of(const sl_packed_cache *c, const sl_packed_key *key, const char *suffix,
                    char out[PATH_MAX]) {
    int n = snprintf(out, PATH_MAX, "%s/%016" PRIx64 "%016" PRIx64 "%s", c->dir, key->hash[0],
                     key->hash[1], suffix);
    return n > 0 && n < PATH_MAX;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Takes the parts of a mapped file that has the expected size; false if it cannot be trusted. */
static bool file_bind(sl_packed_file *f, const packed_header *expected) {
    const uint8_t *data = sl_mapfile_data(f->map);
    packed_header h;
    packed_stamp stamp;
    memcpy(&h, data, sizeof(h));
    memcpy(&stamp, data + STAMP_AT, sizeof(stamp));
    f->sums = (const sl_packed_sum *)(const void *)(data + SUMS_AT);
    f->body = (uint8_t *)(uintptr_t)data + expected->body_at;
    f->stamp = stamp_make(stamp.stamp, h.sums_checksum).checksum == stamp.checksum ? stamp.stamp
                                                                                   : 0;
    return memcmp(&h, expected, offsetof(packed_header, sums_checksum)) == 0 &&
           h.checksum == header_checksum(&h) &&
           h.sums_checksum == sums_checksum(f->sums, &expected->key);
}

bool sl_packed_cache_open(const sl_packed_cache *c, const sl_packed_key *key, sl_packed_file *out) {
    char path[PATH_MAX];
    packed_header expected;
    struct stat st;
    if (!path_of(c, key, SUFFIX, path) || !header_make(key, &expected)) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    if (fstat(fd, &st) != 0 || !sl_file_is_ours(&st) ||
        (uint64_t)st.st_size != expected.file_bytes) {
        (void)close(fd);
        return false;
    }
    (void)futimens(fd, NULL); /* used now; another user's file keeps its time */
    sl_packed_file f = {0};
    sl_error ignored;
    if (sl_mapfile_open_fd(fd, path, &f.map, &ignored) != SL_OK) {
        return false;
    }
    if (sl_mapfile_size(f.map) != expected.file_bytes || !file_bind(&f, &expected)) {
        sl_mapfile_close(f.map);
        return false;
    }
    *out = f;
    return true;
}

void sl_packed_cache_close(sl_packed_file *f) {
    sl_mapfile_close(f->map);
    *f = (sl_packed_file){0};
}

/* --- the folder ------------------------------------------------------------------------------- */

/* The ending of a name that this cache gives, or NULL. */
static const char *name_suffix(const char *name) {
    if (strspn(name, "0123456789abcdef") != NAME_HEX) {
        return NULL;
    }
    const char *suffix = name + NAME_HEX;
    return strcmp(suffix, SUFFIX) == 0 || strcmp(suffix, SUFFIX_PART) == 0 ? suffix : NULL;
}

/* Removes what a writer that ended in the middle left behind: nobody holds its lock. */
static bool part_is_stale(int dir_fd, const char *name) {
    int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    bool stale = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (stale) {
        (void)unlinkat(dir_fd, name, 0);
    }
    (void)close(fd);
    return stale;
}

typedef struct folder_state {
    uint64_t bytes; /* of all files that have a place */
    char oldest[NAME_MAX + 1];
    struct timespec oldest_time;
} folder_state;

/* Looks through the folder, leaving out the file named `own`. */
static void folder_scan(DIR *dir, const char *own, folder_state *out) {
    *out = (folder_state){0};
    rewinddir(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        const char *suffix = name_suffix(e->d_name);
        struct stat st;
        if (suffix == NULL || strncmp(e->d_name, own, NAME_HEX) == 0 ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) {
            continue;
        }
        if (strcmp(suffix, SUFFIX_PART) == 0) {
            out->bytes += part_is_stale(dirfd(dir), e->d_name) ? 0 : (uint64_t)st.st_size;
            continue;
        }
        out->bytes += (uint64_t)st.st_size;
        if (out->oldest[0] == '\0' || st.st_mtim.tv_sec < out->oldest_time.tv_sec ||
            (st.st_mtim.tv_sec == out->oldest_time.tv_sec &&
             st.st_mtim.tv_nsec < out->oldest_time.tv_nsec)) {
            (void)snprintf(out->oldest, sizeof(out->oldest), "%s", e->d_name);
            out->oldest_time = st.st_mtim;
        }
    }
}

/* Removes files that were not used for the longest time until `need` more bytes have room. What
 * cannot be removed is left. */
static sl_status folder_make_room(const sl_packed_cache *c, const char *own, uint64_t need,
                                  sl_error *err) {
    DIR *dir = opendir(c->dir);
    if (dir == NULL) {
        return SL_FAIL(err, SL_ERR_IO, "%s: the folder cannot be read: %s", c->dir,
                       sl_errno_text(errno));
    }
    folder_state state;
    folder_scan(dir, own, &state);
    while (state.bytes > c->max_bytes - need && state.oldest[0] != '\0' &&
           unlinkat(dirfd(dir), state.oldest, 0) == 0) {
        folder_scan(dir, own, &state);
    }
    (void)closedir(dir);
    if (state.bytes > c->max_bytes - need) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%s: no room for %" PRIu64 " MB within the %" PRIu64 " MB of the cache",
                       c->dir, need >> 20, c->max_bytes >> 20);
    }
    return SL_OK;
}

/* --- writing ---------------------------------------------------------------------------------- */

static sl_status write_at(int fd, const void *data, size_t n, uint64_t at, sl_error *err) {
    const uint8_t *p = data;
    while (n > 0) {
        size_t part = n < WRITE_BYTES_MAX ? n : WRITE_BYTES_MAX;
        ssize_t done = pwrite(fd, p, part, (off_t)at);
        if (done <= 0 && !(done < 0 && errno == EINTR)) {
            return SL_FAIL(err, SL_ERR_IO, "the packed weights cannot be written: %s",
                           sl_errno_text(done == 0 ? ENOSPC : errno));
        }
        if (done > 0) {
            p += done;
            n -= (size_t)done;
            at += (uint64_t)done;
        }
    }
    return SL_OK;
}

/* Opens the file under its name while it is written, and locks it; *fd stays -1 if this fails. */
static sl_status part_open(const char *path, int *fd, sl_error *err) {
    struct stat mine, named;
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (f < 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be made: %s", path, sl_errno_text(errno));
    }
    /* Whoever held the lock before may have renamed the file: it is not to be touched then. */
    bool held = flock(f, LOCK_EX | LOCK_NB) == 0;
    if (!held || fstat(f, &mine) != 0 || lstat(path, &named) != 0 || mine.st_ino != named.st_ino ||
        mine.st_dev != named.st_dev) {
        (void)close(f);
        return SL_AGAIN;
    }
    if (!sl_file_is_ours(&mine) || ftruncate(f, 0) != 0) {
        (void)close(f);
        return SL_FAIL(err, SL_ERR_IO, "%s: is not this user's own file", path);
    }
    *fd = f;
    return SL_OK;
}

static sl_status part_write(int fd, const packed_header *h, uint64_t stamp, const uint8_t *body,
                            const sl_packed_sum *sums, sl_error *err) {
    /* A full disk is found out before it is filled; not all file systems can tell. */
    if (fallocate(fd, 0, 0, (off_t)h->file_bytes) != 0 && errno == ENOSPC) {
        return SL_FAIL(err, SL_ERR_IO, "no room on the disk for %" PRIu64 " MB of packed weights",
                       h->file_bytes >> 20);
    }
    const packed_stamp s = stamp_make(stamp, h->sums_checksum);
    SL_TRY(write_at(fd, h, sizeof(*h), 0, err));
    SL_TRY(write_at(fd, &s, sizeof(s), STAMP_AT, err));
    SL_TRY(write_at(fd, sums, h->key.n_sums * sizeof(*sums), SUMS_AT, err));
    SL_TRY(write_at(fd, body, h->key.body_bytes, h->body_at, err));
    if (fsync(fd) != 0) {
        return SL_FAIL(err, SL_ERR_IO, "the packed weights cannot be written: %s",
                       sl_errno_text(errno));
    }
    return SL_OK;
}

static sl_status part_publish(const sl_packed_cache *c, const char *part, const char *path,
                              sl_error *err) {
    if (rename(part, path) != 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be replaced: %s", path, sl_errno_text(errno));
    }
    int dir = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        (void)fsync(dir); /* a name that a crash loses costs the next start a packing */
        (void)close(dir);
    }
    return SL_OK;
}

sl_status sl_packed_cache_store(const sl_packed_cache *c, const sl_packed_key *key, uint64_t stamp,
                                const uint8_t *body, const sl_packed_sum *sums, sl_error *err) {
    char path[PATH_MAX], part[PATH_MAX];
    packed_header h;
    if (!path_of(c, key, SUFFIX, path) || !path_of(c, key, SUFFIX_PART, part)) {
        return SL_FAIL(err, SL_ERR_IO, "the name of the cache's folder is too long");
    }
    if (!header_make(key, &h) || h.file_bytes > c->max_bytes) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%" PRIu64 " MB of packed weights are more than the %" PRIu64
                       " MB of the cache",
                       key->body_bytes >> 20, c->max_bytes >> 20);
    }
    h.sums_checksum = sums_checksum(sums, key);
    h.checksum = header_checksum(&h);
    SL_TRY(sl_folder_make(c->dir, err));
    int fd = -1;
    SL_TRY(part_open(part, &fd, err));
    sl_status status = folder_make_room(c, strrchr(path, '/') + 1, h.file_bytes, err);
    if (status == SL_OK) {
        status = part_write(fd, &h, stamp, body, sums, err);
    }
    if (status == SL_OK) {
        status = part_publish(c, part, path, err);
    }
    if (status != SL_OK) {
        (void)unlink(part);
    }
    (void)close(fd); /* and the lock with it */
    return status;
}

sl_status sl_packed_cache_set_stamp(const sl_packed_cache *c, const sl_packed_key *key,
                                    const sl_packed_sum *sums, uint64_t stamp, sl_error *err) {
    char path[PATH_MAX];
    if (!path_of(c, key, SUFFIX, path)) {
        return SL_FAIL(err, SL_ERR_IO, "the name of the cache's folder is too long");
    }
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be opened: %s", path, sl_errno_text(errno));
    }
    const packed_stamp s = stamp_make(stamp, sums_checksum(sums, key));
    sl_status status = write_at(fd, &s, sizeof(s), STAMP_AT, err);
    (void)close(fd);
    return status;
}
