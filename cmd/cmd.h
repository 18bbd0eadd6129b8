/* The subcommands of the program `sluice`: argv -> exit code. One file each. */
#ifndef SL_CMD_CMD_H
#define SL_CMD_CMD_H

/* Exit codes, documented in `sluice --help`. */
#define SL_EXIT_OK 0
#define SL_EXIT_FAILURE 1 /* a file, model or request could not be used */
#define SL_EXIT_USAGE 2   /* wrong arguments */
#define SL_EXIT_INTERRUPTED 130

/* argv[0] is the subcommand's name. */
int sl_cmd_run(int argc, char **argv);
int sl_cmd_serve(int argc, char **argv);
int sl_cmd_top(int argc, char **argv);
int sl_cmd_plan(int argc, char **argv);
int sl_cmd_inspect(int argc, char **argv);
int sl_cmd_tokenize(int argc, char **argv);
int sl_cmd_detokenize(int argc, char **argv);
int sl_cmd_render(int argc, char **argv);
int sl_cmd_logits(int argc, char **argv);
int sl_cmd_eval(int argc, char **argv);
int sl_cmd_embed(int argc, char **argv);
int sl_cmd_bench(int argc, char **argv);
int sl_cmd_version(int argc, char **argv);

#endif
