/* Fuzz target: request bodies. The first byte chooses the endpoint and whether unknown fields are
 * errors; the rest is the body. What is accepted must keep its promises, what is refused must say
 * why. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "serve/api/chat_request.h"
#include "serve/api/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_VOCAB 512u

static void check(bool promise) {
    if (!promise) {
        __builtin_trap();
    }
}

static void check_params(const sl_api_params *p) {
    sl_error err;
    check(sl_sample_options_check(&p->sample, N_VOCAB, &err) == SL_OK);
    check(p->n >= 1 && p->n <= SL_API_N_MAX && p->n_stops <= SL_API_STOPS_MAX);
    for (size_t i = 0; i < p->n_stops; i++) {
        check(p->stops[i].len >= 1 && p->stops[i].len <= SL_API_STOP_BYTES_MAX);
    }
    for (uint32_t i = 0; i < p->n_stop_ids; i++) {
        check(p->stop_ids[i] >= 0 && (uint32_t)p->stop_ids[i] < N_VOCAB);
    }
    for (size_t i = 0; i < p->n_prompts; i++) {
        for (size_t k = 0; k < p->prompts[i].n_ids; k++) {
            check(p->prompts[i].ids[k] >= 0 && (uint32_t)p->prompts[i].ids[k] < N_VOCAB);
        }
    }
    check((p->kind == SL_API_CHAT) == (p->messages != NULL));
    check((p->kind == SL_API_COMPLETION) == (p->prompts != NULL));
}

/* An error is one that can be sent: a status, a sentence, one line of valid UTF-8. */
static void check_error(const sl_api_error *e) {
    size_t len = strlen(e->message);
    check(e->status >= 400 && e->status < 600 && len > 0);
    check(sl_utf8_valid_prefix(e->message, len) == len);
    for (size_t i = 0; i < len; i++) {
        check((unsigned char)e->message[i] >= 0x20);
    }
    sl_buf out;
    sl_buf_init(&out, 65536);
    sl_api_error_json(e, &out);
    json_error_t error;
    json_t *again = out.status == SL_OK ? json_loadb(out.data, out.len, 0, &error) : NULL;
    check(again != NULL);
    json_decref(again);
    sl_buf_deinit(&out);
}

static void build_request(const sl_api_params *p) {
    sl_arena arena;
    sl_arena_init(&arena, (size_t)16 << 20);
    sl_value *request = NULL;
    sl_api_error e = {0};
    if (sl_chat_request_build(p, &arena, &request, &e) == SL_OK) {
        check(sl_value_get(request, "messages") != NULL);
    } else {
        check_error(&e);
    }
    sl_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 65536) {
        return 0;
    }
    sl_api_kind kind = (data[0] & 1) != 0 ? SL_API_CHAT : SL_API_COMPLETION;
    sl_slice body = {(const char *)data + 1, size - 1};
    sl_api_params p;
    sl_api_error e = {0};
    if (sl_api_params_parse(kind, body, N_VOCAB, (data[0] & 2) != 0, &p, &e) != SL_OK) {
        check_error(&e);
        return 0;
    }
    check_params(&p);
    if (kind == SL_API_CHAT) {
        build_request(&p);
    }
    sl_api_params_deinit(&p);
    return 0;
}
