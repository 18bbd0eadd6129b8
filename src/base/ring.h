/* A bounded ring of 64-bit values from many threads to one. The values are handles such as {index,
 * generation}; what they refer to is published by the push and may be read after the pop. Neither
 * side ever waits: a full ring refuses, an empty one has nothing. Sleeping is for sl_wake (wake.h).
 */
#ifndef SL_BASE_RING_H
#define SL_BASE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#define SL_RING_CAPACITY_MAX (1u << 24)

typedef struct sl_mpsc sl_mpsc;

/* capacity: a power of two, 2 to SL_RING_CAPACITY_MAX; that many values fit. */
SL_NODISCARD sl_status sl_mpsc_create(uint32_t capacity, sl_mpsc **out, sl_error *err);
void sl_mpsc_free(sl_mpsc *r); /* NULL is fine */
/* Any thread; false when full. Pushes of one thread keep their order. */
bool sl_mpsc_push(sl_mpsc *r, uint64_t value);
/* Consumer; false when nothing can be taken now. A producer interrupted in the middle of a push
 * hides later values until it goes on; it then signals, so a consumer that sleeps on sl_wake misses
 * nothing. */
bool sl_mpsc_pop(sl_mpsc *r, uint64_t *out);

#endif
