#include "base_url.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

sl_status sl_base_url_parse(const char *text, sl_base_url *out, sl_error *err) {
    static const char scheme[] = "http://";
    const char *at = text;
    if (strncmp(at, scheme, sizeof(scheme) - 1) != 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "--base %s: only http:// addresses are spoken to",
                       text);
    }
    at += sizeof(scheme) - 1;
    const bool bracket = *at == '[';
    const char *host = at + (bracket ? 1 : 0);
    const size_t n = strcspn(host, bracket ? "]" : ":/");
    const bool open_end = bracket && host[n] != ']';
    at = host + n + (bracket && !open_end ? 1 : 0);
    unsigned long port = 80;
    if (*at == ':') {
        char *end;
        port = strtoul(at + 1, &end, 10);
        port = end == at + 1 || !isdigit((unsigned char)at[1]) ? 0 : port;
        at = end;
    }
    size_t n_path = strlen(at);
    while (n_path > 0 && at[n_path - 1] == '/') {
        n_path--;
    }
    if (open_end || n == 0 || n >= sizeof(out->host) || port == 0 || port > 65535 ||
        (*at != '/' && *at != '\0') || n_path >= sizeof(out->path)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "--base %s: an address is http://HOST, http://HOST:PORT or with a path",
                       text);
    }
    (void)snprintf(out->host, sizeof(out->host), "%.*s", (int)n, host);
    (void)snprintf(out->path, sizeof(out->path), "%.*s", (int)n_path, at);
    out->port = (uint16_t)port;
    return SL_OK;
}
