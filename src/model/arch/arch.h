/* The list of architectures. A new one is a file here, a line in arch_list.c, and nothing else. */
#ifndef SL_MODEL_ARCH_ARCH_H
#define SL_MODEL_ARCH_ARCH_H

#include <stddef.h>

#include "model/builder.h"

typedef struct sl_arch {
    const char *name; /* general.architecture */
    /* Appends the whole model to b->plan; failures are kept in b. */
    void (*describe)(sl_builder *b);
} sl_arch;

extern const sl_arch sl_arch_list[];
extern const size_t sl_arch_count;

void sl_arch_llama(sl_builder *b);

#endif
