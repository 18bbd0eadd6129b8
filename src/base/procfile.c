/* Reads small files of the system whole: their size is not known before (fstat says 0). */
#include "base/procfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool sl_procfile_read(const char *path, sl_buf *out) {
    sl_buf_clear(out);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool ok = false;
    for (;;) {
        char *p = sl_buf_reserve(out, 4096);
        if (p == NULL) {
            break;
        }
        ssize_t n = read(fd, p, 4095); /* one byte stays free for the terminator */
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            p[0] = '\0';
            ok = n == 0;
            break;
        }
        out->len += (size_t)n;
    }
    (void)close(fd);
    return ok;
}

bool sl_parse_u64(const char **text, uint64_t *out) {
    const char *s = *text;
    uint64_t v = 0;
    if (*s < '0' || *s > '9') {
        return false;
    }
    for (; *s >= '0' && *s <= '9'; s++) {
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v)) {
            return false;
        }
    }
    *text = s;
    *out = v;
    return true;
}

bool sl_procfile_u64(const char *path, uint64_t *out) {
    sl_buf b;
    sl_buf_init(&b, 8192);
    bool ok = false;
    if (sl_procfile_read(path, &b)) {
        const char *text = b.data;
        ok = sl_parse_u64(&text, out);
    }
    sl_buf_deinit(&b);
    return ok;
}

bool sl_procfile_field(const char *text, const char *key, uint64_t *out) {
    size_t len = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, key, len) == 0) {
            const char *s = line + len;
            if (*s == ' ' || *s == '\t' || *s == ':') {
                s += strspn(s, ": \t");
                return sl_parse_u64(&s, out);
            }
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return false;
}
