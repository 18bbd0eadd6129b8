/* Value trees: constructors, lists, and objects that keep insertion order.
 *
 * Objects up to MAP_LINEAR entries are searched linearly; larger ones have an open-addressing
 * index. The hash is salted with the object's address, so that keys from outside cannot be chosen
 * to collide.
 */
#include "text/template/tmpl_value.h"

#include <string.h>

#include "base/utf8.h"

#define MAP_LINEAR 8u

/* --- strings
 * ------------------------------------------------------------------------------------ */

size_t sl_tmpl_count_chars(const char *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    }
    return n;
}

tmpl_str *sl_tmpl_str_borrow(sl_arena *a, const char *text, size_t len, bool trusted) {
    tmpl_str *s = sl_arena_alloc(a, sizeof(*s));
    if (s != NULL) {
        *s = (tmpl_str){
            .ptr = text, .len = len, .n_chars = sl_tmpl_count_chars(text, len), .trusted = trusted};
    }
    return s;
}

/* Copies text, with U+FFFD for every byte that is not part of a valid character. */
static char *value_copy_utf8(sl_arena *a, sl_slice text, size_t *len_out) {
    size_t n_bad = 0;
    for (size_t i = 0; i < text.len;) {
        i += sl_utf8_valid_prefix(text.ptr + i, text.len - i);
        if (i < text.len) {
            n_bad++;
            i++;
        }
    }
    size_t extra, total;
    if (!sl_mul_size(n_bad, 2, &extra) || !sl_add_size(text.len, extra, &total)) {
        return NULL;
    }
    char *copy = sl_arena_alloc(a, total == 0 ? 1 : total);
    if (copy == NULL) {
        return NULL;
    }
    size_t at = 0;
    for (size_t i = 0; i < text.len;) {
        size_t n = sl_utf8_valid_prefix(text.ptr + i, text.len - i);
        memcpy(copy + at, text.ptr + i, n);
        at += n;
        i += n;
        if (i < text.len) {
            memcpy(copy + at, "\xEF\xBF\xBD", 3);
            at += 3;
            i++;
        }
    }
    *len_out = at;
    return copy;
}

/* --- lists
 * -------------------------------------------------------------------------------------- */

tmpl_list *sl_tmpl_list_new(sl_arena *a, size_t cap) {
    size_t size_bytes;
    tmpl_list *l = sl_arena_alloc(a, sizeof(*l));
    if (l == NULL || !sl_mul_size(cap, sizeof(sl_value), &size_bytes)) {
        return NULL;
    }
    *l = (tmpl_list){.cap = cap};
    if (cap > 0) {
        l->items = sl_arena_alloc(a, size_bytes);
        if (l->items == NULL) {
            return NULL;
        }
    }
    return l;
}

bool sl_tmpl_list_add(sl_arena *a, tmpl_list *l, sl_value v) {
    if (l->n == l->cap) {
        size_t cap = l->cap < 4 ? 4 : l->cap * 2;
        size_t size_bytes;
        sl_value *items;
        if (!sl_mul_size(cap, sizeof(sl_value), &size_bytes) ||
            (items = sl_arena_alloc(a, size_bytes)) == NULL) {
            return false;
        }
        if (l->n > 0) {
            memcpy(items, l->items, l->n * sizeof(sl_value));
        }
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = v;
    return true;
}

/* --- objects
 * ------------------------------------------------------------------------------------ */

/* `left` counts down over all values inside: tuples may share parts, so that their depth says
 * little. */
static bool value_hashable(sl_value v, unsigned *left) {
    if (v.kind != TMPL_TUPLE) {
        return v.kind <= SL_VALUE_STRING || v.kind == TMPL_UNDEFINED;
    }
    for (size_t i = 0; i < v.u.list->n; i++) {
        if (*left == 0) {
            return false;
        }
        --*left;
        if (!value_hashable(v.u.list->items[i], left)) {
            return false;
        }
    }
    return true;
}

bool sl_tmpl_hashable(sl_value v) {
    unsigned left = TMPL_KEY_NODES_MAX;
    return value_hashable(v, &left);
}

static bool value_as_double(sl_value v, double *out) {
    switch (v.kind) {
    case SL_VALUE_BOOL:
        *out = v.u.b ? 1.0 : 0.0;
        return true;
    case SL_VALUE_INT:
        *out = (double)v.u.i;
        return true;
    case SL_VALUE_FLOAT:
        *out = v.u.f;
        return true;
    default:
        return false;
    }
}

static bool value_as_int(sl_value v, int64_t *out) {
    if (v.kind == SL_VALUE_INT) {
        *out = v.u.i;
        return true;
    }
    if (v.kind == SL_VALUE_BOOL) {
        *out = v.u.b;
        return true;
    }
    /* A float with an exact integer value equals that integer. */
    if (v.kind == SL_VALUE_FLOAT && v.u.f >= -0x1p63 && v.u.f < 0x1p63 &&
        (double)(int64_t)v.u.f == v.u.f) {
        *out = (int64_t)v.u.f;
        return true;
    }
    return false;
}

bool sl_tmpl_key_eq(sl_value a, sl_value b) {
    if (a.kind == SL_VALUE_STRING || b.kind == SL_VALUE_STRING) {
        return a.kind == b.kind && sl_slice_eq(tmpl_slice(a.u.str), tmpl_slice(b.u.str));
    }
    if (a.kind == SL_VALUE_NONE || b.kind == SL_VALUE_NONE || a.kind == TMPL_UNDEFINED ||
        b.kind == TMPL_UNDEFINED) {
        return a.kind == b.kind;
    }
    if (a.kind == TMPL_TUPLE || b.kind == TMPL_TUPLE) {
        if (a.kind != b.kind || a.u.list->n != b.u.list->n) {
            return false;
        }
        for (size_t i = 0; i < a.u.list->n; i++) { /* bounded by sl_tmpl_hashable */
            if (!sl_tmpl_key_eq(a.u.list->items[i], b.u.list->items[i])) {
                return false;
            }
        }
        return true;
    }
    int64_t ia = 0, ib = 0;
    bool int_a = value_as_int(a, &ia), int_b = value_as_int(b, &ib);
    if (int_a || int_b) {
        return int_a && int_b && ia == ib;
    }
    double fa = 0, fb = 0;
    return value_as_double(a, &fa) && value_as_double(b, &fb) && fa == fb;
}

static uint64_t value_mix(uint64_t h, uint64_t v) {
    __uint128_t p = (__uint128_t)(h ^ v ^ 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static uint64_t value_hash_bytes(uint64_t h, const char *p, size_t len) {
    h = value_mix(h, len);
    while (len >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = value_mix(h, w);
        p += 8;
        len -= 8;
    }
    uint64_t w = 0;
    if (len > 0) {
        memcpy(&w, p, len);
    }
    return value_mix(h, w);
}

static uint64_t value_hash(uint64_t h, sl_value v) {
    int64_t i;
    if (v.kind == SL_VALUE_STRING) {
        return value_hash_bytes(h, v.u.str->ptr, v.u.str->len);
    }
    if (v.kind == TMPL_TUPLE) {
        h = value_mix(h, v.u.list->n);
        for (size_t k = 0; k < v.u.list->n; k++) { /* bounded by sl_tmpl_hashable */
            h = value_hash(h, v.u.list->items[k]);
        }
        return h;
    }
    if (v.kind == SL_VALUE_NONE || v.kind == TMPL_UNDEFINED) {
        return value_mix(h, v.kind);
    }
    if (value_as_int(v, &i)) {
        return value_mix(h, (uint64_t)i);
    }
    uint64_t bits;
    memcpy(&bits, &v.u.f, sizeof(bits));
    return value_mix(h, bits);
}

static uint64_t map_hash(const tmpl_map *m, sl_value key) {
    return value_hash((uintptr_t)m, key);
}

tmpl_map *sl_tmpl_map_new(sl_arena *a) {
    tmpl_map *m = sl_arena_alloc(a, sizeof(*m));
    if (m != NULL) {
        *m = (tmpl_map){0};
    }
    return m;
}

static void map_index(tmpl_map *m, size_t entry) {
    size_t at = (size_t)m->entries[entry].hash & (m->n_slots - 1);
    while (m->slots[at] != 0) {
        at = (at + 1) & (m->n_slots - 1);
    }
    m->slots[at] = (uint32_t)(entry + 1);
}

/* Makes room for one more entry (and for it in the index, when there is to be one). */
static bool map_grow(sl_arena *a, tmpl_map *m) {
    if (m->n == m->cap) {
        size_t cap = m->cap == 0 ? 4 : m->cap * 2, size_bytes;
        tmpl_entry *e;
        if (cap > UINT32_MAX / 4 || !sl_mul_size(cap, sizeof(*e), &size_bytes) ||
            (e = sl_arena_alloc(a, size_bytes)) == NULL) {
            return false;
        }
        if (m->n > 0) {
            memcpy(e, m->entries, m->n * sizeof(*e));
        }
        m->entries = e;
        m->cap = cap;
    }
    if (m->n + 1 > MAP_LINEAR && (m->n + 1) * 2 > m->n_slots) {
        size_t n_slots = m->n_slots == 0 ? 32 : m->n_slots * 2;
        uint32_t *slots = sl_arena_alloc_zero(a, n_slots, sizeof(*slots));
        if (slots == NULL) {
            return false;
        }
        m->slots = slots;
        m->n_slots = n_slots;
        for (size_t i = 0; i < m->n; i++) {
            m->entries[i].hash = map_hash(m, m->entries[i].key);
            map_index(m, i);
        }
    }
    return true;
}

static tmpl_entry *map_find(const tmpl_map *m, sl_value key) {
    if (m->slots == NULL) {
        for (size_t i = 0; i < m->n; i++) {
            if (sl_tmpl_key_eq(m->entries[i].key, key)) {
                return &m->entries[i];
            }
        }
        return NULL;
    }
    uint64_t hash = map_hash(m, key);
    for (size_t at = (size_t)hash & (m->n_slots - 1); m->slots[at] != 0;
         at = (at + 1) & (m->n_slots - 1)) {
        tmpl_entry *e = &m->entries[m->slots[at] - 1];
        if (e->hash == hash && sl_tmpl_key_eq(e->key, key)) {
            return e;
        }
    }
    return NULL;
}

const sl_value *sl_tmpl_map_find(const tmpl_map *m, sl_value key) {
    const tmpl_entry *e = map_find(m, key);
    return e == NULL ? NULL : &e->val;
}

const sl_value *sl_tmpl_map_find_text(const tmpl_map *m, sl_slice key) {
    tmpl_str s = {.ptr = key.ptr, .len = key.len};
    return sl_tmpl_map_find(m, tmpl_str_value(&s));
}

bool sl_tmpl_map_put_new(sl_arena *a, tmpl_map *m, sl_value key, sl_value val) {
    if (!map_grow(a, m)) {
        return false;
    }
    m->entries[m->n] = (tmpl_entry){.key = key, .val = val};
    if (m->slots != NULL) {
        m->entries[m->n].hash = map_hash(m, key);
        map_index(m, m->n);
    }
    m->n++;
    return true;
}

bool sl_tmpl_map_put(sl_arena *a, tmpl_map *m, sl_value key, sl_value val) {
    tmpl_entry *e = map_find(m, key);
    if (e != NULL) {
        e->val = val;
        return true;
    }
    return sl_tmpl_map_put_new(a, m, key, val);
}

/* --- public constructors
 * ------------------------------------------------------------------------ */

static sl_value *value_box(sl_arena *a, sl_value v) {
    sl_value *p = sl_arena_alloc(a, sizeof(*p));
    if (p != NULL) {
        *p = v;
    }
    return p;
}

sl_value *sl_value_none(sl_arena *a) {
    return value_box(a, tmpl_none());
}

sl_value *sl_value_bool(sl_arena *a, bool v) {
    return value_box(a, tmpl_bool(v));
}

sl_value *sl_value_int(sl_arena *a, int64_t v) {
    return value_box(a, tmpl_int(v));
}

sl_value *sl_value_float(sl_arena *a, double v) {
    return value_box(a, tmpl_float(v));
}

sl_value *sl_value_string(sl_arena *a, sl_slice text, bool trusted) {
    size_t len = 0;
    const char *copy = value_copy_utf8(a, text, &len);
    const tmpl_str *s = copy == NULL ? NULL : sl_tmpl_str_borrow(a, copy, len, trusted);
    return s == NULL ? NULL : value_box(a, tmpl_str_value(s));
}

sl_value *sl_value_list(sl_arena *a) {
    tmpl_list *l = sl_tmpl_list_new(a, 0);
    return l == NULL ? NULL : value_box(a, tmpl_list_value(SL_VALUE_LIST, l));
}

sl_value *sl_value_object(sl_arena *a) {
    tmpl_map *m = sl_tmpl_map_new(a);
    return m == NULL ? NULL : value_box(a, tmpl_map_value(m));
}

bool sl_value_list_push(sl_arena *a, sl_value *list, sl_value *v) {
    return v != NULL && sl_tmpl_list_add(a, list->u.list, *v);
}

bool sl_value_object_set(sl_arena *a, sl_value *obj, sl_slice key, sl_value *v) {
    const sl_value *k = v == NULL ? NULL : sl_value_string(a, key, true);
    return k != NULL && sl_tmpl_map_put(a, obj->u.map, *k, *v);
}

sl_value_kind sl_value_kind_of(const sl_value *v) {
    return (sl_value_kind)v->kind;
}

const sl_value *sl_value_get(const sl_value *obj, const char *key) {
    if (obj == NULL || obj->kind != SL_VALUE_OBJECT) {
        return NULL;
    }
    return sl_tmpl_map_find_text(obj->u.map, sl_slice_of(key));
}
