/* See salts.h. */
#include "serve/salts.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "serve/service.h"

_Static_assert(SERVE_SALTS_MAX + 1 == SL_SERVICE_TENANTS, "each name has a place");

static uint64_t salt_hash(sl_slice text, uint64_t h) {
    for (size_t i = 0; i < text.len; i++) {
        h = sl_hash_mum(h ^ (uint8_t)text.ptr[i], 0x9E3779B97F4A7C15u);
    }
    return h;
}

static bool salt_is(const serve_salt *s, uint64_t hash, sl_slice tenant, sl_slice salt) {
    return s->used != 0 && s->hash == hash && s->tenant_len == tenant.len &&
           s->len == tenant.len + salt.len && memcmp(s->name, tenant.ptr, tenant.len) == 0 &&
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
    const uint64_t hash = salt_hash(salt, salt_hash(tenant, tenant.len));
    serve_salt *oldest = &s->salts[0];
    s->n_asked++;
    for (uint32_t i = 0; i < SERVE_SALTS_MAX; i++) {
        serve_salt *one = &s->salts[i];
        if (salt_is(one, hash, tenant, salt)) {
            one->used = s->n_asked;
            return (serve_salt_id){one->number, i + 1};
        }
        oldest = one->used < oldest->used ? one : oldest;
    }
    *oldest = (serve_salt){.hash = hash,
                           .number = ++s->n_numbers,
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
