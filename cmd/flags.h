/* One table per subcommand describes its flags: parsing, errors and --help all come from it. Also
 * the few functions through which every command speaks: errors, the end of standard output. */
#ifndef SL_CMD_FLAGS_H
#define SL_CMD_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

typedef enum sl_flag_kind {
    SL_FLAG_BOOL,   /* bool *: set to true; "--no-NAME" sets false when the name begins with "--" */
    SL_FLAG_U32,    /* uint32_t *, within [min, max] */
    SL_FLAG_U64,    /* uint64_t *, within [min, max] */
    SL_FLAG_F32,    /* float *, within [min, max] */
    SL_FLAG_STRING, /* const char ** */
    SL_FLAG_STRINGS, /* sl_flag_strings *: may be given several times */
    SL_FLAG_CHOICE,  /* int *: index into `choices`, a list "f16|f32" */
    SL_FLAG_SIZE,    /* sl_flag_size *: bytes with K, M, G or T, or a percentage */
    SL_FLAG_LIST     /* sl_flag_list *: whole numbers with commas, each within [min, max] */
} sl_flag_kind;

typedef struct sl_flag_size {
    uint64_t bytes; /* 0 when a percentage was given, or nothing */
    double percent; /* 0 when bytes were given */
} sl_flag_size;

typedef struct sl_flag_list {
    int32_t *v; /* sl_alloc'ed by the parser; freed by sl_flags_free */
    size_t n;
} sl_flag_list;

#define SL_FLAG_STRINGS_MAX 16

typedef struct sl_flag_strings {
    const char *v[SL_FLAG_STRINGS_MAX]; /* borrowed from argv */
    size_t n;
} sl_flag_strings;

typedef struct sl_flag {
    const char *name;  /* "--threads" */
    const char *alias; /* "-t", or NULL */
    sl_flag_kind kind;
    void *out;        /* holds the default before, the value after */
    const char *arg;  /* how --help names the value: "N" */
    const char *help; /* one sentence, with the default */
    double min, max;  /* of numbers; both 0: no limit */
    const char *choices;
} sl_flag;

typedef struct sl_command {
    const char *name;     /* "run" */
    const char *usage;    /* "sluice run MODEL -p TEXT [flags]" */
    const char *summary;  /* what it does, one or two sentences */
    const char *examples; /* lines of examples, or NULL */
    const sl_flag *flags;
    size_t n_flags;
    size_t n_args_min, n_args_max; /* positional arguments, at most 8 */
} sl_command;

#define SL_FLAGS_GO_ON (-1)

/* Parses argv[1..]. Positional arguments go to args[] (n_args_max entries; missing ones are NULL).
 * Of a flag that is given twice the last counts. Returns SL_FLAGS_GO_ON, or the exit code after
 * --help (0, or 1 if it could not be written) or an error (2) was printed. "--" ends the flags; "-"
 * is a positional argument. */
int sl_flags_parse(const sl_command *c, int argc, char **argv, const char **args);
/* Frees what lists hold. */
void sl_flags_free(const sl_command *c);
/* What --help prints, on standard output; returns the exit code. */
int sl_flags_help(const sl_command *c);
/* `text` filled into lines of 80 columns; all but the first begin with `indent` spaces. `column` is
 * where the first begins. Ends with a newline. */
void sl_print_wrapped(const char *text, int column, int indent);

/* The one of n names that `text` most likely was meant to be, or NULL. */
const char *sl_nearest_name(const char *text, const char *const *names, size_t n);

/* Prints "sluice COMMAND: MESSAGE" to stderr, as one line that cannot steer a terminal. */
void sl_cmd_error(const char *command, const char *format, ...) SL_PRINTF(2, 3);
/* The same for wrong arguments, with a pointer to --help; returns SL_EXIT_USAGE. */
int sl_cmd_usage_error(const char *command, const char *format, ...) SL_PRINTF(2, 3);

/* Gives out what stdio holds back: SL_ERR_IO once anything could not be written (a full disk, a
 * reader that left). */
SL_NODISCARD sl_status sl_stdout_flush(sl_error *err);
/* For the end of a command: `code`, or SL_EXIT_FAILURE after a message when standard output could
 * not be written. */
int sl_stdout_finish(const char *command, int code);

#endif
