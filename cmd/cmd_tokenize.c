/* sluice tokenize, sluice detokenize: text on standard input <-> a JSON array of ids. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/error.h"
#include "cmd.h"
#include "load.h"

#define INPUT_MAX ((size_t)256 << 20)
#define IDS_MAX ((size_t)64 << 20)

static int report(const char *command, const sl_error *err) {
    sl_cmd_error(command, "%s", err->message);
    return SL_EXIT_FAILURE;
}

/* Writes and flushes; a full disk or a closed pipe is a failure. */
static int finish_stdout(const char *command) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        sl_cmd_error(command, "standard output cannot be written");
        return SL_EXIT_FAILURE;
    }
    return SL_EXIT_OK;
}

static sl_status tokenize(const sl_loaded *l, bool add_special, bool parse_special, sl_error *err) {
    sl_buf text;
    SL_TRY(sl_read_all("-", INPUT_MAX, &text, err));
    sl_ids ids;
    sl_ids_init(&ids, IDS_MAX);
    sl_slice slice = {text.len == 0 ? "" : text.data, text.len};
    sl_status status = sl_tokenizer_encode_full(l->tokenizer, slice, add_special, parse_special, &ids, err);
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
        "tokenize", "sluice tokenize MODEL [flags] < TEXT",
        "Writes the token ids of the text on standard input as one JSON array. A file that holds only a "
        "vocabulary will do.",
        "  printf 'Hello, world' | sluice tokenize model.gguf\n", flags, 2, 1, 1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_loaded l;
    sl_error err;
    if (sl_load_vocabulary(args[0], &l, &err) != SL_OK) {
        return report("tokenize", &err);
    }
    sl_status status = tokenize(&l, add_special, parse_special, &err);
    sl_loaded_close(&l);
    return status == SL_OK ? finish_stdout("tokenize") : report("tokenize", &err);
}

static sl_status read_ids(sl_ids *ids, sl_error *err) {
    sl_buf text;
    SL_TRY(sl_read_all("-", INPUT_MAX, &text, err));
    json_error_t problem;
    json_t *array = json_loadb(text.len == 0 ? "" : text.data, text.len, 0, &problem);
    sl_buf_deinit(&text);
    if (!json_is_array(array)) {
        sl_status status = SL_FAIL(err, SL_ERR_FORMAT, "standard input is no JSON array of token ids: %s",
                                   array == NULL ? problem.text : "it is another kind of value");
        json_decref(array);
        return status;
    }
    sl_status status = SL_OK;
    for (size_t i = 0; i < json_array_size(array) && status == SL_OK; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX) {
            status = SL_FAIL(err, SL_ERR_FORMAT, "element %zu of the array is no token id (a whole number from 0)",
                             i);
        } else {
            status = sl_ids_push(ids, (int32_t)id);
        }
    }
    json_decref(array);
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
        "detokenize", "sluice detokenize MODEL [flags] < IDS",
        "Writes the text of the token ids on standard input (one JSON array), byte for byte.",
        "  echo '[504, 2365]' | sluice detokenize model.gguf\n", flags, 1, 1, 1};
    const char *args[1];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_loaded l;
    sl_error err;
    if (sl_load_vocabulary(args[0], &l, &err) != SL_OK) {
        return report("detokenize", &err);
    }
    sl_status status = detokenize(&l, skip_special, &err);
    sl_loaded_close(&l);
    return status == SL_OK ? finish_stdout("detokenize") : report("detokenize", &err);
}
