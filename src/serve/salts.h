/* Names of who shares prompts with whom -> numbers for the engine. A name is a tenant and a salt of
 * the request's; equal names have the same number, different ones never do. Of more than
 * SERVE_SALTS_MAX names the one used longest ago is forgotten; when it comes again it has a new
 * number, and finds nothing of before. Owner: one io thread. */
#ifndef SL_SERVE_SALTS_H
#define SL_SERVE_SALTS_H

#include <stdint.h>

#include "base/bytes.h"
#include "serve/api/params.h"
#include "serve/service.h"

#define SERVE_SALTS_MAX (SL_SERVICE_TENANTS - 1)
/* both together */
#define SERVE_SALT_BYTES_MAX (SL_SERVICE_TENANT_BYTES_MAX + SL_API_SALT_BYTES_MAX)

typedef struct serve_salt {
    uint64_t number, used;    /* used: when, counted in questions; 0: never */
    uint32_t tenant_len, len; /* len: of both */
    char name[SERVE_SALT_BYTES_MAX];
} serve_salt;

typedef struct serve_salts {
    serve_salt *salts; /* [SERVE_SALTS_MAX], NULL until the first name */
    uint64_t n_asked, n_numbers;
} serve_salts;

typedef struct serve_salt_id {
    uint64_t number;
    uint32_t place; /* of the name in the table, from 1 on; 0: of none. Others may have it later */
} serve_salt_id;

/* Of no tenant and no salt: 0. Without memory each question has a number of its own. */
serve_salt_id sl_serve_salt(serve_salts *s, sl_slice tenant, sl_slice salt);
void sl_serve_salts_deinit(serve_salts *s);

#endif
