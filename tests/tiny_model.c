/* A small random llama model as a GGUF file. See tiny_model.h. */
#include "tiny_model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/utf8.h"
#include "format/gguf_write.h"

#define N_CONTROL 3
#define N_BYTES 256
#define N_MERGES (TINY_N_VOCAB - N_CONTROL - N_BYTES)
#define TOKEN_BYTES_MAX 24
#define TYPE_NORMAL 1
#define TYPE_CONTROL 3

/* Pairs in GPT-2's spelling (a leading space is U+0120); a merge may use what earlier ones made. */
static const char *const MERGES[N_MERGES] = {
    "h e",       "\u0120 t",  "\u0120 a",  "i n",        "r e",      "o n",      "\u0120t he",
    "e r",       "\u0120 s",  "a t",       "e n",        "\u0120 o", "\u0120 w", "o r",
    "e s",       "i s",       "i t",       "\u0120 b",   "\u0120 c", "a n",      "o u",
    "\u0120 f",  "\u0120 m",  "in g",      "e d",        "a l",      "\u0120 p", "a r",
    "\u0120 in", "\u0120o f", "\u0120a n", "\u0120an d", "\u0120 h", "l e",      "i c",
    "\u0120t o", "r o",       "l l",       "\u0120 d",   "\u0120 l", "a s",
};

static const char CHAT_TEMPLATE[] =
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

typedef struct tiny {
    tiny_model_options o;
    sl_gguf_writer *w;
    sl_error *err;
    uint64_t rng;
    char texts[TINY_N_VOCAB][TOKEN_BYTES_MAX];
} tiny;

static uint64_t tiny_random(tiny *t) { /* splitmix64 */
    uint64_t z = (t->rng += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Mean 0, variance 1, exact in float32: a sum of four uniform numbers. */
static float tiny_normal(tiny *t) {
    const uint64_t r = tiny_random(t);
    const uint32_t sum = (uint32_t)(r & 0xFFFF) + (uint32_t)(r >> 16 & 0xFFFF) +
                         (uint32_t)(r >> 32 & 0xFFFF) + (uint32_t)(r >> 48);
    return ((float)sum * (1.0f / 65536.0f) - 2.0f) * 1.7320508f;
}

/* --- vocabulary --- */

/* GPT-2 writes a byte as itself where it prints, else as the next code point from U+0100 on. */
static void tiny_byte_texts(tiny *t) {
    uint32_t rank = 0, n_hidden = 0;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t b = 0; b < N_BYTES; b++) {
            const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            if (prints == (pass == 0)) {
                char *text = t->texts[N_CONTROL + rank++];
                text[sl_utf8_encode(prints ? b : 256 + n_hidden++, text)] = '\0';
            }
        }
    }
}

static void tiny_texts(tiny *t) {
    static const char *const control[N_CONTROL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    for (uint32_t i = 0; i < N_CONTROL; i++) {
        (void)snprintf(t->texts[i], TOKEN_BYTES_MAX, "%s", control[i]);
    }
    tiny_byte_texts(t);
    for (uint32_t i = 0; i < N_MERGES; i++) {
        char *out = t->texts[N_CONTROL + N_BYTES + i];
        for (const char *in = MERGES[i]; *in != '\0'; in++) {
            if (*in != ' ') {
                *out++ = *in;
            }
        }
        *out = '\0';
    }
}

static sl_status tiny_vocabulary(tiny *t) {
    sl_slice tokens[TINY_N_VOCAB], merges[N_MERGES];
    int32_t types[TINY_N_VOCAB];
    tiny_texts(t);
    for (uint32_t i = 0; i < TINY_N_VOCAB; i++) {
        tokens[i] = sl_slice_of(t->texts[i]);
        types[i] = i < N_CONTROL ? TYPE_CONTROL : TYPE_NORMAL;
    }
    for (uint32_t i = 0; i < N_MERGES; i++) {
        merges[i] = sl_slice_of(MERGES[i]);
    }
    sl_gguf_writer *w = t->w;
    SL_TRY(sl_gguf_writer_string(w, "tokenizer.ggml.model", sl_slice_of("gpt2"), t->err));
    SL_TRY(sl_gguf_writer_string(w, "tokenizer.ggml.pre", sl_slice_of("smollm"), t->err));
    SL_TRY(sl_gguf_writer_strings(w, "tokenizer.ggml.tokens", tokens, TINY_N_VOCAB, t->err));
    SL_TRY(sl_gguf_writer_array(w, "tokenizer.ggml.token_type", SL_GGUF_I32, types, TINY_N_VOCAB,
                                t->err));
    SL_TRY(sl_gguf_writer_strings(w, "tokenizer.ggml.merges", merges, N_MERGES, t->err));
    SL_TRY(sl_gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", 1, t->err));
    SL_TRY(sl_gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", TINY_EOS, t->err));
    SL_TRY(sl_gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", 0, t->err));
    SL_TRY(sl_gguf_writer_u32(w, "tokenizer.ggml.padding_token_id", TINY_EOS, t->err));
    SL_TRY(sl_gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", false, t->err));
    SL_TRY(sl_gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", false, t->err));
    return sl_gguf_writer_string(w, "tokenizer.chat_template", sl_slice_of(CHAT_TEMPLATE), t->err);
}

/* --- weights --- */

typedef struct tiny_tensor {
    const char *name; /* after blk.LAYER. where per_layer */
    bool per_layer;
    uint32_t n_in, n_out; /* n_out 0: a norm vector of n_in */
    float scale;          /* standard deviation of a norm's deviation from 1, or of an output */
} tiny_tensor;

static sl_status tiny_declare(tiny *t, const tiny_tensor *d, uint32_t layer) {
    char name[64];
    if (d->per_layer) {
        (void)snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", layer, d->name);
    } else {
        (void)snprintf(name, sizeof(name), "%s", d->name);
    }
    const uint64_t dims[2] = {d->n_in, d->n_out};
    return sl_gguf_writer_tensor(t->w, name, SL_TYPE_F32, d->n_out == 0 ? 1 : 2, dims, t->err);
}

static sl_status tiny_fill(tiny *t, const tiny_tensor *d, bool is_embedding, bool is_output) {
    const uint32_t n_rows = d->n_out == 0 ? 1 : d->n_out;
    float *row = sl_alloc_zero(d->n_in, sizeof(*row));
    if (row == NULL) {
        return SL_FAIL(t->err, SL_ERR_MEMORY, "no memory for a row of %" PRIu32 " weights",
                       d->n_in);
    }
    sl_status status = SL_OK;
    for (uint32_t i = 0; i < n_rows && status == SL_OK; i++) {
        const float scale = d->n_out == 0 ? d->scale
                                          : (is_output && i < N_CONTROL ? 0.0f : d->scale);
        for (uint32_t k = 0; k < d->n_in; k++) {
            row[k] = tiny_normal(t) * scale + (d->n_out == 0 ? 1.0f : 0.0f);
        }
        if (is_embedding && t->o.poison_id != 0 && i == t->o.poison_id) {
            row[0] = NAN;
        }
        status = sl_gguf_writer_data(t->w, row, d->n_in * sizeof(*row), t->err);
    }
    sl_free(row);
    return status;
}

/* Calls declare or fill for every tensor of the model, in one order. */
static sl_status tiny_weights(tiny *t, bool fill) {
    const uint32_t n = t->o.n_embd, n_kv = n / t->o.n_head * t->o.n_kv_head, n_ff = t->o.n_ff;
    const float by_n = 1.0f / sqrtf((float)n), by_ff = 1.0f / sqrtf((float)n_ff);
    const tiny_tensor list[] = {
        {"token_embd.weight", false, n, TINY_N_VOCAB, 1.0f},
        {"attn_norm.weight", true, n, 0, 0.1f},
        {"attn_q.weight", true, n, n, 2.0f * by_n}, /* sharp enough that attention chooses */
        {"attn_k.weight", true, n, n_kv, by_n},
        {"attn_v.weight", true, n, n_kv, by_n},
        {"attn_output.weight", true, n, n, by_n},
        {"ffn_norm.weight", true, n, 0, 0.1f},
        {"ffn_gate.weight", true, n, n_ff, by_n},
        {"ffn_up.weight", true, n, n_ff, by_n},
        {"ffn_down.weight", true, n_ff, n, 2.0f * by_ff},
        {"output_norm.weight", false, n, 0, 0.1f},
        {"output.weight", false, n, TINY_N_VOCAB, 2.0f * by_n}, /* logits of deviation 2 */
    };
    const uint32_t n_list = (uint32_t)(sizeof(list) / sizeof(list[0]));
    for (uint32_t i = 0; i < n_list; i++) {
        for (uint32_t layer = 0; layer < (list[i].per_layer ? t->o.n_layers : 1); layer++) {
            SL_TRY(fill ? tiny_fill(t, &list[i], i == 0, i == n_list - 1)
                        : tiny_declare(t, &list[i], layer));
        }
    }
    return SL_OK;
}

static sl_status tiny_hparams(tiny *t) {
    const tiny_model_options *o = &t->o;
    const struct {
        const char *key;
        uint32_t value;
    } list[] = {
        {"llama.block_count", o->n_layers},
        {"llama.context_length", o->n_ctx},
        {"llama.embedding_length", o->n_embd},
        {"llama.feed_forward_length", o->n_ff},
        {"llama.attention.head_count", o->n_head},
        {"llama.attention.head_count_kv", o->n_kv_head},
        {"llama.rope.dimension_count", o->n_embd / o->n_head},
        {"llama.vocab_size", TINY_N_VOCAB},
    };
    SL_TRY(sl_gguf_writer_string(t->w, "general.architecture", sl_slice_of("llama"), t->err));
    SL_TRY(sl_gguf_writer_string(t->w, "general.name", sl_slice_of("tiny"), t->err));
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        SL_TRY(sl_gguf_writer_u32(t->w, list[i].key, list[i].value, t->err));
    }
    SL_TRY(sl_gguf_writer_f32(t->w, "llama.rope.freq_base", 10000.0f, t->err));
    return sl_gguf_writer_f32(t->w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, t->err);
}

static uint32_t tiny_or(uint32_t value, uint32_t def) {
    return value != 0 ? value : def;
}

static sl_status tiny_write(sl_gguf_writer *w, const tiny_model_options *options, sl_error *err) {
    tiny *t = sl_alloc_zero(1, sizeof(*t));
    if (t == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for a tiny model");
    }
    t->w = w;
    t->err = err;
    t->rng = options->seed;
    t->o = (tiny_model_options){.n_layers = tiny_or(options->n_layers, 2),
                                .n_embd = tiny_or(options->n_embd, 64),
                                .n_head = tiny_or(options->n_head, 4),
                                .n_kv_head = tiny_or(options->n_kv_head, 2),
                                .n_ff = tiny_or(options->n_ff, 128),
                                .n_ctx = tiny_or(options->n_ctx, 2048),
                                .poison_id = options->poison_id};
    sl_status status;
    SL_TRY_GOTO(status, tiny_hparams(t), out);
    SL_TRY_GOTO(status, tiny_vocabulary(t), out);
    SL_TRY_GOTO(status, tiny_weights(t, false), out);
    SL_TRY_GOTO(status, tiny_weights(t, true), out);
    status = sl_gguf_writer_finish(w, err);
out:
    sl_free(t);
    return status;
}

sl_status tiny_model_write(const char *path, const tiny_model_options *options, sl_error *err) {
    sl_gguf_writer *w = NULL;
    SL_TRY(sl_gguf_writer_create(path, 32, &w, err));
    const sl_status status = tiny_write(w, options, err);
    sl_gguf_writer_free(w);
    return status;
}

sl_status tiny_model_write_buf(sl_buf *dest, const tiny_model_options *options, sl_error *err) {
    sl_gguf_writer *w = NULL;
    SL_TRY(sl_gguf_writer_create_buf(dest, 32, &w, err));
    const sl_status status = tiny_write(w, options, err);
    sl_gguf_writer_free(w);
    return status;
}
