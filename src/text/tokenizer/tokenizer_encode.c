/* Text to ids: finds special texts, hands what lies between them to the vocabulary's family, and
 * adds what the file wants around a sequence. Bytes enter, ids leave; any thread, no shared state
 * but the counter of work, which is the thread's own. */
#include "base/alloc.h"
#include "base/error.h"
#include "text/tokenizer/tokenizer_internal.h"

static _Thread_local uint64_t tokenizer_work;

uint64_t sl_tokenizer_work(void) {
    return tokenizer_work;
}

void sl_ids_init(sl_ids *l, size_t max) {
    *l = (sl_ids){.max = max};
}

void sl_ids_deinit(sl_ids *l) {
    sl_free(l->ids);
    l->ids = NULL;
    l->n = l->cap = 0;
}

sl_status sl_ids_push(sl_ids *l, int32_t id) {
    if (l->n >= l->max) {
        return SL_ERR_LIMIT;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap < 64 ? 64 : l->cap * 2;
        cap = cap > l->max ? l->max : cap;
        int32_t *ids = sl_realloc_array(l->ids, cap, sizeof(*ids));
        if (ids == NULL) {
            return SL_ERR_MEMORY;
        }
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return SL_OK;
}

bool sl_encode_scratch_room(void **p, size_t *have_bytes, size_t n, size_t size) {
    size_t need;
    if (!sl_mul_size(n, size, &need)) {
        return false;
    }
    if (need <= *have_bytes && *p != NULL) {
        return true;
    }
    need = need < 4096 ? 4096 : need;
    sl_free(*p); /* contents need not be kept */
    *p = sl_alloc(need);
    *have_bytes = *p == NULL ? 0 : need;
    return *p != NULL;
}

static void encode_scratch_free(sl_encode_scratch *s) {
    sl_free(s->nodes);
    sl_free(s->heap);
    sl_free(s->chars);
    sl_free(s->bytes);
    tokenizer_work += s->work;
}

/* Bytes of the text that some token will stand for: in byte-level BPE those without a token
 * vanish. */
static size_t encode_n_kept(const sl_tokenizer *t, sl_slice text) {
    if (t->family != SL_TOKENIZER_BPE || !t->byte_missing) {
        return text.len;
    }
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        n += t->byte_symbol[(uint8_t)text.ptr[i]] != SL_NO_SYMBOL;
    }
    return n;
}

sl_status sl_encode_check_room(const sl_tokenizer *t, size_t n_bytes, const sl_ids *ids) {
    if (t->token_bytes_max == 0) {
        return SL_OK;
    }
    return n_bytes / t->token_bytes_max > ids->max - ids->n ? SL_ERR_LIMIT : SL_OK;
}

static bool encode_is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

typedef struct encode_job {
    const sl_tokenizer *t;
    sl_encode_scratch scratch;
    sl_ids *ids;
    bool after_special; /* at the beginning and after a special token SentencePiece puts a space */
} encode_job;

static sl_status encode_plain(encode_job *job, sl_slice text) {
    const sl_tokenizer *t = job->t;
    if (text.len == 0) {
        return SL_OK;
    }
    bool prefix = t->add_space_prefix && job->after_special;
    job->after_special = false;
    switch (t->family) {
    case SL_TOKENIZER_SPM:
        return sl_spm_encode(t, &job->scratch, text, prefix, job->ids);
    case SL_TOKENIZER_UNIGRAM:
        return sl_unigram_encode(t, &job->scratch, text, job->ids);
    case SL_TOKENIZER_WORDPIECE:
        return sl_wordpiece_encode(t, &job->scratch, text, job->ids);
    default:
        return sl_bpe_encode(t, &job->scratch, text, job->ids);
    }
}

/* The plain text before hit i (behind the last one for i = n), less what special tokens swallow. */
static sl_slice encode_piece(const sl_tokenizer *t, sl_slice text, const sl_special_hit *hits,
                             size_t n, size_t i) {
    size_t begin = i > 0 ? (size_t)hits[i - 1].start + hits[i - 1].len : 0;
    size_t end = i < n ? hits[i].start : text.len;
    bool strips_begin = i > 0 && (t->tokens[hits[i - 1].id].strip & SL_TOKEN_RSTRIP) != 0;
    bool strips_end = i < n && (t->tokens[hits[i].id].strip & SL_TOKEN_LSTRIP) != 0;
    while (strips_begin && begin < end && encode_is_space(text.ptr[begin])) {
        begin++;
    }
    while (strips_end && end > begin && encode_is_space(text.ptr[end - 1])) {
        end--;
    }
    return (sl_slice){text.ptr + begin, end - begin};
}

/* Before anything is tokenised. Only where tokens swallow text do the hits have to be known. */
static sl_status encode_check_pieces(const encode_job *job, sl_slice text,
                                     const sl_special_hit *hits, size_t n) {
    size_t n_kept = 0;
    for (size_t i = 0; i <= n; i++) {
        n_kept += encode_n_kept(job->t, encode_piece(job->t, text, hits, n, i));
    }
    return sl_encode_check_room(job->t, n_kept, job->ids);
}

static sl_status encode_with_hits(encode_job *job, sl_slice text, const sl_special_hit *hits,
                                  size_t n) {
    for (size_t i = 0; i <= n; i++) {
        SL_TRY(encode_plain(job, encode_piece(job->t, text, hits, n, i)));
        if (i < n) {
            SL_TRY(sl_ids_push(job->ids, hits[i].id));
            job->after_special = true;
        }
    }
    return SL_OK;
}

static sl_status encode_message(sl_status status, const sl_ids *ids, size_t n_bytes,
                                sl_error *err) {
    if (status == SL_ERR_LIMIT) {
        return SL_FAIL(err, status, "a text of %zu bytes gives more than the %zu tokens allowed",
                       n_bytes, ids->max);
    }
    return SL_FAIL(err, status, "no memory to tokenise a text of %zu bytes", n_bytes);
}

static sl_status encode_text(const sl_tokenizer *t, sl_slice text, bool parse_special,
                             const sl_spans *closed, sl_ids *ids, sl_error *err) {
    if (text.len > SL_TEXT_BYTES_MAX) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "a text of %zu bytes is longer than the %u that can be tokenised", text.len,
                       (unsigned)SL_TEXT_BYTES_MAX);
    }
    size_t n_before = ids->n;
    encode_job job = {.t = t, .ids = ids, .after_special = true};
    sl_special_hit *hits = NULL;
    size_t n_hits = 0;
    sl_status status = t->strips ? SL_OK : sl_encode_check_room(t, encode_n_kept(t, text), ids);
    if (status == SL_OK) {
        status = sl_special_find(&t->special, text, parse_special, closed, &hits, &n_hits,
                                 &job.scratch.work);
    }
    if (status == SL_OK && t->strips) {
        status = encode_check_pieces(&job, text, hits, n_hits);
    }
    if (status == SL_OK) {
        status = encode_with_hits(&job, text, hits, n_hits);
    }
    sl_free(hits);
    encode_scratch_free(&job.scratch);
    if (status != SL_OK) {
        ids->n = n_before;
        return encode_message(status, ids, text.len, err);
    }
    return SL_OK;
}

sl_status sl_tokenizer_encode(const sl_tokenizer *t, sl_slice text, bool parse_special, sl_ids *ids,
                              sl_error *err) {
    return encode_text(t, text, parse_special, NULL, ids, err);
}

sl_status sl_tokenizer_encode_spans(const sl_tokenizer *t, sl_slice text, const sl_spans *closed,
                                    sl_ids *ids, sl_error *err) {
    return encode_text(t, text, true, closed, ids, err);
}

static sl_status encode_push(sl_ids *ids, bool wanted, int32_t id) {
    return wanted && id >= 0 ? sl_ids_push(ids, id) : SL_OK;
}

sl_status sl_tokenizer_encode_full(const sl_tokenizer *t, sl_slice text, bool add_special,
                                   bool parse_special, sl_ids *ids, sl_error *err) {
    size_t n_before = ids->n;
    sl_status status = encode_push(ids, add_special && t->adds_bos, t->bos);
    if (status == SL_OK) {
        status = sl_tokenizer_encode(t, text, parse_special, ids, err);
        if (status != SL_OK) {
            ids->n = n_before;
            return status; /* the message is written */
        }
        status = encode_push(ids, add_special && t->adds_eos, t->eos);
    }
    if (status == SL_OK) {
        status = encode_push(ids, add_special && t->adds_sep, t->sep);
    }
    if (status != SL_OK) {
        ids->n = n_before;
        return encode_message(status, ids, text.len, err);
    }
    return SL_OK;
}
