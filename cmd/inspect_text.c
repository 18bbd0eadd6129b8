/* `sluice inspect` for people: aligned text. Everything that comes from the file goes through
 * sl_gguf_show, so that no name or value can steer the terminal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "inspect.h"

#define NAME_COLUMNS_MAX 52
#define VALUE_COLUMNS_MAX 100
#define TEXT_ARRAY_SHOWN 4u

static double mib(uint64_t size_bytes) {
    return (double)size_bytes / (1024.0 * 1024.0);
}

/* Columns of printable UTF-8: one per character. */
static int columns_of(const char *text) {
    int n = 0;
    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return n;
}

/* The text and as many spaces as bring it to `width` columns. */
static void print_padded(const char *text, int width) {
    int n = columns_of(text);
    (void)printf("%s%*s", text, n < width ? width - n : 0, "");
}

/* --- metadata --------------------------------------------------------------------------------- */

static void print_array(const sl_inspect *s, const sl_gguf_kv *kv) {
    sl_inspect_walk walk = {0};
    sl_gguf_kv elem;
    char text[40];
    (void)printf("[%" PRIu64 " %s]", kv->n, sl_gguf_type_name(kv->elem_type));
    for (uint32_t i = 0; sl_inspect_next(s, kv, &walk, &elem); i++) {
        if (i == TEXT_ARRAY_SHOWN) {
            (void)printf(", ...");
            return;
        }
        (void)printf("%s%s", i == 0 ? " " : ", ",
                     sl_gguf_show_value(s->file, &elem, text, sizeof(text)));
    }
}

static void print_metadata(const sl_inspect *s) {
    char key[NAME_COLUMNS_MAX * 4], value[VALUE_COLUMNS_MAX];
    uint64_t n = sl_gguf_n_kv(s->file);
    int width = 0;
    for (uint64_t i = 0; i < n; i++) {
        int columns = columns_of(sl_gguf_show(sl_gguf_kv_at(s->file, i)->key, key, sizeof(key)));
        width = columns > width ? columns : width;
    }
    width = width > NAME_COLUMNS_MAX ? NAME_COLUMNS_MAX : width;
    (void)printf("\nMetadata (%" PRIu64 " keys)\n", n);
    for (uint64_t i = 0; i < n; i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(s->file, i);
        (void)printf("  ");
        print_padded(sl_gguf_show(kv->key, key, sizeof(key)), width);
        (void)printf("  ");
        if (kv->type == SL_GGUF_ARRAY) {
            print_array(s, kv);
        } else {
            (void)printf("%s", sl_gguf_show_value(s->file, kv, value, sizeof(value)));
        }
        (void)putchar('\n');
    }
}

/* --- tensors ---------------------------------------------------------------------------------- */

/* "blk.12.attn_q.weight" -> "attn_q.weight", and true; any other name stays whole. */
static bool split_layer(sl_slice name, sl_slice *rest) {
    static const char prefix[] = "blk.";
    size_t i = sizeof(prefix) - 1;
    *rest = name;
    if (name.len <= i || memcmp(name.ptr, prefix, i) != 0) {
        return false;
    }
    size_t i_digit = i;
    while (i < name.len && name.ptr[i] >= '0' && name.ptr[i] <= '9') {
        i++;
    }
    if (i == i_digit || i == name.len || name.ptr[i] != '.') {
        return false;
    }
    *rest = (sl_slice){name.ptr + i + 1, name.len - i - 1};
    return true;
}

/* A line of the tensor list: equal tensors of several layers. */
typedef struct tensor_line {
    const sl_gguf_tensor *first;
    uint64_t n;
} tensor_line;

static int compare_slices(sl_slice a, sl_slice b) {
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* 0: the two differ in their layer only. */
static int compare_kinds(const sl_gguf_tensor *a, const sl_gguf_tensor *b) {
    sl_slice rest_a, rest_b;
    bool in_layer_a = split_layer(a->name, &rest_a), in_layer_b = split_layer(b->name, &rest_b);
    if (in_layer_a != in_layer_b) {
        return in_layer_a ? 1 : -1;
    }
    int order = compare_slices(rest_a, rest_b);
    if (order == 0 && a->type != b->type) {
        order = a->type < b->type ? -1 : 1;
    }
    for (int d = 0; order == 0 && d < SL_GGUF_DIMS_MAX; d++) {
        order = (a->dims[d] > b->dims[d]) - (a->dims[d] < b->dims[d]);
    }
    return order;
}

static int compare_places(const tensor_line *x, const tensor_line *y) {
    return (x->first > y->first) - (x->first < y->first); /* both in the file's table */
}

static int compare_by_kind(const void *x, const void *y) {
    const tensor_line *a = x, *b = y;
    int order = compare_kinds(a->first, b->first);
    return order != 0 ? order : compare_places(a, b);
}

static int compare_by_place(const void *x, const void *y) {
    return compare_places(x, y);
}

/* Joins equal tensors of different layers; the order is that of each one's first. Returns how
 * many are left. */
static size_t fold_lines(tensor_line *lines, size_t n) {
    qsort(lines, n, sizeof(*lines), compare_by_kind);
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_kept > 0 && compare_kinds(lines[n_kept - 1].first, lines[i].first) == 0) {
            lines[n_kept - 1].n++;
        } else {
            lines[n_kept++] = lines[i];
        }
    }
    qsort(lines, n_kept, sizeof(*lines), compare_by_place);
    return n_kept;
}

static const char *show_shape(const sl_gguf_tensor *t, char *out, size_t cap) {
    size_t len = 0;
    for (uint32_t d = 0; d < t->n_dims && len < cap; d++) {
        len += (size_t)snprintf(out + len, cap - len, "%s%" PRIu64, d == 0 ? "[" : ", ",
                                t->dims[d]);
    }
    if (len < cap) {
        (void)snprintf(out + len, cap - len, "]");
    }
    return out;
}

static void print_tensor_line(const tensor_line *line) {
    const sl_gguf_tensor *t = line->first;
    char name[NAME_COLUMNS_MAX * 4], shape[100], layered[NAME_COLUMNS_MAX * 4 + 8];
    sl_slice rest;
    if (line->n > 1 && split_layer(t->name, &rest)) {
        (void)snprintf(layered, sizeof(layered), "blk.*.%s",
                       sl_gguf_show(rest, name, sizeof(name)));
    } else {
        (void)snprintf(layered, sizeof(layered), "%s", sl_gguf_show(t->name, name, sizeof(name)));
    }
    (void)printf("  ");
    print_padded(layered, 36);
    (void)printf("  %-7s  ", sl_type_info_of(t->type)->name);
    print_padded(show_shape(t, shape, sizeof(shape)), 20);
    (void)printf("  %6" PRIu64 "  %14" PRIu64 "\n", line->n, t->size_bytes * line->n);
}

static void print_tensors(const sl_inspect *s, bool all) {
    size_t n = (size_t)sl_gguf_n_tensors(s->file);
    (void)printf("\nTensors (%zu)\n", n);
    if (n == 0) {
        return;
    }
    (void)printf("  %-36s  %-7s  %-20s  %6s  %14s\n", "name", "format", "shape", "count", "bytes");
    /* Without memory for the list each tensor gets its own line. */
    tensor_line *lines = all ? NULL : sl_realloc_array(NULL, n, sizeof(*lines));
    for (size_t i = 0; i < n; i++) {
        tensor_line line = {sl_gguf_tensor_at(s->file, i), 1};
        if (lines == NULL) {
            print_tensor_line(&line);
        } else {
            lines[i] = line;
        }
    }
    if (lines != NULL) {
        n = fold_lines(lines, n);
        for (size_t i = 0; i < n; i++) {
            print_tensor_line(&lines[i]);
        }
        sl_free(lines);
    }
}

/* --- sums ------------------------------------------------------------------------------------- */

static void print_sum(const char *name, const sl_inspect_sum *sum) {
    (void)printf("  %-12s  %7" PRIu64 "  %16" PRIu64 "  %12.1f MiB  %6.2f\n", name, sum->n_tensors,
                 sum->n_elems, mib(sum->size_bytes),
                 sum->n_elems == 0 ? 0.0 : 8.0 * (double)sum->size_bytes / (double)sum->n_elems);
}

static void print_memory(const sl_inspect *s) {
    (void)printf("\nMemory of the weights\n  %-12s  %7s  %16s  %16s  %6s\n", "kind", "tensors",
                 "elements", "size", "bits");
    for (int i = 0; i < SL_INSPECT_KIND_COUNT; i++) {
        print_sum(sl_inspect_kind_name((sl_inspect_kind)i), &s->kinds[i]);
    }
    print_sum("total", &s->total);
    if (sl_gguf_find_tensor(s->file, "output.weight") == NULL &&
        sl_gguf_find_tensor(s->file, "token_embd.weight") != NULL) {
        (void)printf("  No output matrix of its own: the embedding serves as one.\n");
    }
    (void)printf("\nNumber formats\n");
    for (uint32_t i = 0; i < SL_TYPE_COUNT; i++) {
        if (s->formats[i].n_tensors != 0) {
            print_sum(sl_type_info_of(i)->name, &s->formats[i]);
        }
    }
    if (s->model != NULL) {
        (void)printf("\nKV memory\n  %" PRIu64 " bytes per token in F16; %.1f MiB for %" PRIu32
                     " tokens, the length of its training\n",
                     s->kv_token_bytes[SL_KV_F16], mib(s->kv_ctx_bytes),
                     s->model->plan.n_ctx_train);
        (void)printf("  Bytes per token with --kv-type");
        for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
            (void)printf("%s %s: %" PRIu64, type == 0 ? "" : ",", sl_kv_type_name((sl_kv_type)type),
                         s->kv_token_bytes[type]);
        }
        (void)printf("\n");
    }
}

static void print_token(const sl_tokenizer *t, int32_t id) {
    char text[SL_GGUF_SHOW_MAX];
    (void)printf("%" PRId32 " %s", id, sl_gguf_show(sl_tokenizer_text(t, id), text, sizeof(text)));
}

static void print_named_token(const sl_tokenizer *t, const char *name, int32_t id,
                              const char *note) {
    if (id >= 0) {
        (void)printf("  %-9s ", name);
        print_token(t, id);
        (void)printf("%s\n", note);
    }
}

static void print_vocabulary(const sl_inspect *s) {
    (void)printf("\nVocabulary\n");
    const sl_tokenizer *t = s->tokenizer;
    if (t == NULL) {
        (void)printf("  Not usable here: %s\n", s->tokenizer_error.message);
        return;
    }
    (void)printf("  %-9s %s, %" PRIu32 " tokens\n", "kind", sl_tokenizer_kind(t),
                 sl_tokenizer_n_vocab(t));
    print_named_token(t, "begin", sl_tokenizer_bos(t),
                      sl_tokenizer_adds_bos(t) ? " (added to texts)" : " (not added to texts)");
    print_named_token(t, "end", sl_tokenizer_eos(t),
                      sl_tokenizer_adds_eos(t) ? " (added to texts)" : "");
    print_named_token(t, "unknown", sl_tokenizer_unk(t), "");
    print_named_token(t, "padding", sl_tokenizer_pad(t), "");
    if (s->model != NULL && s->model->plan.is_encoder) {
        return; /* it generates nothing */
    }
    const int32_t *ids = NULL;
    size_t n = sl_tokenizer_eog(t, &ids);
    (void)printf("  Generation ends at: ");
    for (size_t i = 0; i < n; i++) {
        (void)printf("%s", i == 0 ? "" : ", ");
        print_token(t, ids[i]);
    }
    (void)printf("%s\n", n == 0 ? "no token (only at the length asked for)" : "");
}

void sl_inspect_print_text(const sl_inspect *s, bool all_tensors) {
    char path[1024];
    (void)printf("%s\n  GGUF version %" PRIu32 ", %" PRIu32 " file%s, %.1f MiB, alignment %" PRIu64
                 "\n",
                 sl_gguf_show(sl_slice_of(sl_gguf_path(s->file)), path, sizeof(path)),
                 sl_gguf_version(s->file), sl_gguf_n_files(s->file),
                 sl_gguf_n_files(s->file) == 1 ? "" : "s", mib(sl_gguf_file_bytes(s->file)),
                 sl_gguf_alignment(s->file));
    if (s->model != NULL) {
        const sl_plan *p = &s->model->plan;
        (void)printf("  Runs here: %s, %" PRIu32 " layers, width %" PRIu32 ", vocabulary %" PRIu32,
                     p->arch, p->n_layers, p->n_embd, p->n_vocab);
        if (p->is_encoder) {
            (void)printf(", an encoder (pooling: %s)", sl_pooling_name(p->pooling));
        }
        (void)putchar('\n');
    } else {
        (void)printf("  Does not run here: %s\n", s->model_error.message);
    }
    print_metadata(s);
    print_tensors(s, all_tensors);
    print_memory(s);
    print_vocabulary(s);
    if (s->with_plan) {
        (void)printf("\nPlan\n");
        (void)fwrite(s->plan.data, 1, s->plan.len, stdout);
    }
}
