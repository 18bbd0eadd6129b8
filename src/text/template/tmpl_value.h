/* Inside of sl_value, shared by the files of this folder only.
 *
 * A value is 16 bytes and is passed by copy; what it points to lives in an arena and is never freed
 * by itself. The public kinds (JSON) come first; the kinds below them exist only while a template
 * is being rendered. A compiled template and the caller's variables are read-only here, so that
 * threads may share them.
 *
 * Trust: every byte of a string is either the template's own (trusted) or came from a value
 * (untrusted). A string that is all one or the other carries a flag; a string that was put together
 * points into a store, which keeps the sorted list of its untrusted parts. Substrings are views of
 * the same store, so that cutting a string costs nothing and loses nothing.
 */
#ifndef SL_TEXT_TMPL_VALUE_H
#define SL_TEXT_TMPL_VALUE_H

#include "base/arena.h"
#include "text/template/template.h"
#include "text/template/value.h"

typedef enum tmpl_kind {
    TMPL_MISSING = SL_VALUE_OBJECT + 1, /* no value at all: an argument that was not given */
    TMPL_UNDEFINED,
    TMPL_TUPLE,
    TMPL_STREAM, /* what can be walked once (a generator in the reference) */
    TMPL_VIEW,   /* keys, values or items of an object */
    TMPL_RANGE,
    TMPL_NAMESPACE, /* the only value that templates can change */
    TMPL_MACRO,
    TMPL_METHOD, /* a function bound to a value */
    TMPL_GLOBAL, /* a function of the environment, such as range */
    TMPL_LOOP,
    TMPL_CYCLER,
    TMPL_JOINER
} tmpl_kind;

/* Bytes that grow at their end; strings are views of [0, used). */
typedef struct tmpl_store {
    char *data;
    size_t used, cap;
    sl_span *spans; /* untrusted parts of [0, used): sorted, not touching each other */
    size_t n_spans, cap_spans;
} tmpl_store;

typedef struct tmpl_str {
    const char *ptr; /* valid UTF-8, not terminated */
    size_t len;
    size_t n_chars;
    tmpl_store *store; /* NULL: `trusted` holds for all bytes; otherwise ptr lies in store->data */
    bool trusted;
    bool markup; /* went through `safe` or `escape`: adding to it escapes */
} tmpl_str;

typedef struct tmpl_list {
    sl_value *items;
    size_t n, cap;
    size_t *filled;    /* of a buffer that sums share: how many of its items are taken; or NULL */
    size_t pos;        /* TMPL_STREAM: items before it are gone */
    const char *label; /* TMPL_STREAM: how it prints */
    sl_error *late;    /* TMPL_STREAM: what happens to those who walk to its end, or NULL */
    bool group;        /* TMPL_TUPLE made by groupby: has .grouper and .list */
} tmpl_list;

typedef struct tmpl_map tmpl_map;

struct sl_value {
    uint8_t kind;  /* sl_value_kind or tmpl_kind */
    uint8_t which; /* TMPL_VIEW: 0 keys, 1 values, 2 items */
    union {
        bool b;
        int64_t i;
        double f;
        const tmpl_str *str;
        tmpl_list *list; /* LIST, TUPLE, STREAM */
        tmpl_map *map;   /* OBJECT, NAMESPACE, VIEW */
        struct tmpl_undef *undef;
        struct tmpl_range *range;
        struct tmpl_macro *macro;
        struct tmpl_method *method;
        struct tmpl_loop *loop;
        struct tmpl_cycler *cycler;
        const struct tmpl_global *global;
        struct tmpl_joiner *joiner;
    } u;
};

typedef struct tmpl_entry {
    sl_value key, val;
    uint64_t hash;
} tmpl_entry;

struct tmpl_map {
    tmpl_entry *entries; /* in order of insertion */
    size_t n, cap;
    uint32_t *slots; /* open addressing, entry number + 1; NULL while n is small */
    size_t n_slots;  /* a power of two */
};

#define TMPL_VALUE_DEPTH_MAX 200 /* nesting that printing and comparing follow */
/* values inside one key (a tuple): bounds the work of hashing it */
#define TMPL_KEY_NODES_MAX 64

static inline sl_value tmpl_none(void) {
    return (sl_value){.kind = SL_VALUE_NONE};
}
static inline sl_value tmpl_missing(void) {
    return (sl_value){.kind = TMPL_MISSING};
}
static inline sl_value tmpl_bool(bool b) {
    return (sl_value){.kind = SL_VALUE_BOOL, .u.b = b};
}
static inline sl_value tmpl_int(int64_t i) {
    return (sl_value){.kind = SL_VALUE_INT, .u.i = i};
}
static inline sl_value tmpl_float(double f) {
    return (sl_value){.kind = SL_VALUE_FLOAT, .u.f = f};
}
static inline sl_value tmpl_str_value(const tmpl_str *s) {
    return (sl_value){.kind = SL_VALUE_STRING, .u.str = s};
}
static inline sl_value tmpl_list_value(uint8_t kind, tmpl_list *l) {
    return (sl_value){.kind = kind, .u.list = l};
}
static inline sl_value tmpl_map_value(tmpl_map *m) {
    return (sl_value){.kind = SL_VALUE_OBJECT, .u.map = m};
}
static inline bool tmpl_is_str(sl_value v) {
    return v.kind == SL_VALUE_STRING;
}
static inline sl_slice tmpl_slice(const tmpl_str *s) {
    return (sl_slice){s->ptr, s->len};
}

/* Code points in valid UTF-8. */
size_t sl_tmpl_count_chars(const char *text, size_t len);
/* A string over bytes that outlive the arena's users; NULL when the arena is full. */
tmpl_str *sl_tmpl_str_borrow(sl_arena *a, const char *text, size_t len, bool trusted);

tmpl_list *sl_tmpl_list_new(sl_arena *a, size_t cap); /* NULL when the arena is full */
bool sl_tmpl_list_add(sl_arena *a, tmpl_list *l, sl_value v);

tmpl_map *sl_tmpl_map_new(sl_arena *a);
/* Keys must be hashable (see sl_tmpl_hashable). False: arena full. */
bool sl_tmpl_map_put(sl_arena *a, tmpl_map *m, sl_value key, sl_value val);
/* key known to be new */
bool sl_tmpl_map_put_new(sl_arena *a, tmpl_map *m, sl_value key, sl_value val);
const sl_value *sl_tmpl_map_find(const tmpl_map *m, sl_value key); /* NULL if absent */
const sl_value *sl_tmpl_map_find_text(const tmpl_map *m, sl_slice key);
/* None, undefined, booleans, numbers, strings and small tuples of such. */
bool sl_tmpl_hashable(sl_value v);
/* Equality as Python has it for hashable values: 1 == 1.0 == true. */
bool sl_tmpl_key_eq(sl_value a, sl_value b);

#endif
