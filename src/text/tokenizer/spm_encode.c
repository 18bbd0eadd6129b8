/* SentencePiece-style BPE, the encoding half (Kudo and Richardson, 2018): spaces become U+2581,
 * neighbours whose joined text is a token are merged, best score first and leftmost among equals;
 * what is no token in the end is written in byte tokens. Merging uses a queue, O(n log n). Where no
 * token of the vocabulary reaches over the beginning of a word, words are merged one by one, which
 * gives the same ids with a small queue. Any thread; scratch memory is the caller's. */
#include "base/utf8.h"
#include "text/tokenizer/merge_heap.h"
#include "text/tokenizer/tokenizer_internal.h"

typedef struct spm_node {
    uint32_t start, len; /* bytes of the word */
    uint32_t prev, next; /* UINT32_MAX: none */
    uint32_t id;         /* SL_NO_SYMBOL: the text is no token */
    uint32_t pair_id;    /* of the text joined with the next node's; SL_NO_SYMBOL: no token */
    uint32_t pair_key;   /* its score */
} spm_node;

typedef struct spm_merger {
    const sl_tokenizer *t;
    const char *text;
    spm_node *nodes;
    sl_merge_heap heap;
} spm_merger;

static uint32_t spm_find(const sl_tokenizer *t, const char *text, size_t len, uint64_t *work) {
    if (len > SL_TOKEN_BYTES_MAX || (t->token_bytes_max != 0 && len > t->token_bytes_max)) {
        return SL_NO_SYMBOL;
    }
    *work += 1 + len / 16;
    uint32_t id = sl_token_map_find(&t->by_text, t->tokens, text, len, work);
    return id != UINT32_MAX && sl_token_is_plain(&t->tokens[id]) ? id : SL_NO_SYMBOL;
}

static void spm_queue_pair(spm_merger *m, uint32_t i) {
    spm_node *node = &m->nodes[i];
    node->pair_id = SL_NO_SYMBOL;
    if (node->next == UINT32_MAX) {
        return;
    }
    size_t len = (size_t)node->len + m->nodes[node->next].len;
    node->pair_id = spm_find(m->t, m->text + node->start, len, &m->heap.work);
    if (node->pair_id != SL_NO_SYMBOL) {
        node->pair_key = m->t->score_keys[node->pair_id];
        sl_merge_heap_push(&m->heap, node->pair_key, i);
    }
}

static void spm_merge_all(spm_merger *m) {
    while (m->heap.n > 0) {
        uint64_t key = sl_merge_heap_pop(&m->heap);
        uint32_t i = (uint32_t)key;
        spm_node *node = &m->nodes[i];
        if (node->pair_id == SL_NO_SYMBOL || node->pair_key != (uint32_t)(key >> 32)) {
            continue; /* this pair has changed since it was queued */
        }
        spm_node *gone = &m->nodes[node->next];
        node->len += gone->len;
        node->id = node->pair_id;
        node->next = gone->next;
        gone->pair_id = SL_NO_SYMBOL;
        if (gone->next != UINT32_MAX) {
            m->nodes[gone->next].prev = i;
        }
        spm_queue_pair(m, i);
        if (node->prev != UINT32_MAX) {
            spm_queue_pair(m, node->prev);
        }
    }
}

static sl_status spm_encode_word(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice word,
                                 sl_ids *ids) {
    if (!sl_encode_scratch_room(&s->nodes, &s->nodes_bytes, word.len, sizeof(spm_node)) ||
        !sl_encode_scratch_room(&s->heap, &s->heap_bytes, word.len, 2 * sizeof(uint64_t))) {
        return SL_ERR_MEMORY;
    }
    spm_merger m = {.t = t, .text = word.ptr, .nodes = s->nodes, .heap = {.keys = s->heap}};
    uint32_t n = 0;
    for (uint32_t i = 0; i < word.len; n++) {
        uint32_t code;
        size_t len = sl_utf8_decode(word.ptr + i, word.len - i, &code);
        len = len == 0 ? 1 : len;
        m.nodes[n] = (spm_node){.start = i,
                                .len = (uint32_t)len,
                                .prev = n - 1,
                                .next = n + 1,
                                .id = spm_find(t, word.ptr + i, len, &m.heap.work)};
        i += (uint32_t)len;
    }
    m.nodes[0].prev = m.nodes[n - 1].next = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        spm_queue_pair(&m, i);
    }
    spm_merge_all(&m);
    s->work += m.heap.work + n;
    sl_status status = SL_OK;
    for (uint32_t i = 0; i != UINT32_MAX && status == SL_OK; i = m.nodes[i].next) {
        const spm_node *node = &m.nodes[i];
        status = node->id != SL_NO_SYMBOL
                     ? sl_ids_push(ids, (int32_t)node->id)
                     : sl_encode_byte_tokens(t, word.ptr + node->start, node->len, ids);
    }
    return status;
}

static bool spm_is_mark(sl_slice text, size_t i) {
    return i + 3 <= text.len && memcmp(text.ptr + i, SL_SPACE_MARK, 3) == 0;
}

/* End of the word at `begin`: where a mark follows another character. */
static size_t spm_word_end(const sl_tokenizer *t, sl_slice text, size_t begin) {
    if (!t->split_at_space) {
        return text.len;
    }
    size_t i = begin;
    while (spm_is_mark(text, i)) {
        i += 3;
    }
    while (i < text.len && !spm_is_mark(text, i)) {
        i++;
    }
    return i;
}

sl_status sl_spm_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text, bool add_prefix,
                        sl_ids *ids) {
    sl_status status = sl_encode_check_room(t, text.len, ids);
    if (status != SL_OK) {
        return status;
    }
    sl_slice marked;
    if (!sl_encode_mark_spaces(s, text, add_prefix, &marked)) {
        return SL_ERR_MEMORY;
    }
    for (size_t begin = 0; begin < marked.len;) {
        size_t end = spm_word_end(t, marked, begin);
        sl_slice word = {marked.ptr + begin, end - begin};
        status = sl_encode_check_room(t, word.len / 3, ids);
        status = status == SL_OK ? spm_encode_word(t, s, word, ids) : status;
        if (status != SL_OK) {
            return status;
        }
        begin = end;
    }
    return SL_OK;
}
