#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_uint_fast64_t g_count;
static atomic_uint_fast64_t g_fail_at; /* 0: off; otherwise the value of g_count that fails */
static atomic_bool g_fail_for_ever;
static atomic_uint_fast64_t g_violations;
static _Thread_local int t_locked;

/* True if this allocation must fail. Relaxed: the counters order nothing but themselves. */
static bool alloc_note(void) {
    uint64_t n = atomic_fetch_add_explicit(&g_count, 1, memory_order_relaxed) + 1;
    if (t_locked > 0) {
        atomic_fetch_add_explicit(&g_violations, 1, memory_order_relaxed);
    }
    uint64_t at = atomic_load_explicit(&g_fail_at, memory_order_relaxed);
    if (at == 0) {
        return false;
    }
    return n == at || (n > at && atomic_load_explicit(&g_fail_for_ever, memory_order_relaxed));
}

void *sl_alloc(size_t size_bytes) {
    if (alloc_note()) {
        return NULL;
    }
    return malloc(size_bytes == 0 ? 1 : size_bytes);
}

void *sl_alloc_zero(size_t n, size_t size_bytes) {
    size_t total;
    if (alloc_note() || __builtin_mul_overflow(n, size_bytes, &total)) {
        return NULL;
    }
    return calloc(n == 0 ? 1 : n, size_bytes == 0 ? 1 : size_bytes);
}

void *sl_realloc_array(void *p, size_t n, size_t size_bytes) {
    size_t total;
    if (alloc_note() || __builtin_mul_overflow(n, size_bytes, &total)) {
        return NULL;
    }
    return realloc(p, total == 0 ? 1 : total);
}

void sl_alloc_trim(void) {
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

char *sl_strndup(const char *text, size_t len) {
    char *copy = sl_alloc(len + 1);
    if (copy != NULL) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

char *sl_strdup(const char *text) {
    return sl_strndup(text, strlen(text));
}

void sl_free(void *p) {
    free(p);
}

void *sl_alloc_aligned(size_t size_bytes, size_t align) {
    void *p = NULL;
    if (alloc_note() || posix_memalign(&p, align, size_bytes == 0 ? align : size_bytes) != 0) {
        return NULL;
    }
    memset(p, 0, size_bytes);
    return p;
}

void sl_free_aligned(void *p) {
    free(p);
}

void *sl_pages_map(size_t size_bytes, bool huge) {
    if (alloc_note()) {
        return NULL;
    }
    void *p = mmap(NULL, size_bytes == 0 ? 1 : size_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    if (huge && size_bytes >= ((size_t)2 << 20)) {
        (void)madvise(p, size_bytes, MADV_HUGEPAGE); /* a wish, not a need */
    }
    return p;
}

void sl_pages_unmap(void *p, size_t size_bytes) {
    if (p != NULL) {
        (void)munmap(p, size_bytes == 0 ? 1 : size_bytes);
    }
}

void sl_alloc_fail_nth(uint64_t n, bool for_ever) {
    uint64_t now = atomic_load_explicit(&g_count, memory_order_relaxed);
    atomic_store_explicit(&g_fail_for_ever, for_ever, memory_order_relaxed);
    atomic_store_explicit(&g_fail_at, n == 0 ? 0 : now + n, memory_order_relaxed);
}

uint64_t sl_alloc_count(void) {
    return atomic_load_explicit(&g_count, memory_order_relaxed);
}

void sl_alloc_lock(void) {
    t_locked++;
}

void sl_alloc_unlock(void) {
    t_locked--;
}

bool sl_alloc_is_locked(void) {
    return t_locked > 0;
}

uint64_t sl_alloc_violations(void) {
    return atomic_load_explicit(&g_violations, memory_order_relaxed);
}
