/* The character map of charsmap.h. A unit of the double array holds: bits 0-7 and 31 the label by
 * which its parent leads here, bit 8 whether a value hangs below, bits 10-30 the offset to the
 * children (times 256 if bit 9 is set); in a unit with a value bits 0-30 are the value. Nothing of
 * the array is trusted: a unit outside of it is no rule. Any thread. */
#include "text/tokenizer/charsmap.h"

#include <string.h>

static uint32_t charsmap_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t charsmap_offset(uint32_t unit) {
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

sl_status sl_charsmap_open(sl_charsmap *m, const uint8_t *data, size_t len) {
    *m = (sl_charsmap){0};
    if (len == 0) {
        return SL_OK;
    }
    size_t n_bytes = len < 4 ? 0 : charsmap_u32(data);
    if (len < 4 || n_bytes % 4 != 0 || n_bytes == 0 || n_bytes >= len - 4) {
        return SL_ERR_FORMAT;
    }
    const char *values = (const char *)data + 4 + n_bytes;
    size_t n_values = len - 4 - n_bytes;
    for (size_t i = 0; i < n_values;) {
        const char *zero = memchr(values + i, 0, n_values - i);
        if (zero == NULL || (size_t)(zero - values) - i > SL_CHARSMAP_VALUE_MAX) {
            return SL_ERR_FORMAT;
        }
        i = (size_t)(zero - values) + 1;
    }
    *m = (sl_charsmap){data + 4, n_bytes / 4, values, n_values};
    return SL_OK;
}

size_t sl_charsmap_find(const sl_charsmap *m, const char *text, size_t len, sl_slice *value_out,
                        uint64_t *work) {
    size_t n = 0;
    if (m->n_units == 0) {
        return 0;
    }
    size_t depth_max = len < SL_CHARSMAP_KEY_MAX ? len : SL_CHARSMAP_KEY_MAX;
    uint32_t i = charsmap_offset(charsmap_u32(m->units));
    for (size_t k = 0; k < depth_max && text[k] != '\0'; k++) {
        (*work)++;
        i ^= (uint8_t)text[k];
        uint32_t unit = i < m->n_units ? charsmap_u32(m->units + (size_t)i * 4) : 0;
        if ((unit & (1u << 31 | 0xFFu)) != (uint8_t)text[k]) {
            break;
        }
        i ^= charsmap_offset(unit);
        if ((unit >> 8 & 1u) == 0 || i >= m->n_units) {
            continue;
        }
        size_t value = charsmap_u32(m->units + (size_t)i * 4) & 0x7FFFFFFFu;
        if (value < m->n_values) {
            n = k + 1;
            *value_out = (sl_slice){m->values + value,
                                    strnlen(m->values + value, m->n_values - value)};
        }
    }
    return n;
}
