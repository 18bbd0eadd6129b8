/* What the system lets this process use: CPUs by affinity, topology and cgroup quota; memory by
 * /proc/meminfo and cgroups. Read anew at each call, since quotas change under a running process.
 * Any thread; no state. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/cpu.h"
#include "base/procfile.h"

/* The process's CPUs. Asked for by process id: this is the main thread's mask, which pinned workers
 * leave alone. False if the system does not say. */
static bool cpu_affinity(cpu_set_t *set, size_t set_bytes) {
    return sched_getaffinity(getpid(), set_bytes, set) == 0;
}

/* The lowest CPU of the core that `cpu` belongs to: it stands for the core. `cpu` itself if
 * unknown. */
static uint32_t cpu_core_of(uint32_t cpu) {
    static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        uint64_t first;
        (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/%s", cpu,
                       names[i]);
        if (sl_procfile_u64(path, &first) && first <= cpu) {
            return (uint32_t)first;
        }
    }
    return cpu;
}

/* Appends the allowed CPUs whose core was seen (`siblings`) or was not seen before. Marks cores in
 * `seen`. */
static uint32_t cpu_list_pass(const cpu_set_t *set, size_t set_bytes, cpu_set_t *seen,
                              cpu_set_t *taken, uint32_t *cpus, uint32_t n, uint32_t max) {
    for (uint32_t i = 0; i < SL_CPUS_MAX && n < max; i++) {
        if (!CPU_ISSET_S(i, set_bytes, set) || CPU_ISSET_S(i, set_bytes, taken)) {
            continue;
        }
        if (seen != NULL) {
            uint32_t core = cpu_core_of(i);
            if (CPU_ISSET_S(core, set_bytes, seen)) {
                continue;
            }
            CPU_SET_S(core, set_bytes, seen);
        }
        CPU_SET_S(i, set_bytes, taken);
        cpus[n++] = i;
    }
    return n;
}

/* Fills `cpus`, cores first; *n_cores is how many cores there are among them. */
static uint32_t cpu_list(uint32_t *cpus, uint32_t max, uint32_t *n_cores) {
    typedef union cpu_big_set {
        cpu_set_t set;
        unsigned char bytes[SL_CPUS_MAX / 8];
    } cpu_big_set;
    cpu_big_set allowed = {.bytes = {0}}, seen = {.bytes = {0}}, taken = {.bytes = {0}};
    *n_cores = 0;
    if (!cpu_affinity(&allowed.set, sizeof(allowed))) {
        return 0;
    }
    *n_cores = cpu_list_pass(&allowed.set, sizeof(allowed), &seen.set, &taken.set, cpus, 0, max);
    return cpu_list_pass(&allowed.set, sizeof(allowed), NULL, &taken.set, cpus, *n_cores, max);
}

uint32_t sl_cpu_list(uint32_t *cpus, uint32_t max) {
    uint32_t n_cores;
    return cpu_list(cpus, max, &n_cores);
}

/* Logical CPUs and physical cores, both at least 1 and at most the cgroup quota, rounded up. */
static void cpu_counts(uint32_t *n_logical, uint32_t *n_physical) {
    uint32_t cpus[SL_CPUS_MAX];
    uint32_t logical = cpu_list(cpus, SL_CPUS_MAX, n_physical);
    if (logical == 0) { /* no mask to be had: what the system has online */
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        logical = online > 0 ? (uint32_t)online : 1;
        *n_physical = logical;
    }
    uint64_t milli = sl_cgroup_read("").cpu_milli;
    uint64_t quota = milli / 1000 + (milli % 1000 != 0);
    *n_logical = quota < logical ? (uint32_t)quota : logical;
    *n_physical = quota < *n_physical ? (uint32_t)quota : *n_physical;
}

uint32_t sl_cpu_count_logical(void) {
    uint32_t logical, physical;
    cpu_counts(&logical, &physical);
    return logical;
}

uint32_t sl_cpu_count_physical(void) {
    uint32_t logical, physical;
    cpu_counts(&logical, &physical);
    return physical;
}

uint64_t sl_memory_available_bytes(void) {
    sl_buf b;
    sl_buf_init(&b, (size_t)1 << 20);
    uint64_t left = UINT64_MAX, kib;
    if (sl_procfile_read("/proc/meminfo", &b) && sl_procfile_field(b.data, "MemAvailable", &kib)) {
        left = kib * 1024;
    } else {
        long pages = sysconf(_SC_AVPHYS_PAGES);
        left = pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    }
    sl_buf_deinit(&b);
    uint64_t group = sl_cgroup_read("").memory_left_bytes;
    return group < left ? group : left;
}

uint64_t sl_memory_resident_bytes(void) {
    sl_buf b;
    sl_buf_init(&b, 8192);
    uint64_t total, resident = 0;
    if (sl_procfile_read("/proc/self/statm", &b)) { /* "total resident shared ...", in pages */
        const char *s = b.data;
        if (!sl_parse_u64(&s, &total) || *s++ != ' ' || !sl_parse_u64(&s, &resident)) {
            resident = 0;
        }
    }
    sl_buf_deinit(&b);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
