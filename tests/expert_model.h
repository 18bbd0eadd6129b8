/* A model with experts whose input is rounded to int8, made of one whose matrices are F16. */
#ifndef SL_TESTS_EXPERT_MODEL_H
#define SL_TESTS_EXPERT_MODEL_H

#include <sluice/status.h>

#include "base/buf.h"
#include "format/gguf.h"

/* Writes the model in `from` with the matrices of experts in Q4_1 (where whole blocks make a row)
 * to dest. SL_ERR_ARGUMENT if there are none. */
SL_NODISCARD sl_status experts_write_q4_1(sl_buf *dest, const sl_gguf *from, sl_error *err);

#endif
