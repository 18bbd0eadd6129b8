/* The program `sluice`: chooses the subcommand. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mapfile.h"
#include "cmd.h"
#include "flags.h"

typedef struct subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} subcommand;

static const subcommand subcommands[] = {
    {"run", sl_cmd_run, "Answer one prompt, streaming the text."},
    {"serve", sl_cmd_serve, "Serve a model over the OpenAI API."},
    {"inspect", sl_cmd_inspect, "Show what a model file holds, its memory and its plan."},
    {"bench", sl_cmd_bench, "Measure prompt and generation speed."},
    {"tokenize", sl_cmd_tokenize, "Turn text on standard input into token ids."},
    {"detokenize", sl_cmd_detokenize, "Turn token ids on standard input into text."},
    {"render", sl_cmd_render, "Apply a chat template to a conversation."},
    {"logits", sl_cmd_logits, "Write the logits of a token sequence to a file."},
    {"version", sl_cmd_version, "Show the version, the processor and the kernels chosen."},
};

static void print_help(void) {
    (void)printf("Usage: sluice COMMAND [arguments]\n\n"
                 "Sluice loads an open language model (GGUF), runs it on the processor at hand and serves it to "
                 "many callers.\n\nCommands:\n");
    for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++) {
        (void)printf("  %-12s %s\n", subcommands[i].name, subcommands[i].summary);
    }
    (void)printf("\nsluice COMMAND --help describes a command, with examples.\n\n"
                 "Exit codes: 0 done, 1 a file, model or request could not be used, 2 wrong arguments, "
                 "130 interrupted.\n"
                 "Environment: SLUICE_CPU_MASK=ref|avx2|avxvnni|avx512|avx512vnni|amx allows no level above "
                 "the one named.\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_help();
        return SL_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return SL_EXIT_OK;
    }
    if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    sl_error err;
    if (sl_cpu_check_mask(&err) != SL_OK) {
        sl_cmd_error("", "%s", err.message);
        return SL_EXIT_USAGE;
    }
    sl_mapfile_guard_install();
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that left is an error of that write, not of the program */
    for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++) {
        if (strcmp(name, subcommands[i].name) == 0) {
            return subcommands[i].run(argc - 1, argv + 1);
        }
    }
    return sl_cmd_usage_error("", "unknown command \"%s\"", name);
}
