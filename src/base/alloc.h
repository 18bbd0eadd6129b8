/* The one way to the heap. Every allocation of Sluice goes through here, so that tests can make the
 * n-th one fail and can prove that the step path allocates nothing. Thread-safe. */
#ifndef SL_BASE_ALLOC_H
#define SL_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL when there is no memory or a test asked for the failure. size 0 is treated as 1. */
void *sl_alloc(size_t size_bytes);
void *sl_alloc_zero(size_t n, size_t size_bytes);             /* n * size is checked */
void *sl_realloc_array(void *p, size_t n, size_t size_bytes); /* n * size is checked */
char *sl_strdup(const char *text);
char *sl_strndup(const char *text, size_t len);
void sl_free(void *p); /* NULL is fine */

/* Cache-line (64 byte) aligned; freed by sl_free_aligned only. Zero filled. */
void *sl_alloc_aligned(size_t size_bytes, size_t align);
void sl_free_aligned(void *p);

/* Address space from the system, zero filled, page aligned, committed on first touch; asks for huge
 * pages when size >= 2 MB and `huge` is set. Freed with the same size. */
void *sl_pages_map(size_t size_bytes, bool huge);
void sl_pages_unmap(void *p, size_t size_bytes);

/* Gives memory that was freed, but that the heap keeps for later, back to the system. Looks at the
 * whole heap: for seldom. */
void sl_alloc_trim(void);

/* --- for tests --- */
/* Makes the n-th allocation from now (1 = the next) return NULL; 0 switches it off. With `for_ever`
 * all later ones fail too. */
void sl_alloc_fail_nth(uint64_t n, bool for_ever);
/* Allocations made by this process so far. */
uint64_t sl_alloc_count(void);
/* While locked for this thread, an allocation is counted as a violation (the step path must not
 * allocate). Calls nest. Returns the violations seen so far by the whole process. */
void sl_alloc_lock(void);
void sl_alloc_unlock(void);
bool sl_alloc_is_locked(void); /* for this thread */
uint64_t sl_alloc_violations(void);

#endif
