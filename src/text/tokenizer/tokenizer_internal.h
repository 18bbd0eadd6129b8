/* What an open tokenizer is made of; private to this folder. Everything here is written while
 * opening and read-only afterwards. */
#ifndef SL_TEXT_TOKENIZER_INTERNAL_H
#define SL_TEXT_TOKENIZER_INTERNAL_H

#include "base/arena.h"
#include "base/buf.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/pretokenizer.h"
#include "text/tokenizer/special_match.h"
#include "text/tokenizer/token_hash.h"
#include "text/tokenizer/token_trie.h"
#include "text/tokenizer/tokenizer.h"

#define SL_TOKENS_MAX (1u << 24)            /* entries of a vocabulary */
#define SL_MERGES_MAX (1u << 25)            /* merge rules */
#define SL_TOKEN_BYTES_MAX 65535u           /* bytes of one token's text */
#define SL_SPECIAL_BYTES_MAX (2u << 20)     /* bytes of all special tokens' texts together */
#define SL_TEXT_BYTES_MAX (UINT32_MAX / 8u) /* bytes of one text to encode: positions are 32 bit */
#define SL_WORD_BYTES_MAX (UINT32_MAX / 2u) /* Unigram: bytes of one normalised word */
#define SL_TRIE_BYTES_MAX 1024u             /* Unigram, WordPiece: bytes of one token's text */

#define SL_SPACE_MARK "\xE2\x96\x81" /* U+2581 stands for a space in most vocabularies */

/* As tokenizer.ggml.token_type counts them. */
typedef enum sl_token_type {
    SL_TOKEN_UNDEFINED = 0,
    SL_TOKEN_NORMAL = 1,
    SL_TOKEN_UNKNOWN = 2,
    SL_TOKEN_CONTROL = 3,
    SL_TOKEN_USER = 4,
    SL_TOKEN_UNUSED = 5,
    SL_TOKEN_BYTE = 6
} sl_token_type;

/* White space beside a special token is swallowed. */
enum { SL_TOKEN_LSTRIP = 1, SL_TOKEN_RSTRIP = 2 };

typedef enum sl_tokenizer_family {
    SL_TOKENIZER_BPE,
    SL_TOKENIZER_SPM,
    SL_TOKENIZER_UNIGRAM,
    SL_TOKENIZER_WORDPIECE
} sl_tokenizer_family;

struct sl_tokenizer {
    sl_tokenizer_family family;
    char kind[48]; /* "bpe/smollm", "spm", "unigram", "wordpiece" */
    uint32_t n_vocab;
    uint32_t n_symbols;         /* n_vocab + texts that only occur inside merge rules */
    sl_token *tokens;           /* [n_symbols] */
    sl_token_map by_text;       /* all of them; the empty text is in no map */
    sl_merge_map merges;        /* BPE */
    uint32_t *score_keys;       /* SPM: [n_vocab], smaller is merged earlier */
    float *scores;              /* Unigram: [n_vocab], logarithms of probabilities */
    double unknown_score;       /* Unigram: of one unknown character */
    sl_charsmap charsmap;       /* Unigram */
    sl_trie trie;               /* Unigram, WordPiece: the tokens that text can become */
    const sl_pretokenizer *pre; /* BPE */
    uint32_t byte_symbol[256];  /* what stands for one byte; SL_NO_SYMBOL if nothing does */
    bool byte_missing;          /* some byte has no token */
    bool can_replace; /* BPE: the bytes of U+FFFD have tokens, for invalid bytes that have none */
    bool add_space_prefix;       /* SPM, Unigram */
    bool split_at_space;         /* SPM, Unigram: no token has U+2581 after another character */
    bool joins_spaces;           /* Unigram: a run of spaces is one, at the ends none */
    bool lowers, strips_accents; /* WordPiece */
    bool strips;                 /* some special token swallows white space beside it */
    uint32_t token_bytes_max;    /* no token stands for more bytes; 0: bytes may vanish */
    sl_special_matcher special;
    int32_t bos, eos, unk, pad, sep;
    bool adds_bos, adds_eos, adds_sep;
    int32_t *eog; /* sorted */
    size_t n_eog;
    sl_arena texts; /* texts of the symbols */
};

#define SL_NO_SYMBOL UINT32_MAX

/* May plain text become this token by merging? Control tokens only ever come from a recognised
 * special text, byte tokens from bytes that have no other token. */
static inline bool sl_token_is_plain(const sl_token *token) {
    return token->type != SL_TOKEN_CONTROL && token->type != SL_TOKEN_UNKNOWN &&
           token->type != SL_TOKEN_BYTE;
}

/* Are the tokens spelt with U+2581 for spaces (else, but for WordPiece, in GPT-2's bytes)? */
static inline bool sl_tokenizer_is_marked(const sl_tokenizer *t) {
    return t->family == SL_TOKENIZER_SPM || t->family == SL_TOKENIZER_UNIGRAM ||
           (t->family == SL_TOKENIZER_BPE && t->pre->is_raw);
}

/* What the families need beyond the common part (texts, types, map). */
sl_status sl_bpe_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err);
sl_status sl_spm_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err);
sl_status sl_unigram_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err);
sl_status sl_wordpiece_load(sl_tokenizer *t, const sl_gguf *file, sl_error *err);
/* Before texts are looked up: brings a vocabulary that is spelt as BERT's own into GGUF's
 * spelling. */
sl_status sl_wordpiece_respell(sl_tokenizer *t, const char *path, sl_error *err);

/* vocab_load.c: parts of it. The scores go to t->scores; the trie gets the tokens that is_word. */
sl_status sl_load_scores(sl_tokenizer *t, const sl_gguf *file, sl_error *err);
sl_status sl_load_trie(sl_tokenizer *t, const char *path, bool (*is_word)(const sl_token *),
                       sl_error *err);
/* Which byte tokens there are: t->byte_symbol, t->byte_missing. */
void sl_load_byte_tokens(sl_tokenizer *t);
/* True if the text has U+2581 right after another character: then spaces are no borders of
 * words. */
bool sl_token_spans_space(const sl_token *token);

/* byte_level.c: the code points that stand for bytes in byte-level vocabularies. */
uint32_t sl_byte_level_code(uint8_t byte);
int sl_byte_level_byte(uint32_t code); /* -1 if the code point stands for no byte */

/* Growing memory of one encode call, kept from word to word, freed at its end. */
typedef struct sl_encode_scratch {
    void *nodes, *heap;  /* symbols, merge queue */
    void *chars, *bytes; /* classified characters, rewritten text */
    size_t nodes_bytes, heap_bytes, chars_bytes, bytes_bytes;
    uint64_t work; /* see sl_tokenizer_work */
} sl_encode_scratch;
/* *p has room for n * size bytes; contents are not kept. False when there is no memory. */
bool sl_encode_scratch_room(void **p, size_t *have_bytes, size_t n, size_t size);

/* Each appends the ids of a stretch of plain text. SL_ERR_LIMIT, SL_ERR_MEMORY without a
 * message. */
sl_status sl_bpe_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text, sl_ids *ids);
sl_status sl_spm_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text, bool add_prefix,
                        sl_ids *ids);
sl_status sl_unigram_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text,
                            sl_ids *ids);
sl_status sl_wordpiece_encode(const sl_tokenizer *t, sl_encode_scratch *s, sl_slice text,
                              sl_ids *ids);
/* encode_text.c: text that is no token becomes its byte tokens, or the unknown token once where a
 * byte has none. */
sl_status sl_encode_byte_tokens(const sl_tokenizer *t, const char *text, size_t len, sl_ids *ids);
/* The text with its spaces (and one in front) as marks, in s->bytes; false when there is no
 * memory. */
bool sl_encode_mark_spaces(sl_encode_scratch *s, sl_slice text, bool add_prefix, sl_slice *out);
/* SL_ERR_LIMIT when a text of so many bytes cannot fit into what is left of ids->max. */
sl_status sl_encode_check_room(const sl_tokenizer *t, size_t n_bytes, const sl_ids *ids);

/* Appends the bytes of one token; at the end of a text what was held back. */
sl_status sl_tokenizer_decode_one(const sl_tokenizer *t, int32_t id, bool show_special,
                                  sl_decode_state *state, sl_buf *out, sl_error *err);
sl_status sl_tokenizer_decode_end(sl_decode_state *state, sl_buf *out, sl_error *err);

#endif
