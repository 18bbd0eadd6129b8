/* http://HOST[:PORT][/PATH], as --base takes it. */
#ifndef SL_CMD_BASE_URL_H
#define SL_CMD_BASE_URL_H

#include <stdint.h>

#include <sluice/status.h>

typedef struct sl_base_url {
    char host[256], path[256]; /* path: without a slash at its end, empty if none was given */
    uint16_t port;             /* 80 if none was given */
} sl_base_url;

/* SL_ERR_ARGUMENT says what an address looks like. */
SL_NODISCARD sl_status sl_base_url_parse(const char *text, sl_base_url *out, sl_error *err);

#endif
