/* sluice tokenize, sluice detokenize: text on standard input <-> a JSON array of ids. With --jsonl
 * a JSON string on each line <-> an array on each line, so that many texts cost one start. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

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

/* --- lines ------------------------------------------------------------------------------------ */

#define WHERE_MAX 64

/* Does the work of one line, and prints its result; `where` names the line in errors. */
typedef sl_status (*line_fn)(void *user, const sl_buf *line, const char *where, sl_error *err);

/* The next line of standard input, without its end; *is_end: there is none. */
static sl_status read_line(sl_buf *line, const char *where, bool *is_end, sl_error *err) {
    sl_buf_clear(line);
    int c;
    errno = 0;
    while ((c = getc(stdin)) != EOF && c != '\n' && line->status == SL_OK) {
        (void)sl_buf_append_char(line, (char)c);
    }
    if (ferror(stdin)) {
        return SL_FAIL(err, SL_ERR_IO, "%s: cannot be read: %s", where, sl_errno_text(errno));
    }
    *is_end = c == EOF && line->len == 0;
    return line->status == SL_OK
               ? SL_OK
               : SL_FAIL(err, line->status,
                         "%s: longer than memory or the %zu bytes that are accepted", where,
                         INPUT_MAX);
}

/* Every result is out before the next line is read: another program may wait for it. */
static sl_status each_line(line_fn fn, void *user, sl_error *err) {
    sl_buf line;
    sl_buf_init(&line, INPUT_MAX);
    sl_status status = SL_OK;
    for (uint64_t n = 1; status == SL_OK; n++) {
        char where[WHERE_MAX];
        (void)snprintf(where, sizeof(where), "standard input, line %" PRIu64, n);
        bool is_end = false;
        status = read_line(&line, where, &is_end, err);
        if (is_end) {
            break;
        }
        status = status == SL_OK ? fn(user, &line, where, err) : status;
        status = status == SL_OK ? sl_stdout_flush(err) : status;
    }
    sl_buf_deinit(&line);
    return status;
}

/* --- tokenize --------------------------------------------------------------------------------- */

typedef struct tokenize_job {
    const sl_loaded *l;
    bool add_special, parse_special, jsonl;
} tokenize_job;

static sl_status tokenize_text(const tokenize_job *job, sl_slice text, sl_error *err) {
    sl_ids ids;
    sl_ids_init(&ids, IDS_MAX);
    sl_status status = sl_tokenizer_encode_full(job->l->tokenizer, text, job->add_special,
                                                job->parse_special, &ids, err);
    if (status == SL_OK) {
        status = sl_gguf_check_alive(job->l->file, err);
    }
    if (status == SL_OK) {
        (void)putchar('[');
        for (size_t i = 0; i < ids.n; i++) {
            (void)printf("%s%" PRId32, i == 0 ? "" : ", ", ids.ids[i]);
        }
        (void)puts("]");
    }
    sl_ids_deinit(&ids);
    return status;
}

static sl_status tokenize_line(void *user, const sl_buf *line, const char *where, sl_error *err) {
    json_error_t why = {.text = "it is empty"};
    json_t *text = line->len == 0
                       ? NULL
                       : json_loadb(line->data, line->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!json_is_string(text)) {
        sl_status status = SL_FAIL(err, SL_ERR_FORMAT, "%s must be one JSON string%s%s", where,
                                   text == NULL ? ": " : "", text == NULL ? why.text : "");
        json_decref(text);
        return status;
    }
    sl_slice slice = {json_string_value(text), json_string_length(text)};
    sl_error problem;
    sl_status status = tokenize_text(user, slice, &problem);
    if (status != SL_OK) {
        status = SL_FAIL(err, status, "%s: %s", where, problem.message);
    }
    json_decref(text);
    return status;
}

static sl_status tokenize(tokenize_job *job, sl_error *err) {
    if (job->jsonl) {
        return each_line(tokenize_line, job, err);
    }
    sl_buf text;
    SL_TRY(sl_read_all("-", INPUT_MAX, &text, err));
    sl_status status = tokenize_text(job, (sl_slice){text.len == 0 ? "" : text.data, text.len},
                                     err);
    sl_buf_deinit(&text);
    return status;
}

int sl_cmd_tokenize(int argc, char **argv) {
    tokenize_job job = {.l = NULL};
    const sl_flag flags[] = {
        {"--add-special", NULL, SL_FLAG_BOOL, &job.add_special, NULL,
         "Add the tokens that the file asks for around a text (BOS, EOS).", 0, 0, NULL},
        {"--parse-special", NULL, SL_FLAG_BOOL, &job.parse_special, NULL,
         "Recognise special tokens such as <|im_end|> in the text.", 0, 0, NULL},
        {"--jsonl", NULL, SL_FLAG_BOOL, &job.jsonl, NULL,
         "Many texts: each line of standard input is a JSON string, and gives a line with its ids.",
         0, 0, NULL},
    };
    const sl_command command = {
        "tokenize",
        "sluice tokenize MODEL [flags] < TEXT",
        "Writes the token ids of the text on standard input as one JSON array. A file that holds "
        "only a "
        "vocabulary will do.",
        "  printf 'Hello, world' | sluice tokenize model.gguf\n"
        "  sluice tokenize model.gguf --add-special --parse-special < prompt.txt\n"
        "  jq -c .text rows.jsonl | sluice tokenize model.gguf --jsonl\n",
        flags,
        sizeof(flags) / sizeof(flags[0]),
        1,
        1};
    sl_loaded l;
    int code = begin(&command, argc, argv, &l);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_error err;
    job.l = &l;
    return end(&command, &l, tokenize(&job, &err), &err);
}

/* --- detokenize ------------------------------------------------------------------------------- */

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
static sl_status parse_ids(const sl_buf *text, const char *where, sl_ids *ids, sl_error *err) {
    static const char shape[] = "must be one JSON array of token ids, such as [1, 2, 3]";
    size_t i = skip_blanks(text, 0);
    if (!char_at(text, i, '[')) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s %s; it does not begin with [", where, shape);
    }
    i = skip_blanks(text, i + 1);
    while (ids->n > 0 || !char_at(text, i, ']')) {
        int32_t id;
        size_t end = parse_id(text, i, &id);
        if (end == i) {
            return SL_FAIL(err, SL_ERR_FORMAT, "%s %s; element %zu (byte %zu) is no token id",
                           where, shape, ids->n, i);
        }
        if (sl_ids_push(ids, id) != SL_OK) {
            return SL_FAIL(err, SL_ERR_LIMIT, "%s: more ids than memory or %zu allow", where,
                           IDS_MAX);
        }
        i = skip_blanks(text, end);
        if (char_at(text, i, ']')) {
            break;
        }
        if (!char_at(text, i, ',')) {
            return SL_FAIL(err, SL_ERR_FORMAT,
                           "%s %s; after element %zu (byte %zu) there is no comma or ]", where,
                           shape, ids->n - 1, i);
        }
        i = skip_blanks(text, i + 1);
    }
    i = skip_blanks(text, i + 1);
    if (i < text->len) {
        return SL_FAIL(err, SL_ERR_FORMAT, "%s %s; there is more behind it (byte %zu)", where,
                       shape, i);
    }
    return SL_OK;
}

typedef struct detokenize_job {
    const sl_loaded *l;
    bool skip_special, jsonl;
} detokenize_job;

static sl_status write_text(const detokenize_job *job, const sl_buf *text, sl_error *err) {
    if (!job->jsonl) {
        (void)fwrite(text->len == 0 ? "" : text->data, 1, text->len, stdout);
        return SL_OK;
    }
    sl_buf json;
    sl_buf_init(&json, 6 * INPUT_MAX + 16); /* of a byte at most an escape such as \u0000 */
    (void)sl_buf_append_char(&json, '"');
    (void)sl_buf_append_json(&json, text->len == 0 ? "" : text->data, text->len);
    sl_status status = sl_buf_append_str(&json, "\"\n");
    if (status == SL_OK) {
        (void)fwrite(json.data, 1, json.len, stdout);
    } else {
        status = SL_FAIL(err, status, "no memory for the text of %zu bytes", text->len);
    }
    sl_buf_deinit(&json);
    return status;
}

static sl_status detokenize_line(void *user, const sl_buf *line, const char *where, sl_error *err) {
    const detokenize_job *job = user;
    sl_ids ids;
    sl_ids_init(&ids, IDS_MAX);
    sl_buf text;
    sl_buf_init(&text, INPUT_MAX);
    sl_status status = parse_ids(line, where, &ids, err);
    if (status == SL_OK) {
        sl_error why;
        status = sl_tokenizer_decode(job->l->tokenizer, ids.ids, ids.n, true, !job->skip_special,
                                     &text, &why);
        status = status == SL_OK ? SL_OK : SL_FAIL(err, status, "%s: %s", where, why.message);
    }
    if (status == SL_OK) { /* token texts come from the file */
        status = sl_gguf_check_alive(job->l->file, err);
    }
    if (status == SL_OK) {
        status = write_text(job, &text, err);
    }
    sl_buf_deinit(&text);
    sl_ids_deinit(&ids);
    return status;
}

static sl_status detokenize(detokenize_job *job, sl_error *err) {
    if (job->jsonl) {
        return each_line(detokenize_line, job, err);
    }
    sl_buf text;
    SL_TRY(sl_read_all("-", INPUT_MAX, &text, err));
    sl_status status = detokenize_line(job, &text, "standard input", err);
    sl_buf_deinit(&text);
    return status;
}

int sl_cmd_detokenize(int argc, char **argv) {
    detokenize_job job = {.l = NULL};
    const sl_flag flags[] = {
        {"--skip-special", NULL, SL_FLAG_BOOL, &job.skip_special, NULL,
         "Leave out control tokens (BOS, EOS, <|im_end|>, ...).", 0, 0, NULL},
        {"--jsonl", NULL, SL_FLAG_BOOL, &job.jsonl, NULL,
         "Many arrays: each line of standard input is one, and gives a line with its text as a "
         "JSON "
         "string (U+FFFD for bytes that are no character).",
         0, 0, NULL},
    };
    const sl_command command = {
        "detokenize",
        "sluice detokenize MODEL [flags] < IDS",
        "Writes the text of the token ids on standard input (one JSON array), byte for byte: the "
        "reverse of tokenize.",
        "  echo '[504, 2365]' | sluice detokenize model.gguf\n"
        "  sluice tokenize model.gguf < a.txt | sluice detokenize model.gguf | cmp - a.txt\n",
        flags,
        sizeof(flags) / sizeof(flags[0]),
        1,
        1};
    sl_loaded l;
    int code = begin(&command, argc, argv, &l);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_error err;
    job.l = &l;
    return end(&command, &l, detokenize(&job, &err), &err);
}
