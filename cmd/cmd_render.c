/* sluice render: a chat template applied to a conversation, exactly as the server would do it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "cmd.h"
#include "load.h"
#include "text/chat.h"

#define TEMPLATE_BYTES_MAX ((size_t)1 << 20)
#define REQUEST_BYTES_MAX ((size_t)64 << 20)
#define REQUEST_ARENA_MAX ((size_t)1 << 30)
#define PROMPT_BYTES_MAX ((size_t)64 << 20)

/* The template's clock: now, or SOURCE_DATE_EPOCH where a script wants the same text every time. */
static sl_status render_clock(int64_t *out, sl_error *err) {
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    if (fixed == NULL || fixed[0] == '\0') {
        *out = sl_clock_wall_s();
        return SL_OK;
    }
    char *end;
    errno = 0;
    long long v = strtoll(fixed, &end, 10);
    if (errno != 0 || *end != '\0' || v < 0) {
        return SL_FAIL(err, SL_ERR_ARGUMENT,
                       "the environment variable SOURCE_DATE_EPOCH is \"%.40s\"; seconds since "
                       "1970 are needed",
                       fixed);
    }
    *out = v;
    return SL_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A model by its name, or by how the file begins, whatever its name. Pipes are not looked into:
 * what was read of them is gone. */
static bool is_model(const char *path) {
    static const char magic[] = "GGUF";
    char begin[sizeof(magic) - 1];
    struct stat st;
    if (ends_with(path, ".gguf")) {
        return true;
    }
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        return false;
    }
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return false;
    }
    size_t n = fread(begin, 1, sizeof(begin), f);
    (void)fclose(f);
    return n == sizeof(begin) && memcmp(begin, magic, n) == 0;
}

static sl_status render_template_file(const char *path, const sl_value *request, int64_t now_s,
                                      sl_buf *out, sl_error *err) {
    sl_buf source;
    SL_TRY(sl_read_all(path, TEMPLATE_BYTES_MAX, &source, err));
    sl_chat *chat;
    sl_slice text = {source.len == 0 ? "" : source.data, source.len};
    sl_status status = sl_chat_open_source(path, text, &chat, err);
    if (status == SL_OK) {
        status = sl_chat_render(chat, request, now_s, out, NULL, err);
        sl_chat_close(chat);
    }
    sl_buf_deinit(&source);
    return status;
}

static sl_status render_model(const char *path, const sl_value *request, int64_t now_s, sl_buf *out,
                              sl_error *err) {
    sl_loaded l;
    SL_TRY(sl_load_vocabulary(path, &l, err));
    sl_chat *chat;
    sl_status status = sl_chat_open(l.file, l.tokenizer, &chat, err);
    if (status == SL_OK) {
        status = sl_chat_render(chat, request, now_s, out, NULL, err);
        sl_chat_close(chat);
    }
    sl_loaded_close(&l);
    return status;
}

static sl_status render(const char *source, const char *request_path, sl_buf *out, sl_error *err) {
    int64_t now_s = 0;
    SL_TRY(render_clock(&now_s, err));
    sl_buf json;
    SL_TRY(sl_read_all(request_path, REQUEST_BYTES_MAX, &json, err));
    sl_arena arena;
    sl_arena_init(&arena, REQUEST_ARENA_MAX);
    sl_value *request = NULL;
    sl_error why;
    sl_status status = sl_value_parse_json(
        &arena, (sl_slice){json.len == 0 ? "" : json.data, json.len}, &request, &why);
    if (status != SL_OK) {
        status = SL_FAIL(err, status, "%s: %s",
                         strcmp(request_path, "-") == 0 ? "standard input" : request_path,
                         why.message);
    } else if (is_model(source)) {
        status = render_model(source, request, now_s, out, err);
    } else {
        status = render_template_file(source, request, now_s, out, err);
    }
    sl_arena_deinit(&arena);
    sl_buf_deinit(&json);
    return status;
}

int sl_cmd_render(int argc, char **argv) {
    const sl_command command = {
        "render",
        "sluice render MODEL|TEMPLATE.jinja FILE.json",
        "Prints the prompt that a chat template makes of a conversation, and nothing else. "
        "FILE.json "
        "(- is standard input) is an object with messages, tools and add_generation_prompt; every "
        "further member is a variable of the template. A model supplies bos_token, eos_token, "
        "unk_token and pad_token. The environment variable SOURCE_DATE_EPOCH fixes the clock "
        "(UTC).",
        "  sluice render model.gguf conversation.json\n"
        "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' |\n"
        "      sluice render template.jinja -\n",
        NULL,
        0,
        2,
        2};
    const char *args[2];
    int code = sl_flags_parse(&command, argc, argv, args);
    if (code != SL_FLAGS_GO_ON) {
        return code;
    }
    sl_error err;
    sl_buf out;
    sl_buf_init(&out, PROMPT_BYTES_MAX);
    sl_status status = render(args[0], args[1], &out, &err);
    if (status != SL_OK) {
        sl_cmd_error("render", "%s", err.message);
        code = SL_EXIT_FAILURE;
    } else {
        (void)fwrite(out.data == NULL ? "" : out.data, 1, out.len, stdout);
        code = sl_stdout_finish("render", SL_EXIT_OK);
    }
    sl_buf_deinit(&out);
    return code;
}
