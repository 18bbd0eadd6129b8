/* Mapped files and the SIGBUS guard (mapfile.h).
 *
 * The handler runs in the thread that read the missing page, maybe in the middle of anything, so it
 * only reads a fixed table of atomics and makes one system call. A slot of the table describes one
 * mapping; begin_addr is written last on opening and cleared first on closing, so a slot with a
 * begin_addr is complete. From the missing page on, the whole rest of the mapping is replaced by
 * zero pages at once: pages behind the end of a file are missing together, and one replacement per
 * page could exceed the number of mappings that a process may have.
 *
 * References: mmap(2), sigaction(2), signal-safety(7). */
#define _GNU_SOURCE
#include "base/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"

/* Longer than two ticks of any file system's clock (FAT: 2 s). */
#define MAPFILE_SETTLED_S 3

typedef struct mapfile_slot {
    atomic_bool taken;
    atomic_uintptr_t begin_addr; /* 0: nothing to guard here */
    atomic_size_t size_bytes;
    atomic_bool writable;
    atomic_bool failed;
} mapfile_slot;

struct sl_mapfile {
    void *data;
    size_t size_bytes;
    int fd; /* kept to see changes of the file */
    struct timespec modified;
    mapfile_slot *slot;
    char *path;
};

static mapfile_slot g_slots[SL_MAPFILE_MAX];
static struct {
    pthread_once_t once;
    uintptr_t page_bytes;
    struct sigaction before;
} g_guard = {.once = PTHREAD_ONCE_INIT};

/* The slot whose mapping holds `addr`, or NULL. Async-signal-safe. */
static mapfile_slot *mapfile_slot_at(uintptr_t addr, uintptr_t *end) {
    for (size_t i = 0; i < SL_MAPFILE_MAX; i++) {
        uintptr_t begin = atomic_load_explicit(&g_slots[i].begin_addr, memory_order_acquire);
        size_t size = atomic_load_explicit(&g_slots[i].size_bytes, memory_order_relaxed);
        if (begin != 0 && addr >= begin && addr - begin < size) {
            *end = begin + size;
            return &g_slots[i];
        }
    }
    return NULL;
}

/* True if the fault was in one of our mappings and is mended. Async-signal-safe. */
static bool mapfile_mend(const siginfo_t *info) {
    if (info->si_code <= 0) { /* sent by a process: si_addr means nothing */
        return false;
    }
    uintptr_t end, addr = (uintptr_t)info->si_addr;
    uintptr_t page = addr & ~(g_guard.page_bytes - 1);
    /* The last page of a mapping is whole, even where the file ends inside it. */
    mapfile_slot *slot = mapfile_slot_at(addr, &end);
    slot = slot != NULL ? slot : mapfile_slot_at(page, &end);
    if (slot == NULL) {
        return false;
    }
    int access = atomic_load_explicit(&slot->writable, memory_order_relaxed)
                     ? PROT_READ | PROT_WRITE
                     : PROT_READ;
    void *p = mmap((void *)page, end - page, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                   0);
    if (p == MAP_FAILED) {
        return false;
    }
    atomic_store_explicit(&slot->failed, true, memory_order_release);
    return true;
}

static void mapfile_on_sigbus(int number, siginfo_t *info, void *context) {
    int errno_before = errno;
    if (!mapfile_mend(info)) {
        const struct sigaction *before = &g_guard.before;
        if ((before->sa_flags & SA_SIGINFO) != 0) {
            before->sa_sigaction(number, info, context);
        } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
            before->sa_handler(number);
        } else if (before->sa_handler == SIG_DFL || info->si_code > 0) {
            /* The instruction faults again after the return and ends the process, with the right
             * signal and core; a signal that was sent is sent again. A fault cannot be ignored. */
            struct sigaction act = {.sa_handler = SIG_DFL};
            (void)sigaction(SIGBUS, &act, NULL);
            if (info->si_code <= 0) {
                (void)raise(SIGBUS);
            }
        }
    }
    errno = errno_before;
}

static void mapfile_guard_once(void) {
    g_guard.page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction act = {.sa_sigaction = mapfile_on_sigbus,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    (void)sigemptyset(&act.sa_mask);
    /* What was there is stored before ours can run. Neither call can fail with these arguments. */
    (void)sigaction(SIGBUS, NULL, &g_guard.before);
    (void)sigaction(SIGBUS, &act, NULL);
}

void sl_mapfile_guard_install(void) {
    (void)pthread_once(&g_guard.once, mapfile_guard_once);
}

static sl_status mapfile_check_kind(int fd, const char *path, struct stat *st, sl_error *err) {
    if (fstat(fd, st) != 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s: the file cannot be examined: %s", path,
                       sl_errno_text(errno));
    }
    if (S_ISDIR(st->st_mode)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "%s: this is a directory; name a file in it", path);
    }
    if (!S_ISREG(st->st_mode)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "%s: this is not a regular file but a device, pipe or socket", path);
    }
    if (st->st_size <= 0) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s: the file is empty", path);
    }
    if ((uintmax_t)st->st_size > SIZE_MAX / 2) {
        return SL_FAIL(err, SL_ERR_LIMIT,
                       "%s: the file is too large for this machine's addresses (%jd bytes)", path,
                       (intmax_t)st->st_size);
    }
    return SL_OK;
}

static mapfile_slot *mapfile_take_slot(void) {
    for (size_t i = 0; i < SL_MAPFILE_MAX; i++) {
        bool is_free = false;
        if (atomic_compare_exchange_strong(&g_slots[i].taken, &is_free, true)) {
            return &g_slots[i];
        }
    }
    return NULL;
}

/* Maps the open file into m and registers it. */
static sl_status mapfile_map(sl_mapfile *m, const struct stat *st, sl_error *err) {
    m->size_bytes = (size_t)st->st_size;
    m->modified = st->st_mtim;
    m->slot = mapfile_take_slot();
    if (m->slot == NULL) {
        return SL_FAIL(err, SL_ERR_LIMIT, "%s: %d files are mapped already, the most at a time",
                       m->path, SL_MAPFILE_MAX);
    }
    void *data = mmap(NULL, m->size_bytes, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (data == MAP_FAILED) {
        return SL_FAIL(err, SL_ERR_IO, "%s: the file cannot be mapped (%zu bytes): %s", m->path,
                       m->size_bytes, sl_errno_text(errno));
    }
    m->data = data;
    atomic_store_explicit(&m->slot->failed, false, memory_order_relaxed);
    atomic_store_explicit(&m->slot->writable, false, memory_order_relaxed);
    atomic_store_explicit(&m->slot->size_bytes, m->size_bytes, memory_order_relaxed);
    atomic_store_explicit(&m->slot->begin_addr, (uintptr_t)data, memory_order_release);
    return SL_OK;
}

static sl_status mapfile_open(int fd, const struct stat *st, const char *path, sl_mapfile **out,
                              sl_error *err) {
    sl_mapfile *m = sl_alloc_zero(1, sizeof(*m));
    char *copy = sl_strdup(path);
    if (m == NULL || copy == NULL) {
        sl_free(m);
        sl_free(copy);
        (void)close(fd);
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: no memory to open the file", path);
    }
    m->fd = fd;
    m->path = copy;
    sl_status status = mapfile_map(m, st, err);
    if (status != SL_OK) {
        sl_mapfile_close(m);
        return status;
    }
    *out = m;
    return SL_OK;
}

sl_status sl_mapfile_open(const char *path, sl_mapfile **out, sl_error *err) {
    /* Without waiting, as a FIFO would. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        int code = errno;
        if (code == ENOENT || code == ENOTDIR) {
            return SL_FAIL(err, SL_ERR_NOT_FOUND, "%s: there is no such file", path);
        }
        return SL_FAIL(err, SL_ERR_IO, "%s: the file cannot be opened: %s", path,
                       sl_errno_text(code));
    }
    return sl_mapfile_open_fd(fd, path, out, err);
}

sl_status sl_mapfile_open_fd(int fd, const char *path, sl_mapfile **out, sl_error *err) {
    struct stat st;
    sl_status status = mapfile_check_kind(fd, path, &st, err);
    if (status != SL_OK) {
        (void)close(fd);
        return status;
    }
    return mapfile_open(fd, &st, path, out, err);
}

void sl_mapfile_close(sl_mapfile *m) {
    if (m == NULL) {
        return;
    }
    if (m->slot != NULL) {
        atomic_store_explicit(&m->slot->begin_addr, 0, memory_order_release);
    }
    if (m->data != NULL) {
        (void)munmap(m->data, m->size_bytes);
    }
    if (m->slot != NULL) { /* after munmap: the address may now belong to somebody else's mapping */
        atomic_store_explicit(&m->slot->taken, false, memory_order_release);
    }
    (void)close(m->fd);
    sl_free(m->path);
    sl_free(m);
}

const void *sl_mapfile_data(const sl_mapfile *m) {
    return m->data;
}

size_t sl_mapfile_size(const sl_mapfile *m) {
    return m->size_bytes;
}

bool sl_mapfile_failed(const sl_mapfile *m) {
    return atomic_load_explicit(&m->slot->failed, memory_order_relaxed);
}

sl_status sl_mapfile_check(const sl_mapfile *m, sl_error *err) {
    struct stat st;
    if (fstat(m->fd, &st) != 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s: the file cannot be examined: %s", m->path,
                       sl_errno_text(errno));
    }
    if ((uintmax_t)st.st_size != m->size_bytes) {
        return SL_FAIL(err, SL_ERR_IO,
                       "%s: the file changed while in use: it had %zu bytes and now has %jd",
                       m->path, m->size_bytes, (intmax_t)st.st_size);
    }
    if (sl_mapfile_failed(m)) {
        return SL_FAIL(err, SL_ERR_IO, "%s: part of the file could not be read", m->path);
    }
    if (st.st_mtim.tv_sec != m->modified.tv_sec || st.st_mtim.tv_nsec != m->modified.tv_nsec) {
        return SL_FAIL(err, SL_ERR_IO, "%s: the file was written to while in use; open it again",
                       m->path);
    }
    return SL_OK;
}

static uint64_t mapfile_ns(struct timespec t) {
    return (uint64_t)t.tv_sec * SL_NS_PER_S + (uint64_t)t.tv_nsec;
}

sl_status sl_mapfile_stamp_of(const sl_mapfile *m, sl_mapfile_stamp *out, sl_error *err) {
    struct stat st;
    if (fstat(m->fd, &st) != 0) {
        return SL_FAIL(err, SL_ERR_IO, "%s: the file cannot be examined: %s", m->path,
                       sl_errno_text(errno));
    }
    *out = (sl_mapfile_stamp){.device = (uint64_t)st.st_dev,
                              .number = (uint64_t)st.st_ino,
                              .size_bytes = (uint64_t)st.st_size,
                              .modified_ns = mapfile_ns(st.st_mtim),
                              .changed_ns = mapfile_ns(st.st_ctim)};
    return SL_OK;
}

bool sl_mapfile_stamp_is_settled(const sl_mapfile_stamp *s) {
    const int64_t changed_s = (int64_t)(s->changed_ns / SL_NS_PER_S);
    return sl_clock_wall_s() >= changed_s + MAPFILE_SETTLED_S;
}

void sl_mapfile_release(const sl_mapfile *m, const void *data, size_t n) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)data + n) & ~(page - 1);
    uintptr_t first = (uintptr_t)m->data;
    if (begin >= first && end <= first + m->size_bytes && begin < end) {
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED); /* a wish */
    }
}

sl_status sl_mapfile_make_writable(const sl_mapfile *m, sl_error *err) {
    atomic_store_explicit(&m->slot->writable, true, memory_order_relaxed);
    if (mprotect(m->data, m->size_bytes, PROT_READ | PROT_WRITE) != 0) {
        return SL_FAIL(err, SL_ERR_MEMORY, "%s: the mapping cannot be made writable: %s", m->path,
                       sl_errno_text(errno));
    }
    return SL_OK;
}
