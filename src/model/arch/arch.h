/* The list of architectures. A new one is a file here and a line in arch_list.h, and nothing else. */
#ifndef SL_MODEL_ARCH_ARCH_H
#define SL_MODEL_ARCH_ARCH_H

#include <stddef.h>

#include "model/builder.h"

typedef struct sl_arch {
    const char *name; /* general.architecture */
    bool is_layer_norm;
    /* Appends the whole model to b->plan; failures are kept in b. */
    void (*describe)(sl_builder *b);
} sl_arch;

extern const sl_arch sl_arch_list[];
extern const size_t sl_arch_count;

#define X(name, norm, function) void sl_arch_##function(sl_builder *b);
#include "model/arch/arch_list.h"
#undef X

#endif
