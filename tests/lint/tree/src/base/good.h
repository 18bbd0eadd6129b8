/* Breaks no rule: what looks like a violation is in a comment, a string or a member. malloc(1) */
#ifndef SL_BASE_GOOD_H
#define SL_BASE_GOOD_H

#include <sluice/status.h>

typedef struct sl_good {
    int (*free)(void *p); /* a member named like a banned call */
} sl_good;

int sl_good_call(const sl_good *g);

#endif
