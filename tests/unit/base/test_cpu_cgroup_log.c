/* CPU levels and the mask, cgroup limits from made-up systems, log records. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/procfile.h"

/* --- CPU --- */

/* The level that a fresh process finds under `mask` (NULL: none); 100 + level if the check refuses
 * the mask. */
static int level_under(const char *mask) {
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (mask == NULL) {
            (void)unsetenv("SLUICE_CPU_MASK");
        } else {
            (void)setenv("SLUICE_CPU_MASK", mask, 1);
        }
        _exit((int)sl_cpu_isa() + (sl_cpu_check_mask(NULL) == SL_OK ? 0 : 100));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* First of all tests: this process must not have detected yet, since children inherit what it
 * found. */
static void test_mask_lowers_the_level(void **state) {
    (void)state;
    int hardware = level_under(NULL);
    assert_in_range(hardware, SL_ISA_REF, SL_ISA_AMX);
    assert_int_equal(level_under(""), hardware);
    assert_int_equal(level_under("avx3"), 100 + hardware);
    int got[SL_ISA_COUNT];
    for (int i = 0; i < SL_ISA_COUNT; i++) {
        got[i] = level_under(sl_isa_name((sl_isa)i));
    }
    for (int i = 0; i < SL_ISA_COUNT;
         i++) { /* the highest level up to the mask that the machine has */
        int expected = i;
        while (!sl_cpu_has((sl_isa)expected)) {
            expected--;
        }
        assert_int_equal(got[i], expected);
    }
    assert_int_equal(sl_cpu_isa_hardware(), hardware);
}

static void test_levels_are_named_and_nested(void **state) {
    (void)state;
    for (int i = 0; i < SL_ISA_COUNT; i++) {
        sl_isa back = SL_ISA_COUNT;
        assert_true(sl_isa_from_name(sl_isa_name((sl_isa)i), &back));
        assert_int_equal(back, i);
    }
    sl_isa isa = SL_ISA_AVX512;
    assert_false(sl_isa_from_name("AVX2", &isa));
    assert_int_equal(isa, SL_ISA_AVX512);
    assert_string_equal(sl_isa_name((sl_isa)77), "unknown");
    assert_true(sl_cpu_has(SL_ISA_REF));
    assert_false(sl_cpu_has((sl_isa)77));
    assert_true(!sl_cpu_has(SL_ISA_AMX) || sl_cpu_has(SL_ISA_AVX512BF16));
    assert_true(!sl_cpu_has(SL_ISA_AVX512BF16) || sl_cpu_has(SL_ISA_AVX512VNNI));
    assert_true(!sl_cpu_has(SL_ISA_AVX512VNNI) || sl_cpu_has(SL_ISA_AVX512));
    assert_true(!sl_cpu_has(SL_ISA_AVX512) || sl_cpu_has(SL_ISA_AVX2));
    assert_true(!sl_cpu_has(SL_ISA_AVXVNNI) || sl_cpu_has(SL_ISA_AVX2));
    assert_true(strlen(sl_cpu_model()) > 0);
#if defined(__x86_64__)
    assert_non_null(strstr(sl_cpu_features(), "sse4_2"));
    assert_int_equal(strstr(sl_cpu_features(), "avx2") != NULL,
                     __builtin_cpu_supports("avx2") != 0);
    assert_int_equal(strstr(sl_cpu_features(), "avx512bw") != NULL,
                     __builtin_cpu_supports("avx512bw") != 0);
#endif
}

static void test_counts_follow_the_affinity(void **state) {
    (void)state;
    uint32_t cpus[1024];
    uint32_t n = sl_cpu_list(cpus, 1024), logical = sl_cpu_count_logical();
    assert_in_range(logical, 1, n);
    assert_in_range(sl_cpu_count_physical(), 1, logical);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal(cpus[i], cpus[j]);
        }
    }
    assert_int_equal(sl_cpu_list(cpus, 1), 1);
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_ZERO(&one);
    CPU_SET(cpus[0], &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(sl_cpu_count_logical(), 1);
    assert_int_equal(sl_cpu_count_physical(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(sl_cpu_count_logical(), logical);
}

static void test_memory_is_sensible(void **state) {
    (void)state;
    uint64_t available = sl_memory_available_bytes(), resident = sl_memory_resident_bytes();
    assert_true(available > (1 << 20) && available < (uint64_t)1 << 50);
    assert_true(resident > 100000 && resident < (uint64_t)1 << 40);
}

/* --- cgroups: a directory plays the system --- */

static char g_root[64];

static int make_root(void **state) {
    (void)state;
    strcpy(g_root, "/tmp/sluice-cgroup-XXXXXX");
    return mkdtemp(g_root) == NULL ? -1 : 0;
}

static int remove_root(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", g_root);
    return system(command);
}

/* Writes g_root/path, making the folders on the way. */
static void put(const char *path, const char *text) {
    char full[512];
    (void)snprintf(full, sizeof(full), "%s/%s", g_root, path);
    for (char *p = full + strlen(g_root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(full, 0700);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void test_cgroup_none(void **state) {
    (void)state;
    sl_cgroup_limits l = sl_cgroup_read(g_root);
    assert_true(l.cpu_milli == UINT64_MAX && l.memory_left_bytes == UINT64_MAX);
}

static void test_cgroup_v2(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/a/b\n");
    put("proc/self/mountinfo",
        "21 1 0:5 / /proc rw - proc proc rw\n"
        "30 1 0:26 / /sys/fs/cg\\040two rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw\n");
    put("sys/fs/cg two/a/b/cpu.max", "max 100000\n");
    put("sys/fs/cg two/a/cpu.max", "150000 100000\n"); /* the ancestor is tighter */
    put("sys/fs/cg two/a/b/memory.max", "1000000\n");
    put("sys/fs/cg two/a/b/memory.high", "max\n");
    put("sys/fs/cg two/a/b/memory.current", "700000\n");
    put("sys/fs/cg two/a/b/memory.stat", "anon 5\ninactive_file_x 1\ninactive_file 200000\n");
    put("sys/fs/cg two/a/memory.max", "max\n");
    sl_cgroup_limits l = sl_cgroup_read(g_root);
    assert_int_equal(l.cpu_milli, 1500);
    assert_int_equal(l.memory_left_bytes, 500000);
    put("sys/fs/cg two/a/b/memory.high", "600000\n");
    assert_int_equal(sl_cgroup_read(g_root).memory_left_bytes, 100000);
    put("sys/fs/cg two/a/memory.high", "10\n");
    put("sys/fs/cg two/a/memory.current", "700000\n");
    assert_int_equal(sl_cgroup_read(g_root).memory_left_bytes, 0);
    put("sys/fs/cg two/a/b/cpu.max", "1 3000\n"); /* rounded up */
    assert_int_equal(sl_cgroup_read(g_root).cpu_milli, 1);
    put("sys/fs/cg two/a/b/cpu.max", "1 0\n");
    assert_int_equal(sl_cgroup_read(g_root).cpu_milli, 1500);
}

static void test_cgroup_v1_in_a_container(void **state) {
    (void)state;
    put("proc/self/cgroup", "5:cpu,cpuacct:/docker/xyz/job\n4:memory:/elsewhere\n0::/\n");
    put("proc/self/mountinfo", "40 1 0:30 /docker/xyz /cg/cpu rw - cgroup cgroup rw,cpuacct,cpu\n"
                               "41 1 0:31 /docker/xyz /cg/memory rw - cgroup cgroup rw,memory\n"
                               "short line\n"
                               "42 1 0:32 / /cg/two rw - cgroup2 cgroup2 rw\n");
    put("cg/cpu/cpu.cfs_quota_us", "-1\n");
    put("cg/cpu/cpu.cfs_period_us", "100000\n");
    put("cg/cpu/job/cpu.cfs_quota_us", "250000\n");
    put("cg/cpu/job/cpu.cfs_period_us", "100000\n");
    put("cg/memory/memory.limit_in_bytes",
        "4096000\n"); /* the group is outside the mount: its top counts */
    put("cg/memory/memory.usage_in_bytes", "4000000\n");
    put("cg/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 1000000\n");
    sl_cgroup_limits l = sl_cgroup_read(g_root);
    assert_int_equal(l.cpu_milli, 2500);
    assert_int_equal(l.memory_left_bytes, 1096000);
    put("cg/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* means none */
    assert_true(sl_cgroup_read(g_root).memory_left_bytes == UINT64_MAX);
}

static void test_parse_u64(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {{"0", true, 0},
                 {"18446744073709551615 x", true, UINT64_MAX},
                 {"18446744073709551616", false, 0},
                 {"-1", false, 0},
                 {"", false, 0},
                 {" 1", false, 0},
                 {"max", false, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *s = cases[i].text;
        uint64_t v = 0;
        assert_int_equal(sl_parse_u64(&s, &v), cases[i].ok);
        assert_true(v == cases[i].value);
    }
}

/* --- log --- */

typedef struct seen_log {
    int n;
    sl_log_level level;
    char module[16], message[SL_LOG_MESSAGE_MAX];
} seen_log;

static void on_log(void *user, const sl_log_record *r) {
    seen_log *s = user;
    s->n++;
    s->level = r->level;
    (void)snprintf(s->module, sizeof(s->module), "%s", r->module);
    (void)snprintf(s->message, sizeof(s->message), "%s", r->message);
}

static void test_log_levels_and_escapes(void **state) {
    (void)state;
    seen_log s = {0};
    sl_log(SL_LOG_ERROR, "base", "nobody listens");
    sl_log_init(on_log, &s, SL_LOG_INFO);
    sl_log(SL_LOG_DEBUG, "base", "too fine");
    assert_int_equal(s.n, 0);
    sl_log(SL_LOG_WARN, "base", "name=%s", "a\nb\\c\x1b[2J\xC2\x85 é \xFF\t");
    assert_int_equal(s.n, 1);
    assert_int_equal(s.level, SL_LOG_WARN);
    assert_string_equal(s.module, "base");
    assert_string_equal(s.message, "name=a\\nb\\\\c\\x1B[2J\\xC2\\x85 é \\xFF\\t");
    char text[3000];
    for (size_t len = SL_LOG_MESSAGE_MAX - 6; len < SL_LOG_MESSAGE_MAX + 20; len++) {
        memset(text, 'x', len);
        text[len] = '\0';
        sl_log(SL_LOG_INFO, "base", "%s", text);
        if (len < SL_LOG_MESSAGE_MAX) {
            assert_string_equal(s.message, text);
        } else {
            assert_int_equal(strlen(s.message), SL_LOG_MESSAGE_MAX - 1);
            assert_string_equal(s.message + SL_LOG_MESSAGE_MAX - 4, "...");
        }
    }
    sl_log_init(NULL, NULL, SL_LOG_DEBUG);
    assert_false(sl_log_wanted(SL_LOG_ERROR));
}

static void test_log_escape_fits_any_buffer(void **state) {
    (void)state;
    const char text[] = "a\né\xF0\x9F\x98\x80\x01z";
    char out[64];
    size_t whole = sl_log_escape(text, sizeof(text) - 1, out, sizeof(out));
    assert_string_equal(out, "a\\né\xF0\x9F\x98\x80\\x01z");
    for (size_t cap = 4; cap <= whole; cap++) {
        memset(out, '#', sizeof(out));
        size_t n = sl_log_escape(text, sizeof(text) - 1, out, cap);
        assert_in_range(n, 3, cap - 1);
        assert_int_equal(out[n], '\0');
        assert_string_equal(out + n - 3, "...");
        assert_int_equal(out[cap], '#');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask_lowers_the_level),
        cmocka_unit_test(test_levels_are_named_and_nested),
        cmocka_unit_test(test_counts_follow_the_affinity),
        cmocka_unit_test(test_memory_is_sensible),
        cmocka_unit_test_setup_teardown(test_cgroup_none, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_cgroup_v2, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_cgroup_v1_in_a_container, make_root, remove_root),
        cmocka_unit_test(test_parse_u64),
        cmocka_unit_test(test_log_levels_and_escapes),
        cmocka_unit_test(test_log_escape_fits_any_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
