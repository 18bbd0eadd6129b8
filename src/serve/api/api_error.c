/* See api_error.h. */
#include "serve/api/api_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

sl_status sl_api_fail(sl_api_error *e, int status, const char *code, const char *param,
                      const char *format, ...) {
    *e = (sl_api_error){.status = status, .code = code};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e->message, sizeof(e->message), format, args);
    va_end(args);
    if (param != NULL) {
        (void)sl_log_escape(param, strlen(param), e->param, sizeof(e->param));
    }
    return SL_ERR_ARGUMENT;
}

static const char *error_type(int status) {
    switch (status) {
    case 429:
        return "rate_limit_error";
    case 503:
        return "service_unavailable_error";
    case 500:
    case 504:
        return "server_error";
    default:
        return "invalid_request_error";
    }
}

static void error_member(sl_buf *out, const char *name, const char *value) {
    (void)sl_buf_printf(out, ",\"%s\":", name);
    if (value == NULL || value[0] == '\0') {
        (void)sl_buf_append_str(out, "null");
        return;
    }
    (void)sl_buf_append_char(out, '"');
    (void)sl_buf_append_json(out, value, strlen(value));
    (void)sl_buf_append_char(out, '"');
}

void sl_api_error_json(const sl_api_error *e, sl_buf *out) {
    (void)sl_buf_append_str(out, "{\"error\":{\"message\":\"");
    (void)sl_buf_append_json(out, e->message, strlen(e->message));
    (void)sl_buf_append_str(out, "\"");
    error_member(out, "type", error_type(e->status));
    error_member(out, "param", e->param);
    error_member(out, "code", e->code);
    (void)sl_buf_append_str(out, "}}");
}

const char *sl_api_shown(sl_slice text, char out[SL_API_SHOWN_MAX]) {
    (void)sl_log_escape(text.ptr, text.len, out, SL_API_SHOWN_MAX);
    return out;
}
