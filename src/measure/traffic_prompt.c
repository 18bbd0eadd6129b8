/* Texts and bodies: see traffic_prompt.h. The words are common ones, which most vocabularies have
 * as one token each with the space before them: so a text has about as many tokens as words. */
#include "measure/traffic_prompt.h"

#include <inttypes.h>
#include <string.h>

#include "base/rng.h"

static const char *const words[] = {
    "time",    "year",     "people", "way",    "day",     "man",    "thing",    "woman",
    "life",    "child",    "world",  "school", "state",   "family", "group",    "country",
    "problem", "hand",     "part",   "place",  "case",    "week",   "company",  "system",
    "program", "question", "work",   "number", "night",   "point",  "home",     "water",
    "room",    "mother",   "area",   "money",  "story",   "fact",   "month",    "lot",
    "right",   "study",    "book",   "eye",    "job",     "word",   "business", "issue",
    "side",    "kind",     "head",   "house",  "service", "friend", "father",   "power",
    "hour",    "game",     "line",   "end",    "member",  "law",    "car",      "city"};
enum { N_WORDS = sizeof(words) / sizeof(words[0]) };

static void words_append(sl_buf *out, uint64_t seed, uint32_t draw, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t word = sl_rng_words(seed, draw, i).v[0] % N_WORDS;
        (void)sl_buf_append_char(out, ' ');
        (void)sl_buf_append_str(out, words[word]);
    }
}

/* The text of an item's turn; the first one begins with what all have in common. */
static void text_append(sl_buf *out, const sl_traffic_options *o, size_t item, uint32_t turn) {
    const uint32_t n = o->items[item].n_prompt;
    const uint32_t shared = turn > 0 ? 0 : o->n_shared < n ? o->n_shared : n;
    words_append(out, o->seed, TRAFFIC_DRAW_SHARED, shared);
    words_append(out, o->seed + 1 + item, TRAFFIC_DRAW_WORD + turn, n - shared);
}

void sl_traffic_prompt_begin(traffic_prompt *p) {
    sl_buf_clear(&p->messages);
}

static void messages_append(traffic_prompt *p, const sl_traffic_options *o, size_t item,
                            uint32_t turn, const sl_buf *answer) {
    sl_buf *m = &p->messages;
    if (turn > 0) {
        (void)sl_buf_append_str(m, ", {\"role\": \"assistant\", \"content\": \"");
        (void)sl_buf_append_json(m, answer->data == NULL ? "" : answer->data, answer->len);
        (void)sl_buf_append_str(m, "\"}, ");
    }
    (void)sl_buf_append_str(m, "{\"role\": \"user\", \"content\": \"");
    text_append(m, o, item, turn);
    (void)sl_buf_append_str(m, "\"}");
}

sl_status sl_traffic_prompt_body(traffic_prompt *p, const sl_traffic_options *o, size_t item,
                                 uint32_t turn, const sl_buf *answer, sl_buf *body) {
    (void)sl_buf_append_char(body, '{');
    if (o->model != NULL) {
        (void)sl_buf_append_str(body, "\"model\": \"");
        (void)sl_buf_append_json(body, o->model, strlen(o->model));
        (void)sl_buf_append_str(body, "\", ");
    }
    if (o->n_turns > 1) {
        messages_append(p, o, item, turn, answer);
        if (p->messages.status != SL_OK) {
            return p->messages.status;
        }
        (void)sl_buf_append_str(body, "\"messages\": [");
        (void)sl_buf_append(body, p->messages.data, p->messages.len);
        (void)sl_buf_append_char(body, ']');
    } else {
        (void)sl_buf_append_str(body, "\"prompt\": \"");
        text_append(body, o, item, turn);
        (void)sl_buf_append_char(body, '"');
    }
    return sl_buf_printf(body,
                         ", \"max_tokens\": %" PRIu32 ", \"temperature\": 0, \"ignore_eos\": true, "
                         "\"stream\": true, \"stream_options\": {\"include_usage\": true}}",
                         o->items[item].n_gen);
}
