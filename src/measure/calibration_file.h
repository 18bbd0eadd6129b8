/* Calibrations that are kept for the next start: one small text file for each kind of model and way
 * of running it, in a folder. A file that is cut short, changed, of another version or written by
 * somebody else counts as absent. Nothing here allocates: the engine thread may call it. */
#ifndef SL_MEASURE_CALIBRATION_FILE_H
#define SL_MEASURE_CALIBRATION_FILE_H

#include "engine/engine.h"
#include "plan/cost.h"

#define SL_CALIBRATION_KEY_BYTES 33 /* with its end */

/* What the cost depends on: processor, level, threads, shapes and formats of the model's weights,
 * the kind of KV pages and the largest step. Models of one shape share a calibration. */
void sl_calibration_key(sl_engine *e, char out[SL_CALIBRATION_KEY_BYTES]);

/* False, and nothing is changed, if there is none that can be trusted. */
bool sl_calibration_load(const char *dir, const char *key, sl_cost *out);
/* Makes the folder if need be, and replaces what was there. SL_ERR_IO: nothing is left behind. */
SL_NODISCARD sl_status sl_calibration_store(const char *dir, const char *key, const sl_cost *cost,
                                            sl_error *err);

#endif
