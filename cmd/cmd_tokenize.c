/* sluice tokenize, sluice detokenize: text on standard input <-> a JSON array of ids. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cmd.h"
#include "load.h"

#define INPUT_MAX ((size_t)256 << 20)
#define IDS_MAX ((size_t)64 << 20)

/* What both commands do first: their flags, then the vocabulary. An exit code unless they go on. */
static int begin(const sl_command *command, int argc, char **argv, sl_loaded *out) {
    const char *args[1];
    int code = sl_flags_parse(command, argc, argv, args);
    sl_error err;
    if (code == SL_FLAGS_GO_ON && sl_load_vocabulary(args[0], out, &err) != SL_OK) {
        sl_cmd_error(command->name, "%s", err.message);
        code = SL_EXIT_FAILURE;
    }
    return code;
}

/* And last; returns the exit code. */
static int end(const sl_command *command, sl_loaded *l, sl_status status, const sl_error *err) {
    sl_loaded_close(l);
    if (status != SL_OK) {
        sl_cmd_error(command->name, "%s", err->message);
        return SL_EXIT_FAILURE;
    }
    return sl_stdout_finish(command->name, SL_EXIT_OK);
}

static sl_status tokenize(const sl_loaded *l, bool add_special, bool parse_special, sl_error *err) {
    sl_buf text;
    SL_TRY(sl_read_all("-", INPUT_MAX, &text, err));
    sl_ids ids;
    sl_ids_init(&ids, IDS_MAX);
    sl_slice slice = {text.len == 0 ? "" : text.data, text.len};
    sl_status status = sl_tokenizer_encode_full(l->tokenizer, slice, add_special, parse_special,
                                                &ids, err);
    if (status == SL_OK) {
        status = sl_gguf_check_alive(l->file, err);
    }
    if (status == SL_OK) {
        (void)putchar('[');
        for (size_t i = 0; i < ids.n; i++) {
            (void)printf("%s%" PRId32, i == 0 ? "" : ", ", ids.ids[i]);
        }
        (void)puts("]");
    }
    sl_ids_deinit(&ids);
    sl_buf_deinit(&text);
    return status;
}

int sl_cmd_tokenize(int argc, char **argv) {
    bool add_special = false, parse_special = false;
    const sl_flag flags[] = {
        {"--add-special", NULL, SL_FLAG_BOOL, &add_special, NULL,
         "Add the tokens that the file asks for around a text (BOS, EOS).", 0, 0, NULL},
        {"--parse-special", NULL, SL_FLAG_BOOL, &parse_special, NULL,
         "Recognise special tokens such as <|im_end|> in the text.", 0, 0, NULL},
    };
    const sl_command command = {
        "tokenize",
        "sluice tokenize MODEL [flags] < TEXT",
        "Writes the token ids of the text on standard input as one JSON array. A file that holds "
        "only a "
        "vocabulary will do.",
        "  printf 'Hello, world' | sluice tokenize model.gguf\n"
        "  sluice tokenize model.gguf --add-special --parse-special < prompt.txt\n",
        flags,
        2,
        1,
        1};
    sl_loaded l;
    int code = begin(&command, argc, argv, &l);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_error err;
    return end(&command, &l, tokenize(&l, add_special, parse_special, &err), &err);
}

static size_t skip_blanks(const sl_buf *text, size_t i) {
    while (i < text->len && strchr(" \t\r\n", text->data[i]) != NULL && text->data[i] != '\0') {
        i++;
    }
    return i;
}

static bool char_at(const sl_buf *text, size_t i, char c) {
    return i < text->len && text->data[i] == c;
}

/* A JSON number that can be an id; returns the place behind it, or `i` itself if there is none. */
static size_t parse_id(const sl_buf *text, size_t i, int32_t *out) {
    int64_t v = 0;
    size_t begin = i;
    while (i < text->len && text->data[i] >= '0' && text->data[i] <= '9' && v <= INT32_MAX) {
        v = v * 10 + (text->data[i++] - '0');
    }
    bool is_padded = i > begin + 1 && text->data[begin] == '0';
    if (i == begin || v > INT32_MAX || is_padded) {
        return begin;
    }
    *out = (int32_t)v;
    return i;
}

/* One JSON array of ids. A parser for any JSON would hold a 256 MB array many times over. */
static sl_status parse_ids(const sl_buf *text, sl_ids *ids, sl_error *err) {
    static const char shape[] =
        "standard input must be one JSON array of token ids, such as [1, 2, 3]";
    size_t i = skip_blanks(text, 0);
    if (!char_at(text, i, '[')) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s; it does not begin with [", shape);
    }
    i = skip_blanks(text, i + 1);
    while (ids->n > 0 || !char_at(text, i, ']')) {
        int32_t id;
        size_t end = parse_id(text, i, &id);
        if (end == i) {
            return SL_FAIL(err, SL_ERR_FORMAT, "%s; element %zu (byte %zu) is no token id", shape,
                           ids->n, i);
        }
        if (sl_ids_push(ids, id) != SL_OK) {
            return SL_FAIL(err, SL_ERR_LIMIT, "standard input: more ids than memory or %zu allow",
                           IDS_MAX);
        }
        i = skip_blanks(text, end);
        if (char_at(text, i, ']')) {
            break;
        }
        if (!char_at(text, i, ',')) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s; after element %zu (byte %zu) there is no comma or ]", shape,
                           ids->n - 1, i);
        }
        i = skip_blanks(text, i + 1);
    }
    i = skip_blanks(text, i + 1);
    if (i < text->len) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s; there is more behind it (byte %zu)", shape, i);
    }
    return SL_OK;
}

static sl_status read_ids(sl_ids *ids, sl_error *err) {
    sl_buf text;
    SL_TRY(sl_read_all("-", INPUT_MAX, &text, err));
    sl_status status = parse_ids(&text, ids, err);
    sl_buf_deinit(&text);
    return status;
}

static sl_status detokenize(const sl_loaded *l, bool skip_special, sl_error *err) {
    sl_ids ids;
    sl_ids_init(&ids, IDS_MAX);
    sl_buf text;
    sl_buf_init(&text, INPUT_MAX);
    sl_status status = read_ids(&ids, err);
    if (status == SL_OK) {
        status = sl_tokenizer_decode(l->tokenizer, ids.ids, ids.n, true, !skip_special, &text, err);
    }
    if (status == SL_OK) { /* token texts come from the file */
        status = sl_gguf_check_alive(l->file, err);
    }
    if (status == SL_OK && text.len > 0) {
        (void)fwrite(text.data, 1, text.len, stdout);
    }
    sl_buf_deinit(&text);
    sl_ids_deinit(&ids);
    return status;
}

int sl_cmd_detokenize(int argc, char **argv) {
    bool skip_special = false;
    const sl_flag flags[] = {
        {"--skip-special", NULL, SL_FLAG_BOOL, &skip_special, NULL,
         "Leave out control tokens (BOS, EOS, <|im_end|>, ...).", 0, 0, NULL},
    };
    const sl_command command = {
        "detokenize",
        "sluice detokenize MODEL [flags] < IDS",
        "Writes the text of the token ids on standard input (one JSON array), byte for byte: the "
        "reverse of tokenize.",
        "  echo '[504, 2365]' | sluice detokenize model.gguf\n"
        "  sluice tokenize model.gguf < a.txt | sluice detokenize model.gguf | cmp - a.txt\n",
        flags,
        1,
        1,
        1};
    sl_loaded l;
    int code = begin(&command, argc, argv, &l);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_error err;
    return end(&command, &l, detokenize(&l, skip_special, &err), &err);
}
