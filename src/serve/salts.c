/* See salts.h. */
#include "serve/salts.h"

#include <string.h>

#include "base/alloc.h"

static bool salt_is(const serve_salt *s, sl_slice tenant, sl_slice salt) {
    return s->used != 0 && s->tenant_len == tenant.len && s->len == tenant.len + salt.len &&
           memcmp(s->name, tenant.ptr, tenant.len) == 0 &&
           memcmp(s->name + tenant.len, salt.ptr, salt.len) == 0;
}

serve_salt_id sl_serve_salt(serve_salts *s, sl_slice tenant, sl_slice salt) {
    if (tenant.len + salt.len == 0) {
        return (serve_salt_id){0};
    }
    if (s->salts == NULL) {
        s->salts = sl_alloc_zero(SERVE_SALTS_MAX, sizeof(*s->salts));
    }
    if (s->salts == NULL || tenant.len + salt.len > SERVE_SALT_BYTES_MAX) {
        return (serve_salt_id){.number = ++s->n_numbers};
    }
    tenant.ptr = tenant.len > 0 ? tenant.ptr : "";
    salt.ptr = salt.len > 0 ? salt.ptr : "";
    serve_salt *oldest = &s->salts[0];
    s->n_asked++;
    for (uint32_t i = 0; i < SERVE_SALTS_MAX; i++) {
        serve_salt *one = &s->salts[i];
        if (salt_is(one, tenant, salt)) {
            one->used = s->n_asked;
            return (serve_salt_id){one->number, i + 1};
        }
        oldest = one->used < oldest->used ? one : oldest;
    }
    *oldest = (serve_salt){.number = ++s->n_numbers,
                           .used = s->n_asked,
                           .tenant_len = (uint32_t)tenant.len,
                           .len = (uint32_t)(tenant.len + salt.len)};
    memcpy(oldest->name, tenant.ptr, tenant.len);
    memcpy(oldest->name + tenant.len, salt.ptr, salt.len);
    return (serve_salt_id){oldest->number, (uint32_t)(oldest - s->salts) + 1};
}

void sl_serve_salts_deinit(serve_salts *s) {
    sl_free(s->salts);
    *s = (serve_salts){0};
}
