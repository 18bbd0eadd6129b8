/* Reads /proc/self/cgroup (which group) and /proc/self/mountinfo (where it is mounted), then walks
 * from that folder up to its mount point. A group cannot use more than any of its ancestors, so the
 * smallest wins. Any thread; no state. References: Linux Documentation/admin-guide/cgroup-v2.rst,
 * cgroup-v1/, and proc(5) for mountinfo. */
#include "base/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/procfile.h"

#define CGROUP_PATH_MAX 4096
#define CGROUP_FILE_MAX ((size_t)4 << 20)

typedef struct cgroup_ctx {
    const char *root;
    sl_buf mounts;  /* mountinfo */
    sl_buf groups;  /* /proc/self/cgroup */
    sl_buf scratch; /* memory.stat */
    sl_cgroup_limits limits;
} cgroup_ctx;

/* One line of text as [begin, begin + len); moves *text to the next one. False at the end. */
static bool cgroup_next_line(const char **text, const char **begin, size_t *len) {
    if (**text == '\0') {
        return false;
    }
    const char *end = strchr(*text, '\n');
    *begin = *text;
    *len = end == NULL ? strlen(*text) : (size_t)(end - *text);
    *text = end == NULL ? *text + *len : end + 1;
    return true;
}

/* True if `word` is one of the comma-separated words of [list, list + len). */
static bool cgroup_has_word(const char *list, size_t len, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i <= len;) {
        const char *comma = memchr(list + i, ',', len - i);
        size_t end = comma == NULL ? len : (size_t)(comma - list);
        if (end - i == n && memcmp(list + i, word, n) == 0) {
            return true;
        }
        i = end + 1;
    }
    return false;
}

/* The k-th blank-separated field of a line of mountinfo; false if there are fewer. */
static bool cgroup_field(const char *line, size_t len, int k, const char **out, size_t *out_len) {
    for (size_t i = 0; i < len; k--) {
        const char *blank = memchr(line + i, ' ', len - i);
        size_t end = blank == NULL ? len : (size_t)(blank - line);
        if (k == 0) {
            *out = line + i;
            *out_len = end - i;
            return true;
        }
        i = end + 1;
    }
    return false;
}

/* Copies a path of mountinfo, where blanks, tabs, newlines and backslashes are written as \ooo. */
static bool cgroup_unescape(const char *s, size_t len, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (n + 1 >= CGROUP_PATH_MAX) {
            return false;
        }
        if (s[i] == '\\' && len - i >= 4) {
            out[n++] = (char)((s[i + 1] - '0') * 64 + (s[i + 2] - '0') * 8 + (s[i + 3] - '0'));
            i += 3;
        } else {
            out[n++] = s[i];
        }
    }
    out[n] = '\0';
    return true;
}

/* Root (inside the hierarchy) and mount point of the v1 hierarchy with `controller`, or of v2 when
 * it is NULL. Both buffers hold CGROUP_PATH_MAX bytes. */
static bool cgroup_find_mount(const cgroup_ctx *x, const char *controller, char *root,
                              char *point) {
    const char *text = x->mounts.data, *line;
    size_t len;
    while (cgroup_next_line(&text, &line, &len)) {
        const char *f[3], *dash = NULL;
        size_t n[3];
        for (size_t i = 0; i + 3 <= len && dash == NULL; i++) {
            dash = memcmp(line + i, " - ", 3) == 0 ? line + i + 3 : NULL;
        }
        if (dash == NULL) {
            continue;
        }
        size_t rest = len - (size_t)(dash - line);
        if (!cgroup_field(dash, rest, 0, &f[0], &n[0]) ||
            !cgroup_field(dash, rest, 2, &f[2], &n[2])) {
            continue;
        }
        bool v2 = n[0] == 7 && memcmp(f[0], "cgroup2", 7) == 0;
        bool v1 = n[0] == 6 && memcmp(f[0], "cgroup", 6) == 0;
        if (controller == NULL ? !v2 : !(v1 && cgroup_has_word(f[2], n[2], controller))) {
            continue;
        }
        if (cgroup_field(line, len, 3, &f[0], &n[0]) && cgroup_field(line, len, 4, &f[1], &n[1]) &&
            cgroup_unescape(f[0], n[0], root) && cgroup_unescape(f[1], n[1], point)) {
            return true;
        }
    }
    return false;
}

/* The group of this process in that hierarchy: lines are "number:controllers:path"; v2 is
 * "0::path". */
static bool cgroup_find_group(const cgroup_ctx *x, const char *controller, char *group) {
    const char *text = x->groups.data, *line;
    size_t len;
    while (cgroup_next_line(&text, &line, &len)) {
        const char *first = memchr(line, ':', len);
        const char *second = first == NULL
                                 ? NULL
                                 : memchr(first + 1, ':', len - (size_t)(first + 1 - line));
        if (second == NULL) {
            continue;
        }
        size_t n_list = (size_t)(second - first - 1), n_path = len - (size_t)(second + 1 - line);
        bool match = controller == NULL
                         ? n_list == 0 && first == line + 1 && line[0] == '0'
                         : n_list > 0 && cgroup_has_word(first + 1, n_list, controller);
        if (match && n_path < CGROUP_PATH_MAX) {
            memcpy(group, second + 1, n_path);
            group[n_path] = '\0';
            return true;
        }
    }
    return false;
}

static void cgroup_min(uint64_t *limit, uint64_t value) {
    *limit = value < *limit ? value : *limit;
}

/* False if the path would not fit. */
static bool cgroup_path(char *out, const char *dir, const char *name) {
    int n = snprintf(out, CGROUP_PATH_MAX, "%s/%s", dir, name);
    return n > 0 && n < CGROUP_PATH_MAX;
}

static bool cgroup_u64(const char *dir, const char *name, uint64_t *out) {
    char path[CGROUP_PATH_MAX];
    return cgroup_path(path, dir, name) && sl_procfile_u64(path, out);
}

/* Thousandths of a CPU, rounded up, at least one thousandth. */
static void cgroup_take_cpu(cgroup_ctx *x, uint64_t quota_us, uint64_t period_us) {
    uint64_t scaled;
    if (period_us > 0 && !__builtin_mul_overflow(quota_us, 1000u, &scaled)) {
        uint64_t milli = scaled / period_us + (scaled % period_us != 0);
        cgroup_min(&x->limits.cpu_milli, milli == 0 ? 1 : milli);
    }
}

/* File pages that were not used lately are given back before a limit hurts, so they do not count as
 * used. */
static void cgroup_take_memory(cgroup_ctx *x, const char *dir, uint64_t limit, uint64_t used,
                               const char *inactive_key) {
    char path[CGROUP_PATH_MAX];
    uint64_t inactive = 0;
    if (cgroup_path(path, dir, "memory.stat") && sl_procfile_read(path, &x->scratch)) {
        (void)sl_procfile_field(x->scratch.data, inactive_key, &inactive);
    }
    used = used > inactive ? used - inactive : 0;
    cgroup_min(&x->limits.memory_left_bytes, limit > used ? limit - used : 0);
}

static void cgroup_read_v2(cgroup_ctx *x, const char *dir) {
    char path[CGROUP_PATH_MAX];
    if (cgroup_path(path, dir, "cpu.max") && sl_procfile_read(path, &x->scratch)) {
        const char *s = x->scratch.data; /* "max 100000" or "150000 100000" */
        uint64_t quota, period;
        if (sl_parse_u64(&s, &quota) && *s++ == ' ' && sl_parse_u64(&s, &period)) {
            cgroup_take_cpu(x, quota, period);
        }
    }
    uint64_t limit = UINT64_MAX, value, used;
    if (cgroup_u64(dir, "memory.max", &value)) {
        cgroup_min(&limit, value);
    }
    if (cgroup_u64(dir, "memory.high", &value)) { /* above it the process is slowed to a crawl */
        cgroup_min(&limit, value);
    }
    if (limit != UINT64_MAX && cgroup_u64(dir, "memory.current", &used)) {
        cgroup_take_memory(x, dir, limit, used, "inactive_file");
    }
}

static void cgroup_read_v1_cpu(cgroup_ctx *x, const char *dir) {
    uint64_t quota, period; /* a quota of -1 means none */
    if (cgroup_u64(dir, "cpu.cfs_quota_us", &quota) &&
        cgroup_u64(dir, "cpu.cfs_period_us", &period)) {
        cgroup_take_cpu(x, quota, period);
    }
}

static void cgroup_read_v1_memory(cgroup_ctx *x, const char *dir) {
    uint64_t limit, used;
    /* "No limit" is written as the largest multiple of the page size below 2^63. */
    if (cgroup_u64(dir, "memory.limit_in_bytes", &limit) && limit < (uint64_t)1 << 62 &&
        cgroup_u64(dir, "memory.usage_in_bytes", &used)) {
        cgroup_take_memory(x, dir, limit, used, "total_inactive_file");
    }
}

/* Calls `fn` for the process's group and each ancestor down to the mount point. */
static void cgroup_walk(cgroup_ctx *x, const char *controller,
                        void (*fn)(cgroup_ctx *x, const char *dir)) {
    char root[CGROUP_PATH_MAX], point[CGROUP_PATH_MAX], group[CGROUP_PATH_MAX];
    char dir[2 * CGROUP_PATH_MAX];
    if (!cgroup_find_mount(x, controller, root, point) ||
        !cgroup_find_group(x, controller, group)) {
        return;
    }
    /* Inside a container the mount shows only the part of the hierarchy below `root`. */
    size_t n_root = strcmp(root, "/") == 0 ? 0 : strlen(root);
    const char *below = group;
    if (n_root > 0) {
        bool inside = strncmp(group, root, n_root) == 0 &&
                      (group[n_root] == '/' || group[n_root] == '\0');
        below = inside ? group + n_root : "";
    }
    int n_point = snprintf(dir, sizeof(dir), "%s%s", x->root, point);
    int n = snprintf(dir, sizeof(dir), "%s%s%s", x->root, point, below);
    if (n_point < 0 || n < n_point || n >= CGROUP_PATH_MAX) {
        return;
    }
    for (size_t len = (size_t)n;;) {
        while (len > (size_t)n_point && dir[len - 1] == '/') {
            len--;
        }
        dir[len] = '\0';
        fn(x, dir);
        if (len <= (size_t)n_point) {
            return;
        }
        while (len > (size_t)n_point && dir[len - 1] != '/') {
            len--;
        }
    }
}

sl_cgroup_limits sl_cgroup_read(const char *root) {
    cgroup_ctx x = {.root = root, .limits = {UINT64_MAX, UINT64_MAX}};
    sl_buf_init(&x.mounts, CGROUP_FILE_MAX);
    sl_buf_init(&x.groups, CGROUP_FILE_MAX);
    sl_buf_init(&x.scratch, CGROUP_FILE_MAX);
    char path[CGROUP_PATH_MAX];
    if (cgroup_path(path, root, "proc/self/mountinfo") && sl_procfile_read(path, &x.mounts) &&
        cgroup_path(path, root, "proc/self/cgroup") && sl_procfile_read(path, &x.groups)) {
        cgroup_walk(&x, NULL, cgroup_read_v2);
        cgroup_walk(&x, "cpu", cgroup_read_v1_cpu);
        cgroup_walk(&x, "memory", cgroup_read_v1_memory);
    }
    sl_buf_deinit(&x.mounts);
    sl_buf_deinit(&x.groups);
    sl_buf_deinit(&x.scratch);
    return x.limits;
}
