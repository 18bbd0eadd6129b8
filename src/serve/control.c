/* What may be done to requests from outside: one is cancelled by its id, which only who sent it
 * knows; all that wait are kept waiting. */
#include <string.h>

#include "base/log.h"
#include "serve/api/reply.h"
#include "serve/service_int.h"

static const char control_prefix[] = "/v1/requests/";

sl_slice sl_serve_control_id(sl_slice path, const char *action) {
    const size_t n_prefix = sizeof(control_prefix) - 1, n_action = strlen(action);
    if (path.len <= n_prefix + n_action || memcmp(path.ptr, control_prefix, n_prefix) != 0 ||
        memcmp(path.ptr + path.len - n_action, action, n_action) != 0) {
        return (sl_slice){"", 0};
    }
    return (sl_slice){path.ptr + n_prefix, path.len - n_prefix - n_action};
}

void sl_serve_no_request(sl_http_exchange *x, sl_slice id) {
    char shown[SL_API_SHOWN_MAX];
    sl_api_error e = {0};
    (void)!sl_api_fail(&e, 404, "request_not_found", NULL,
                       "There is no request %s, or it ended some time ago.",
                       sl_api_shown(id, shown));
    sl_serve_respond_error(x, &e);
}

void sl_serve_cancel(serve_loop *l, sl_http_exchange *x) {
    const sl_slice id = sl_serve_control_id(sl_http_request_path(sl_http_exchange_request(x)),
                                            "/cancel");
    if (!sl_job_cancel(l, id)) {
        sl_serve_no_request(x, id);
        return;
    }
    sl_buf out;
    sl_buf_init(&out, 4096);
    (void)sl_buf_append_str(&out, "{\"id\":");
    sl_reply_string(&out, id);
    (void)sl_buf_append_str(&out, ",\"object\":\"request\",\"status\":\"cancelled\"}");
    sl_serve_respond_json(x, 200, &out);
    sl_buf_deinit(&out);
}

void sl_serve_pause(serve_loop *l, sl_http_exchange *x, bool paused) {
    sl_service *s = l->service;
    if (s->state == SERVE_READY) { /* a server that stops finishes what waits */
        sl_runner_pause(s->runner, paused);
    }
    sl_log(SL_LOG_INFO, "serve", "admission %s", paused ? "paused" : "resumed");
    sl_buf out;
    sl_buf_init(&out, 4096);
    (void)sl_buf_printf(&out, "{\"paused\":%s}", sl_runner_is_paused(s->runner) ? "true" : "false");
    sl_serve_respond_json(x, 200, &out);
    sl_buf_deinit(&out);
}
