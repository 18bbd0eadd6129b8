/* Limits that Linux control groups (v1, v2 and both at once) set for this process. Any thread. */
#ifndef SL_BASE_CGROUP_H
#define SL_BASE_CGROUP_H

#include <stdint.h>

typedef struct sl_cgroup_limits {
    uint64_t cpu_milli;         /* quota in thousandths of a CPU; UINT64_MAX: none */
    uint64_t memory_left_bytes; /* limit minus what cannot be reclaimed easily; UINT64_MAX: none */
} sl_cgroup_limits;

/* The tightest limit over all groups from the process's own up to the root of its mount. `root` is
 * put before every path ("" for the real system; tests pass a directory). Anything unreadable
 * counts as no limit. */
sl_cgroup_limits sl_cgroup_read(const char *root);

#endif
