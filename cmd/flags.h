/* One table per subcommand describes its flags: parsing, errors and --help all come from it. */
#ifndef SL_CMD_FLAGS_H
#define SL_CMD_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sl_flag_kind {
    SL_FLAG_BOOL,   /* bool *: set to true; "--no-NAME" sets false when the name begins with "--" */
    SL_FLAG_U32,    /* uint32_t *, within [min, max] */
    SL_FLAG_U64,    /* uint64_t *, within [min, max] */
    SL_FLAG_F32,    /* float *, within [min, max] */
    SL_FLAG_STRING, /* const char ** */
    SL_FLAG_CHOICE, /* int *: index into `choices`, a list "f16|f32" */
    SL_FLAG_SIZE,   /* sl_flag_size *: bytes with K, M or G, or a percentage */
    SL_FLAG_LIST    /* sl_flag_list *: whole numbers with commas, each within [min, max] */
} sl_flag_kind;

typedef struct sl_flag_size {
    uint64_t bytes;  /* 0 when a percentage was given, or nothing */
    double percent;  /* 0 when bytes were given */
} sl_flag_size;

typedef struct sl_flag_list {
    int32_t *v; /* sl_alloc'ed by the parser; freed by sl_flags_free */
    size_t n;
} sl_flag_list;

typedef struct sl_flag {
    const char *name;  /* "--threads" */
    const char *alias; /* "-t", or NULL */
    sl_flag_kind kind;
    void *out;         /* holds the default before, the value after */
    const char *arg;   /* how --help names the value: "N" */
    const char *help;  /* one sentence, with the default */
    double min, max;   /* of numbers; both 0: no limit */
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

/* Parses argv[1..]. Positional arguments go to args[] (n_args_max entries; missing ones are NULL). Returns
 * SL_FLAGS_GO_ON, or the exit code after --help (0) or an error (2) was printed. "--" ends the flags; "-"
 * is a positional argument. */
int sl_flags_parse(const sl_command *c, int argc, char **argv, const char **args);
/* Frees what lists hold. */
void sl_flags_free(const sl_command *c);

/* Prints "sluice COMMAND: MESSAGE" to stderr. */
void sl_cmd_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for wrong arguments, with a pointer to --help; returns SL_EXIT_USAGE. */
int sl_cmd_usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
