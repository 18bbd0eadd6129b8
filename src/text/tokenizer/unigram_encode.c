/* Unigram (Kudo, 2018), the encoding half: text is normalised by the character map, its white space
 * is marked by U+2581, and of all ways to write a word in tokens the one with the largest sum of
 * scores is taken (Viterbi). Ties go to the way whose last token is longest. Where no token of the
 * vocabulary reaches over the beginning of a word, words are taken one by one, which gives the same
 * ids in little memory. Time is linear in the text, the longest token being bounded. Any thread;
 * scratch memory is the caller's. */
#include <math.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer/tokenizer_internal.h"

/* The best way to write the first so many bytes of the word. */
typedef struct unigram_state {
    double score;
    uint32_t from; /* where its last token begins; then, on the way out, where the next one ends */
    uint32_t id;   /* its last token; SL_NO_SYMBOL: the character is unknown */
} unigram_state;

typedef struct unigram_run {
    const sl_tokenizer *t;
    sl_encode_scratch *s;
    sl_ids *ids;
    sl_buf word;     /* normalised text that is not yet tokenised */
    bool in_word;    /* the character before was no space */
    bool is_begun;   /* the space in front of the text is written */
    bool is_unknown; /* the last token was the unknown one: a run of unknown text is one token */
} unigram_run;

static void unigram_step(unigram_state *states, uint32_t at, uint32_t to, uint32_t id,
                         double score) {
    double sum = states[at].score + score;
    if (sum > states[to].score) {
        states[to] = (unigram_state){sum, at, id};
    }
}

/* All ways on from each character of the word. */
static void unigram_search(const unigram_run *r, unigram_state *states) {
    const sl_tokenizer *t = r->t;
    const char *text = r->word.data;
    uint32_t len = (uint32_t)r->word.len;
    states[0] = (unigram_state){0, 0, SL_NO_SYMBOL};
    for (uint32_t i = 1; i <= len; i++) {
        states[i].score = -INFINITY;
    }
    for (uint32_t at = 0; at < len;) {
        uint32_t code, node = 0, end = at;
        size_t n = sl_utf8_decode(text + at, len - at, &code);
        uint32_t next = at + (n == 0 ? 1 : (uint32_t)n);
        bool has_whole = false; /* the character alone is a token */
        while (end < len &&
               (node = sl_trie_child(&t->trie, node, (uint8_t)text[end], &r->s->work)) != 0) {
            end++;
            uint32_t id_plus_1 = t->trie.nodes[node].id_plus_1;
            if (id_plus_1 != 0) {
                has_whole = has_whole || end == next;
                unigram_step(states, at, end, id_plus_1 - 1, (double)t->scores[id_plus_1 - 1]);
            }
        }
        if (!has_whole) {
            unigram_step(states, at, next, SL_NO_SYMBOL, t->unknown_score);
        }
        at = next;
    }
}

/* One step of the best way: word[from..to). Unknown text is its byte tokens if there are such, or
 * the unknown token, once for a run. */
static sl_status unigram_push(unigram_run *r, uint32_t id, uint32_t from, uint32_t to) {
    bool again = r->is_unknown;
    r->is_unknown = id == SL_NO_SYMBOL;
    if (!r->is_unknown) {
        return sl_ids_push(r->ids, (int32_t)id);
    }
    if (again && r->t->byte_missing) {
        return SL_OK;
    }
    return sl_encode_byte_tokens(r->t, r->word.data + from, to - from, r->ids);
}

/* Tokenises what the word holds and empties it. */
static sl_status unigram_flush(unigram_run *r) {
    uint32_t len = (uint32_t)r->word.len;
    if (len == 0) {
        return SL_OK;
    }
    if (!sl_encode_scratch_room(&r->s->nodes, &r->s->nodes_bytes, (size_t)len + 1,
                                sizeof(unigram_state))) {
        return SL_ERR_MEMORY;
    }
    unigram_state *states = r->s->nodes;
    unigram_search(r, states);
    r->s->work += len;
    uint32_t next = 0;
    for (uint32_t at = len; at > 0;) { /* the way back is turned round */
        uint32_t from = states[at].from;
        states[at].from = next;
        next = at;
        at = from;
    }
    sl_status status = SL_OK;
    uint32_t from = 0;
    for (uint32_t at = next; at != 0 && status == SL_OK; at = states[at].from) {
        status = unigram_push(r, states[at].id, from, at);
        from = at;
    }
    r->word.len = 0;
    return status;
}

static bool unigram_ends_in_mark(const sl_buf *word) {
    return word->len >= 3 && memcmp(word->data + word->len - 3, SL_SPACE_MARK, 3) == 0;
}

/* A space of the normalised text: words end before it. */
static sl_status unigram_add_space(unigram_run *r) {
    if (r->t->split_at_space && r->word.len > 0 && !unigram_ends_in_mark(&r->word)) {
        SL_TRY(unigram_flush(r));
    }
    return sl_buf_append(&r->word, SL_SPACE_MARK, 3);
}

/* Adds normalised text: spaces become marks, one for a run of them if the file says so, and one
 * goes in front of the text. */
static sl_status unigram_add(unigram_run *r, const char *text, size_t len) {
    const sl_tokenizer *t = r->t;
    for (size_t i = 0; i < len; i++) {
        bool space = text[i] == ' ';
        if (space && t->joins_spaces) {
            r->in_word = false; /* written when another word comes */
            continue;
        }
        bool first = !r->is_begun && t->add_space_prefix;
        bool between = r->is_begun && !r->in_word && t->joins_spaces;
        if (first || between) {
            SL_TRY(unigram_add_space(r));
        }
        r->is_begun = true;
        r->in_word = !space;
        SL_TRY(space ? unigram_add_space(r) : sl_buf_append_char(&r->word, text[i]));
    }
    return SL_OK;
}

static sl_status unigram_normalize(unigram_run *r, sl_slice text) {
    for (size_t i = 0; i < text.len;) {
        sl_slice value = {text.ptr + i, 0};
        size_t n = sl_charsmap_find(&r->t->charsmap, text.ptr + i, text.len - i, &value,
                                    &r->s->work);
        if (n == 0) {
            uint32_t code;
            n = sl_utf8_decode(text.ptr + i, text.len - i, &code);
            value.len = n;
            if (n == 0) {
                value = sl_slice_of("\xEF\xBF\xBD"); /* U+FFFD for a byte that is no character */
                n = 1;
            }
        }
        SL_TRY(unigram_add(r, value.ptr, value.len));
        r->s->work += 1 + value.len;
        i += n;
    }
    return unigram_flush(r);
}

sl_status sl_unigram_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text,
                            sl_ids *ids) {
    unigram_run run = {.t = t, .s = s, .ids = ids};
    sl_buf_init(&run.word, SL_WORD_BYTES_MAX);
    sl_status status = unigram_normalize(&run, text);
    sl_buf_deinit(&run.word);
    return status;
}
