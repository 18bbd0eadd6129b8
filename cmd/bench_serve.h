/* sluice bench serve: the load generator, a command within `bench`. */
#ifndef SL_CMD_BENCH_SERVE_H
#define SL_CMD_BENCH_SERVE_H

int sl_cmd_bench_serve(int argc, char **argv); /* argv[0]: "serve" */

#endif
