/* sluice bench --roofline. */
#ifndef SL_CMD_BENCH_ROOFLINE_H
#define SL_CMD_BENCH_ROOFLINE_H

#include "load.h"

/* Prints the machine's limits, then one line (with `json` one object each) for each product of the
 * model and number of rows, and for its attention with so many sequences or rows and each context.
 * Only the model is loaded. */
SL_NODISCARD sl_status sl_bench_roofline(const sl_loaded *l, const sl_load_flags *flags,
                                         const sl_flag_list *rows, const sl_flag_list *contexts,
                                         bool json, sl_error *err);

#endif
