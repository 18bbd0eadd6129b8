#include "flags.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cmd.h"

#define LIST_MAX 1000000u

static void print_error(const char *command, const char *format, va_list args) {
    (void)fprintf(stderr, "sluice%s%s: ", command[0] == '\0' ? "" : " ", command);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
}

void sl_cmd_error(const char *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_error(command, format, args);
    va_end(args);
}

int sl_cmd_usage_error(const char *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_error(command, format, args);
    va_end(args);
    (void)fprintf(stderr, "Try: sluice%s%s --help\n", command[0] == '\0' ? "" : " ", command);
    return SL_EXIT_USAGE;
}

static void print_help(const sl_command *c) {
    (void)printf("Usage: %s\n\n%s\n", c->usage, c->summary);
    if (c->n_flags > 0) {
        (void)printf("\nFlags:\n");
    }
    for (size_t i = 0; i < c->n_flags; i++) {
        const sl_flag *f = &c->flags[i];
        char head[80];
        (void)snprintf(head, sizeof(head), "%s%s%s%s%s", f->alias == NULL ? "" : f->alias,
                       f->alias == NULL ? "" : ", ", f->name, f->kind == SL_FLAG_BOOL ? "" : " ",
                       f->kind == SL_FLAG_BOOL     ? ""
                       : f->kind == SL_FLAG_CHOICE ? f->choices
                                                   : f->arg);
        (void)printf("  %-26s %s\n", head, f->help);
    }
    (void)printf("  %-26s %s\n", "-h, --help", "Show this text.");
    if (c->examples != NULL) {
        (void)printf("\nExamples:\n%s", c->examples);
    }
}

static bool parse_number(const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && isfinite(*out);
}

static bool parse_whole(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static bool in_range(const sl_flag *f, double v) {
    return (f->min == 0.0 && f->max == 0.0) || (v >= f->min && v <= f->max);
}

static int range_error(const sl_command *c, const sl_flag *f, const char *text) {
    bool whole = f->kind != SL_FLAG_F32;
    if (f->min == 0.0 && f->max == 0.0) {
        return sl_cmd_usage_error(c->name, "%s takes a %snumber, not \"%s\"", f->name,
                                  whole ? "whole " : "", text);
    }
    return sl_cmd_usage_error(c->name, "%s takes a %snumber from %.15g to %.15g, not \"%s\"", f->name,
                              whole ? "whole " : "", f->min, f->max, text);
}

static int set_choice(const sl_command *c, const sl_flag *f, const char *text) {
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
    return sl_cmd_usage_error(c->name, "%s takes one of %s, not \"%s\"", f->name, f->choices, text);
}

static int set_size(const sl_command *c, const sl_flag *f, const char *text) {
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    double unit = 1.0;
    bool percent = false;
    if (end != text && *end != '\0') {
        switch (*end) {
        case 'K': case 'k': unit = 1024.0; end++; break;
        case 'M': case 'm': unit = 1048576.0; end++; break;
        case 'G': case 'g': unit = 1073741824.0; end++; break;
        case '%': percent = true; end++; break;
        default: break;
        }
    }
    bool good = errno == 0 && end != text && *end == '\0' && v > 0.0 && v * unit < 9e15;
    if (!good || (percent && v > 100.0)) {
        return sl_cmd_usage_error(c->name, "%s takes a size such as 512M, 4G or 25%%, not \"%s\"", f->name,
                                  text);
    }
    *(sl_flag_size *)f->out = percent ? (sl_flag_size){.percent = v}
                                      : (sl_flag_size){.bytes = (uint64_t)(v * unit)};
    return SL_FLAGS_GO_ON;
}

static int set_list(const sl_command *c, const sl_flag *f, const char *text) {
    size_t n = 1;
    for (const char *p = text; *p != '\0'; p++) {
        n += *p == ',';
    }
    sl_flag_list *list = f->out;
    int32_t *v = n > LIST_MAX ? NULL : sl_realloc_array(NULL, n, sizeof(*v));
    if (v == NULL) {
        return sl_cmd_usage_error(c->name, "%s has too many numbers (at most %u)", f->name, LIST_MAX);
    }
    const char *p = text;
    for (size_t i = 0; i < n; i++) {
        char *end;
        errno = 0;
        long x = strtol(p, &end, 10);
        if (errno != 0 || end == p || (*end != ',' && *end != '\0') || !in_range(f, (double)x) ||
            x > INT32_MAX || x < INT32_MIN) {
            sl_free(v);
            return sl_cmd_usage_error(c->name,
                                      "%s takes whole numbers with commas between them, such as 1,2,3; number "
                                      "%zu of \"%.60s\" is not one it can use",
                                      f->name, i + 1, text);
        }
        v[i] = (int32_t)x;
        p = end + 1;
    }
    sl_free(list->v);
    *list = (sl_flag_list){.v = v, .n = n};
    return SL_FLAGS_GO_ON;
}

static int set_value(const sl_command *c, const sl_flag *f, const char *text) {
    double number;
    int64_t whole;
    switch (f->kind) {
    case SL_FLAG_BOOL: *(bool *)f->out = true; return SL_FLAGS_GO_ON;
    case SL_FLAG_STRING: *(const char **)f->out = text; return SL_FLAGS_GO_ON;
    case SL_FLAG_CHOICE: return set_choice(c, f, text);
    case SL_FLAG_SIZE: return set_size(c, f, text);
    case SL_FLAG_LIST: return set_list(c, f, text);
    case SL_FLAG_F32:
        if (!parse_number(text, &number) || !in_range(f, number)) {
            return range_error(c, f, text);
        }
        *(float *)f->out = (float)number;
        return SL_FLAGS_GO_ON;
    case SL_FLAG_U32:
        if (!parse_whole(text, &whole) || whole < 0 || whole > UINT32_MAX || !in_range(f, (double)whole)) {
            return range_error(c, f, text);
        }
        *(uint32_t *)f->out = (uint32_t)whole;
        return SL_FLAGS_GO_ON;
    case SL_FLAG_U64:
        if (!parse_whole(text, &whole) || whole < 0 || !in_range(f, (double)whole)) {
            return range_error(c, f, text);
        }
        *(uint64_t *)f->out = (uint64_t)whole;
        return SL_FLAGS_GO_ON;
    }
    return SL_FLAGS_GO_ON;
}

/* The flag that `text` names ("--x", "--x=1", "-x", "--no-x"), or NULL. */
static const sl_flag *find_flag(const sl_command *c, const char *text, const char **value, bool *negated) {
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

static int parse_flag(const sl_command *c, int argc, char **argv, int *i) {
    const char *value;
    bool negated;
    const sl_flag *f = find_flag(c, argv[*i], &value, &negated);
    if (f == NULL) {
        return sl_cmd_usage_error(c->name, "unknown flag \"%s\"", argv[*i]);
    }
    if (f->kind == SL_FLAG_BOOL) {
        if (value != NULL) {
            return sl_cmd_usage_error(c->name, "%s takes no value", f->name);
        }
        *(bool *)f->out = !negated;
        return SL_FLAGS_GO_ON;
    }
    if (value == NULL) {
        if (*i + 1 >= argc) {
            return sl_cmd_usage_error(c->name, "%s needs a value: %s %s", f->name, f->name,
                                      f->kind == SL_FLAG_CHOICE ? f->choices : f->arg);
        }
        value = argv[++*i];
    }
    return set_value(c, f, value);
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
                print_help(c);
                return SL_EXIT_OK;
            }
            int code = parse_flag(c, argc, argv, &i);
            if (code != SL_FLAGS_GO_ON) {
                return code;
            }
            continue;
        }
        if (n_args == c->n_args_max) {
            return sl_cmd_usage_error(c->name, "unexpected argument \"%s\"; usage: %s", a, c->usage);
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
