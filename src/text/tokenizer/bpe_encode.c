/* Byte-level BPE, the encoding half: text is classified and cut into words, each word's bytes are
 * merged by rank, leftmost first (Sennrich et al., 2016, as GPT-2 applies it to bytes). Short words
 * are merged by looking for the best pair each time; long ones by a queue, so that any text takes
 * O(n log n). Any thread; scratch memory is the caller's. */
#include "base/utf8.h"
#include "text/tokenizer/merge_heap.h"
#include "text/tokenizer/tokenizer_internal.h"

#define BPE_SHORT 24 /* bytes of a word that is merged by search */

typedef struct bpe_node {
    uint32_t symbol, prev, next; /* UINT32_MAX: none */
    uint32_t rank, result;       /* of the pair with the next node; rank UINT32_MAX: no rule */
} bpe_node;

/* A symbol that is no token, or one that plain text must not become: its bytes, as far as they have
 * tokens. */
static sl_status bpe_emit_bytes(const sl_tokenizer *t, uint32_t symbol, sl_ids *ids) {
    const sl_token *token = &t->tokens[symbol];
    for (uint32_t i = 0; i < token->len;) {
        uint32_t code;
        size_t len = sl_utf8_decode(token->text + i, token->len - i, &code);
        int byte = len == 0 ? -1 : sl_byte_level_byte(code);
        uint32_t id = byte < 0 ? SL_NO_SYMBOL : t->byte_symbol[byte];
        if (id < t->n_vocab && sl_token_is_plain(&t->tokens[id])) {
            sl_status status = sl_ids_push(ids, (int32_t)id);
            if (status != SL_OK) {
                return status;
            }
        }
        i += len == 0 ? 1 : (uint32_t)len;
    }
    return SL_OK;
}

static inline sl_status bpe_emit(const sl_tokenizer *t, uint32_t symbol, sl_ids *ids) {
    if (symbol < t->n_vocab && sl_token_is_plain(&t->tokens[symbol])) {
        return sl_ids_push(ids, (int32_t)symbol);
    }
    return bpe_emit_bytes(t, symbol, ids);
}

static sl_status bpe_merge_short(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice word,
                                 sl_ids *ids) {
    uint32_t symbols[BPE_SHORT], ranks[BPE_SHORT], results[BPE_SHORT];
    size_t n = word.len;
    uint64_t work = n;
    for (size_t i = 0; i < n; i++) {
        symbols[i] = t->byte_symbol[(unsigned char)word.ptr[i]];
    }
    for (size_t i = 0; i + 1 < n; i++) {
        const sl_merge *m = sl_merge_map_find(&t->merges, symbols[i], symbols[i + 1], &work);
        ranks[i] = m == NULL ? UINT32_MAX : m->rank;
        results[i] = m == NULL ? 0 : m->result;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = ranks[i] < ranks[best] ? i : best;
        }
        work += n;
        if (ranks[best] == UINT32_MAX) {
            break;
        }
        symbols[best] = results[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            symbols[i] = symbols[i + 1];
            ranks[i - 1] = ranks[i];
            results[i - 1] = results[i];
        }
        /* The pairs on both sides of the new symbol; the loop has moved the others. */
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const sl_merge *m = sl_merge_map_find(&t->merges, symbols[i], symbols[i + 1], &work);
            ranks[i] = m == NULL ? UINT32_MAX : m->rank;
            results[i] = m == NULL ? 0 : m->result;
        }
    }
    s->work += work;
    sl_status status = SL_OK;
    for (size_t i = 0; i < n && status == SL_OK; i++) {
        status = bpe_emit(t, symbols[i], ids);
    }
    return status;
}

/* Looks up the pair that begins at node i and queues it. */
static void bpe_queue_pair(const sl_tokenizer *t, bpe_node *nodes, uint32_t i,
                           sl_merge_heap *heap) {
    bpe_node *node = &nodes[i];
    node->rank = UINT32_MAX;
    if (node->next == UINT32_MAX) {
        return;
    }
    const sl_merge *m = sl_merge_map_find(&t->merges, node->symbol, nodes[node->next].symbol,
                                          &heap->work);
    if (m != NULL) {
        node->rank = m->rank;
        node->result = m->result;
        sl_merge_heap_push(heap, m->rank, i);
    }
}

static void bpe_merge_all(const sl_tokenizer *t, bpe_node *nodes, sl_merge_heap *heap) {
    while (heap->n > 0) {
        uint64_t key = sl_merge_heap_pop(heap);
        uint32_t i = (uint32_t)key;
        bpe_node *node = &nodes[i];
        if (node->rank != (uint32_t)(key >> 32)) {
            continue; /* this pair has changed since it was queued */
        }
        bpe_node *gone = &nodes[node->next];
        node->symbol = node->result;
        node->next = gone->next;
        gone->rank = UINT32_MAX;
        if (gone->next != UINT32_MAX) {
            nodes[gone->next].prev = i;
        }
        bpe_queue_pair(t, nodes, i, heap);
        if (node->prev != UINT32_MAX) {
            bpe_queue_pair(t, nodes, node->prev, heap);
        }
    }
}

/* Merges nodes[0..n), whose symbols are set, until no rule fits. */
static void bpe_merge_nodes(const sl_tokenizer *t, sl_encode_scratch *s, uint32_t n) {
    bpe_node *nodes = s->nodes;
    sl_merge_heap heap = {.keys = s->heap};
    for (uint32_t i = 0; i < n; i++) {
        nodes[i].prev = i == 0 ? UINT32_MAX : i - 1;
        nodes[i].next = i + 1 < n ? i + 1 : UINT32_MAX;
    }
    for (uint32_t i = 0; i < n; i++) {
        bpe_queue_pair(t, nodes, i, &heap);
    }
    bpe_merge_all(t, nodes, &heap);
    s->work += heap.work + n;
}

static bool bpe_room(sl_encode_scratch *s, size_t n) {
    return sl_encode_scratch_room(&s->nodes, &s->nodes_bytes, n, sizeof(bpe_node)) &&
           sl_encode_scratch_room(&s->heap, &s->heap_bytes, n, 2 * sizeof(uint64_t));
}

static sl_status bpe_merge_long(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice word,
                                sl_ids *ids) {
    if (!bpe_room(s, word.len)) {
        return SL_ERR_MEMORY;
    }
    bpe_node *nodes = s->nodes;
    for (size_t i = 0; i < word.len; i++) {
        nodes[i].symbol = t->byte_symbol[(unsigned char)word.ptr[i]];
    }
    bpe_merge_nodes(t, s, (uint32_t)word.len);
    sl_status status = SL_OK;
    for (uint32_t i = 0; i != UINT32_MAX && status == SL_OK; i = nodes[i].next) {
        status = bpe_emit(t, nodes[i].symbol, ids);
    }
    return status;
}

/* A word of a raw vocabulary, merged from its characters. What is no token in the end is written in
 * byte tokens. */
static sl_status bpe_merge_raw(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice word,
                               sl_ids *ids) {
    if (!bpe_room(s, word.len)) {
        return SL_ERR_MEMORY;
    }
    bpe_node *nodes = s->nodes;
    uint32_t n = 0;
    for (size_t i = 0; i < word.len; n++) {
        uint32_t code;
        size_t len = sl_utf8_decode(word.ptr + i, word.len - i, &code);
        len = len == 0 ? 1 : len;
        nodes[n].symbol = sl_token_map_find(&t->by_text, t->tokens, word.ptr + i, len, &s->work);
        i += len;
    }
    bpe_merge_nodes(t, s, n);
    sl_status status = SL_OK;
    size_t from = 0;
    for (uint32_t i = 0; i != UINT32_MAX && status == SL_OK; i = nodes[i].next) {
        uint32_t symbol = nodes[i].symbol, code;
        size_t len = symbol != SL_NO_SYMBOL
                         ? t->tokens[symbol].len
                         : sl_utf8_decode(word.ptr + from, word.len - from, &code);
        len = len == 0 ? 1 : len;
        status = symbol < t->n_vocab && sl_token_is_plain(&t->tokens[symbol])
                     ? sl_ids_push(ids, (int32_t)symbol)
                     : sl_encode_byte_tokens(t, word.ptr + from, len, ids);
        from += len;
    }
    return status;
}

/* The token that is the whole word, SL_NO_SYMBOL if none. */
static uint32_t bpe_find_word(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice word) {
    if (word.len > SL_TOKEN_BYTES_MAX ||
        !sl_encode_scratch_room(&s->heap, &s->heap_bytes, word.len, 2)) {
        return SL_NO_SYMBOL;
    }
    char *text = s->heap;
    size_t len = 0;
    for (size_t i = 0; i < word.len; i++) {
        uint32_t code = sl_byte_level_code((uint8_t)word.ptr[i]);
        if (code >= 0x80) {
            text[len++] = (char)(0xC0 | code >> 6);
            code = 0x80 | (code & 0x3F);
        }
        text[len++] = (char)code;
    }
    s->work += word.len;
    uint32_t id = sl_token_map_find(&t->by_text, t->tokens, text, len, &s->work);
    return id < t->n_vocab && sl_token_is_plain(&t->tokens[id]) ? id : SL_NO_SYMBOL;
}

/* A run of line breaks that is a token stays whole, whatever the merges say. */
static sl_status bpe_encode_raw_word(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice word,
                                     sl_ids *ids) {
    if (word.ptr[0] == '\n' && word.len <= SL_TOKEN_BYTES_MAX) {
        uint32_t id = sl_token_map_find(&t->by_text, t->tokens, word.ptr, word.len, &s->work);
        if (id < t->n_vocab && sl_token_is_plain(&t->tokens[id])) {
            return sl_ids_push(ids, (int32_t)id);
        }
    }
    return bpe_merge_raw(t, s, word, ids);
}

/* Invalid bytes that have no token of their own are read as U+FFFD. */
static sl_status bpe_replace_invalid(const sl_tokenizer *t, sl_encode_scratch *s, const sl_char *ch,
                                     size_t n, sl_slice *word) {
    if (!sl_encode_scratch_room(&s->bytes, &s->bytes_bytes, word->len, 3)) {
        return SL_ERR_MEMORY;
    }
    char *out = s->bytes;
    size_t len = 0, from = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t n_bytes = sl_char_bytes(ch[i]);
        bool replace = (ch[i] & SL_CHAR_INVALID) != 0 &&
                       t->byte_symbol[(unsigned char)word->ptr[from]] >= t->n_vocab;
        memcpy(out + len, replace ? "\xEF\xBF\xBD" : word->ptr + from, replace ? 3 : n_bytes);
        len += replace ? 3 : n_bytes;
        from += n_bytes;
    }
    *word = (sl_slice){out, len};
    return SL_OK;
}

static sl_status bpe_encode_word(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice word,
                                 sl_ids *ids) {
    if (t->pre->is_raw) {
        return bpe_encode_raw_word(t, s, word, ids);
    }
    if (t->pre->ignore_merges) {
        uint32_t id = bpe_find_word(t, s, word);
        if (id != SL_NO_SYMBOL) {
            return sl_ids_push(ids, (int32_t)id);
        }
    }
    return word.len <= BPE_SHORT ? bpe_merge_short(t, s, word, ids)
                                 : bpe_merge_long(t, s, word, ids);
}

sl_status sl_bpe_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text, sl_ids *ids) {
    if (t->pre->is_raw && !sl_encode_mark_spaces(s, text, false, &text)) {
        return SL_ERR_MEMORY;
    }
    if (!sl_encode_scratch_room(&s->chars, &s->chars_bytes, text.len, sizeof(sl_char))) {
        return SL_ERR_MEMORY;
    }
    sl_char *ch = s->chars;
    size_t n = sl_pretokenizer_classify(text, ch);
    s->work += sl_pretokenizer_cut(t->pre, ch, n);
    size_t from = 0; /* byte offset of the word */
    for (size_t begin = 0; begin < n;) {
        size_t len = 0, end = begin;
        uint32_t marks = 0;
        do {
            len += sl_char_bytes(ch[end]);
            marks |= ch[end];
            end++;
        } while (end < n && (ch[end] & SL_CHAR_CUT) == 0);
        sl_slice word = {text.ptr + from, len};
        sl_status status = SL_OK;
        if ((marks & SL_CHAR_INVALID) != 0 && t->byte_missing && t->can_replace) {
            status = bpe_replace_invalid(t, s, ch + begin, end - begin, &word);
        }
        status = status == SL_OK ? bpe_encode_word(t, s, word, ids) : status;
        if (status != SL_OK) {
            return status;
        }
        from += len;
        begin = end;
    }
    return SL_OK;
}
