/* Runs a fuzz target over stored inputs without libFuzzer, so that every corpus is an ordinary
 * test.
 *
 *   fuzz_NAME [--mutations N] [--max-bytes N] PATH...
 *
 * A PATH is a file or a directory of files (not searched deeper). Each input runs as it is, then N
 * times with a few bytes changed, cut or repeated by a generator with a fixed seed: the same inputs
 * on every machine. Every input is handed over in an allocation of exactly its size, so that a
 * sanitizer sees any read past its end. Without any PATH some built-in inputs run. Prints the
 * number of inputs.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REPLAY_MAX_FILE_BYTES ((size_t)64 << 20)
#define REPLAY_EDITS_MAX 8

typedef struct replay {
    unsigned long n_mutations;
    size_t max_bytes; /* files above this are not mutated: big ones cost too much */
    unsigned long n_runs;
    uint64_t state;
} replay;

/* splitmix64: small, and the same everywhere. */
static uint64_t replay_random(replay *r) {
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = r->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t replay_below(replay *r, size_t limit) {
    return limit == 0 ? 0 : (size_t)(replay_random(r) % limit);
}

static int replay_one(replay *r, const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    if (exact == NULL) {
        fprintf(stderr, "replay: no memory for %zu bytes\n", size);
        return 1;
    }
    if (size > 0) {
        memcpy(exact, data, size);
    }
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    r->n_runs++;
    return 0;
}

/* One edit in place; returns the new size. Values near the ends of integer ranges are favoured. */
static size_t replay_edit(replay *r, uint8_t *data, size_t size) {
    static const uint64_t values[] = {0,
                                      1,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0xffff,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      UINT64_C(0x7fffffffffffffff),
                                      UINT64_MAX};
    if (size == 0) {
        return size;
    }
    size_t at = replay_below(r, size);
    switch (replay_random(r) % 5) {
    case 0:
        data[at] ^= (uint8_t)(1u << replay_below(r, 8));
        return size;
    case 1:
        data[at] = (uint8_t)replay_random(r);
        return size;
    case 2: {
        size_t width = (size_t)1 << replay_below(r, 4);
        uint64_t value = values[replay_below(r, sizeof values / sizeof values[0])];
        memcpy(data + at, &value, width < size - at ? width : size - at);
        return size;
    }
    case 3:
        return at; /* cut off */
    default: {
        size_t from = replay_below(r, size);
        size_t length = replay_below(r, size - (from > at ? from : at)) + 1;
        if (length > size - (from > at ? from : at)) {
            length = size - (from > at ? from : at);
        }
        memmove(data + at, data + from, length);
        return size;
    }
    }
}

static int replay_input(replay *r, const uint8_t *data, size_t size) {
    if (replay_one(r, data, size) != 0) {
        return 1;
    }
    if (size == 0 || size > r->max_bytes) {
        return 0;
    }
    uint8_t *copy = malloc(size);
    if (copy == NULL) {
        return 1;
    }
    int failed = 0;
    for (unsigned long i = 0; i < r->n_mutations && !failed; i++) {
        memcpy(copy, data, size);
        size_t now = size;
        size_t n_edits = 1 + replay_below(r, REPLAY_EDITS_MAX);
        for (size_t e = 0; e < n_edits; e++) {
            now = replay_edit(r, copy, now);
        }
        failed = replay_one(r, copy, now);
    }
    free(copy);
    return failed;
}

static int replay_file(replay *r, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        return 1;
    }
    int failed = 1;
    long end = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (end < 0 || (size_t)end > REPLAY_MAX_FILE_BYTES || fseek(file, 0, SEEK_SET) != 0) {
        fprintf(stderr, "replay: %s: cannot be read, or is too large\n", path);
    } else {
        size_t size = (size_t)end;
        uint8_t *data = malloc(size + 1);
        if (data != NULL && fread(data, 1, size, file) == size) {
            /* The seed follows from the content: adding a file does not change what others get. */
            r->state = UINT64_C(0xcbf29ce484222325);
            for (size_t i = 0; i < size; i++) {
                r->state = (r->state ^ data[i]) * UINT64_C(0x100000001b3);
            }
            failed = replay_input(r, data, size);
        } else {
            fprintf(stderr, "replay: %s: read failed\n", path);
        }
        free(data);
    }
    fclose(file);
    return failed;
}

static int replay_path(replay *r, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        return 1;
    }
    if (!S_ISDIR(info.st_mode)) {
        return replay_file(r, path);
    }
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort);
    int failed = count < 0;
    for (int i = 0; i < count; i++) {
        char full[4096];
        int length = snprintf(full, sizeof full, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && length > 0 && (size_t)length < sizeof full &&
            stat(full, &info) == 0 && S_ISREG(info.st_mode)) {
            failed |= replay_file(r, full);
        }
        free(names[i]);
    }
    free(names);
    return failed;
}

static int replay_builtin(replay *r) {
    static const char *const inputs[] = {"",
                                         "a",
                                         "{}",
                                         "[]",
                                         "{\"a\": [1, 2.5e3, null, \"\\u00e9\"]}",
                                         "{{ x }}",
                                         "{% for i in y %}{{ i }}{% endfor %}",
                                         "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                                         "\xff\xfe\x80\xf0\x9f",
                                         "GGUF\x03\x00\x00\x00",
                                         "Hello, world  \n\n 123 \xc3\xa9"};
    int failed = 0;
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        failed |= replay_input(r, (const uint8_t *)inputs[i], strlen(inputs[i]));
    }
    return failed;
}

int main(int argc, char **argv) {
    replay r = {.n_mutations = 200, .max_bytes = 65536, .state = 1};
    int failed = 0;
    int n_paths = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
            r.n_mutations = strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--max-bytes") == 0 && i + 1 < argc) {
            r.max_bytes = strtoul(argv[++i], NULL, 10);
        } else {
            n_paths++;
            failed |= replay_path(&r, argv[i]);
        }
    }
    if (n_paths == 0) {
        failed |= replay_builtin(&r);
    }
    printf("%lu inputs\n", r.n_runs);
    return failed || r.n_runs == 0 ? 1 : 0;
}
