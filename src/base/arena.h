/* Arenas: memory with one lifetime, dropped as a whole. Not thread-safe; each has one owner.
 * Chunks come from sl_alloc and grow geometrically up to the stated maximum. */
#ifndef SL_BASE_ARENA_H
#define SL_BASE_ARENA_H

#include <stddef.h>

typedef struct sl_arena_chunk sl_arena_chunk;

typedef struct sl_arena {
    sl_arena_chunk *head; /* newest chunk */
    size_t used_bytes;    /* handed out, over all chunks */
    size_t max_bytes;     /* sl_arena_alloc returns NULL beyond it */
} sl_arena;

void sl_arena_init(sl_arena *a, size_t max_bytes);
void sl_arena_deinit(sl_arena *a); /* frees everything; the arena may be used again */

/* 16-byte aligned, not cleared. NULL when the maximum or the system's memory is reached. */
void *sl_arena_alloc(sl_arena *a, size_t size_bytes);
void *sl_arena_alloc_zero(sl_arena *a, size_t n, size_t size_bytes); /* n * size is checked */
char *sl_arena_strndup(sl_arena *a, const char *text, size_t len);

#endif
