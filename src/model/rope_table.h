/* Inverse frequencies of rotary positions and their scalings, in float32 as the reference computes
 * them. */
#ifndef SL_MODEL_ROPE_TABLE_H
#define SL_MODEL_ROPE_TABLE_H

#include "model/hparams.h"

/* Writes n_rot / 2 inverse frequencies and the factor for cos and sin.
 * factors (may be NULL): [n_rot / 2] divisors from the file (Llama 3). Sources: RoFormer (arXiv
 * 2104.09864), YaRN (arXiv 2309.00071). */
void sl_rope_table_fill(const sl_hparams *hp, const float *factors, float *inv_freq,
                        float *mscale_out);

#endif
