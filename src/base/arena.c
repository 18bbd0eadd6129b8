#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

#define ARENA_ALIGN 16u
#define ARENA_CHUNK_MIN ((size_t)4096)
#define ARENA_CHUNK_MAX ((size_t)1 << 20)

struct sl_arena_chunk {
    sl_arena_chunk *prev;
    size_t cap, used;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

void sl_arena_init(sl_arena *a, size_t max_bytes) {
    *a = (sl_arena){.max_bytes = max_bytes};
}

void sl_arena_deinit(sl_arena *a) {
    for (sl_arena_chunk *c = a->head; c != NULL;) {
        sl_arena_chunk *prev = c->prev;
        sl_free(c);
        c = prev;
    }
    a->head = NULL;
    a->used_bytes = 0;
}

void *sl_arena_alloc(sl_arena *a, size_t size_bytes) {
    if (size_bytes > a->max_bytes || a->used_bytes > a->max_bytes - size_bytes ||
        size_bytes > SIZE_MAX / 2) { /* room for the roundings below, whatever the maximum is */
        return NULL;
    }
    size_t need = (size_bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    sl_arena_chunk *c = a->head;
    if (c == NULL || c->cap - c->used < need) {
        size_t cap = c == NULL ? ARENA_CHUNK_MIN : c->cap * 2;
        cap = cap > ARENA_CHUNK_MAX ? ARENA_CHUNK_MAX : cap;
        cap = cap < need ? need : cap;
        c = sl_alloc(sizeof(*c) + cap);
        if (c == NULL) {
            return NULL;
        }
        *c = (sl_arena_chunk){.prev = a->head, .cap = cap};
        a->head = c;
    }
    void *p = c->data + c->used;
    c->used += need;
    a->used_bytes += need;
    return p;
}

void *sl_arena_alloc_zero(sl_arena *a, size_t n, size_t size_bytes) {
    size_t total;
    if (__builtin_mul_overflow(n, size_bytes, &total)) {
        return NULL;
    }
    void *p = sl_arena_alloc(a, total);
    if (p != NULL) {
        memset(p, 0, total);
    }
    return p;
}

char *sl_arena_strndup(sl_arena *a, const char *text, size_t len) {
    char *p = len + 1 == 0 ? NULL : sl_arena_alloc(a, len + 1);
    if (p != NULL) {
        memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}
