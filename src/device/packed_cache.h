/* A folder of cache files, each of which holds the packed weights of one model for one kind of
 * processor: a region of bytes as the device uses it, mapped instead of packed when the model is
 * started again.
 *
 * A file is trusted as far as its checksums go. Those of the header and of the table of sums are
 * checked on opening; each piece of the region has a sum of its own for whoever looks at it first,
 * and one of the source that it was packed from. Files that are cut short, of other versions, or
 * that others than this user and the administrator may have written count as absent.
 *
 * A file is never written to once it has its name (but for its stamp, see below): it is written
 * under another one, synced, and renamed. Processes that store the same file at a time are told
 * apart by a lock; a file that is in use may be removed. The folder's size is bounded: files that
 * were not used for the longest time go first.
 *
 * Layout, all numbers little-endian as this machine is:
 *   0      packed_header, its own checksum last
 *   4096   the stamp: {uint64 stamp, checksum}
 *   8192   sl_packed_sum[n_sums]
 *   body_at (a multiple of 65536)   the region
 */
#ifndef SL_DEVICE_PACKED_CACHE_H
#define SL_DEVICE_PACKED_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/mapfile.h"

typedef struct sl_packed_cache {
    const char *dir;    /* made when it is first needed; NULL: no cache */
    uint64_t max_bytes; /* of all its files together */
} sl_packed_cache;

/* What a file is found by: everything that its bytes depend on. */
typedef struct sl_packed_key {
    uint64_t hash[2];
    uint64_t body_bytes, n_sums;
} sl_packed_key;

/* Checksums of one piece of the region, and of the source that it was packed from. */
typedef struct sl_packed_sum {
    uint64_t packed, source;
} sl_packed_sum;

typedef struct sl_packed_file {
    sl_mapfile *map; /* NULL: there is no such file */
    uint8_t *body;   /* read-only, until the mapping is made writable */
    const sl_packed_sum *sums;
    uint64_t stamp; /* of the source when it was last known to match the sums; 0: unknown */
} sl_packed_file;

/* Marks the file as used. False if there is none that can be trusted. */
bool sl_packed_cache_open(const sl_packed_cache *c, const sl_packed_key *key, sl_packed_file *out);
void sl_packed_cache_close(sl_packed_file *f);

/* Writes a file, replacing one of the same key, after making room for it. SL_AGAIN: another process
 * is writing it. SL_ERR_LIMIT: it is larger than the folder may be. SL_ERR_IO: anything else that
 * the system refused; nothing is left behind. */
SL_NODISCARD sl_status sl_packed_cache_store(const sl_packed_cache *c, const sl_packed_key *key,
                                             uint64_t stamp, const uint8_t *body,
                                             const sl_packed_sum *sums, sl_error *err);
/* The source of an existing file was found to match its sums: notes its stamp. */
SL_NODISCARD sl_status sl_packed_cache_set_stamp(const sl_packed_cache *c, const sl_packed_key *key,
                                                 const sl_packed_sum *sums, uint64_t stamp,
                                                 sl_error *err);

#endif
