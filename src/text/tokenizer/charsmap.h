/* The precompiled character map of SentencePiece models: which text becomes which before it is
 * tokenised (NFKC and the like). A double array (Yata's, as Darts-clone stores it) over the texts
 * to replace, and their replacements one after the other. Borrowed from the model file; any
 * thread. */
#ifndef SL_TEXT_CHARSMAP_H
#define SL_TEXT_CHARSMAP_H

#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/bytes.h"

#define SL_CHARSMAP_KEY_MAX 64    /* longer texts to replace are not looked for */
#define SL_CHARSMAP_VALUE_MAX 256 /* bytes of one replacement */

typedef struct sl_charsmap {
    const uint8_t *units; /* 32 bit, little-endian, unaligned */
    size_t n_units;       /* 0: the map is empty */
    const char *values;   /* each ends with a zero byte */
    size_t n_values;
} sl_charsmap;

/* Takes apart and checks data[0..len). SL_ERR_FORMAT without a message when it is no such map. */
sl_status sl_charsmap_open(sl_charsmap *m, const uint8_t *data, size_t len);

/* How many bytes at the beginning of text[0..len) the longest rule covers, and what they become; 0:
 * no rule. */
size_t sl_charsmap_find(const sl_charsmap *m, const char *text, size_t len, sl_slice *value_out,
                        uint64_t *work);

#endif
