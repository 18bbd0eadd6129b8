/* The cache of packed weights: what is stored is found again, and nothing that is damaged, cut,
 * foreign or of another version is trusted; writers that race leave one whole file. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/packed_cache.h"

#define BODY_BYTES 100000u
#define N_SUMS 10u
#define STAMP 77u

typedef struct place {
    char dir[64];
    sl_packed_cache cache;
    sl_packed_key key;
    uint8_t body[BODY_BYTES];
    sl_packed_sum sums[N_SUMS];
} place;

static int set_up(void **state) {
    place *p = calloc(1, sizeof(*p));
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/sluice-cache-XXXXXX");
    if (p == NULL || mkdtemp(p->dir) == NULL) {
        return -1;
    }
    p->cache = (sl_packed_cache){.dir = p->dir, .max_bytes = 10u << 20};
    p->key = (sl_packed_key){.hash = {0x1234, 0xABCD}, .body_bytes = BODY_BYTES, .n_sums = N_SUMS};
    for (uint32_t i = 0; i < BODY_BYTES; i++) {
        p->body[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    for (uint32_t i = 0; i < N_SUMS; i++) {
        p->sums[i] = (sl_packed_sum){i, 100 + i};
    }
    *state = p;
    return 0;
}

/* Calls fn with the path of each file in the folder. Returns their number. */
static uint32_t each_file(const place *p, void (*fn)(const char *path)) {
    char path[512];
    uint32_t n = 0;
    DIR *dir = opendir(p->dir);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            (void)snprintf(path, sizeof(path), "%s/%s", p->dir, e->d_name);
            fn(path);
            n++;
        }
    }
    (void)closedir(dir);
    return n;
}

static void nothing(const char *path) {
    (void)path;
}

static void remove_file(const char *path) {
    (void)unlink(path);
}

static int tear_down(void **state) {
    place *p = *state;
    (void)chmod(p->dir, S_IRWXU);
    (void)each_file(p, remove_file);
    (void)rmdir(p->dir);
    free(p);
    return 0;
}

#define PATH_BYTES 512
static void path_of(const place *p, const char *suffix, char *out) {
    (void)snprintf(out, PATH_BYTES, "%.63s/%016x%016x%s", p->dir, (unsigned)p->key.hash[0],
                   (unsigned)p->key.hash[1], suffix);
}

static sl_status store(const place *p) {
    sl_error err;
    return sl_packed_cache_store(&p->cache, &p->key, STAMP, p->body, p->sums, &err);
}

static bool is_found(const place *p) {
    sl_packed_file f;
    bool found = sl_packed_cache_open(&p->cache, &p->key, &f);
    if (found) {
        sl_packed_cache_close(&f);
    }
    return found;
}

static void write_byte(const place *p, off_t at, uint8_t flip) {
    char path[512];
    uint8_t byte = 0;
    path_of(p, ".packed", path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= flip;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static void test_found_again(void **state) {
    place *p = *state;
    sl_packed_file f;
    assert_false(is_found(p));
    assert_int_equal(store(p), SL_OK);
    assert_true(sl_packed_cache_open(&p->cache, &p->key, &f));
    assert_memory_equal(f.body, p->body, BODY_BYTES);
    assert_memory_equal(f.sums, p->sums, sizeof(p->sums));
    assert_int_equal(f.stamp, STAMP);
    assert_int_equal((uintptr_t)f.body % 4096, 0);
    /* A file in use may be replaced, and removed. */
    p->body[5] ^= 1;
    assert_int_equal(store(p), SL_OK);
    (void)each_file(p, remove_file);
    p->body[5] ^= 1;
    assert_memory_equal(f.body, p->body, BODY_BYTES);
    sl_packed_cache_close(&f);
    assert_false(is_found(p));
}

static void test_other_keys(void **state) {
    place *p = *state;
    assert_int_equal(store(p), SL_OK);
    place other = *p;
    other.key.hash[1]++;
    assert_false(is_found(&other));
    other = *p;
    other.key.body_bytes--; /* the same name, another shape */
    assert_false(is_found(&other));
    other = *p;
    other.key.n_sums++;
    assert_false(is_found(&other));
    assert_true(is_found(p));
}

/* Magic, version, key, places and checksums of the header; the table of sums. */
static void test_damaged(void **state) {
    place *p = *state;
    assert_int_equal(store(p), SL_OK);
    for (off_t at = 0; at < 80; at++) {
        write_byte(p, at, 0x10);
        assert_false(is_found(p));
        write_byte(p, at, 0x10);
    }
    for (off_t at = 8192; at < 8192 + (off_t)sizeof(p->sums); at += 7) {
        write_byte(p, at, 1);
        assert_false(is_found(p));
        write_byte(p, at, 1);
    }
    assert_true(is_found(p));
}

static void test_stamp(void **state) {
    place *p = *state;
    sl_error err;
    sl_packed_file f;
    assert_int_equal(store(p), SL_OK);
    write_byte(p, 4096, 1);
    assert_true(sl_packed_cache_open(&p->cache, &p->key, &f));
    assert_int_equal(f.stamp, 0);
    sl_packed_cache_close(&f);
    assert_int_equal(sl_packed_cache_set_stamp(&p->cache, &p->key, p->sums, 99, &err), SL_OK);
    assert_true(sl_packed_cache_open(&p->cache, &p->key, &f));
    assert_int_equal(f.stamp, 99);
    sl_packed_cache_close(&f);
    /* What belongs to another table of sums says nothing here. */
    p->sums[0].source++;
    assert_int_equal(sl_packed_cache_set_stamp(&p->cache, &p->key, p->sums, 99, &err), SL_OK);
    assert_true(sl_packed_cache_open(&p->cache, &p->key, &f));
    assert_int_equal(f.stamp, 0);
    sl_packed_cache_close(&f);
}

static void test_cut_and_foreign(void **state) {
    place *p = *state;
    char path[512], moved[512];
    struct stat st;
    path_of(p, ".packed", path);
    path_of(p, ".moved", moved);
    assert_int_equal(store(p), SL_OK);
    assert_int_equal(stat(path, &st), 0);
    const off_t sizes[] = {st.st_size - 1, st.st_size + 1, 4096, 10, 0};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(truncate(path, sizes[i]), 0);
        assert_false(is_found(p));
        assert_int_equal(store(p), SL_OK); /* and is replaced */
        assert_true(is_found(p));
    }
    assert_int_equal(chmod(path, 0620), 0); /* the group could have written it */
    assert_false(is_found(p));
    assert_int_equal(chmod(path, 0640), 0);
    assert_true(is_found(p));
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(symlink(moved, path), 0);
    assert_false(is_found(p));
    assert_int_equal(store(p), SL_OK);
    assert_true(is_found(p));
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(is_found(p)); /* and does not wait for a writer */
    if (geteuid() == 0) {
        assert_int_equal(store(p), SL_OK);
        assert_int_equal(chown(path, 12345, 12345), 0);
        assert_false(is_found(p));
        assert_int_equal(store(p), SL_OK);
        assert_true(is_found(p));
    }
}

static void test_bound(void **state) {
    place *p = *state;
    char path[512];
    struct stat st;
    assert_int_equal(store(p), SL_OK);
    path_of(p, ".packed", path);
    assert_int_equal(stat(path, &st), 0);
    p->cache.max_bytes = 3 * (uint64_t)st.st_size;
    place others[4];
    for (int i = 0; i < 4; i++) {
        others[i] = *p;
        others[i].key.hash[0] += 1 + (unsigned)i;
    }
    for (int i = 0; i < 2; i++) { /* with p, as many as have room; p was used last */
        assert_int_equal(store(&others[i]), SL_OK);
        path_of(&others[i], ".packed", path);
        const struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    assert_true(is_found(p));
    assert_int_equal(store(&others[2]), SL_OK);
    assert_false(is_found(&others[0]));
    assert_true(is_found(p));
    assert_true(is_found(&others[1])); /* which marks it as used */
    assert_true(is_found(&others[2]));
    assert_int_equal(store(p), SL_OK); /* its own old file takes no room */
    assert_true(is_found(&others[1]) && is_found(&others[2]));
    p->cache.max_bytes = (uint64_t)st.st_size - 1;
    assert_int_equal(store(p), SL_ERR_LIMIT);
    assert_int_equal(each_file(p, nothing), 3);
}

/* What a writer left behind that was ended in the middle is used again, or removed. */
static void test_left_behind(void **state) {
    place *p = *state;
    char path[512];
    place other = *p;
    other.key.hash[0]++;
    path_of(&other, ".part", path);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(store(&other), SL_AGAIN); /* somebody is at it */
    assert_int_equal(store(p), SL_OK);
    assert_int_equal(each_file(p, nothing), 2);
    (void)close(fd);
    assert_int_equal(store(p), SL_OK);
    assert_int_equal(each_file(p, nothing), 1);
    path_of(p, ".part", path);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    (void)close(fd);
    assert_int_equal(store(p), SL_OK);
    assert_int_equal(each_file(p, nothing), 1);
    assert_true(is_found(p));
}

static void test_refused(void **state) {
    place *p = *state;
    char path[512];
    p->cache.dir = "/proc/no/such/folder";
    assert_int_equal(store(p), SL_ERR_IO);
    p->cache.dir = p->dir;
    path_of(p, ".file", path);
    (void)close(open(path, O_RDWR | O_CREAT, 0600));
    p->cache.dir = path; /* not a folder */
    assert_int_equal(store(p), SL_ERR_IO);
    assert_false(is_found(p));
    (void)unlink(path);
    p->cache.dir = p->dir;
    if (geteuid() != 0) {
        assert_int_equal(chmod(p->dir, 0500), 0);
        assert_int_equal(store(p), SL_ERR_IO);
        assert_int_equal(chmod(p->dir, 0700), 0);
    }
    /* No room: a limit on the size of files stands for a full disk. */
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {50000, 50000};
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
        _exit(store(p) == SL_ERR_IO ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(each_file(p, nothing), 0);
    char deep[128];
    (void)snprintf(deep, sizeof(deep), "%s/a/b", p->dir);
    p->cache.dir = deep;
    assert_int_equal(store(p), SL_OK);
    assert_true(is_found(p));
    (void)snprintf(deep, sizeof(deep), "rm -r '%s/a'", p->dir);
    assert_int_equal(system(deep), 0);
}

/* Processes that store and read one file at a time: whoever finds it finds it whole. */
static void test_race(void **state) {
    place *p = *state;
    pid_t children[4];
    for (int c = 0; c < 4; c++) {
        children[c] = fork();
        if (children[c] == 0) {
            int bad = 0;
            for (int i = 0; i < 20; i++) {
                sl_packed_file f;
                sl_status status = store(p);
                bad += status != SL_OK && status != SL_AGAIN;
                if (sl_packed_cache_open(&p->cache, &p->key, &f)) {
                    bad += memcmp(f.body, p->body, BODY_BYTES) != 0 || f.stamp != STAMP;
                    sl_packed_cache_close(&f);
                } else {
                    bad += status == SL_OK;
                }
            }
            _exit(bad);
        }
    }
    for (int c = 0; c < 4; c++) {
        int status;
        assert_int_equal(waitpid(children[c], &status, 0), children[c]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(each_file(p, nothing), 1);
    assert_true(is_found(p));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_found_again), TEST(test_other_keys),      TEST(test_damaged),
        TEST(test_stamp),       TEST(test_cut_and_foreign), TEST(test_bound),
        TEST(test_left_behind), TEST(test_refused),         TEST(test_race),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
