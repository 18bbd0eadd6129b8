/* An error as a client of the API sees it: HTTP status and OpenAI's error object. Carries no paths,
 * addresses or names of internals. */
#ifndef SL_SERVE_API_ERROR_H
#define SL_SERVE_API_ERROR_H

#include <sluice/status.h>

#include "base/buf.h"
#include "base/bytes.h"

#define SL_API_PARAM_MAX 96

typedef struct sl_api_error {
    int status;                   /* 400, 404, 429, ... */
    uint32_t retry_after_s;       /* with 429 and 503; 0: 1 */
    const char *code;             /* "context_length_exceeded", or NULL; static */
    char param[SL_API_PARAM_MAX]; /* the field at fault; empty if none */
    char message[SL_ERROR_MESSAGE_MAX];
} sl_api_error;

/* Writes the error and returns SL_ERR_ARGUMENT, so that a parser can return it at once. `param` may
 * be NULL. Bytes from outside go into the message through sl_api_shown only. */
SL_NODISCARD sl_status sl_api_fail(sl_api_error *e, int status, const char *code, const char *param,
                                   const char *format, ...) SL_PRINTF(5, 6);
/* 400, no code. */
#define SL_API_BAD(e, param, ...) sl_api_fail((e), 400, NULL, (param), __VA_ARGS__)

/* {"error":{"message":...,"type":...,"param":...,"code":...}} */
void sl_api_error_json(const sl_api_error *e, sl_buf *out);

/* Bytes from outside as they may stand in a message: escaped and cut. Returns `out`. */
#define SL_API_SHOWN_MAX 80
const char *sl_api_shown(sl_slice text, char out[SL_API_SHOWN_MAX]);

#endif
