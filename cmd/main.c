/* The program `sluice`: chooses the subcommand, and prepares what all of them rely on: the guard of
 * mapped files, signals, open standard streams. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "cmd.h"
#include "flags.h"
#include "load.h"

typedef struct subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} subcommand;

static const subcommand subcommands[] = {
    {"run", sl_cmd_run, "Answer one prompt, streaming the text."},
    {"serve", sl_cmd_serve, "Serve a model over the OpenAI API."},
    {"top", sl_cmd_top, "Show what a server is doing, live."},
    {"plan", sl_cmd_plan, "Tell how many users this machine holds, and how fast."},
    {"embed", sl_cmd_embed, "Turn texts into vectors with an encoder."},
    {"inspect", sl_cmd_inspect, "Show what a model file holds, its memory and its plan."},
    {"bench", sl_cmd_bench, "Measure prompt and generation speed."},
    {"eval", sl_cmd_eval, "Measure how well a model predicts a text (perplexity, KL)."},
    {"tokenize", sl_cmd_tokenize, "Turn text on standard input into token ids."},
    {"detokenize", sl_cmd_detokenize, "Turn token ids on standard input into text."},
    {"render", sl_cmd_render, "Apply a chat template to a conversation."},
    {"logits", sl_cmd_logits, "Write the logits of a token sequence to a file."},
    {"version", sl_cmd_version, "Show the version, the processor and the kernels chosen."},
};
#define N_SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void print_commands(FILE *to) {
    (void)fprintf(to, "Commands:\n");
    for (size_t i = 0; i < N_SUBCOMMANDS; i++) {
        (void)fprintf(to, "  %-10s  %s\n", subcommands[i].name, subcommands[i].summary);
    }
    (void)fprintf(to, "\nsluice COMMAND --help describes a command, with examples.\n");
}

static int print_help(void) {
    (void)printf("Usage: sluice COMMAND [arguments]\n\n"
                 "Sluice loads an open language model (a GGUF file), runs it on the processor at\n"
                 "hand and serves it to many callers.\n\n");
    print_commands(stdout);
    (void)printf("\nExamples:\n"
                 "  sluice run model.gguf -p 'Why is the sky blue?'\n"
                 "  sluice serve model.gguf --port 8080\n"
                 "  sluice inspect model.gguf\n"
                 "\nExit codes:\n"
                 "    0  done\n"
                 "    1  a file, model or request could not be used\n"
                 "    2  wrong arguments\n"
                 "  130  interrupted (SIGINT, SIGTERM)\n"
                 "\nEnvironment:\n"
                 "  SLUICE_CPU_MASK=ref|avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx\n"
                 "      uses no instructions above the level named\n"
                 "  SLUICE_PACKED_CACHE=DIR|off\n"
                 "      keeps packed weights there, as --packed-cache does\n");
    return sl_stdout_finish("", SL_EXIT_OK);
}

static const subcommand *find_subcommand(const char *name) {
    for (size_t i = 0; i < N_SUBCOMMANDS; i++) {
        if (strcmp(name, subcommands[i].name) == 0) {
            return &subcommands[i];
        }
    }
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[N_SUBCOMMANDS];
    for (size_t i = 0; i < N_SUBCOMMANDS; i++) {
        names[i] = subcommands[i].name;
    }
    const char *nearest = sl_nearest_name(name, names, N_SUBCOMMANDS);
    if (nearest != NULL) {
        return sl_cmd_usage_error("", "unknown command \"%s\"; did you mean %s?", name, nearest);
    }
    return sl_cmd_usage_error("", "unknown command \"%s\"", name);
}

/* The number of a stream that the caller closed would be that of the next file that is opened, and
 * what is printed would end up there. These refuse to be read or written. */
static void hold_streams(void) {
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
            (void)open("/dev/null", modes[fd]); /* the lowest free number: fd */
        }
    }
}

/* "help NAME" is "NAME --help". */
static int help(int argc, char **argv) {
    if (argc < 3) {
        return print_help();
    }
    const subcommand *s = find_subcommand(argv[2]);
    if (s == NULL) {
        return unknown_command(argv[2]);
    }
    char flag[] = "--help";
    char *args[] = {argv[2], flag, NULL};
    return s->run(2, args);
}

/* What a command has to say beside its errors; serve takes this over. */
static void log_warning(void *user, const sl_log_record *record) {
    (void)user;
    (void)fprintf(stderr, "sluice: %s\n", record->message);
}

int main(int argc, char **argv) {
    hold_streams();
    /* A reader that left, or a file that may not grow, is an error of that write. */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    /* Where the system does not show its processors there is one node; nobody need be told. */
    (void)setenv("HWLOC_HIDE_ERRORS", "2", 0);
    if (argc < 2) {
        (void)fprintf(stderr, "sluice: a command is missing: sluice COMMAND [arguments]\n\n");
        print_commands(stderr);
        return SL_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        return help(argc, argv);
    }
    if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    const subcommand *s = find_subcommand(name);
    if (s == NULL) {
        return unknown_command(name);
    }
    sl_error err;
    if (sl_cpu_check_mask(&err) != SL_OK) {
        sl_cmd_error("", "%s", err.message);
        return SL_EXIT_USAGE;
    }
    sl_log_init(log_warning, NULL, SL_LOG_WARN);
    sl_mapfile_guard_install();
    sl_interrupt_install_at_once();
    return s->run(argc - 1, argv + 1);
}
