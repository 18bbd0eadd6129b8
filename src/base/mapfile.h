/* Regular files mapped read-only, and the guard against files that shrink under us. Any thread may
 * read a mapping and ask whether it failed; open and close belong to the owner.
 *
 * Reading a page of a mapping that the file no longer has raises SIGBUS. With the guard installed
 * (by cmd; the library changes no signal handler on its own) such a read sees zeros instead, and
 * the mapping is marked: its user asks sl_mapfile_failed after work that read it and throws the
 * result away. */
#ifndef SL_BASE_MAPFILE_H
#define SL_BASE_MAPFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#define SL_MAPFILE_MAX 1024 /* mappings at a time in one process */

typedef struct sl_mapfile sl_mapfile;

/* Maps the whole file. SL_ERR_NOT_FOUND: no such file; SL_ERR_FORMAT: empty; SL_ERR_ARGUMENT: a
 * directory or other special file; SL_ERR_IO: not readable; SL_ERR_LIMIT: SL_MAPFILE_MAX reached.
 */
SL_NODISCARD sl_status sl_mapfile_open(const char *path, sl_mapfile **out, sl_error *err);
/* The same of an open descriptor of a regular file, which belongs to the mapping from here on, also
 * if this fails. `path` is for messages. */
SL_NODISCARD sl_status sl_mapfile_open_fd(int fd, const char *path, sl_mapfile **out,
                                          sl_error *err);
void sl_mapfile_close(sl_mapfile *m); /* unmaps; NULL is fine; nobody may be reading */

const void *sl_mapfile_data(const sl_mapfile *m); /* page aligned */
size_t sl_mapfile_size(const sl_mapfile *m);      /* bytes */

/* True once a page could not be read: from there on it reads as zeros. One relaxed load. */
bool sl_mapfile_failed(const sl_mapfile *m);
/* SL_ERR_IO when the mapping failed, or the file's size or modification time changed since it was
 * opened, in which case parts of two versions may have been read. For the end of a load; a system
 * call. */
SL_NODISCARD sl_status sl_mapfile_check(const sl_mapfile *m, sl_error *err);

/* What tells this state of this file from any other, by what the system knows of it: device,
 * number, size, times of modification and of change, in ns. Whoever writes to a file changes the
 * last of these, and no program can set it; but a clock that ticks seldom may miss a change that
 * follows another at once, see sl_mapfile_stamp_is_settled. */
typedef struct sl_mapfile_stamp {
    uint64_t device, number, size_bytes, modified_ns, changed_ns;
} sl_mapfile_stamp;
SL_NODISCARD sl_status sl_mapfile_stamp_of(const sl_mapfile *m, sl_mapfile_stamp *out,
                                           sl_error *err);
/* True if the last change is so long ago that another one could not bear the same time. */
bool sl_mapfile_stamp_is_settled(const sl_mapfile_stamp *s);

/* Whole pages of the mapping within [data, data + n) leave this process's memory; they are read
 * from the file again if somebody looks at them. */
void sl_mapfile_release(const sl_mapfile *m, const void *data, size_t n);
/* The mapping may be written to from here on, by any thread: what is written stays in this process,
 * and is lost if the mapping fails. */
SL_NODISCARD sl_status sl_mapfile_make_writable(const sl_mapfile *m, sl_error *err);

/* Installs the SIGBUS handler, once per process. Faults outside our mappings go to the handler that
 * was there before. */
void sl_mapfile_guard_install(void);

#endif
