/* Mapped files: what is refused and how, and files that shrink while mapped. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/mapfile.h"

static char g_dir[64];

static int make_dir(void **state) {
    (void)state;
    strcpy(g_dir, "/tmp/sluice-mapfile-XXXXXX");
    return mkdtemp(g_dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state) {
    (void)state;
    static const char *const names[] = {"file", "other", "empty", "fifo", "locked", "changed"};
    char path[128];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", g_dir, names[i]);
        (void)unlink(path);
    }
    return rmdir(g_dir);
}

/* Writes a file of `size` bytes, byte i is i % 251 + 1 (never 0); its path in out. */
static void make_file(const char *name, size_t size, char out[128]) {
    (void)snprintf(out, 128, "%s/%s", g_dir, name);
    FILE *f = fopen(out, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < size; i++) {
        assert_true(fputc((int)(i % 251 + 1), f) != EOF);
    }
    assert_int_equal(fclose(f), 0);
}

static void test_open_reads_the_file(void **state) {
    (void)state;
    char path[128];
    make_file("file", 10000, path);
    sl_mapfile *m = NULL;
    assert_int_equal(sl_mapfile_open(path, &m, NULL), SL_OK);
    assert_int_equal(sl_mapfile_size(m), 10000);
    const unsigned char *p = sl_mapfile_data(m);
    for (size_t i = 0; i < 10000; i++) {
        assert_int_equal(p[i], i % 251 + 1);
    }
    assert_false(sl_mapfile_failed(m));
    assert_int_equal(sl_mapfile_check(m, NULL), SL_OK);
    sl_mapfile_close(m);
    sl_mapfile_close(NULL);
}

static void refused(const char *path, sl_status status, const char *text) {
    sl_mapfile *m = NULL;
    sl_error err = {0};
    assert_int_equal(sl_mapfile_open(path, &m, &err), status);
    assert_null(m);
    assert_non_null(strstr(err.message, path));
    if (strstr(err.message, text) == NULL) {
        fail_msg("'%s' lacks '%s'", err.message, text);
    }
}

static void test_what_is_refused(void **state) {
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/missing", g_dir);
    refused(path, SL_ERR_NOT_FOUND, "no such file");
    refused(g_dir, SL_ERR_ARGUMENT, "directory");
    refused("/dev/null", SL_ERR_ARGUMENT, "not a regular file");
    make_file("empty", 0, path);
    refused(path, SL_ERR_FORMAT, "empty");
    (void)snprintf(path, sizeof(path), "%s/empty/x", g_dir);
    refused(path, SL_ERR_NOT_FOUND, "no such file");
    (void)snprintf(path, sizeof(path), "%s/fifo", g_dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(path, SL_ERR_ARGUMENT, "not a regular file"); /* and does not wait for a writer */
    if (geteuid() != 0) {
        make_file("locked", 5, path);
        assert_int_equal(chmod(path, 0), 0);
        refused(path, SL_ERR_IO, "Permission denied");
    }
    refused("/proc/self/mem", SL_ERR_FORMAT, "empty");
}

static void test_no_memory(void **state) {
    (void)state;
    char path[128];
    make_file("file", 100, path);
    for (uint64_t n = 1; n <= 2; n++) {
        sl_mapfile *m = NULL;
        sl_alloc_fail_nth(n, false);
        sl_status status = sl_mapfile_open(path, &m, NULL);
        sl_alloc_fail_nth(0, false);
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_null(m);
    }
}

static void test_most_mappings_at_a_time(void **state) {
    (void)state;
    static sl_mapfile *m[SL_MAPFILE_MAX];
    char path[128];
    make_file("file", 100, path);
    uint32_t n = 0;
    while (n < SL_MAPFILE_MAX && sl_mapfile_open(path, &m[n], NULL) == SL_OK) {
        n++; /* a small limit of open files may end this early */
    }
    sl_mapfile *one_more = NULL;
    sl_error err = {0};
    sl_status status = sl_mapfile_open(path, &one_more, &err);
    assert_int_equal(status, n == SL_MAPFILE_MAX ? SL_ERR_LIMIT : SL_ERR_IO);
    for (uint32_t i = 0; i < n; i++) {
        sl_mapfile_close(m[i]);
    }
    assert_int_equal(sl_mapfile_open(path, &one_more, &err), SL_OK); /* slots come back */
    sl_mapfile_close(one_more);
}

static void test_changes_are_noticed(void **state) {
    (void)state;
    char path[128];
    make_file("changed", 100, path);
    sl_mapfile *m = NULL;
    assert_int_equal(sl_mapfile_open(path, &m, NULL), SL_OK);
    struct timespec times[2] = {{1, 0}, {1, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    sl_error err;
    assert_int_equal(sl_mapfile_check(m, &err), SL_ERR_IO);
    assert_non_null(strstr(err.message, "written to"));
    assert_int_equal(truncate(path, 101), 0);
    assert_int_equal(sl_mapfile_check(m, &err), SL_ERR_IO);
    assert_non_null(strstr(err.message, "had 100 bytes and now has 101"));
    sl_mapfile_close(m);
}

typedef struct reader {
    const unsigned char *data;
    size_t begin, end, n_zero, n_wrong;
} reader;

static void *read_range(void *arg) {
    reader *r = arg;
    for (size_t i = r->begin; i < r->end; i++) {
        unsigned char c = ((const volatile unsigned char *)r->data)[i];
        r->n_zero += c == 0;
        r->n_wrong += c != 0 && c != i % 251 + 1;
    }
    return NULL;
}

/* Two files are mapped, one is cut; several threads read both. Only the cut one is marked, and its
 * lost pages read as zeros. */
static void test_a_cut_file_reads_as_zeros(void **state) {
    (void)state;
    enum { SIZE = 1 << 20, CUT = 300000 };
    sl_mapfile_guard_install();
    sl_mapfile_guard_install(); /* twice is once */
    char path[128], other[128];
    make_file("file", SIZE - 5, path);
    make_file("other", SIZE, other);
    sl_mapfile *m = NULL, *m2 = NULL;
    assert_int_equal(sl_mapfile_open(other, &m2, NULL), SL_OK); /* not the first of the table */
    assert_int_equal(sl_mapfile_open(path, &m, NULL), SL_OK);
    assert_int_equal(truncate(path, CUT), 0);
    errno = 77;
    reader r[4];
    pthread_t t[4];
    for (int i = 0; i < 4; i++) { /* from the end, from the middle, all of it, the other one */
        r[i] = (reader){.data = sl_mapfile_data(i == 3 ? m2 : m), .end = SIZE - 5};
        r[i].begin = i == 0 ? SIZE - 100 : i == 1 ? SIZE / 2 : 0;
        assert_int_equal(pthread_create(&t[i], NULL, read_range, &r[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(r[i].n_wrong, 0);
    }
    assert_int_equal(r[0].n_zero, 95);
    assert_int_equal(r[1].n_zero, SIZE - 5 - SIZE / 2);
    size_t pages_lost = SIZE - 5 - ((CUT + 4095) & ~4095);
    assert_true(r[2].n_zero >= pages_lost);
    assert_int_equal(r[3].n_zero, 0);
    assert_true(sl_mapfile_failed(m));
    assert_false(sl_mapfile_failed(m2));
    sl_error err;
    assert_int_equal(sl_mapfile_check(m, &err), SL_ERR_IO);
    assert_non_null(strstr(err.message, path));
    sl_mapfile_close(m);
    assert_int_equal(sl_mapfile_open(other, &m, NULL),
                     SL_OK); /* a slot used again starts unmarked */
    assert_false(sl_mapfile_failed(m));
    sl_mapfile_close(m);
    sl_mapfile_close(m2);
}

/* A fault in a mapping that is not ours, in a child process; returns the signal that ended it. */
static int foreign_fault(void (*install)(void)) {
    char path[128];
    make_file("other", 10000, path);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGBUS, SIG_DFL);
        if (install != NULL) {
            install();
        }
        sl_mapfile_guard_install();
        int fd = open(path, O_RDWR);
        const volatile char *p = mmap(NULL, 10000, PROT_READ, MAP_SHARED, fd, 0);
        if (ftruncate(fd, 0) != 0) {
            _exit(9);
        }
        _exit(p[5000] == 0 ? 7 : 8);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void exit_42(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    _exit(info->si_addr != NULL ? 42 : 43);
}

static void install_42(void) {
    struct sigaction act = {.sa_sigaction = exit_42, .sa_flags = SA_SIGINFO};
    (void)sigaction(SIGBUS, &act, NULL);
}

static void install_ignore(void) {
    (void)signal(SIGBUS, SIG_IGN);
}

static void test_foreign_faults_go_on_to_the_handler_before(void **state) {
    (void)state;
    assert_int_equal(foreign_fault(NULL), SIGBUS);
    assert_int_equal(foreign_fault(install_42), -42);
    assert_int_equal(foreign_fault(install_ignore), SIGBUS); /* a fault cannot be ignored */
}

static void test_a_sent_sigbus_ends_the_process(void **state) {
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGBUS, SIG_DFL);
        sl_mapfile_guard_install();
        (void)raise(SIGBUS);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static sl_mapfile_stamp stamp_of(const sl_mapfile *m) {
    sl_mapfile_stamp s;
    assert_int_equal(sl_mapfile_stamp_of(m, &s, NULL), SL_OK);
    return s;
}

/* Whatever is done to a file changes its stamp, also where its times are set back. */
static void test_stamp(void **state) {
    (void)state;
    char path[128], other[128];
    sl_mapfile *m = NULL, *n = NULL;
    make_file("file", 10000, path);
    make_file("other", 10000, other);
    assert_int_equal(sl_mapfile_open(path, &m, NULL), SL_OK);
    assert_int_equal(sl_mapfile_open(other, &n, NULL), SL_OK);
    sl_mapfile_stamp before = stamp_of(m), foreign = stamp_of(n), now = stamp_of(m);
    assert_memory_equal(&before, &now, sizeof(before));
    assert_memory_not_equal(&before, &foreign, sizeof(before));
    assert_false(sl_mapfile_stamp_is_settled(&before)); /* it could change again in this tick */
    now.changed_ns -= 10 * SL_NS_PER_S;
    assert_true(sl_mapfile_stamp_is_settled(&now));

    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    do { /* until the file system's clock has ticked */
        int fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, "x", 1, 5000), 1);
        assert_int_equal(close(fd), 0);
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        now = stamp_of(m);
    } while (now.changed_ns == before.changed_ns);
    assert_int_equal(now.modified_ns, before.modified_ns);
    sl_mapfile_close(m);
    sl_mapfile_close(n);
}

/* What is released is read again; what is written stays here. */
static void test_release_and_write(void **state) {
    (void)state;
    char path[128];
    sl_mapfile *m = NULL;
    make_file("file", 100000, path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(sl_mapfile_open_fd(fd, path, &m, NULL), SL_OK);
    unsigned char *p = (unsigned char *)(uintptr_t)sl_mapfile_data(m);
    sl_mapfile_release(m, p + 5, 90000);
    sl_mapfile_release(m, p + 5, 10); /* no whole page */
    for (size_t i = 0; i < 100000; i++) {
        assert_int_equal(p[i], i % 251 + 1);
    }
    assert_int_equal(sl_mapfile_make_writable(m, NULL), SL_OK);
    p[50000] = 0;
    assert_int_equal(p[50000], 0);
    sl_mapfile_close(m);
    assert_int_equal(sl_mapfile_open(path, &m, NULL), SL_OK);
    assert_int_not_equal(((const unsigned char *)sl_mapfile_data(m))[50000], 0);
    sl_mapfile_close(m);
    assert_int_equal(sl_mapfile_open_fd(open("/", O_RDONLY), "/", &m, NULL), SL_ERR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_reads_the_file),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_most_mappings_at_a_time),
        cmocka_unit_test(test_changes_are_noticed),
        cmocka_unit_test(test_stamp),
        cmocka_unit_test(test_release_and_write),
        /* Before this process installs the guard itself: the children install their own. */
        cmocka_unit_test(test_foreign_faults_go_on_to_the_handler_before),
        cmocka_unit_test(test_a_sent_sigbus_ends_the_process),
        cmocka_unit_test(test_a_cut_file_reads_as_zeros),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
