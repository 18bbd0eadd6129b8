/* Small text files of /proc, /sys and cgroups. Any thread. */
#ifndef SL_BASE_PROCFILE_H
#define SL_BASE_PROCFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Replaces the contents of `out` by those of the file, terminated (the terminator is not counted).
 * False, and nothing promised about `out`, when the file cannot be read or exceeds the buffer's
 * maximum. */
bool sl_procfile_read(const char *path, sl_buf *out);
/* The decimal number that the file begins with. False for "max", "-1", an empty or missing file. */
bool sl_procfile_u64(const char *path, uint64_t *out);
/* Parses a decimal number at *text and moves behind it. False without digits or on overflow. */
bool sl_parse_u64(const char **text, uint64_t *out);
/* The number that follows `key` at the beginning of a line ("MemAvailable:  123 kB", "inactive_file
 * 5"). */
bool sl_procfile_field(const char *text, const char *key, uint64_t *out);

#endif
