/* Bounded rings. Positions count up for ever (32 bit, wrapping); a position modulo the capacity is
 * a slot.
 *
 * SPSC: each side owns one position and keeps a copy of the other's, which it renews only when the
 * ring looks full or empty, so that the lines seldom travel. MPSC: a slot's `turn` says whose turn
 * it is: equal to a position: free for the producer that takes this position; position + 1: filled
 * for the consumer. The consumer hands it on as position + capacity. References: Lamport,
 * "Specifying concurrent program modules", 1983; D. Vyukov, "Bounded MPMC queue", 1024cores.net. */
#include "base/ring.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/gate.h"

struct sl_spsc {
    _Alignas(SL_CACHE_LINE) atomic_uint tail; /* next to be written; owned by the producer */
    uint32_t head_seen;                       /* producer's copy of head */
    _Alignas(SL_CACHE_LINE) atomic_uint head; /* next to be read; owned by the consumer */
    uint32_t tail_seen;                       /* consumer's copy of tail */
    _Alignas(SL_CACHE_LINE) uint32_t mask;    /* capacity - 1; const */
    _Alignas(SL_CACHE_LINE) uint64_t values[];
};

typedef struct ring_slot {
    atomic_uint turn;
    uint64_t value;
} ring_slot;

struct sl_mpsc {
    _Alignas(SL_CACHE_LINE) atomic_uint tail; /* next to be taken by a producer */
    _Alignas(SL_CACHE_LINE) atomic_uint head; /* next to be read; written by the consumer only */
    _Alignas(SL_CACHE_LINE) uint32_t mask;
    _Alignas(SL_CACHE_LINE) ring_slot slots[];
};

/* Memory for a ring of `capacity` items behind `head_bytes`. */
static sl_status ring_alloc(uint32_t capacity, size_t head_bytes, size_t item_bytes, void **out,
                            sl_error *err) {
    if (capacity < 2 || capacity > SL_RING_CAPACITY_MAX || (capacity & (capacity - 1)) != 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the capacity of a ring is %u; it must be a power of two from 2 to %u",
                       capacity, SL_RING_CAPACITY_MAX);
    }
    void *p = sl_alloc_aligned(head_bytes + capacity * item_bytes, SL_CACHE_LINE);
    if (p == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for a ring of %u values", capacity);
    }
    *out = p;
    return SL_OK;
}

sl_status sl_spsc_create(uint32_t capacity, sl_spsc **out, sl_error *err) {
    void *p = NULL;
    SL_TRY(ring_alloc(capacity, sizeof(sl_spsc), sizeof(uint64_t), &p, err));
    sl_spsc *r = p;
    r->mask = capacity - 1;
    *out = r;
    return SL_OK;
}

void sl_spsc_free(sl_spsc *r) {
    sl_free_aligned(r);
}

bool sl_spsc_push(sl_spsc *r, uint64_t value) {
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (tail - r->head_seen > r->mask) {
        r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
        if (tail - r->head_seen > r->mask) {
            return false;
        }
    }
    r->values[tail & r->mask] = value;
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return true;
}

bool sl_spsc_pop(sl_spsc *r, uint64_t *out) {
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == r->tail_seen) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (head == r->tail_seen) {
            return false;
        }
    }
    *out = r->values[head & r->mask];
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return true;
}

/* The two positions are read one after the other, so their difference may be off either way. */
static uint32_t ring_count(const atomic_uint *head, const atomic_uint *tail, uint32_t mask) {
    uint32_t h = atomic_load_explicit(head, memory_order_acquire);
    uint32_t n = atomic_load_explicit(tail, memory_order_acquire) - h;
    return n <= mask ? n : mask + 1;
}

uint32_t sl_spsc_count(const sl_spsc *r) {
    return ring_count(&r->head, &r->tail, r->mask);
}

sl_status sl_mpsc_create(uint32_t capacity, sl_mpsc **out, sl_error *err) {
    void *p = NULL;
    SL_TRY(ring_alloc(capacity, sizeof(sl_mpsc), sizeof(ring_slot), &p, err));
    sl_mpsc *r = p;
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
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    ring_slot *slot = &r->slots[head & r->mask];
    if (atomic_load_explicit(&slot->turn, memory_order_acquire) != head + 1) {
        return false;
    }
    *out = slot->value;
    atomic_store_explicit(&slot->turn, head + r->mask + 1, memory_order_release);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return true;
}

uint32_t sl_mpsc_count(const sl_mpsc *r) {
    return ring_count(&r->head, &r->tail, r->mask);
}
