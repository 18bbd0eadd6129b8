/* The tensor records of one GGUF file -> tensors bound to checked bytes.
 * Enters: bytes that anyone may have made; leaves: for each tensor a known type, exact size and
 * data that lie within the file and overlap no other. Shapes are multiplied with overflow checks
 * only, offsets are compared with the file's size tensor by tensor, never as a sum. Tensors that
 * are not stored in order are sorted for the overlap check (n log n).
 * Single-threaded: runs inside sl_gguf_open only.
 */
#include "format/gguf_parse.h"

#include <inttypes.h>

#include "base/error.h"

typedef struct tensor_record {
    sl_slice name;
    uint32_t n_dims, type;
    uint64_t dims[SL_GGUF_DIMS_MAX];
    uint64_t offset; /* from the start of the data section */
} tensor_record;

static sl_status tensor_read(const sl_gguf_part *p, sl_reader *r, uint64_t i, tensor_record *out,
                             sl_error *err) {
    tensor_record t = {.dims = {1, 1, 1, 1}};
    SL_TRY(sl_gguf_parse_name(p, r, "tensor", i, SL_GGUF_NAME_MAX, &t.name, err));
    char shown[SL_GGUF_SHOW_MAX];
    sl_gguf_show(t.name, shown, sizeof(shown));
    bool complete = sl_reader_u32(r, &t.n_dims);
    if (complete && (t.n_dims == 0 || t.n_dims > SL_GGUF_DIMS_MAX)) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor '%s' has %" PRIu32 " dimensions; 1 to %d are "
                       "allowed",
                       p->name, shown, t.n_dims, SL_GGUF_DIMS_MAX);
    }
    for (uint32_t d = 0; complete && d < t.n_dims; d++) {
        complete = sl_reader_u64(r, &t.dims[d]);
    }
    if (!complete || !sl_reader_u32(r, &t.type) || !sl_reader_u64(r, &t.offset)) {
        return SL_FAIL(
            err, SL_ERR_FORMAT,
            "%s: ends inside the description of tensor '%s', at byte %zu; " SL_GGUF_HINT_CUT,
            p->name, shown, p->size_bytes);
    }
    *out = t;
    return SL_OK;
}

sl_status sl_gguf_tensor_skip(const sl_gguf_part *p, sl_reader *r, uint64_t i, sl_error *err) {
    tensor_record t;
    return tensor_read(p, r, i, &t, err);
}

/* --- types, sizes and places --- */

static sl_status tensor_size(const sl_gguf_part *p, const tensor_record *t, uint64_t *out,
                             sl_error *err) {
    char shown[SL_GGUF_SHOW_MAX];
    sl_gguf_show(t->name, shown, sizeof(shown));
    const sl_type_info *info = sl_type_info_of(t->type);
    if (info->name == NULL) {
        return SL_FAIL(err, SL_ERR_UNSUPPORTED,
                       "%s: tensor '%s' has the number format %" PRIu32
                       ", which is not known; the file is damaged or newer than this program",
                       p->name, shown, t->type);
    }
    for (uint32_t d = 0; d < t->n_dims; d++) {
        if (t->dims[d] == 0) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s: tensor '%s': dimension %" PRIu32 " is 0; every "
                           "dimension must be at least 1",
                           p->name, shown, d);
        }
    }
    if (t->dims[0] % info->block_elems != 0) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor '%s' has rows of %" PRIu64 " elements; a row of "
                       "%s must be a multiple of %" PRIu32,
                       p->name, shown, t->dims[0], info->name, info->block_elems);
    }
    uint64_t size_bytes, n_elems = t->dims[0];
    bool fits = sl_type_row_bytes((sl_type)t->type, t->dims[0], &size_bytes);
    for (int d = 1; fits && d < SL_GGUF_DIMS_MAX; d++) {
        /* Elements too: some formats hold more than one in a byte. */
        fits = sl_mul_u64(size_bytes, t->dims[d], &size_bytes) &&
               sl_mul_u64(n_elems, t->dims[d], &n_elems) && n_elems <= INT64_MAX;
    }
    if (!fits || n_elems > INT64_MAX) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor '%s' of shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                       "] is larger than any file; " SL_GGUF_HINT_CUT,
                       p->name, shown, t->dims[0], t->dims[1], t->dims[2], t->dims[3]);
    }
    *out = size_bytes;
    return SL_OK;
}

static sl_status tensor_bind(const sl_gguf_part *p, const tensor_record *t, sl_gguf_tensor *out,
                             sl_error *err) {
    char shown[SL_GGUF_SHOW_MAX];
    uint64_t size_bytes = 0, data_at, begin, end;
    SL_TRY(tensor_size(p, t, &size_bytes, err));
    if (t->offset % p->alignment != 0) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor '%s' has the offset %" PRIu64 ", which is no "
                       "multiple of the file's alignment %" PRIu64,
                       p->name, sl_gguf_show(t->name, shown, sizeof(shown)), t->offset,
                       p->alignment);
    }
    data_at = (p->header_end + p->alignment - 1) &
              ~(p->alignment - 1); /* header_end <= file size */
    if (!sl_add_u64(data_at, t->offset, &begin) || !sl_add_u64(begin, size_bytes, &end) ||
        end > p->size_bytes) {
        return SL_FAIL(err, SL_ERR_FORMAT,
                       "%s: tensor '%s' takes %" PRIu64 " bytes from offset %" PRIu64
                       " of the data, which begin at byte %" PRIu64
                       ", but the file has only %zu bytes; " SL_GGUF_HINT_CUT,
                       p->name, sl_gguf_show(t->name, shown, sizeof(shown)), size_bytes, t->offset,
                       data_at, p->size_bytes);
    }
    *out = (sl_gguf_tensor){.name = t->name,
                            .type = (sl_type)t->type,
                            .n_dims = t->n_dims,
                            .dims = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]},
                            .size_bytes = size_bytes,
                            .data = p->data + begin,
                            .i_file = p->i_file};
    return SL_OK;
}

/* Moves order[at] down to its place in the heap order[0..n) of ascending data addresses. */
static void tensor_sift_down(uint32_t *order, uint64_t n, uint64_t at,
                             const sl_gguf_tensor *tensors) {
    uint32_t moved = order[at];
    for (uint64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && tensors[order[child + 1]].data > tensors[order[child]].data) {
            child++;
        }
        if (tensors[order[child]].data <= tensors[moved].data) {
            break;
        }
        order[at] = order[child];
    }
    order[at] = moved;
}

static void tensor_sort_by_data(uint32_t *order, uint64_t n, const sl_gguf_tensor *tensors) {
    for (uint64_t i = n / 2; i-- > 0;) {
        tensor_sift_down(order, n, i, tensors);
    }
    for (uint64_t last = n; last-- > 1;) {
        uint32_t largest = order[0];
        order[0] = order[last];
        order[last] = largest;
        tensor_sift_down(order, last, 0, tensors);
    }
}

static sl_status tensor_overlap(const sl_gguf_part *p, const sl_gguf_tensor *a,
                                const sl_gguf_tensor *b, sl_error *err) {
    char shown_a[SL_GGUF_SHOW_MAX], shown_b[SL_GGUF_SHOW_MAX];
    return SL_FAIL(err, SL_ERR_FORMAT,
                   "%s: the data of tensor '%s' and of tensor '%s' overlap; " SL_GGUF_HINT_CUT,
                   p->name, sl_gguf_show(a->name, shown_a, sizeof(shown_a)),
                   sl_gguf_show(b->name, shown_b, sizeof(shown_b)));
}

/* Shared bytes would let a small file claim any amount of memory once its tensors are packed. */
static sl_status tensor_check_overlap(const sl_gguf_part *p, sl_arena *arena,
                                      const sl_gguf_tensor *tensors, sl_error *err) {
    uint64_t n = p->n_tensors, i = 1;
    while (i < n && tensors[i].data >= tensors[i - 1].data + tensors[i - 1].size_bytes) {
        i++;
    }
    if (i >= n) {
        return SL_OK; /* stored in order, as every known writer does */
    }
    uint32_t *order = sl_arena_alloc(arena, n * sizeof(*order));
    if (order == NULL) {
        return sl_gguf_part_no_memory(p, err);
    }
    for (i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
    }
    tensor_sort_by_data(order, n, tensors);
    for (i = 1; i < n; i++) {
        const sl_gguf_tensor *a = &tensors[order[i - 1]], *b = &tensors[order[i]];
        if (b->data < a->data + a->size_bytes) {
            return tensor_overlap(p, a, b, err);
        }
    }
    return SL_OK;
}

sl_status sl_gguf_part_load_tensors(const sl_gguf_part *p, sl_arena *arena, sl_gguf_tensor *out,
                                    sl_error *err) {
    sl_reader r = sl_gguf_part_reader(p, p->tensors_at);
    for (uint64_t i = 0; i < p->n_tensors; i++) {
        tensor_record t;
        SL_TRY(tensor_read(p, &r, i, &t, err));
        SL_TRY(tensor_bind(p, &t, &out[i], err));
    }
    return tensor_check_overlap(p, arena, out, err);
}
