/* What a command says: its help, its errors, and whether its output arrived (flags.h). Help is
 * filled to 80 columns; arguments and file names in errors may come from anywhere, so what could
 * steer a terminal is replaced. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "cmd.h"
#include "flags.h"

#define HELP_COLUMNS 80
#define HELP_HEAD_MAX 28 /* columns of the names; a longer one has its help on the next line */
#define ERROR_BYTES_MAX 1024
#define NAME_BYTES_MAX 32 /* of names that are compared */

/* --- errors ----------------------------------------------------------------------------------- */

static void say_error(const char *command, const char *hint, const char *format, va_list args) {
    char message[ERROR_BYTES_MAX];
    int n = vsnprintf(message, sizeof(message), format, args);
    sl_utf8_make_printable(message, n >= (int)sizeof(message));
    const char *blank = command[0] == '\0' ? "" : " ";
    if (hint == NULL) {
        (void)fprintf(stderr, "sluice%s%s: %s\n", blank, command, message);
    } else {
        (void)fprintf(stderr, "sluice%s%s: %s (%s: sluice%s%s --help)\n", blank, command, message,
                      hint, blank, command);
    }
}

void sl_cmd_error(const char *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say_error(command, NULL, format, args);
    va_end(args);
}

int sl_cmd_usage_error(const char *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say_error(command, "try", format, args);
    va_end(args);
    return SL_EXIT_USAGE;
}

/* --- standard output -------------------------------------------------------------------------- */

sl_status sl_stdout_flush(sl_error *err) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return SL_OK;
    }
    if (errno == 0) { /* an earlier write failed; its reason is gone */
        return SL_FAIL(err, SL_ERR_IO, "standard output cannot be written");
    }
    return SL_FAIL(err, SL_ERR_IO, "standard output cannot be written: %s", sl_errno_text(errno));
}

int sl_stdout_finish(const char *command, int code) {
    sl_error err;
    if (sl_stdout_flush(&err) != SL_OK && code == SL_EXIT_OK) {
        sl_cmd_error(command, "%s", err.message);
        return SL_EXIT_FAILURE;
    }
    return code;
}

/* --- help ------------------------------------------------------------------------------------- */

void sl_print_wrapped(const char *text, int column, int indent) {
    bool is_first = true;
    for (const char *p = text; *p != '\0';) {
        int len = (int)strcspn(p, " \n");
        if (!is_first && column + 1 + len > HELP_COLUMNS) {
            (void)printf("\n%*s", indent, "");
            column = indent;
        } else if (!is_first) {
            (void)putchar(' ');
            column++;
        }
        (void)printf("%.*s", len, p);
        column += len;
        is_first = false;
        p += len;
        p += strspn(p, " \n");
    }
    (void)putchar('\n');
}

/* "-t, --threads N" into `out`; returns its columns. */
static int help_head(const sl_flag *f, char *out, size_t cap) {
    const char *arg = f->kind == SL_FLAG_BOOL     ? ""
                      : f->kind == SL_FLAG_CHOICE ? f->choices
                                                  : f->arg;
    return snprintf(out, cap, "%s%s%s%s%s", f->alias == NULL ? "    " : f->alias,
                    f->alias == NULL ? "" : ", ", f->name, arg[0] == '\0' ? "" : " ", arg);
}

static void print_flag(const char *head, int len, const char *help, int width) {
    int indent = 2 + width + 2;
    (void)printf("  %s", head);
    if (len > width) {
        (void)printf("\n%*s", indent, "");
    } else {
        (void)printf("%*s", width - len + 2, "");
    }
    sl_print_wrapped(help, indent, indent);
}

int sl_flags_help(const sl_command *c) {
    static const char help_name[] = "-h, --help";
    char head[80];
    int width = (int)sizeof(help_name) - 1;
    for (size_t i = 0; i < c->n_flags; i++) {
        int len = help_head(&c->flags[i], head, sizeof(head));
        width = len > width && len <= HELP_HEAD_MAX ? len : width;
    }
    (void)printf("Usage: ");
    sl_print_wrapped(c->usage, 7, 7);
    (void)putchar('\n');
    sl_print_wrapped(c->summary, 0, 0);
    (void)printf("\nFlags:\n");
    for (size_t i = 0; i < c->n_flags; i++) {
        int len = help_head(&c->flags[i], head, sizeof(head));
        print_flag(head, len, c->flags[i].help, width);
    }
    print_flag(help_name, (int)sizeof(help_name) - 1, "Show this text.", width);
    if (c->examples != NULL) {
        (void)printf("\nExamples:\n%s", c->examples);
    }
    return sl_stdout_finish(c->name, SL_EXIT_OK);
}

/* --- names nearly right ----------------------------------------------------------------------- */

/* Letters to insert, delete or replace to make `b` of `a` (Levenshtein); both short. */
static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t row[NAME_BYTES_MAX + 1];
    for (size_t j = 0; j <= n_b; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
        }
    }
    return row[n_b];
}

const char *sl_nearest_name(const char *text, const char *const *names, size_t n) {
    size_t len = strcspn(text, "=");
    const char *nearest = NULL;
    size_t best = 3; /* two wrong letters at most, and fewer than the name has */
    for (size_t i = 0; i < n; i++) {
        size_t n_name = strlen(names[i]);
        if (len > NAME_BYTES_MAX || n_name > NAME_BYTES_MAX) {
            continue;
        }
        size_t distance = edit_distance(text, len, names[i], n_name);
        bool is_start = len >= 4 && n_name > len && memcmp(text, names[i], len) == 0;
        distance = is_start ? 1 : distance;
        if (distance < best && distance + 2 < n_name) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}
