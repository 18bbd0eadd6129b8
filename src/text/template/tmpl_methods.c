/* Methods of strings, objects and lists, as Python has them. Those that would change a value do not
 * exist here: the sandbox refuses them (tmpl_access.c). */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/tmpl_text.h"
#include "text/template/tmpl_unicode.h"

static const tmpl_str SPACE = {.ptr = " ", .len = 1, .n_chars = 1, .trusted = true};

/* Positional arguments only: between n_min and n_max of them; absent ones become TMPL_MISSING. */
static sl_status method_args(tmpl_run *r, const char *what, const tmpl_args *args, uint32_t n_min,
                             uint32_t n_max, sl_value *out) {
    if (args->n_kw > 0) {
        return TMPL_FAIL(r, "%s() takes no named arguments", what);
    }
    if (args->n_pos < n_min || args->n_pos > n_max) {
        return TMPL_FAIL(r, "%s() takes %u to %u arguments, %u given", what, (unsigned)n_min,
                         (unsigned)n_max, (unsigned)args->n_pos);
    }
    for (uint32_t i = 0; i < n_max; i++) {
        out[i] = i < args->n_pos ? args->pos[i] : tmpl_missing();
    }
    return SL_OK;
}

/* A string argument that may be absent or none. */
static sl_status method_str_or_none(tmpl_run *r, const char *what, sl_value v,
                                    const tmpl_str **out) {
    *out = NULL;
    return v.kind == SL_VALUE_NONE ? SL_OK : sl_tmpl_arg_str(r, what, v, out);
}

/* --- case and strip
 * ----------------------------------------------------------------------------- */

static sl_status str_recase(tmpl_run *r, sl_value self, const tmpl_args *args, tmpl_recase how,
                            sl_value *out) {
    SL_TRY(method_args(r, "this method", args, 0, 0, NULL));
    return sl_tmpl_text_recase(r, self.u.str, how, out);
}

static sl_status str_upper(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_recase(r, self, args, RECASE_UPPER, out);
}
static sl_status str_lower(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_recase(r, self, args, RECASE_LOWER, out);
}
static sl_status str_title(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_recase(r, self, args, RECASE_TITLE, out);
}
static sl_status str_capitalize(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_recase(r, self, args, RECASE_CAPITAL, out);
}
static sl_status str_swapcase(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_recase(r, self, args, RECASE_SWAP, out);
}
static sl_status str_casefold(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_recase(r, self, args, RECASE_FOLD, out);
}

static sl_status str_strip_side(tmpl_run *r, sl_value self, const tmpl_args *args, tmpl_strip side,
                                sl_value *out) {
    sl_value arg;
    const tmpl_str *chars;
    static const char *const names[][2] = {
        [STRIP_BOTH] = {"strip", "what strip() takes off"},
        [STRIP_LEFT] = {"lstrip", "what lstrip() takes off"},
        [STRIP_RIGHT] = {"rstrip", "what rstrip() takes off"},
    };
    SL_TRY(method_args(r, names[side][0], args, 0, 1, &arg));
    SL_TRY(method_str_or_none(r, names[side][1], arg, &chars));
    return sl_tmpl_text_strip(r, self.u.str, side, chars, out);
}

static sl_status str_strip(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_strip_side(r, self, args, STRIP_BOTH, out);
}
static sl_status str_lstrip(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_strip_side(r, self, args, STRIP_LEFT, out);
}
static sl_status str_rstrip(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_strip_side(r, self, args, STRIP_RIGHT, out);
}

static sl_status str_remove_affix(tmpl_run *r, sl_value self, const tmpl_args *args, bool prefix,
                                  sl_value *out) {
    sl_value arg;
    const tmpl_str *s = self.u.str, *affix = NULL;
    SL_TRY(method_args(r, prefix ? "removeprefix" : "removesuffix", args, 1, 1, &arg));
    SL_TRY(sl_tmpl_arg_str(r, "what is to be removed", arg, &affix));
    *out = self;
    if (affix->len > s->len ||
        memcmp(prefix ? s->ptr : s->ptr + s->len - affix->len, affix->ptr, affix->len) != 0) {
        return SL_OK;
    }
    return sl_tmpl_str_sub(r, s, prefix ? affix->len : 0, s->len - affix->len, out);
}

static sl_status str_removeprefix(tmpl_run *r, sl_value self, const tmpl_args *args,
                                  sl_value *out) {
    return str_remove_affix(r, self, args, true, out);
}
static sl_status str_removesuffix(tmpl_run *r, sl_value self, const tmpl_args *args,
                                  sl_value *out) {
    return str_remove_affix(r, self, args, false, out);
}

/* --- splitting
 * ---------------------------------------------------------------------------------- */

static sl_status str_split_dir(tmpl_run *r, sl_value self, const tmpl_args *args, bool right,
                               sl_value *out) {
    static const char *const NAMES[] = {"sep", "maxsplit"};
    sl_value arg[2];
    const tmpl_str *sep;
    int64_t max = -1;
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "split()", args, NAMES, 2, 0, arg));
    SL_TRY(method_str_or_none(r, "the separator of split()", arg[0], &sep));
    SL_TRY(sl_tmpl_arg_int(r, "maxsplit", arg[1], &max));
    SL_TRY(sl_tmpl_text_split(r, self.u.str, sep, max, right, &l));
    *out = tmpl_list_value(SL_VALUE_LIST, l);
    return SL_OK;
}

static sl_status str_split(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_split_dir(r, self, args, false, out);
}
static sl_status str_rsplit(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_split_dir(r, self, args, true, out);
}

static sl_status str_splitlines(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"keepends"};
    sl_value arg;
    int64_t keep = 0;
    tmpl_list *l;
    SL_TRY(sl_tmpl_bind(r, "splitlines()", args, NAMES, 1, 0, &arg));
    SL_TRY(sl_tmpl_arg_int(r, "keepends", arg, &keep));
    SL_TRY(sl_tmpl_text_lines(r, self.u.str, keep != 0, &l));
    *out = tmpl_list_value(SL_VALUE_LIST, l);
    return SL_OK;
}

/* Fuel for a search from the end, which compares at every place. */
static sl_status str_burn_last(tmpl_run *r, const tmpl_str *s, const tmpl_str *needle) {
    size_t n = needle->len > s->len ? 0 : s->len - needle->len + 1;
    size_t cost;
    return tmpl_burn(r, sl_mul_size(n, needle->len, &cost) ? cost : SIZE_MAX);
}

/* The last place where sep occurs, or SIZE_MAX. */
static size_t str_find_last(const tmpl_str *s, const tmpl_str *needle) {
    for (size_t at = needle->len > s->len ? SIZE_MAX : s->len - needle->len; at != SIZE_MAX; at--) {
        if (memcmp(s->ptr + at, needle->ptr, needle->len) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

static sl_status str_partition_dir(tmpl_run *r, sl_value self, const tmpl_args *args, bool right,
                                   sl_value *out) {
    sl_value arg, v;
    const tmpl_str *s = self.u.str, *sep = NULL;
    tmpl_list *l;
    SL_TRY(method_args(r, "partition", args, 1, 1, &arg));
    SL_TRY(sl_tmpl_arg_str(r, "the separator of partition()", arg, &sep));
    if (sep->len == 0) {
        return TMPL_FAIL(r, "partition(): the separator is empty");
    }
    SL_TRY(right ? str_burn_last(r, s, sep) : tmpl_burn(r, s->len));
    size_t at = right ? str_find_last(s, sep) : sl_tmpl_str_find(s, 0, s->len, sep);
    /* Not found: the whole string first (or last), and two empty ones. */
    size_t cut[4] = {0, at, at + sep->len, s->len};
    if (at == SIZE_MAX) {
        cut[1] = cut[2] = right ? 0 : s->len;
    }
    SL_TRY(sl_tmpl_list_make(r, 3, &l));
    for (int i = 0; i < 3; i++) {
        SL_TRY(sl_tmpl_str_sub(r, s, cut[i], cut[i + 1] - cut[i], &v));
        SL_TRY(sl_tmpl_list_push(r, l, v));
    }
    *out = tmpl_list_value(TMPL_TUPLE, l);
    return SL_OK;
}

static sl_status str_partition(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_partition_dir(r, self, args, false, out);
}
static sl_status str_rpartition(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_partition_dir(r, self, args, true, out);
}

static sl_status str_join(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg;
    SL_TRY(method_args(r, "join", args, 1, 1, &arg));
    return sl_tmpl_text_join(r, self.u.str, arg, false, out);
}

static sl_status str_replace(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg[3];
    const tmpl_str *old = NULL, *with = NULL;
    int64_t max = -1;
    SL_TRY(method_args(r, "replace", args, 2, 3, arg));
    SL_TRY(sl_tmpl_arg_str(r, "what replace() seeks", arg[0], &old));
    SL_TRY(sl_tmpl_arg_str(r, "what replace() puts", arg[1], &with));
    SL_TRY(sl_tmpl_arg_int(r, "the count of replace()", arg[2], &max));
    return sl_tmpl_text_replace(r, self.u.str, old, with, max, out);
}

/* --- searching
 * ---------------------------------------------------------------------------------- */

/* s[start:end] as the optional arguments of find() and its kin say; *base is where it begins, in
 * characters; *valid is false when start lies behind the end. */
static sl_status str_window(tmpl_run *r, sl_value self, const sl_value *bounds, sl_value *out,
                            int64_t *base, bool *valid) {
    int64_t n = (int64_t)self.u.str->n_chars, start = 0;
    sl_value from = bounds[0].kind == TMPL_MISSING ? tmpl_none() : bounds[0];
    sl_value to = bounds[1].kind == TMPL_MISSING ? tmpl_none() : bounds[1];
    SL_TRY(sl_tmpl_get_slice(r, self, from, to, tmpl_none(), out));
    if (from.kind != SL_VALUE_NONE) {
        SL_TRY(sl_tmpl_arg_int(r, "the start", from, &start));
    }
    *valid = start <= n;
    start = start < 0 ? start + n : start;
    *base = start < 0 ? 0 : start;
    return SL_OK;
}

static sl_status str_search(tmpl_run *r, sl_value self, const tmpl_args *args, bool last, bool must,
                            sl_value *out) {
    sl_value arg[3], window;
    const tmpl_str *needle = NULL;
    int64_t base;
    bool valid;
    SL_TRY(method_args(r, "find", args, 1, 3, arg));
    SL_TRY(sl_tmpl_arg_str(r, "what is sought", arg[0], &needle));
    SL_TRY(str_window(r, self, arg + 1, &window, &base, &valid));
    const tmpl_str *s = window.u.str;
    SL_TRY(last ? str_burn_last(r, s, needle) : tmpl_burn(r, s->len));
    size_t at = !valid ? SIZE_MAX
                : last ? str_find_last(s, needle)
                       : sl_tmpl_str_find(s, 0, s->len, needle);
    if (at == SIZE_MAX && must) {
        return TMPL_FAIL(r, "index(): the text is not there");
    }
    *out = tmpl_int(at == SIZE_MAX ? -1 : base + (int64_t)sl_tmpl_count_chars(s->ptr, at));
    return SL_OK;
}

static sl_status str_find(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_search(r, self, args, false, false, out);
}
static sl_status str_rfind(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_search(r, self, args, true, false, out);
}
static sl_status str_index(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_search(r, self, args, false, true, out);
}
static sl_status str_rindex(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_search(r, self, args, true, true, out);
}

static sl_status str_count(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg[3], window;
    const tmpl_str *needle = NULL;
    int64_t base, n = 0;
    bool valid;
    SL_TRY(method_args(r, "count", args, 1, 3, arg));
    SL_TRY(sl_tmpl_arg_str(r, "what is counted", arg[0], &needle));
    SL_TRY(str_window(r, self, arg + 1, &window, &base, &valid));
    const tmpl_str *s = window.u.str;
    SL_TRY(tmpl_burn(r, s->len));
    if (needle->len == 0) {
        n = valid ? (int64_t)s->n_chars + 1 : 0;
    } else {
        for (size_t at = 0; (at = sl_tmpl_str_find(s, at, s->len, needle)) != SIZE_MAX;
             at += needle->len) {
            n++;
        }
    }
    *out = tmpl_int(n);
    return SL_OK;
}

static bool str_has_affix(const tmpl_str *s, const tmpl_str *affix, bool prefix) {
    return affix->len <= s->len &&
           memcmp(prefix ? s->ptr : s->ptr + s->len - affix->len, affix->ptr, affix->len) == 0;
}

/* startswith and endswith take one string or a tuple of them. */
static sl_status str_affix(tmpl_run *r, sl_value self, const tmpl_args *args, bool prefix,
                           sl_value *out) {
    sl_value arg[3], window;
    int64_t base;
    bool valid, hit = false;
    SL_TRY(method_args(r, prefix ? "startswith" : "endswith", args, 1, 3, arg));
    SL_TRY(str_window(r, self, arg + 1, &window, &base, &valid));
    const tmpl_str *s = window.u.str, *affix = NULL;
    if (arg[0].kind == TMPL_TUPLE) {
        for (size_t i = 0; i < arg[0].u.list->n && !hit; i++) {
            SL_TRY(sl_tmpl_arg_str(r, "each item of the tuple", arg[0].u.list->items[i], &affix));
            SL_TRY(tmpl_burn(r, affix->len));
            hit = valid && str_has_affix(s, affix, prefix);
        }
    } else {
        SL_TRY(sl_tmpl_arg_str(r, "what the string starts or ends with", arg[0], &affix));
        hit = valid && str_has_affix(s, affix, prefix);
    }
    *out = tmpl_bool(hit);
    return SL_OK;
}

static sl_status str_startswith(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_affix(r, self, args, true, out);
}
static sl_status str_endswith(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_affix(r, self, args, false, out);
}

/* --- alignment
 * ---------------------------------------------------------------------------------- */

static sl_status str_align(tmpl_run *r, sl_value self, const tmpl_args *args, tmpl_align how,
                           sl_value *out) {
    sl_value arg[2];
    int64_t width = 0;
    const tmpl_str *fill = &SPACE;
    SL_TRY(method_args(r, "center", args, 1, 2, arg));
    SL_TRY(sl_tmpl_arg_int(r, "the width", arg[0], &width));
    SL_TRY(sl_tmpl_arg_str(r, "the fill character", arg[1], &fill));
    return sl_tmpl_text_align(r, self.u.str, width, fill, how, out);
}

static sl_status str_center(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_align(r, self, args, ALIGN_CENTER, out);
}
static sl_status str_ljust(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_align(r, self, args, ALIGN_LEFT, out);
}
static sl_status str_rjust(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_align(r, self, args, ALIGN_RIGHT, out);
}

static sl_status str_zfill(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    static const tmpl_str ZERO = {.ptr = "0", .len = 1, .n_chars = 1, .trusted = true};
    sl_value arg, rest;
    int64_t width = 0;
    const tmpl_str *s = self.u.str;
    SL_TRY(method_args(r, "zfill", args, 1, 1, &arg));
    SL_TRY(sl_tmpl_arg_int(r, "the width", arg, &width));
    if (s->len == 0 || (s->ptr[0] != '+' && s->ptr[0] != '-')) {
        return sl_tmpl_text_align(r, s, width, &ZERO, ALIGN_RIGHT, out);
    }
    sl_value sign;
    SL_TRY(sl_tmpl_str_sub(r, s, 0, 1, &sign)); /* zeros go behind the sign */
    SL_TRY(sl_tmpl_str_sub(r, s, 1, s->len - 1, &rest));
    SL_TRY(sl_tmpl_text_align(r, rest.u.str, width < 1 ? 0 : width - 1, &ZERO, ALIGN_RIGHT, &rest));
    return sl_tmpl_str_concat(r, sign.u.str, rest.u.str, out);
}

static sl_status str_expandtabs(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    static const char *const NAMES[] = {"tabsize"};
    sl_value arg;
    int64_t size = 8, column = 0;
    const tmpl_str *s = self.u.str;
    tmpl_builder b;
    SL_TRY(sl_tmpl_bind(r, "expandtabs()", args, NAMES, 1, 0, &arg));
    SL_TRY(sl_tmpl_arg_int(r, "the tab size", arg, &size));
    SL_TRY(sl_tmpl_build_begin(r, &b));
    for (size_t i = 0; i < s->len; i++) {
        bool trusted;
        (void)sl_tmpl_str_part(s, i, &trusted);
        if (s->ptr[i] == '\t') {
            int64_t n = size > 0 ? size - column % size : 0;
            column += n;
            for (; n > 0; n--) {
                SL_TRY(sl_tmpl_build_bytes(r, &b, " ", 1, trusted));
            }
            continue;
        }
        SL_TRY(sl_tmpl_build_bytes(r, &b, s->ptr + i, 1, trusted));
        column = s->ptr[i] == '\n' || s->ptr[i] == '\r'
                     ? 0
                     : column + (((unsigned char)s->ptr[i] & 0xC0) != 0x80);
    }
    return sl_tmpl_build_end(r, &b, out);
}

/* --- classes
 * ------------------------------------------------------------------------------------ */

/* All characters have one of the classes, and there is at least one. */
static sl_status str_all(tmpl_run *r, sl_value self, const tmpl_args *args, uint32_t classes,
                         bool when_empty, sl_value *out) {
    const tmpl_str *s = self.u.str;
    SL_TRY(method_args(r, "this method", args, 0, 0, NULL));
    SL_TRY(tmpl_burn(r, s->len));
    bool all = s->len > 0 || when_empty;
    for (size_t i = 0; all && i < s->len;) {
        uint32_t c = 0;
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        all = sl_tmpl_char_is(c, classes);
        i += n == 0 ? 1 : n;
    }
    *out = tmpl_bool(all);
    return SL_OK;
}

static sl_status str_isalpha(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_all(r, self, args, TMPL_CHAR_ALPHA, false, out);
}
/* Letters, digits and underscores, not beginning with a digit. */
static sl_status str_isidentifier(tmpl_run *r, sl_value self, const tmpl_args *args,
                                  sl_value *out) {
    const tmpl_str *s = self.u.str;
    SL_TRY(method_args(r, "isidentifier", args, 0, 0, NULL));
    SL_TRY(tmpl_burn(r, s->len));
    bool holds = s->len > 0;
    for (size_t i = 0; holds && i < s->len;) {
        uint32_t c = 0;
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        holds = c == '_' || sl_tmpl_char_is(c, TMPL_CHAR_ALPHA | (i > 0 ? TMPL_CHAR_DECIMAL : 0));
        i += n == 0 ? 1 : n;
    }
    *out = tmpl_bool(holds);
    return SL_OK;
}

static sl_status str_isalnum(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_all(r, self, args,
                   TMPL_CHAR_ALPHA | TMPL_CHAR_DECIMAL | TMPL_CHAR_DIGIT | TMPL_CHAR_NUMERIC, false,
                   out);
}
static sl_status str_isdecimal(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_all(r, self, args, TMPL_CHAR_DECIMAL, false, out);
}
static sl_status str_isdigit(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_all(r, self, args, TMPL_CHAR_DIGIT, false, out);
}
static sl_status str_isnumeric(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_all(r, self, args, TMPL_CHAR_NUMERIC, false, out);
}
static sl_status str_isspace(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_all(r, self, args, TMPL_CHAR_SPACE, false, out);
}
static sl_status str_isprintable(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_all(r, self, args, TMPL_CHAR_PRINTABLE, true, out);
}

static sl_status str_isascii(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    SL_TRY(method_args(r, "isascii", args, 0, 0, NULL));
    *out = tmpl_bool(self.u.str->n_chars == self.u.str->len);
    return SL_OK;
}

/* The tests `lower` and `upper` are these methods. */
static sl_status str_iscase(tmpl_run *r, sl_value self, const tmpl_args *args, const char *test,
                            sl_value *out) {
    bool holds;
    SL_TRY(method_args(r, "this method", args, 0, 0, NULL));
    SL_TRY(sl_tmpl_test(r, sl_tmpl_test_index(sl_slice_of(test)), NULL, self, &(tmpl_args){0},
                        &holds));
    *out = tmpl_bool(holds);
    return SL_OK;
}

static sl_status str_islower(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_iscase(r, self, args, "lower", out);
}
static sl_status str_isupper(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return str_iscase(r, self, args, "upper", out);
}

/* Words begin with a capital and go on in small letters. */
static sl_status str_istitle(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    const tmpl_str *s = self.u.str;
    bool any = false, in_word = false, ok = true;
    SL_TRY(method_args(r, "istitle", args, 0, 0, NULL));
    SL_TRY(tmpl_burn(r, s->len));
    for (size_t i = 0; ok && i < s->len;) {
        uint32_t c = 0;
        size_t n = sl_utf8_decode(s->ptr + i, s->len - i, &c);
        uint32_t classes = sl_tmpl_char_classes(c);
        if ((classes & (TMPL_CHAR_UPPER | TMPL_CHAR_TITLE)) != 0) {
            ok = !in_word;
            in_word = any = true;
        } else if ((classes & TMPL_CHAR_LOWER) != 0) {
            ok = in_word;
            any = true;
        } else {
            in_word = false;
        }
        i += n == 0 ? 1 : n;
    }
    *out = tmpl_bool(ok && any);
    return SL_OK;
}

/* --- formatting
 * --------------------------------------------------------------------------------- */

static sl_status str_format(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return sl_tmpl_format(r, self.u.str, args, out);
}

static sl_status str_format_map(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg;
    SL_TRY(method_args(r, "format_map", args, 1, 1, &arg));
    if (arg.kind != SL_VALUE_OBJECT) {
        return TMPL_FAIL(r, "format_map() takes a mapping, not %s", sl_tmpl_type_name(arg));
    }
    const tmpl_map *m = arg.u.map;
    tmpl_kwarg *kw = sl_arena_alloc_zero(&r->arena, m->n + 1, sizeof(*kw));
    tmpl_args named = {.kw = kw};
    if (kw == NULL) {
        return TMPL_FULL(r);
    }
    for (size_t i = 0; i < m->n; i++) {
        if (tmpl_is_str(m->entries[i].key)) {
            kw[named.n_kw++] = (tmpl_kwarg){m->entries[i].key.u.str, m->entries[i].val};
        }
    }
    return sl_tmpl_format(r, self.u.str, &named, out);
}

static sl_status str_unsupported(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    (void)self, (void)args, (void)out;
    return sl_tmpl_fail_at(r, SL_ERR_UNSUPPORTED, __FILE__, __LINE__,
                           "this string method is not supported");
}

const tmpl_method_def sl_tmpl_str_methods[] = {
    {"strip", str_strip},
    {"split", str_split},
    {"startswith", str_startswith},
    {"endswith", str_endswith},
    {"replace", str_replace},
    {"lstrip", str_lstrip},
    {"rstrip", str_rstrip},
    {"upper", str_upper},
    {"lower", str_lower},
    {"join", str_join},
    {"format", str_format},
    {"find", str_find},
    {"rfind", str_rfind},
    {"index", str_index},
    {"rindex", str_rindex},
    {"count", str_count},
    {"title", str_title},
    {"capitalize", str_capitalize},
    {"swapcase", str_swapcase},
    {"casefold", str_casefold},
    {"removeprefix", str_removeprefix},
    {"removesuffix", str_removesuffix},
    {"rsplit", str_rsplit},
    {"splitlines", str_splitlines},
    {"partition", str_partition},
    {"rpartition", str_rpartition},
    {"center", str_center},
    {"ljust", str_ljust},
    {"rjust", str_rjust},
    {"zfill", str_zfill},
    {"expandtabs", str_expandtabs},
    {"isalpha", str_isalpha},
    {"isalnum", str_isalnum},
    {"isdecimal", str_isdecimal},
    {"isdigit", str_isdigit},
    {"isnumeric", str_isnumeric},
    {"isspace", str_isspace},
    {"isprintable", str_isprintable},
    {"isascii", str_isascii},
    {"islower", str_islower},
    {"isupper", str_isupper},
    {"istitle", str_istitle},
    {"format_map", str_format_map},
    {"encode", str_unsupported},
    {"translate", str_unsupported},
    {"maketrans", str_unsupported},
    {"isidentifier", str_isidentifier},
    {NULL, NULL},
};

/* --- objects
 * ------------------------------------------------------------------------------------ */

static sl_status dict_get(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg[2];
    SL_TRY(method_args(r, "get", args, 1, 2, arg));
    if (!sl_tmpl_hashable(arg[0])) {
        return TMPL_FAIL(r, "a value of type %s cannot be a key", sl_tmpl_type_name(arg[0]));
    }
    const sl_value *v = sl_tmpl_map_find(self.u.map, arg[0]);
    *out = v != NULL ? *v : arg[1].kind == TMPL_MISSING ? tmpl_none() : arg[1];
    return SL_OK;
}

static sl_status dict_view(tmpl_run *r, sl_value self, const tmpl_args *args, uint8_t which,
                           sl_value *out) {
    SL_TRY(method_args(r, "this method", args, 0, 0, NULL));
    *out = (sl_value){.kind = TMPL_VIEW, .which = which, .u.map = self.u.map};
    return SL_OK;
}

static sl_status dict_keys(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return dict_view(r, self, args, 0, out);
}
static sl_status dict_values(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return dict_view(r, self, args, 1, out);
}
static sl_status dict_items(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    return dict_view(r, self, args, 2, out);
}

/* Objects cannot be changed, so that a copy is the object itself. */
static sl_status method_copy(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    SL_TRY(method_args(r, "copy", args, 0, 0, NULL));
    *out = self;
    return SL_OK;
}

static sl_status dict_fromkeys(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg[2];
    tmpl_list *keys;
    tmpl_map *m;
    (void)self;
    SL_TRY(method_args(r, "fromkeys", args, 1, 2, arg));
    SL_TRY(sl_tmpl_collect(r, arg[0], &keys));
    SL_TRY(sl_tmpl_map_make(r, &m));
    for (size_t i = 0; i < keys->n; i++) {
        SL_TRY(sl_tmpl_map_add(r, m, keys->items[i],
                               arg[1].kind == TMPL_MISSING ? tmpl_none() : arg[1]));
    }
    *out = tmpl_map_value(m);
    return SL_OK;
}

const tmpl_method_def sl_tmpl_dict_methods[] = {
    {"get", dict_get},     {"items", dict_items},
    {"keys", dict_keys},   {"values", dict_values},
    {"copy", method_copy}, {"fromkeys", dict_fromkeys},
    {NULL, NULL},
};

/* --- lists and tuples
 * --------------------------------------------------------------------------- */

static sl_status list_count(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg;
    int64_t n = 0;
    SL_TRY(method_args(r, "count", args, 1, 1, &arg));
    for (size_t i = 0; i < self.u.list->n; i++) {
        bool same;
        SL_TRY(sl_tmpl_equal(r, self.u.list->items[i], arg, 0, &same));
        n += same;
    }
    *out = tmpl_int(n);
    return SL_OK;
}

static sl_status list_index(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    sl_value arg[3];
    int64_t n = (int64_t)self.u.list->n, from = 0, to = n;
    SL_TRY(method_args(r, "index", args, 1, 3, arg));
    SL_TRY(sl_tmpl_arg_int(r, "the start", arg[1], &from));
    SL_TRY(sl_tmpl_arg_int(r, "the end", arg[2], &to));
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
    to = to < 0 ? to + n : to > n ? n : to;
    for (int64_t i = from; i < to; i++) {
        bool same;
        SL_TRY(sl_tmpl_equal(r, self.u.list->items[i], arg[0], 0, &same));
        if (same) {
            *out = tmpl_int(i);
            return SL_OK;
        }
    }
    return TMPL_FAIL(r, "index(): the value is not in the list");
}

/* Ranges have the methods of lists that do not change them. */
static sl_status range_count(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    tmpl_list *l;
    SL_TRY(sl_tmpl_collect(r, self, &l));
    return list_count(r, tmpl_list_value(SL_VALUE_LIST, l), args, out);
}

static sl_status range_index(tmpl_run *r, sl_value self, const tmpl_args *args, sl_value *out) {
    tmpl_list *l;
    SL_TRY(method_args(r, "index", args, 1, 1, &(sl_value){0}));
    SL_TRY(sl_tmpl_collect(r, self, &l));
    return list_index(r, tmpl_list_value(SL_VALUE_LIST, l), args, out);
}

static sl_status float_is_integer(tmpl_run *r, sl_value self, const tmpl_args *args,
                                  sl_value *out) {
    SL_TRY(method_args(r, "is_integer", args, 0, 0, NULL));
    *out = tmpl_bool(isfinite(self.u.f) && self.u.f == trunc(self.u.f));
    return SL_OK;
}

const tmpl_method_def sl_tmpl_range_methods[] = {
    {"index", range_index},
    {"count", range_count},
    {NULL, NULL},
};

const tmpl_method_def sl_tmpl_float_methods[] = {
    {"is_integer", float_is_integer},
    {NULL, NULL},
};

const tmpl_method_def sl_tmpl_list_methods[] = {
    {"index", list_index},
    {"count", list_count},
    {"copy", method_copy},
    {NULL, NULL},
};
