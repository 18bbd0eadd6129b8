/* Opening a GGUF model: one file, or the parts of a split one, mapped and put together as one
 * directory.
 * Enters: a path or bytes; leaves: an immutable sl_gguf that any thread may read. Its mapping,
 * tables and names live until sl_gguf_close. The tables of one file take at most four times the
 * bytes of its header, which the arena's limit enforces. */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "format/gguf_parse.h"

/* Beside the tables: the part list and the shortened paths. */
#define GGUF_ARENA_CONST_BYTES ((size_t)1 << 20)
#define GGUF_ARRAY_HEAD_BYTES 12 /* u32 element type, u64 count */
#define GGUF_MESSAGE_PATH_MAX 160u
#define GGUF_SAMPLES 16u /* pieces of the data that an identity covers */
#define GGUF_SAMPLE_BYTES 64u

struct sl_gguf {
    sl_arena arena; /* everything below but the mappings */
    const char *path;
    sl_gguf_part *parts; /* [n_files]; metadata comes from the first one */
    uint32_t n_files;
    sl_gguf_tensor *tensors; /* [n_tensors], in the order of files and records */
    uint64_t n_tensors;
    sl_gguf_index names;
};

static sl_status gguf_no_memory(const char *path, sl_error *err) {
    return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory to open the file", path);
}

/* The path as messages show it: of a long one only the end, which holds the file's name. */
static const char *gguf_message_name(sl_arena *arena, const char *path) {
    size_t len = strlen(path);
    if (len <= GGUF_MESSAGE_PATH_MAX) {
        return sl_arena_strndup(arena, path, len);
    }
    const char *tail = path + len - (GGUF_MESSAGE_PATH_MAX - 3);
    while (((unsigned char)*tail & 0xC0) == 0x80) {
        tail++; /* begin at a character */
    }
    char name[GGUF_MESSAGE_PATH_MAX + 1];
    int n = snprintf(name, sizeof(name), "...%s", tail);
    return sl_arena_strndup(arena, name, (size_t)n);
}

/* --- split models ----------------------------------------------------------------------------- */

/* "NAME-00002-of-00005.gguf": the length of NAME, and both numbers; false for any other name. */
static bool gguf_split_name(const char *path, size_t *prefix_len, uint32_t *no, uint32_t *count) {
    static const char pattern[] = "-ddddd-of-ddddd.gguf";
    size_t len = strlen(path), pattern_len = sizeof(pattern) - 1;
    if (len <= pattern_len) {
        return false;
    }
    const char *tail = path + len - pattern_len;
    uint32_t numbers[2] = {0, 0};
    for (size_t i = 0; i < pattern_len; i++) {
        if (pattern[i] != 'd') {
            if (tail[i] != pattern[i]) {
                return false;
            }
        } else if (tail[i] >= '0' && tail[i] <= '9') {
            uint32_t *number = &numbers[i > 5];
            *number = *number * 10 + (uint32_t)(tail[i] - '0');
        } else {
            return false;
        }
    }
    *prefix_len = len - pattern_len;
    *no = numbers[0];
    *count = numbers[1];
    return true;
}

static char *gguf_split_path(sl_arena *arena, const char *path, size_t prefix_len, uint32_t no,
                             uint32_t count) {
    size_t size = prefix_len + sizeof("-00001-of-00001.gguf") + 10;
    char *out = sl_arena_alloc(arena, size);
    if (out != NULL) {
        (void)snprintf(out, size, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)prefix_len, path,
                       no, count);
    }
    return out;
}

/* *out: the key's value, or `def` when it is absent. */
static sl_status gguf_split_value(const sl_gguf_part *p, const char *key, uint32_t def,
                                  uint32_t *out, sl_error *err) {
    if (sl_gguf_part_find(p, key) == NULL) {
        *out = def;
        return SL_OK;
    }
    return sl_gguf_part_u32(p, key, out, err);
}

static sl_status gguf_not_first(sl_gguf *g, const char *path, uint32_t no, uint32_t count,
                                sl_error *err) {
    const char *name = g->parts[0].name;
    size_t prefix_len;
    uint32_t name_no, name_count;
    if (!gguf_split_name(path, &prefix_len, &name_no, &name_count)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: key 'split.no' is %" PRIu32 " (counted from 0) of "
                       "%" PRIu32 " files; open the first of them",
                       name, no, count);
    }
    const char *first = gguf_split_path(&g->arena, path, prefix_len, 1, count);
    const char *shown = first == NULL ? NULL : gguf_message_name(&g->arena, first);
    if (shown == NULL) {
        return gguf_no_memory(name, err);
    }
    return SL_FAIL(err, SL_ERR_ARGUMENT,
                   "%s: this is part %" PRIu64 " of a model in %" PRIu32 " files; "
                   "open the first one, %s",
                   name, (uint64_t)no + 1, count, shown);
}

/* *n_files: how many files make up the model whose first file is parts[0]. */
static sl_status gguf_split_count(sl_gguf *g, const char *path, bool in_memory, uint32_t *n_files,
                                  sl_error *err) {
    const sl_gguf_part *p = &g->parts[0];
    uint32_t no, count;
    SL_TRY(gguf_split_value(p, "split.count", 1, &count, err));
    SL_TRY(gguf_split_value(p, "split.no", 0, &no, err));
    if (count <= 1) { /* merged files carry 0 */
        *n_files = 1;
        return SL_OK;
    }
    if (count > SL_GGUF_FILES_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%s: key 'split.count' is %" PRIu32 "; at most %d files are "
                       "read",
                       p->name, count, SL_GGUF_FILES_MAX);
    }
    if (no >= count) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: key 'split.no' is %" PRIu32 " (counted from 0), but "
                       "'split.count' is %" PRIu32 "; the file is damaged: fetch it again",
                       p->name, no, count);
    }
    if (in_memory) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: key 'split.count' is %" PRIu32 "; a split model can "
                       "only be opened by path",
                       p->name, count);
    }
    if (no != 0) {
        return gguf_not_first(g, path, no, count, err);
    }
    size_t prefix_len;
    uint32_t name_no, name_count;
    if (!gguf_split_name(path, &prefix_len, &name_no, &name_count) || name_no != 1 ||
        name_count != count) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: key 'split.count' is %" PRIu32 ", so the name must end "
                       "with -00001-of-%05" PRIu32
                       ".gguf for the other parts to be found; give all "
                       "parts their original names",
                       p->name, count, count);
    }
    *n_files = count;
    return SL_OK;
}

static sl_status gguf_split_check(const sl_gguf *g, const sl_gguf_part *p, sl_error *err) {
    uint32_t no, count;
    SL_TRY(sl_gguf_part_u32(p, "split.no", &no, err));
    SL_TRY(sl_gguf_part_u32(p, "split.count", &count, err));
    if (no != p->i_file || count != g->n_files) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: keys 'split.no' (counted from 0) and 'split.count' are "
                       "%" PRIu32 " and %" PRIu32 " where %" PRIu32 " and %" PRIu32
                       " were expected; the "
                       "file belongs to another model or was renamed",
                       p->name, no, count, p->i_file, g->n_files);
    }
    return SL_OK;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Reads the header of a part whose data, size and name are set. */
static sl_status gguf_load_header(sl_gguf *g, sl_gguf_part *p, sl_error *err) {
    SL_TRY(sl_gguf_part_scan(p, err));
    g->arena.max_bytes += 4 *
                          p->header_end; /* header_end is at most the size of an existing mapping */
    return sl_gguf_part_load_kvs(p, &g->arena, err);
}

static sl_status gguf_load_path(sl_gguf *g, sl_gguf_part *p, const char *path, sl_error *err) {
    p->name = gguf_message_name(&g->arena, path);
    if (p->name == NULL) {
        return gguf_no_memory(path, err);
    }
    SL_TRY(sl_mapfile_open(path, &p->map, err));
    p->size_bytes = sl_mapfile_size(p->map);
    p->data = sl_mapfile_data(p->map);
    return gguf_load_header(g, p, err);
}

static sl_status gguf_load_other_parts(sl_gguf *g, const char *path, uint32_t n_files,
                                       sl_error *err) {
    size_t prefix_len = 0;
    uint32_t no, count;
    sl_gguf_part *parts = sl_arena_alloc_zero(&g->arena, n_files, sizeof(*parts));
    if (parts == NULL || !gguf_split_name(path, &prefix_len, &no, &count)) {
        return gguf_no_memory(path, err);
    }
    parts[0] = g->parts[0];
    g->parts = parts;
    g->n_files = n_files;
    for (uint32_t i = 1; i < n_files; i++) {
        parts[i].i_file = i;
        const char *part_path = gguf_split_path(&g->arena, path, prefix_len, i + 1, n_files);
        if (part_path == NULL) {
            return gguf_no_memory(path, err);
        }
        SL_TRY(gguf_load_path(g, &parts[i], part_path, err));
        SL_TRY(gguf_split_check(g, &parts[i], err));
    }
    return SL_OK;
}

static sl_status gguf_count_tensors(sl_gguf *g, sl_error *err) {
    const sl_gguf_part *first = &g->parts[0];
    for (uint32_t i = 0; i < g->n_files; i++) {
        g->n_tensors += g->parts[i].n_tensors; /* each at most SL_GGUF_ENTRIES_MAX */
    }
    if (g->n_tensors > SL_GGUF_ENTRIES_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%s: the model has %" PRIu64 " tensors; at most %u are read", first->name,
                       g->n_tensors, SL_GGUF_ENTRIES_MAX);
    }
    for (uint32_t i = 0; g->n_files > 1 && i < g->n_files; i++) {
        uint32_t stated;
        SL_TRY(gguf_split_value(&g->parts[i], "split.tensors.count", (uint32_t)g->n_tensors,
                                &stated, err));
        if (stated != g->n_tensors) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s: key 'split.tensors.count' is %" PRIu32 ", but the %" PRIu32
                           " files hold %" PRIu64 " tensors; they do not belong together: fetch "
                           "them again",
                           g->parts[i].name, stated, g->n_files, g->n_tensors);
        }
    }
    return SL_OK;
}

static sl_status gguf_load_tensors(sl_gguf *g, sl_error *err) {
    SL_TRY(gguf_count_tensors(g, err));
    g->tensors = sl_arena_alloc(&g->arena, g->n_tensors * sizeof(*g->tensors));
    if (g->tensors == NULL) {
        return gguf_no_memory(g->parts[0].name, err);
    }
    sl_gguf_tensor *out = g->tensors;
    for (uint32_t i = 0; i < g->n_files; i++) {
        SL_TRY(sl_gguf_part_load_tensors(&g->parts[i], &g->arena, out, err));
        out += g->parts[i].n_tensors;
    }
    uint64_t i_twin = 0;
    sl_status status = sl_gguf_index_build(&g->names, &g->arena, g->tensors, sizeof(*g->tensors),
                                           g->n_tensors, &i_twin);
    if (status == SL_ERR_FORMAT) {
        const sl_gguf_tensor *t = &g->tensors[i_twin];
        char shown[SL_GGUF_SHOW_MAX];
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor '%s' appears twice; which one is meant is "
                       "unknown, so the file is refused",
                       g->parts[t->i_file].name, sl_gguf_show(t->name, shown, sizeof(shown)));
    }
    return status == SL_OK ? SL_OK : gguf_no_memory(g->parts[0].name, err);
}

/* `data` NULL: the file at `path` is mapped. */
static sl_status gguf_build(sl_gguf *g, const char *path, const void *data, size_t size_bytes,
                            sl_error *err) {
    g->path = sl_arena_strndup(&g->arena, path, strlen(path));
    g->parts = sl_arena_alloc_zero(&g->arena, 1, sizeof(*g->parts));
    if (g->path == NULL || g->parts == NULL) {
        return gguf_no_memory(path, err);
    }
    g->n_files = 1;
    sl_gguf_part *first = &g->parts[0];
    if (data == NULL) {
        SL_TRY(gguf_load_path(g, first, path, err));
    } else {
        first->data = data;
        first->size_bytes = size_bytes;
        first->name = gguf_message_name(&g->arena, path);
        if (first->name == NULL) {
            return gguf_no_memory(path, err);
        }
        SL_TRY(gguf_load_header(g, first, err));
    }
    uint32_t n_files = 1;
    SL_TRY(gguf_split_count(g, path, data != NULL, &n_files, err));
    if (n_files > 1) {
        SL_TRY(gguf_load_other_parts(g, path, n_files, err));
    }
    return gguf_load_tensors(g, err);
}

static sl_status gguf_open(const char *path, const void *data, size_t size_bytes, sl_gguf **out,
                           sl_error *err) {
    sl_gguf *g = sl_alloc_zero(1, sizeof(*g));
    if (g == NULL) {
        return gguf_no_memory(path, err);
    }
    sl_arena_init(&g->arena, GGUF_ARENA_CONST_BYTES);
    sl_status status = gguf_build(g, path, data, size_bytes, err);
    /* Bytes that changed while they were read look like a damaged file; say what really
     * happened. */
    sl_error changed;
    sl_status unchanged = sl_gguf_check_unchanged(g, &changed);
    if (unchanged != SL_OK) {
        status = SL_FAIL(err, unchanged, "%s", changed.message);
    }
    if (status != SL_OK) {
        sl_gguf_close(g);
        return status;
    }
    *out = g;
    return SL_OK;
}

sl_status sl_gguf_open(const char *path, sl_gguf **out, sl_error *err) {
    return gguf_open(path, NULL, 0, out, err);
}

sl_status sl_gguf_open_memory(const char *name, const void *data, size_t size_bytes, sl_gguf **out,
                              sl_error *err) {
    return gguf_open(name, size_bytes == 0 ? "" : data, size_bytes, out, err);
}

void sl_gguf_close(sl_gguf *g) {
    if (g == NULL) {
        return;
    }
    for (uint32_t i = 0; i < g->n_files; i++) {
        sl_mapfile_close(g->parts[i].map);
    }
    sl_arena_deinit(&g->arena);
    sl_free(g);
}

/* --- what was opened -------------------------------------------------------------------------- */

sl_status sl_gguf_check_alive(const sl_gguf *g, sl_error *err) {
    for (uint32_t i = 0; i < g->n_files; i++) {
        const sl_gguf_part *p = &g->parts[i];
        if (p->map != NULL && sl_mapfile_failed(p->map)) {
            return SL_FAIL(err, SL_ERR_IO,
                           "%s: the file shrank or could not be read while it was in use; "
                           "restore it and load the model again",
                           p->name);
        }
    }
    return SL_OK;
}

sl_status sl_gguf_check_unchanged(const sl_gguf *g, sl_error *err) {
    for (uint32_t i = 0; i < g->n_files; i++) {
        if (g->parts[i].map != NULL) {
            SL_TRY(sl_mapfile_check(g->parts[i].map, err));
        }
    }
    return SL_OK;
}

bool sl_gguf_has_file(const sl_gguf *g, uint64_t device, uint64_t number) {
    for (uint32_t i = 0; i < g->n_files; i++) {
        sl_mapfile_stamp stamp;
        sl_error unread; /* a file of which nothing can be told any more */
        if (g->parts[i].map != NULL &&
            sl_mapfile_stamp_of(g->parts[i].map, &stamp, &unread) == SL_OK &&
            stamp.device == device && stamp.number == number) {
            return true;
        }
    }
    return false;
}

/* Some bytes from the midst of some tensors: tells models apart that differ in nothing else. */
static void gguf_hash_samples(const sl_gguf *g, uint64_t content[2]) {
    uint64_t n = g->n_tensors < GGUF_SAMPLES ? g->n_tensors : GGUF_SAMPLES;
    for (uint64_t i = 0; i < n; i++) {
        const sl_gguf_tensor *t = &g->tensors[g->n_tensors * i / n];
        uint64_t left = t->size_bytes - t->size_bytes / 2;
        for (int k = 0; k < 2; k++) {
            content[k] = sl_checksum(t->data + t->size_bytes / 2,
                                     left < GGUF_SAMPLE_BYTES ? left : GGUF_SAMPLE_BYTES,
                                     content[k]);
        }
    }
}

sl_status sl_gguf_identify(const sl_gguf *g, sl_gguf_identity *out, sl_error *err) {
    sl_gguf_identity id = {.content = {1, 2}, .stamp = 1};
    bool settled = true;
    for (uint32_t i = 0; i < g->n_files; i++) {
        const sl_gguf_part *p = &g->parts[i];
        if (p->map == NULL) {
            return SL_FAIL(err, SL_ERR_UNSUPPORTED, "%s: bytes in memory are no file", p->name);
        }
        sl_mapfile_stamp stamp;
        SL_TRY(sl_mapfile_stamp_of(p->map, &stamp, err));
        id.stamp = sl_checksum(&stamp, sizeof(stamp), id.stamp);
        settled = settled && sl_mapfile_stamp_is_settled(&stamp);
        for (int k = 0; k < 2; k++) {
            id.content[k] = sl_checksum(p->data, p->header_end, id.content[k]);
            id.content[k] = sl_checksum(&p->size_bytes, sizeof(p->size_bytes), id.content[k]);
        }
    }
    gguf_hash_samples(g, id.content);
    id.stamp = settled ? id.stamp | 1 : 0;
    SL_TRY(sl_gguf_check_unchanged(g, err)); /* what was hashed is what was opened */
    *out = id;
    return SL_OK;
}

void sl_gguf_release(const sl_gguf *g, const uint8_t *data, size_t n) {
    for (uint32_t i = 0; i < g->n_files; i++) {
        if (g->parts[i].map != NULL) {
            sl_mapfile_release(g->parts[i].map, data, n); /* its own pages only */
        }
    }
}

const sl_gguf_part *sl_gguf_first_part(const sl_gguf *g) {
    return &g->parts[0];
}

const char *sl_gguf_path(const sl_gguf *g) {
    return g->path;
}

uint32_t sl_gguf_version(const sl_gguf *g) {
    return g->parts[0].version;
}

uint64_t sl_gguf_alignment(const sl_gguf *g) {
    return g->parts[0].alignment;
}

uint64_t sl_gguf_file_bytes(const sl_gguf *g) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->n_files; i++) {
        sum += g->parts[i].size_bytes;
    }
    return sum;
}

uint32_t sl_gguf_n_files(const sl_gguf *g) {
    return g->n_files;
}

uint64_t sl_gguf_table_bytes(const sl_gguf *g) {
    return g->arena.used_bytes;
}

uint64_t sl_gguf_n_kv(const sl_gguf *g) {
    return g->parts[0].n_kv;
}

const sl_gguf_kv *sl_gguf_kv_at(const sl_gguf *g, uint64_t i) {
    return i < g->parts[0].n_kv ? &g->parts[0].kvs[i] : NULL;
}

const sl_gguf_kv *sl_gguf_find(const sl_gguf *g, const char *key) {
    return sl_gguf_part_find(&g->parts[0], key);
}

sl_slice sl_gguf_stored_value(const sl_gguf *g, const sl_gguf_kv *kv) {
    const sl_gguf_part *p = &g->parts[0];
    const uint8_t *begin = kv->data - (kv->type == SL_GGUF_ARRAY ? GGUF_ARRAY_HEAD_BYTES : 0);
    /* Entries follow each other without a gap; the next one begins with the 8 bytes of its key's
     * length. */
    uint64_t i_next = (uint64_t)(kv - p->kvs) + 1;
    const uint8_t *end = i_next < p->n_kv ? (const uint8_t *)p->kvs[i_next].key.ptr - 8
                                          : p->data + p->tensors_at;
    return (sl_slice){(const char *)begin, (size_t)(end - begin)};
}

uint64_t sl_gguf_n_tensors(const sl_gguf *g) {
    return g->n_tensors;
}

const sl_gguf_tensor *sl_gguf_tensor_at(const sl_gguf *g, uint64_t i) {
    return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const sl_gguf_tensor *sl_gguf_find_tensor(const sl_gguf *g, const char *name) {
    return sl_gguf_index_find(&g->names, sl_slice_of(name));
}
