/* make_tiny_model PATH [SEED [N_CTX]]: writes the tests' small random model, for tests that are not
 * in C. */
#include <stdio.h>
#include <stdlib.h>

#include "tiny_model.h"

int main(int argc, char **argv) {
    if (argc < 2 || argc > 4) {
        (void)fprintf(stderr, "usage: make_tiny_model PATH [SEED [N_CTX]]\n");
        return 2;
    }
    const tiny_model_options options = {
        .seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1,
        .n_ctx = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0,
    };
    sl_error err;
    if (tiny_model_write(argv[1], &options, &err) != SL_OK) {
        (void)fprintf(stderr, "make_tiny_model: %s\n", err.message);
        return 1;
    }
    return 0;
}
