/* `sluice inspect --json`: one object, written as it is walked, so memory does not grow with the
 * file.
 *
 * Fields, stable: file, files, version, alignment, file_bytes, n_params; metadata: {KEY: {type,
 * value}} and for arrays {type: "array", elem_type, count, first: [at most 8]}; tensors: [{name,
 * type, shape (contiguous dimension first), bytes, kind, file (index)}]; memory and formats:
 * {NAME: {tensors, elements, bytes}}, memory with "total"; runs (bool), reason (null or text),
 * kv_bytes_per_token (F16; null unless it runs), kv_bytes_per_token_by_type: null or {NAME: bytes}
 * for each --kv-type, n_ctx_train; pooling: null, or of an encoder "mean", "cls", "last" or "none";
 * tokenizer: null or {kind, n_vocab, bos, eos, unk, pad (null if none), adds_bos, adds_eos},
 * tokenizer_error; eog: [{id, text}]; plan: text, only with --plan. Bytes that are not UTF-8 become
 * U+FFFD; numbers that JSON lacks become the texts "nan", "inf", "-inf".
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "inspect.h"

#define JSON_ARRAY_SHOWN 8u

/* --- pieces of JSON --------------------------------------------------------------------------- */

static void put_string(sl_slice text) {
    (void)putchar('"');
    while (text.len > 0) {
        uint32_t c = 0;
        size_t n = sl_utf8_decode(text.ptr, text.len, &c);
        if (n == 0) {
            n = 1;
            (void)fputs("\xEF\xBF\xBD", stdout);
        } else if (c == '"' || c == '\\') {
            (void)printf("\\%c", (char)c);
        } else if (c < 0x20 || (c >= 0x7F && c < 0xA0)) { /* C1 controls steer terminals too */
            (void)printf("\\u%04" PRIx32, c);
        } else {
            (void)fwrite(text.ptr, 1, n, stdout);
        }
        text.ptr += n;
        text.len -= n;
    }
    (void)putchar('"');
}

static void put_text(const char *text) {
    put_string(sl_slice_of(text));
}

/* "name": after a comma unless it is the first of its object. */
static void put_name(const char *name, bool is_first) {
    (void)printf("%s\"%s\": ", is_first ? "" : ", ", name);
}

static void put_u64(const char *name, uint64_t value, bool is_first) {
    put_name(name, is_first);
    (void)printf("%" PRIu64, value);
}

static void put_bool(const char *name, bool value) {
    put_name(name, false);
    (void)fputs(value ? "true" : "false", stdout);
}

static void put_message(const char *name, const char *message) {
    put_name(name, false);
    if (message == NULL) {
        (void)fputs("null", stdout);
    } else {
        put_text(message);
    }
}

/* --- metadata --------------------------------------------------------------------------------- */

static void put_scalar(const sl_inspect *s, const sl_gguf_kv *kv) {
    if (kv->type == SL_GGUF_STRING) {
        put_string(sl_gguf_string_of(s->file, kv));
        return;
    }
    char text[SL_GGUF_SHOW_MAX];
    (void)sl_gguf_show_value(s->file, kv, text, sizeof(text));
    bool is_number = strpbrk(text, "ni") == NULL || kv->type == SL_GGUF_BOOL; /* nan, inf */
    (void)printf(is_number ? "%s" : "\"%s\"", text);
}

static void put_metadata(const sl_inspect *s) {
    (void)printf(",\n\"metadata\": {");
    for (uint64_t i = 0; i < sl_gguf_n_kv(s->file); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(s->file, i);
        (void)fputs(i == 0 ? "\n  " : ",\n  ", stdout);
        put_string(kv->key);
        (void)printf(": {\"type\": \"%s\", ", sl_gguf_type_name(kv->type));
        if (kv->type != SL_GGUF_ARRAY) {
            put_name("value", true);
            put_scalar(s, kv);
        } else {
            (void)printf("\"elem_type\": \"%s\"", sl_gguf_type_name(kv->elem_type));
            put_u64("count", kv->n, false);
            put_name("first", false);
            (void)putchar('[');
            sl_inspect_walk walk = {0};
            sl_gguf_kv elem;
            for (uint32_t k = 0; k < JSON_ARRAY_SHOWN && sl_inspect_next(s, kv, &walk, &elem);
                 k++) {
                (void)fputs(k == 0 ? "" : ", ", stdout);
                put_scalar(s, &elem);
            }
            (void)putchar(']');
        }
        (void)putchar('}');
    }
    (void)printf("}");
}

/* --- tensors and sums ------------------------------------------------------------------------- */

static void put_tensors(const sl_inspect *s) {
    (void)printf(",\n\"tensors\": [");
    for (uint64_t i = 0; i < sl_gguf_n_tensors(s->file); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(s->file, i);
        (void)fputs(i == 0 ? "\n  {\"name\": " : ",\n  {\"name\": ", stdout);
        put_string(t->name);
        (void)printf(", \"type\": \"%s\", \"shape\": [", sl_type_info_of(t->type)->name);
        for (uint32_t d = 0; d < t->n_dims; d++) {
            (void)printf("%s%" PRIu64, d == 0 ? "" : ", ", t->dims[d]);
        }
        (void)printf("], \"bytes\": %" PRIu64 ", \"kind\": \"%s\", \"file\": %" PRIu32 "}",
                     t->size_bytes, sl_inspect_kind_name(sl_inspect_kind_of(t)), t->i_file);
    }
    (void)printf("]");
}

static void put_sum(const char *name, const sl_inspect_sum *sum, bool is_first) {
    put_name(name, is_first);
    (void)printf("{\"tensors\": %" PRIu64 ", \"elements\": %" PRIu64 ", \"bytes\": %" PRIu64 "}",
                 sum->n_tensors, sum->n_elems, sum->size_bytes);
}

static void put_sums(const sl_inspect *s) {
    (void)printf(",\n\"memory\": {");
    for (int i = 0; i < SL_INSPECT_KIND_COUNT; i++) {
        put_sum(sl_inspect_kind_name((sl_inspect_kind)i), &s->kinds[i], i == 0);
    }
    put_sum("total", &s->total, false);
    (void)printf("},\n\"formats\": {");
    bool is_first = true;
    for (uint32_t i = 0; i < SL_TYPE_COUNT; i++) {
        if (s->formats[i].n_tensors != 0) {
            put_sum(sl_type_info_of(i)->name, &s->formats[i], is_first);
            is_first = false;
        }
    }
    (void)printf("}");
}

/* --- vocabulary ------------------------------------------------------------------------------- */

static void put_id(const char *name, int32_t id) {
    put_name(name, false);
    if (id < 0) {
        (void)fputs("null", stdout);
    } else {
        (void)printf("%" PRId32, id);
    }
}

static void put_vocabulary(const sl_inspect *s) {
    const sl_tokenizer *t = s->tokenizer;
    (void)printf(",\n\"tokenizer\": ");
    if (t == NULL) {
        (void)printf("null");
        put_message("tokenizer_error", s->tokenizer_error.message);
        (void)printf(",\n\"eog\": []");
        return;
    }
    (void)printf("{\"kind\": ");
    put_text(sl_tokenizer_kind(t));
    put_u64("n_vocab", sl_tokenizer_n_vocab(t), false);
    put_id("bos", sl_tokenizer_bos(t));
    put_id("eos", sl_tokenizer_eos(t));
    put_id("unk", sl_tokenizer_unk(t));
    put_id("pad", sl_tokenizer_pad(t));
    put_bool("adds_bos", sl_tokenizer_adds_bos(t));
    put_bool("adds_eos", sl_tokenizer_adds_eos(t));
    (void)printf("}");
    put_message("tokenizer_error", NULL);
    (void)printf(",\n\"eog\": [");
    const int32_t *ids = NULL;
    size_t n = sl_tokenizer_eog(t, &ids);
    for (size_t i = 0; i < n; i++) {
        (void)printf("%s{\"id\": %" PRId32 ", \"text\": ", i == 0 ? "" : ", ", ids[i]);
        put_string(sl_tokenizer_text(t, ids[i]));
        (void)putchar('}');
    }
    (void)printf("]");
}

void sl_inspect_print_json(const sl_inspect *s) {
    (void)printf("{\"file\": ");
    put_text(sl_gguf_path(s->file));
    put_u64("files", sl_gguf_n_files(s->file), false);
    put_u64("version", sl_gguf_version(s->file), false);
    put_u64("alignment", sl_gguf_alignment(s->file), false);
    put_u64("file_bytes", sl_gguf_file_bytes(s->file), false);
    put_u64("n_params", s->total.n_elems, false);
    put_bool("runs", s->model != NULL);
    put_message("reason", s->model != NULL ? NULL : s->model_error.message);
    if (s->model != NULL) {
        put_u64("kv_bytes_per_token", s->kv_token_bytes[SL_KV_F16], false);
        put_name("kv_bytes_per_token_by_type", false);
        (void)putchar('{');
        for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
            put_u64(sl_kv_type_name((sl_kv_type)type), s->kv_token_bytes[type], type == 0);
        }
        (void)putchar('}');
        put_u64("n_ctx_train", s->model->plan.n_ctx_train, false);
    } else {
        put_message("kv_bytes_per_token", NULL);
        put_message("kv_bytes_per_token_by_type", NULL);
        put_message("n_ctx_train", NULL);
    }
    const bool is_encoder = s->model != NULL && s->model->plan.is_encoder;
    put_message("pooling", is_encoder ? sl_pooling_name(s->model->plan.pooling) : NULL);
    put_metadata(s);
    put_tensors(s);
    put_sums(s);
    put_vocabulary(s);
    if (s->with_plan) {
        (void)printf(",\n\"plan\": ");
        put_string((sl_slice){s->plan.data, s->plan.len});
    }
    (void)printf("}\n");
}
