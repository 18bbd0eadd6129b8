/* From a weight directory to a checked plan. The model borrows the file, which must outlive it. */
#ifndef SL_MODEL_MODEL_H
#define SL_MODEL_MODEL_H

#include <sluice/status.h>

#include "format/gguf.h"
#include "plan/plan.h"

typedef struct sl_model {
    const sl_gguf *file; /* borrowed */
    sl_slice name;       /* general.name or the file's base name */
    sl_plan plan;
} sl_model;

/* Reads general.architecture, checks all hyper-parameters, binds every weight and builds the plan.
 * Unknown architecture: SL_ERR_UNSUPPORTED naming it and the nearest known one. */
SL_NODISCARD sl_status sl_model_open(const sl_gguf *file, sl_model **out, sl_error *err);
void sl_model_close(sl_model *m);

#endif
