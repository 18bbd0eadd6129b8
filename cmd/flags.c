/* Parsing of arguments by a command's table of flags (flags.h); help and errors are in
 * flags_help.c. */
#include "flags.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cmd.h"

#define LIST_MAX 1000000u

/* --- values ----------------------------------------------------------------------------------- */

/* Decimal notation only: strtod alone would also take hexadecimal, "nan", "inf" and blanks. */
static bool is_decimal(const char *text) {
    return text[0] != '\0' && text[strspn(text, "0123456789.eE+-")] == '\0';
}

static bool parse_number(const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return is_decimal(text) && errno == 0 && *end == '\0' && isfinite(*out);
}

static bool parse_whole(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && errno == 0 && *end == '\0';
}

static bool in_range(const sl_flag *f, double v) {
    return (f->min == 0.0 && f->max == 0.0) || (v >= f->min && v <= f->max);
}

/* `typed` is the flag as the user wrote it ("-n" or "--n"). */
static int range_error(const sl_command *c, const sl_flag *f, const char *typed, const char *text) {
    const char *whole = f->kind != SL_FLAG_F32 ? "whole " : "";
    if (f->min == 0.0 && f->max == 0.0) {
        return sl_cmd_usage_error(c->name, "%s takes a %snumber, not \"%s\"", typed, whole, text);
    }
    return sl_cmd_usage_error(c->name, "%s takes a %snumber from %.15g to %.15g, not \"%s\"", typed,
                              whole, f->min, f->max, text);
}

static int set_choice(const sl_command *c, const sl_flag *f, const char *typed, const char *text) {
    int index = 0;
    size_t len = strlen(text);
    for (const char *p = f->choices; p != NULL; index++) {
        const char *bar = strchr(p, '|');
        size_t n = bar == NULL ? strlen(p) : (size_t)(bar - p);
        if (n == len && memcmp(p, text, n) == 0) {
            *(int *)f->out = index;
            return SL_FLAGS_GO_ON;
        }
        p = bar == NULL ? NULL : bar + 1;
    }
    return sl_cmd_usage_error(c->name, "%s takes one of %s, not \"%s\"", typed, f->choices, text);
}

/* What follows a number of bytes: K, M, G or T, also as KB or KiB, always powers of 1024. 0: none
 * of these. */
static double unit_of(const char *text) {
    static const char letters[] = "KMGT";
    if (text[0] == '\0') {
        return 1.0;
    }
    const char *found = strchr(letters, text[0] >= 'a' ? text[0] - 'a' + 'A' : text[0]);
    const char *rest = text + 1;
    if (found == NULL || (*rest != '\0' && strcmp(rest, "B") != 0 && strcmp(rest, "iB") != 0)) {
        return 0.0;
    }
    return ldexp(1.0, 10 * (int)(found - letters + 1));
}

static int set_size(const sl_command *c, const sl_flag *f, const char *typed, const char *text) {
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    bool is_number = text[0] >= '0' && text[0] <= '9' && errno == 0 &&
                     (text[1] != 'x' && text[1] != 'X');
    bool is_percent = is_number && strcmp(end, "%") == 0;
    double bytes = is_number && !is_percent ? v * unit_of(end) : 0.0;
    if (is_percent ? !(v > 0.0 && v <= 100.0) : !(bytes >= 1.0 && bytes < 9e15)) {
        return sl_cmd_usage_error(c->name, "%s takes a size such as 512M, 4G or 25%%, not \"%s\"",
                                  typed, text);
    }
    *(sl_flag_size *)f->out = is_percent ? (sl_flag_size){.percent = v}
                                         : (sl_flag_size){.bytes = (uint64_t)bytes};
    return SL_FLAGS_GO_ON;
}

/* Skips the blanks that a JSON array may have between its parts. */
static const char *skip_blanks(const char *p) {
    return p + strspn(p, " \t\r\n");
}

/* Number i of a list, and what stands behind it; NULL if there is none that the flag can use. */
static const char *parse_element(const sl_flag *f, const char *p, int32_t *out) {
    p = skip_blanks(p);
    bool is_digit = (p[0] == '-' ? p[1] : p[0]) >= '0' && (p[0] == '-' ? p[1] : p[0]) <= '9';
    char *end;
    errno = 0;
    long long v = strtoll(p, &end, 10);
    if (!is_digit || errno != 0 || v < INT32_MIN || v > INT32_MAX || !in_range(f, (double)v)) {
        return NULL;
    }
    *out = (int32_t)v;
    return skip_blanks(end);
}

/* "1,2,3" or "[1, 2, 3]", as `sluice tokenize` writes it. */
static int set_list(const sl_command *c, const sl_flag *f, const char *typed, const char *text) {
    size_t n = 1;
    for (const char *p = text; *p != '\0'; p++) {
        n += *p == ',';
    }
    int32_t *v = n > LIST_MAX ? NULL : sl_realloc_array(NULL, n, sizeof(*v));
    if (v == NULL) {
        return sl_cmd_usage_error(c->name, "%s has too many numbers (at most %u)", typed, LIST_MAX);
    }
    const char *p = skip_blanks(text);
    char last = *p == '[' ? ']' : '\0';
    p += *p == '[';
    size_t i = 0;
    for (; p != NULL && i < n; i++) {
        p = parse_element(f, p, &v[i]);
        if (p != NULL) {
            p = *p == (i + 1 == n ? last : ',') ? p + (*p != '\0') : NULL;
        }
    }
    if (p == NULL || *skip_blanks(p) != '\0') {
        sl_free(v);
        if (f->min == 0.0 && f->max == 0.0) {
            return sl_cmd_usage_error(c->name,
                                      "%s takes whole numbers such as 1,2,3; number %zu of "
                                      "\"%.60s\" is none",
                                      typed, i, text);
        }
        return sl_cmd_usage_error(c->name,
                                  "%s takes whole numbers from %.15g to %.15g such as "
                                  "1,2,3; number %zu of \"%.60s\" is none",
                                  typed, f->min, f->max, i, text);
    }
    sl_flag_list *list = f->out;
    sl_free(list->v);
    *list = (sl_flag_list){.v = v, .n = n};
    return SL_FLAGS_GO_ON;
}

static int add_string(const sl_command *c, const sl_flag *f, const char *typed, const char *text) {
    sl_flag_strings *strings = f->out;
    if (strings->n == SL_FLAG_STRINGS_MAX) {
        return sl_cmd_usage_error(c->name, "%s can be given %d times at most", typed,
                                  SL_FLAG_STRINGS_MAX);
    }
    strings->v[strings->n++] = text;
    return SL_FLAGS_GO_ON;
}

static int set_value(const sl_command *c, const sl_flag *f, const char *typed, const char *text) {
    double number;
    uint64_t whole;
    switch (f->kind) {
    case SL_FLAG_BOOL: /* takes no value */
        break;
    case SL_FLAG_STRING:
        *(const char **)f->out = text;
        break;
    case SL_FLAG_STRINGS:
        return add_string(c, f, typed, text);
    case SL_FLAG_CHOICE:
        return set_choice(c, f, typed, text);
    case SL_FLAG_SIZE:
        return set_size(c, f, typed, text);
    case SL_FLAG_LIST:
        return set_list(c, f, typed, text);
    case SL_FLAG_F32:
        if (!parse_number(text, &number) || !in_range(f, number) || fabs(number) > 3e38) {
            return range_error(c, f, typed, text);
        }
        *(float *)f->out = (float)number;
        break;
    case SL_FLAG_U32:
        if (!parse_whole(text, &whole) || whole > UINT32_MAX || !in_range(f, (double)whole)) {
            return range_error(c, f, typed, text);
        }
        *(uint32_t *)f->out = (uint32_t)whole;
        break;
    case SL_FLAG_U64:
        if (!parse_whole(text, &whole) || !in_range(f, (double)whole)) {
            return range_error(c, f, typed, text);
        }
        *(uint64_t *)f->out = whole;
        break;
    }
    return SL_FLAGS_GO_ON;
}

/* --- flags ------------------------------------------------------------------------------------ */

/* The flag that `text` names ("--x", "--x=1", "-x", "--no-x"), or NULL. */
static const sl_flag *find_flag(const sl_command *c, const char *text, const char **value,
                                bool *negated) {
    const char *equals = strncmp(text, "--", 2) == 0 ? strchr(text, '=') : NULL;
    size_t len = equals == NULL ? strlen(text) : (size_t)(equals - text);
    *value = equals == NULL ? NULL : equals + 1;
    *negated = false;
    for (size_t i = 0; i < c->n_flags; i++) {
        const sl_flag *f = &c->flags[i];
        if ((strlen(f->name) == len && memcmp(f->name, text, len) == 0) ||
            (f->alias != NULL && strcmp(f->alias, text) == 0)) {
            return f;
        }
        bool no = f->kind == SL_FLAG_BOOL && len > 5 && memcmp(text, "--no-", 5) == 0 &&
                  strlen(f->name) == len - 3 && memcmp(f->name + 2, text + 5, len - 5) == 0;
        if (no) {
            *negated = true;
            return f;
        }
    }
    return NULL;
}

static int unknown_flag(const sl_command *c, const char *text) {
    const char *names[64];
    size_t n = 0;
    for (; n < c->n_flags && n < sizeof(names) / sizeof(names[0]); n++) {
        names[n] = c->flags[n].name;
    }
    const char *nearest = sl_nearest_name(text, names, n);
    if (nearest != NULL) {
        return sl_cmd_usage_error(c->name, "unknown flag \"%s\"; did you mean %s?", text, nearest);
    }
    return sl_cmd_usage_error(c->name, "unknown flag \"%s\"", text);
}

static int parse_flag(const sl_command *c, int argc, char **argv, int *i) {
    const char *value;
    bool negated;
    const char *typed = argv[*i];
    const sl_flag *f = find_flag(c, typed, &value, &negated);
    if (f == NULL) {
        return unknown_flag(c, typed);
    }
    if (f->kind == SL_FLAG_BOOL) {
        if (value != NULL) {
            return sl_cmd_usage_error(c->name, "%s takes no value", f->name);
        }
        *(bool *)f->out = !negated;
        return SL_FLAGS_GO_ON;
    }
    if (value != NULL) {
        return set_value(c, f, f->name, value); /* "--x=1" names itself as "--x" */
    }
    if (*i + 1 >= argc) {
        return sl_cmd_usage_error(c->name, "%s needs a value: %s %s", typed, typed,
                                  f->kind == SL_FLAG_CHOICE ? f->choices : f->arg);
    }
    return set_value(c, f, typed, argv[++*i]);
}

int sl_flags_parse(const sl_command *c, int argc, char **argv, const char **args) {
    size_t n_args = 0;
    bool flags_ended = false;
    for (size_t i = 0; i < c->n_args_max; i++) {
        args[i] = NULL;
    }
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!flags_ended && a[0] == '-' && a[1] != '\0') {
            if (strcmp(a, "--") == 0) {
                flags_ended = true;
                continue;
            }
            if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0) {
                return sl_flags_help(c);
            }
            int code = parse_flag(c, argc, argv, &i);
            if (code != SL_FLAGS_GO_ON) {
                return code;
            }
            continue;
        }
        if (n_args == c->n_args_max) {
            return sl_cmd_usage_error(c->name, "unexpected argument \"%s\"; usage: %s", a,
                                      c->usage);
        }
        args[n_args++] = a;
    }
    if (n_args < c->n_args_min) {
        return sl_cmd_usage_error(c->name, "an argument is missing; usage: %s", c->usage);
    }
    return SL_FLAGS_GO_ON;
}

void sl_flags_free(const sl_command *c) {
    for (size_t i = 0; i < c->n_flags; i++) {
        if (c->flags[i].kind == SL_FLAG_LIST) {
            sl_flag_list *list = c->flags[i].out;
            sl_free(list->v);
            *list = (sl_flag_list){0};
        }
    }
}
