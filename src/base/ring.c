/* A bounded ring. Positions count up for ever (32 bit, wrapping); a position modulo the capacity is
 * a slot. A slot's `turn` says whose turn it is: equal to a position: free for the producer that
 * takes this position; position + 1: filled for the consumer, who hands it on as position +
 * capacity. Reference: D. Vyukov, "Bounded MPMC queue", 1024cores.net. */
#include "base/ring.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/gate.h"

typedef struct ring_slot {
    atomic_uint turn;
    uint64_t value;
} ring_slot;

struct sl_mpsc {
    _Alignas(SL_CACHE_LINE) atomic_uint tail; /* next to be taken by a producer */
    _Alignas(SL_CACHE_LINE) uint32_t head;    /* next to be read; the consumer's own */
    _Alignas(SL_CACHE_LINE) uint32_t mask;
    _Alignas(SL_CACHE_LINE) ring_slot slots[];
};

sl_status sl_mpsc_create(uint32_t capacity, sl_mpsc **out, sl_error *err) {
    if (capacity < 2 || capacity > SL_RING_CAPACITY_MAX || (capacity & (capacity - 1)) != 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the capacity of a ring is %u; it must be a power of two from 2 to %u",
                       capacity, SL_RING_CAPACITY_MAX);
    }
    sl_mpsc *r = sl_alloc_aligned(sizeof(*r) + capacity * sizeof(r->slots[0]), SL_CACHE_LINE);
    if (r == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for a ring of %u values", capacity);
    }
    r->mask = capacity - 1;
    for (uint32_t i = 0; i < capacity; i++) {
        atomic_init(&r->slots[i].turn, i);
    }
    *out = r;
    return SL_OK;
}

void sl_mpsc_free(sl_mpsc *r) {
    sl_free_aligned(r);
}

bool sl_mpsc_push(sl_mpsc *r, uint64_t value) {
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    for (;;) {
        ring_slot *slot = &r->slots[tail & r->mask];
        int32_t ahead = (int32_t)(atomic_load_explicit(&slot->turn, memory_order_acquire) - tail);
        if (ahead < 0) { /* still holds the value of a round ago */
            return false;
        }
        if (ahead > 0) { /* another producer was faster */
            tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(
                       &r->tail, &tail, tail + 1, memory_order_relaxed, memory_order_relaxed)) {
            slot->value = value;
            atomic_store_explicit(&slot->turn, tail + 1, memory_order_release);
            return true;
        }
    }
}

bool sl_mpsc_pop(sl_mpsc *r, uint64_t *out) {
    uint32_t head = r->head;
    ring_slot *slot = &r->slots[head & r->mask];
    if (atomic_load_explicit(&slot->turn, memory_order_acquire) != head + 1) {
        return false;
    }
    *out = slot->value;
    atomic_store_explicit(&slot->turn, head + r->mask + 1, memory_order_release);
    r->head = head + 1;
    return true;
}
