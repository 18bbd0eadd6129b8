/* Good GGUF files: every metadata type, alignment and version, split models, the writer, golden
 * files. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "unit/format/gguf_samples.h"

static sl_gguf *open_ok(const void *data, size_t len) {
    sl_gguf *g = NULL;
    CHECK_OK(sl_gguf_open_memory("sample.gguf", data, len, &g, err));
    return g;
}

static void check_tensors(const sl_gguf *g) {
    assert_int_equal(sl_gguf_n_tensors(g), SAMPLE_TENSORS);
    for (size_t i = 0; i < SAMPLE_TENSORS; i++) {
        const sample_tensor *s = &sample_tensors[i];
        const sl_gguf_tensor *t = sl_gguf_find_tensor(g, s->name);
        assert_non_null(t);
        assert_ptr_equal(t, sl_gguf_tensor_at(g, i));
        assert_int_equal(t->type, s->type);
        assert_int_equal(t->n_dims, s->n_dims);
        assert_memory_equal(t->dims, s->dims, sizeof(s->dims));
        assert_int_equal(t->size_bytes, s->size_bytes);
        for (size_t k = 0; k < s->size_bytes; k++) {
            assert_int_equal(t->data[k], sample_byte(i, k));
        }
    }
    assert_null(sl_gguf_find_tensor(g, "token_embd.weigh"));
    assert_null(sl_gguf_find_tensor(g, ""));
    assert_null(sl_gguf_tensor_at(g, SAMPLE_TENSORS));
}

static void check_values(const sl_gguf *g) {
    uint32_t u = 0;
    float f = 0;
    bool b = false;
    sl_slice s = {0};
    CHECK_OK(sl_gguf_u32(g, "t.u32", &u, err));
    assert_int_equal(u, 4000000000u);
    CHECK_OK(sl_gguf_u32(g, "t.u8", &u, err));
    assert_int_equal(u, 200);
    CHECK_OK(sl_gguf_u32(g, "t.u16", &u, err));
    assert_int_equal(u, 0x1234);
    CHECK_OK(sl_gguf_u32(g, "t.i64", &u, err));
    assert_int_equal(u, 7);
    CHECK_OK(sl_gguf_u32_or(g, "t.absent", 5, &u, err));
    assert_int_equal(u, 5);
    CHECK_OK(sl_gguf_f32(g, "t.f32", &f, err));
    assert_true(f == 0.1f);
    CHECK_OK(sl_gguf_f32(g, "t.f64", &f, err));
    assert_true(f == 1.5f);
    CHECK_OK(sl_gguf_f32(g, "t.i16", &f, err));
    assert_true(f == -2.0f);
    CHECK_OK(sl_gguf_f32(g, "t.i32", &f, err));
    assert_true(f == -2147483648.0f);
    CHECK_OK(sl_gguf_f32_or(g, "t.absent", 0.25f, &f, err));
    assert_true(f == 0.25f);
    CHECK_OK(sl_gguf_bool_or(g, "t.bool", false, &b, err));
    assert_true(b);
    CHECK_OK(sl_gguf_bool_or(g, "t.absent", true, &b, err));
    assert_true(b);
    CHECK_OK(sl_gguf_string(g, "general.architecture", &s, err));
    assert_true(sl_slice_eq_str(s, "llama"));
    CHECK_OK(sl_gguf_string_or_none(g, "t.absent", &s, err));
    assert_null(s.ptr);
}

static void check_arrays(const sl_gguf *g) {
    sl_gguf_iter it;
    sl_slice s;
    float f;
    int32_t n;
    CHECK_OK(sl_gguf_array(g, "t.words", SL_GGUF_STRING, &it, err));
    assert_false(sl_gguf_next_f32(&it, &f));
    assert_true(sl_gguf_next_string(&it, &s) && sl_slice_eq_str(s, "alpha"));
    assert_true(sl_gguf_next_string(&it, &s) && s.len == 0);
    assert_true(sl_gguf_next_string(&it, &s) && s.len == 3 && memcmp(s.ptr, "\xFF\0z", 3) == 0);
    assert_false(sl_gguf_next_string(&it, &s));
    CHECK_OK(sl_gguf_array(g, "t.floats", SL_GGUF_F32, &it, err));
    assert_true(sl_gguf_next_f32(&it, &f) && f == 1.5f);
    assert_true(sl_gguf_next_f32(&it, &f) && f == -2.0f);
    assert_false(sl_gguf_next_f32(&it, &f));
    CHECK_OK(sl_gguf_array(g, "t.ints", SL_GGUF_I32, &it, err));
    assert_true(sl_gguf_next_i32(&it, &n) && n == -1);
    assert_int_equal(it.left, 2);
    CHECK_OK(sl_gguf_array(g, "t.none", SL_GGUF_U8, &it, err));
    assert_int_equal(it.left, 0);
    const sl_gguf_kv *nested = sl_gguf_find(g, "t.nested");
    assert_non_null(nested);
    assert_int_equal(nested->elem_type, SL_GGUF_ARRAY);
    assert_int_equal(nested->n, 3);
    sl_slice stored = sl_gguf_stored_value(g, nested);
    assert_int_equal(stored.len, sizeof(sample_nested));
    assert_memory_equal(stored.ptr, sample_nested, sizeof(sample_nested));
}

static void test_every_type_alignment_version(void **state) {
    (void)state;
    static const uint32_t alignments[] = {8, 32, 64, 4096, 65536};
    for (size_t a = 0; a < sizeof(alignments) / sizeof(alignments[0]); a++) {
        for (unsigned char version = 2; version <= 3; version++) {
            sl_buf file;
            sample_build(&file, alignments[a]);
            file.data[4] = (char)version;
            unsigned char *copy = sample_copy(file.data, file.len);
            sl_gguf *g = open_ok(copy, file.len);
            assert_int_equal(sl_gguf_version(g), version);
            assert_int_equal(sl_gguf_alignment(g), alignments[a]);
            assert_int_equal(sl_gguf_n_files(g), 1);
            assert_int_equal(sl_gguf_file_bytes(g), file.len);
            assert_string_equal(sl_gguf_path(g), "sample.gguf");
            CHECK_OK(sl_gguf_check_alive(g, err));
            check_tensors(g);
            check_values(g);
            check_arrays(g);
            for (uint64_t i = 0; i < sl_gguf_n_tensors(g); i++) {
                size_t at = (size_t)(sl_gguf_tensor_at(g, i)->data - copy);
                assert_int_equal(at % alignments[a], 0);
            }
            assert_true(sample_touch(g) < 1000000);
            sl_gguf_close(g);
            free(copy);
            sl_buf_deinit(&file);
        }
    }
}

static void expect_read_error(sl_status got, sl_status wanted, const sl_error *err, const char *key,
                              const char *detail) {
    assert_int_equal(got, wanted);
    assert_int_equal(err->code, wanted);
    if (strstr(err->message, "sample.gguf") == NULL || strstr(err->message, key) == NULL ||
        strstr(err->message, detail) == NULL) {
        fail_msg("'%s' names not the file, '%s' and '%s'", err->message, key, detail);
    }
}

static void test_typed_reads_refuse(void **state) {
    (void)state;
    sl_buf file;
    sample_build(&file, 32);
    sl_gguf *g = open_ok(file.data, file.len);
    sl_error e;
    uint32_t u = 99;
    float f = 99;
    bool b = true;
    sl_slice s = {"x", 1};
    sl_gguf_iter it;
    expect_read_error(sl_gguf_u32(g, "t.absent", &u, &e), SL_ERR_NOT_FOUND, &e, "t.absent", "");
    expect_read_error(sl_gguf_u32(g, "t.i8", &u, &e), SL_ERR_FORMAT, &e, "t.i8", "-1");
    expect_read_error(sl_gguf_u32(g, "t.i32", &u, &e), SL_ERR_FORMAT, &e, "t.i32", "-2147483648");
    expect_read_error(sl_gguf_u32(g, "t.u64", &u, &e), SL_ERR_FORMAT, &e, "t.u64", "4294967296");
    expect_read_error(sl_gguf_u32(g, "t.f32", &u, &e), SL_ERR_FORMAT, &e, "t.f32", "f32");
    expect_read_error(sl_gguf_u32(g, "t.bool", &u, &e), SL_ERR_FORMAT, &e, "t.bool", "bool");
    expect_read_error(sl_gguf_u32_or(g, "t.words", 1, &u, &e), SL_ERR_FORMAT, &e, "t.words",
                      "array");
    assert_int_equal(u, 99);
    expect_read_error(sl_gguf_f32(g, "t.bool", &f, &e), SL_ERR_FORMAT, &e, "t.bool", "bool");
    expect_read_error(sl_gguf_f32(g, "general.architecture", &f, &e), SL_ERR_FORMAT, &e,
                      "general.architecture", "string");
    assert_true(f == 99);
    expect_read_error(sl_gguf_bool_or(g, "t.u8", true, &b, &e), SL_ERR_FORMAT, &e, "t.u8", "u8");
    expect_read_error(sl_gguf_string(g, "t.u8", &s, &e), SL_ERR_FORMAT, &e, "t.u8", "u8");
    expect_read_error(sl_gguf_string(g, "t.absent", &s, &e), SL_ERR_NOT_FOUND, &e, "t.absent", "");
    assert_int_equal(s.len, 1);
    expect_read_error(sl_gguf_array(g, "t.words", SL_GGUF_I32, &it, &e), SL_ERR_FORMAT, &e,
                      "t.words", "string");
    expect_read_error(sl_gguf_array(g, "t.u8", SL_GGUF_U8, &it, &e), SL_ERR_FORMAT, &e, "t.u8",
                      "u8");
    expect_read_error(sl_gguf_array(g, "t.absent", SL_GGUF_U8, &it, &e), SL_ERR_NOT_FOUND, &e,
                      "t.absent", "");
    sl_gguf_close(g);
    sl_buf_deinit(&file);
}

static void test_f64_beyond_f32(void **state) {
    (void)state;
    sl_buf file;
    sl_gguf_writer *w = NULL;
    static const double values[] = {1e300, INFINITY};
    sl_buf_init(&file, 4096);
    CHECK_OK(sl_gguf_writer_create_buf(&file, 32, &w, err));
    CHECK_OK(
        sl_gguf_writer_raw(w, sl_slice_of("big"), SL_GGUF_F64, sample_bytes(&values[0], 8), err));
    CHECK_OK(
        sl_gguf_writer_raw(w, sl_slice_of("inf"), SL_GGUF_F64, sample_bytes(&values[1], 8), err));
    CHECK_OK(sl_gguf_writer_finish(w, err));
    sl_gguf_writer_free(w);
    sl_gguf *g = open_ok(file.data, file.len);
    sl_error e;
    float f = 0;
    expect_read_error(sl_gguf_f32(g, "big", &f, &e), SL_ERR_FORMAT, &e, "big", "1e+300");
    CHECK_OK(sl_gguf_f32(g, "inf", &f, err));
    assert_true(isinf(f));
    sl_gguf_close(g);
    sl_buf_deinit(&file);
}

static void check_show(const char *text, size_t len, size_t cap, const char *expected) {
    char out[64];
    memset(out, 'Z', sizeof(out));
    assert_string_equal(sl_gguf_show(sample_bytes(text, len), out, cap), expected);
    assert_int_equal(out[cap], 'Z');
}

static void test_show_is_harmless(void **state) {
    (void)state;
    check_show("plain \xC3\xA9", 8, 40, "plain \xC3\xA9");
    check_show("\x1B[31mred\a", 9, 40, "\\x1b[31mred\\x07");
    check_show("a\nb\tc\rd\\e", 9, 40, "a\\nb\\tc\\rd\\\\e");
    check_show("\xC2\x9B", 2, 40, "\\x9b");               /* C1 control: CSI in one character */
    check_show("\xE2\x80\xAEx", 4, 40, "\\u{202e}x");     /* right-to-left override */
    check_show("\xFFz\xC3", 3, 40, "\\xffz\\xc3");        /* invalid UTF-8 */
    check_show("\xED\xA0\x80", 3, 40, "\\xed\\xa0\\x80"); /* surrogate */
    check_show("a\0b", 3, 40, "a\\x00b");
    check_show("0123456789", 10, 11, "0123456789");
    check_show("0123456789", 10, 10, "012345...");
    check_show("0123456789", 10, 8, "0123...");
    check_show("012\xC3\xA9\xC3\xA9\xC3\xA9", 9, 9, "012\xC3\xA9...");
    check_show("", 0, 8, "");
}

static void test_show_value(void **state) {
    (void)state;
    static const struct {
        const char *key, *text;
    } cases[] = {{"t.u32", "4000000000"},
                 {"t.i8", "-1"},
                 {"t.i16", "-2"},
                 {"t.i32", "-2147483648"},
                 {"t.u64", "4294967296"},
                 {"t.f32", "0.1"},
                 {"t.f64", "1.5"},
                 {"t.bool", "true"},
                 {"t.words", "array of 3 string"},
                 {"t.nested", "array of 3 array"},
                 {"general.architecture", "\"llama\""}};
    sl_buf file;
    sample_build(&file, 32);
    sl_gguf *g = open_ok(file.data, file.len);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[40];
        const sl_gguf_kv *kv = sl_gguf_find(g, cases[i].key);
        assert_non_null(kv);
        assert_string_equal(sl_gguf_show_value(g, kv, out, sizeof(out)), cases[i].text);
    }
    char small[8];
    assert_string_equal(sl_gguf_show_value(g, sl_gguf_find(g, "general.architecture"), small, 8),
                        "\"llama\"");
    sl_gguf_close(g);
    sl_buf_deinit(&file);
}

/* --- files ------------------------------------------------------------------------------------ */

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/sluice-gguf-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int drop_folder(void **state) {
    (void)state;
    char pattern[96];
    glob_t files;
    (void)snprintf(pattern, sizeof(pattern), "%s/*", folder);
    if (glob(pattern, 0, NULL, &files) == 0) {
        for (size_t i = 0; i < files.gl_pathc; i++) {
            (void)unlink(files.gl_pathv[i]);
        }
        globfree(&files);
    }
    return rmdir(folder);
}

static const char *in_folder(const char *name) {
    static char path[16][256];
    static int next;
    next = (next + 1) % 16;
    (void)snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
    return path[next];
}

static size_t n_part_files(void) {
    glob_t found;
    size_t n = glob(in_folder("*.part"), 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return n;
}

static void test_file_round_trip(void **state) {
    (void)state;
    sl_gguf_writer *w = NULL;
    const char *path = in_folder("whole.gguf");
    CHECK_OK(sl_gguf_writer_create(path, 64, &w, err));
    sample_write_metadata(w);
    sample_write_tensors(w, 0, SAMPLE_TENSORS);
    assert_int_not_equal(access(path, F_OK), 0); /* nothing under its name before finish */
    assert_int_equal(n_part_files(), 1);
    CHECK_OK(sl_gguf_writer_finish(w, err));
    sl_gguf_writer_free(w);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(n_part_files(), 0);
    sl_gguf *g = NULL;
    CHECK_OK(sl_gguf_open(path, &g, err));
    check_tensors(g);
    check_values(g);
    check_arrays(g);
    CHECK_OK(sl_gguf_check_alive(g, err));
    sl_gguf_close(g);
    sl_gguf_close(NULL);
}

static void test_copy_keys(void **state) {
    (void)state;
    sl_buf file, copy;
    sample_build(&file, 32);
    sl_gguf *g = open_ok(file.data, file.len);
    sl_gguf_writer *w = NULL;
    sl_buf_init(&copy, (size_t)1 << 20);
    CHECK_OK(sl_gguf_writer_create_buf(&copy, 32, &w, err));
    for (uint64_t i = 0; i < sl_gguf_n_kv(g); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(g, i);
        CHECK_OK(sl_gguf_writer_raw(w, kv->key, kv->type, sl_gguf_stored_value(g, kv), err));
    }
    sample_write_tensors(w, 0, SAMPLE_TENSORS);
    CHECK_OK(sl_gguf_writer_finish(w, err));
    assert_int_equal(copy.len, file.len);
    assert_memory_equal(copy.data, file.data, file.len);
    sl_gguf_writer_free(w);
    sl_gguf_close(g);
    sl_buf_deinit(&file);
    sl_buf_deinit(&copy);
}

/* Part `no` (from 0) of a model of `count` files, holding tensors [i_first, i_end). */
static void write_part(const char *name, uint32_t no, uint32_t count, uint32_t n_tensors,
                       size_t i_first, size_t i_end) {
    sl_gguf_writer *w = NULL;
    CHECK_OK(sl_gguf_writer_create(in_folder(name), no == 1 ? 64 : 32, &w, err));
    if (no == 0) {
        sample_write_metadata(w);
    }
    unsigned char no_bytes[2] = {(unsigned char)no, 0}, count_bytes[2] = {(unsigned char)count, 0};
    CHECK_OK(sl_gguf_writer_raw(w, sl_slice_of("split.no"), SL_GGUF_U16, sample_bytes(no_bytes, 2),
                                err));
    CHECK_OK(sl_gguf_writer_raw(w, sl_slice_of("split.count"), SL_GGUF_U16,
                                sample_bytes(count_bytes, 2), err));
    CHECK_OK(sl_gguf_writer_u32(w, "split.tensors.count", n_tensors, err));
    sample_write_tensors(w, i_first, i_end);
    CHECK_OK(sl_gguf_writer_finish(w, err));
    sl_gguf_writer_free(w);
}

static void expect_open_error(const char *path, sl_status status, const char *word_1,
                              const char *word_2) {
    sl_gguf *g = NULL;
    sl_error e = {0};
    assert_int_equal(sl_gguf_open(path, &g, &e), status);
    assert_null(g);
    const char *base = strrchr(path, '/') + 1;
    if (strstr(e.message, word_1) == NULL || strstr(e.message, word_2) == NULL) {
        fail_msg("%s: '%s' has no '%s' or '%s'", base, e.message, word_1, word_2);
    }
}

static void test_split(void **state) {
    (void)state;
    char first[256];
    (void)snprintf(first, sizeof(first), "%s", in_folder("m-00001-of-00003.gguf"));
    write_part("m-00001-of-00003.gguf", 0, 3, 4, 0, 1);
    write_part("m-00002-of-00003.gguf", 1, 3, 4, 1, 3);
    expect_open_error(first, SL_ERR_NOT_FOUND, "m-00003-of-00003.gguf", "");
    write_part("m-00003-of-00003.gguf", 2, 3, 4, 3, 4);
    sl_gguf *g = NULL;
    CHECK_OK(sl_gguf_open(first, &g, err));
    assert_int_equal(sl_gguf_n_files(g), 3);
    check_tensors(g);
    check_values(g);
    assert_int_equal(sl_gguf_tensor_at(g, 2)->i_file, 1);
    assert_int_equal(sl_gguf_tensor_at(g, 3)->i_file, 2);
    assert_true(sample_touch(g) < 1000000);
    sl_gguf_close(g);

    expect_open_error(in_folder("m-00002-of-00003.gguf"), SL_ERR_ARGUMENT, "part 2",
                      "m-00001-of-00003.gguf");
    /* Renamed parts. */
    assert_int_equal(rename(in_folder("m-00002-of-00003.gguf"), in_folder("two.gguf")), 0);
    expect_open_error(in_folder("two.gguf"), SL_ERR_ARGUMENT, "split.no", "first");
    assert_int_equal(rename(first, in_folder("one.gguf")), 0);
    expect_open_error(in_folder("one.gguf"), SL_ERR_ARGUMENT, "split.count",
                      "-00001-of-00003.gguf");
}

static void test_split_mismatches(void **state) {
    (void)state;
    char first[256];
    (void)snprintf(first, sizeof(first), "%s", in_folder("n-00001-of-00002.gguf"));
    write_part("n-00001-of-00002.gguf", 0, 2, 4, 0, 2);
    write_part("n-00002-of-00002.gguf", 1, 2, 4, 2, 3); /* a tensor short */
    expect_open_error(first, SL_ERR_FORMAT, "split.tensors.count", "3 tensors");
    write_part("n-00002-of-00002.gguf", 1, 2, 4, 1, 3); /* tensor 1 again */
    expect_open_error(first, SL_ERR_FORMAT, "blk.0.attn_q.weight", "twice");
    write_part("n-00002-of-00002.gguf", 0, 2, 4, 2, 4);
    expect_open_error(first, SL_ERR_FORMAT, "n-00002-of-00002.gguf", "split.no");
    write_part("n-00002-of-00002.gguf", 1, 3, 4, 2, 4);
    expect_open_error(first, SL_ERR_FORMAT, "n-00002-of-00002.gguf", "split.count");
    write_part("n-00002-of-00002.gguf", 1, 2, 5, 2, 4);
    expect_open_error(first, SL_ERR_FORMAT, "n-00002-of-00002.gguf", "split.tensors.count");
    write_part("n-00001-of-00002.gguf", 3, 2, 4, 0, 2);
    expect_open_error(first, SL_ERR_FORMAT, "split.no", "is 3");
    assert_int_equal(truncate(in_folder("n-00002-of-00002.gguf"), 0), 0);
    write_part("n-00001-of-00002.gguf", 0, 2, 4, 0, 2);
    expect_open_error(first, SL_ERR_FORMAT, "n-00002-of-00002.gguf", "empty");
    /* A merged model says 0 of 0. */
    write_part("merged.gguf", 0, 0, 4, 0, 4);
    sl_gguf *g = NULL;
    CHECK_OK(sl_gguf_open(in_folder("merged.gguf"), &g, err));
    assert_int_equal(sl_gguf_n_files(g), 1);
    sl_gguf_close(g);
}

static void test_no_such_file(void **state) {
    (void)state;
    expect_open_error(in_folder("absent.gguf"), SL_ERR_NOT_FOUND, "absent.gguf", "");
    sl_gguf *g = NULL;
    assert_int_not_equal(sl_gguf_open(folder, &g, NULL), SL_OK); /* a folder */
    assert_null(g);
    /* A long path keeps its end in the message. */
    char path[600];
    memset(path, 'd', sizeof(path));
    (void)snprintf(path + 400, sizeof(path) - 400, "/end-of-it.gguf");
    path[0] = '/';
    sl_error e = {0};
    assert_int_not_equal(sl_gguf_open(path, &g, &e), SL_OK);
    assert_true(strlen(e.message) > 0);
}

static void test_failed_allocations(void **state) {
    (void)state;
    char first[256];
    (void)snprintf(first, sizeof(first), "%s", in_folder("f-00001-of-00002.gguf"));
    write_part("f-00001-of-00002.gguf", 0, 2, 4, 0, 2);
    write_part("f-00002-of-00002.gguf", 1, 2, 4, 2, 4);
    for (int for_ever = 0; for_ever <= 1; for_ever++) {
        uint64_t n = 1;
        for (;; n++) {
            sl_gguf *g = NULL;
            sl_error e = {0};
            sl_alloc_fail_nth(n, for_ever != 0);
            sl_status status = sl_gguf_open(first, &g, &e);
            sl_alloc_fail_nth(0, false);
            if (status == SL_OK) {
                sl_gguf_close(g);
                break;
            }
            assert_int_equal(status, SL_ERR_MEMORY);
            assert_null(g);
            assert_true(strlen(e.message) > 0);
        }
        assert_true(n > 3 && n < 1000);
    }
}

static sl_status write_whole(const char *path, sl_buf *dest) {
    sl_gguf_writer *w = NULL;
    static const uint64_t dims[] = {40000};
    static const float values[40000];
    sl_status status = dest != NULL ? sl_gguf_writer_create_buf(dest, 4096, &w, NULL)
                                    : sl_gguf_writer_create(path, 4096, &w, NULL);
    if (status != SL_OK) {
        return status;
    }
    status = sl_gguf_writer_u32(w, "k", 1, NULL);
    status = status != SL_OK ? status : sl_gguf_writer_tensor(w, "a", SL_TYPE_F32, 1, dims, NULL);
    status = status != SL_OK ? status : sl_gguf_writer_data(w, values, sizeof(values), NULL);
    status = status != SL_OK ? status : sl_gguf_writer_finish(w, NULL);
    if (status != SL_OK) { /* final */
        assert_int_equal(sl_gguf_writer_finish(w, NULL), status);
        assert_int_equal(sl_gguf_writer_u32(w, "l", 1, NULL), status);
    }
    sl_gguf_writer_free(w);
    return status;
}

static void test_writer_failures(void **state) {
    (void)state;
    for (uint64_t n = 1;; n++) {
        sl_alloc_fail_nth(n, false);
        sl_status status = write_whole(in_folder("w.gguf"), NULL);
        sl_alloc_fail_nth(0, false);
        assert_int_equal(n_part_files(), 0);
        if (status == SL_OK) {
            break;
        }
        assert_int_equal(status, SL_ERR_MEMORY);
        assert_int_not_equal(access(in_folder("w.gguf"), F_OK), 0);
        assert_true(n < 1000);
    }
    assert_int_equal(write_whole(in_folder("no/such/folder.gguf"), NULL), SL_ERR_IO);
    sl_buf small;
    sl_buf_init(&small, 100000);
    assert_int_equal(write_whole(NULL, &small), SL_ERR_LIMIT);
    sl_buf_deinit(&small);
    /* A disk that is full, in the form of a file size limit. */
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){.rlim_cur = 70000, .rlim_max = old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    sl_status status = write_whole(in_folder("full.gguf"), NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(status, SL_ERR_IO);
    assert_int_not_equal(access(in_folder("full.gguf"), F_OK), 0);
    assert_int_equal(n_part_files(), 0);
}

static void test_writer_arguments(void **state) {
    (void)state;
    sl_buf file;
    sl_gguf_writer *w = NULL;
    static const uint64_t dims[] = {32, 2}, none[] = {32, 0}, huge[] = {UINT64_MAX / 32 * 32, 64};
    sl_buf_init(&file, 65536);
    assert_int_equal(sl_gguf_writer_create_buf(&file, 0, &w, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_create_buf(&file, 48, &w, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_create_buf(&file, 131072, &w, NULL), SL_ERR_ARGUMENT);
    CHECK_OK(sl_gguf_writer_create_buf(&file, 8, &w, err));
    assert_int_equal(sl_gguf_writer_u32(w, "", 1, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_u32(w, "\xFF", 1, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_u32(w, "general.alignment", 8, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_array(w, "a", SL_GGUF_ARRAY, "", 0, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_tensor(w, "t", SL_TYPE_Q4_0, 0, dims, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_tensor(w, "t", SL_TYPE_Q4_0, 5, dims, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_tensor(w, "t", SL_TYPE_Q4_0, 2, none, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_tensor(w, "t", SL_TYPE_Q6_K, 2, dims, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_tensor(w, "t", SL_TYPE_F32, 2, huge, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_tensor(w, "t", (sl_type)5, 1, dims, NULL), SL_ERR_ARGUMENT);
    CHECK_OK(sl_gguf_writer_tensor(w, "t", SL_TYPE_Q4_0, 2, dims, err));
    assert_int_equal(sl_gguf_writer_finish(w, NULL), SL_ERR_ARGUMENT); /* data are missing */
    static const char data[40];
    assert_int_equal(sl_gguf_writer_data(w, data, 37, NULL), SL_ERR_ARGUMENT);
    CHECK_OK(sl_gguf_writer_data(w, data, 30, err));
    assert_int_equal(sl_gguf_writer_u32(w, "late", 1, NULL), SL_ERR_ARGUMENT);
    assert_int_equal(sl_gguf_writer_data(w, data, 7, NULL), SL_ERR_ARGUMENT);
    CHECK_OK(sl_gguf_writer_data(w, data, 6, err));
    assert_int_equal(sl_gguf_writer_data(w, data, 1, NULL), SL_ERR_ARGUMENT);
    CHECK_OK(sl_gguf_writer_finish(w, err));
    assert_int_equal(sl_gguf_writer_finish(w, NULL), SL_ERR_ARGUMENT);
    sl_gguf_writer_free(w);
    sl_gguf_writer_free(NULL);
    sl_gguf *g = open_ok(file.data, file.len);
    assert_int_equal(sl_gguf_alignment(g), 8);
    sl_gguf_close(g);
    sl_buf_deinit(&file);
    for (int tensors = 0; tensors <= 1; tensors++) { /* the same name twice */
        sl_buf_init(&file, 65536);
        CHECK_OK(sl_gguf_writer_create_buf(&file, 32, &w, err));
        for (int i = 0; i < 2; i++) {
            CHECK_OK(tensors ? sl_gguf_writer_tensor(w, "same", SL_TYPE_Q4_0, 2, dims, err)
                             : sl_gguf_writer_u32(w, "same", 1, err));
        }
        sl_error e = {0};
        assert_int_equal(tensors ? sl_gguf_writer_data(w, data, 1, &e)
                                 : sl_gguf_writer_finish(w, &e),
                         SL_ERR_ARGUMENT);
        assert_non_null(strstr(e.message, "same"));
        sl_gguf_writer_free(w);
        sl_buf_deinit(&file);
    }
}

static sl_gguf_identity identity_of(const char *path) {
    sl_gguf *g = NULL;
    sl_gguf_identity id;
    CHECK_OK(sl_gguf_open(path, &g, err));
    CHECK_OK(sl_gguf_identify(g, &id, err));
    const sl_gguf_tensor *t = sl_gguf_find_tensor(g, "a");
    const uint8_t byte = t->data[20000];
    sl_gguf_release(g, t->data, t->size_bytes);
    assert_int_equal(t->data[20000], byte); /* from the file again */
    sl_gguf_close(g);
    return id;
}

/* Copies are one model, other data another; bytes in memory are none. */
static void test_identity(void **state) {
    (void)state;
    char first[256], second[256];
    (void)snprintf(first, sizeof(first), "%s", in_folder("first.gguf"));
    (void)snprintf(second, sizeof(second), "%s", in_folder("second.gguf"));
    assert_int_equal(write_whole(first, NULL), SL_OK);
    assert_int_equal(write_whole(second, NULL), SL_OK);
    sl_gguf_identity a = identity_of(first), b = identity_of(second);
    assert_memory_equal(a.content, b.content, sizeof(a.content));
    assert_int_not_equal(a.content[0], a.content[1]);
    assert_int_equal(a.stamp, 0); /* just written */

    FILE *f = fopen(second, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    assert_int_equal(fseek(f, ftell(f) / 2 - 8000, SEEK_SET), 0);
    for (int i = 0; i < 16000; i++) {
        assert_int_equal(fputc(1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
    b = identity_of(second);
    assert_int_not_equal(a.content[0], b.content[0]);
    assert_int_not_equal(a.content[1], b.content[1]);

    sl_buf bytes;
    sl_gguf *memory = NULL;
    sl_buf_init(&bytes, 1 << 20);
    assert_int_equal(write_whole(NULL, &bytes), SL_OK);
    CHECK_OK(sl_gguf_open_memory("memory", bytes.data, bytes.len, &memory, err));
    assert_int_equal(sl_gguf_identify(memory, &a, NULL), SL_ERR_UNSUPPORTED);
    sl_gguf_release(memory, (const uint8_t *)bytes.data, bytes.len); /* nobody's pages */
    assert_memory_equal(bytes.data, "GGUF", 4);
    sl_gguf_close(memory);
    sl_buf_deinit(&bytes);
}

/* Cut down under an open model: reads give zeros and the model is marked; an untouched one is
 * not. */
static void test_file_shrinks(void **state) {
    (void)state;
    char path[256];
    (void)snprintf(path, sizeof(path), "%s", in_folder("shrinks.gguf"));
    sl_mapfile_guard_install();
    assert_int_equal(write_whole(path, NULL), SL_OK);
    assert_int_equal(write_whole(in_folder("stays.gguf"), NULL), SL_OK);
    sl_gguf *g = NULL, *other = NULL;
    CHECK_OK(sl_gguf_open(path, &g, err));
    CHECK_OK(sl_gguf_open(in_folder("stays.gguf"), &other, err));
    CHECK_OK(sl_gguf_check_unchanged(g, err));
    assert_int_equal(truncate(path, 8192), 0);
    const sl_gguf_tensor *t = sl_gguf_find_tensor(g, "a");
    unsigned sum = 0;
    for (uint64_t i = 0; i < t->size_bytes; i += 512) {
        sum += t->data[i];
    }
    assert_int_equal(sum, 0);
    sl_error e = {0};
    assert_int_equal(sl_gguf_check_alive(g, &e), SL_ERR_IO);
    assert_non_null(strstr(e.message, "shrinks.gguf"));
    assert_int_equal(sl_gguf_check_unchanged(g, &e), SL_ERR_IO);
    CHECK_OK(sl_gguf_check_alive(other, err));
    CHECK_OK(sl_gguf_check_unchanged(other, err));
    sl_gguf_close(g);
    sl_gguf_close(other);
}

/* --- size ------------------------------------------------------------------------------------- */

static void test_many_keys_and_tensors(void **state) {
    (void)state;
    enum { N = 60000 };
    sl_buf file;
    sl_gguf_writer *w = NULL;
    static const uint64_t dims[] = {1};
    char name[32];
    sl_buf_init(&file, (size_t)64 << 20);
    CHECK_OK(sl_gguf_writer_create_buf(&file, 8, &w, err));
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof(name), "%x", i);
        CHECK_OK(sl_gguf_writer_bool(w, name, true, err));
        CHECK_OK(sl_gguf_writer_tensor(w, name, SL_TYPE_I8, 1, dims, err));
    }
    for (int i = 0; i < N; i++) {
        unsigned char byte = (unsigned char)i;
        CHECK_OK(sl_gguf_writer_data(w, &byte, 1, err));
    }
    CHECK_OK(sl_gguf_writer_finish(w, err));
    sl_gguf_writer_free(w);
    sl_gguf *g = open_ok(file.data, file.len);
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof(name), "%x", i);
        assert_ptr_equal(sl_gguf_find(g, name), sl_gguf_kv_at(g, (uint64_t)i));
        const sl_gguf_tensor *t = sl_gguf_find_tensor(g, name);
        assert_ptr_equal(t, sl_gguf_tensor_at(g, (uint64_t)i));
        assert_int_equal(t->data[0], (unsigned char)i);
    }
    /* Small entries are the worst case for the tables: four times the header and a constant. */
    uint64_t header_bytes = (uint64_t)((const char *)sl_gguf_tensor_at(g, 0)->data - file.data);
    assert_true(sl_gguf_table_bytes(g) <= 4 * header_bytes + ((uint64_t)1 << 20));
    sl_gguf_close(g);
    sl_buf_deinit(&file);
}

/* --- reference files -------------------------------------------------------------------------- */

static void check_golden(const char *path) {
    sl_gguf *g = NULL;
    CHECK_OK(sl_gguf_open(path, &g, err));
    uint64_t sum = 0, n = sl_gguf_n_tensors(g), alignment = sl_gguf_alignment(g);
    for (uint64_t i = 0; i < n; i++) {
        sum += (sl_gguf_tensor_at(g, i)->size_bytes + alignment - 1) / alignment * alignment;
    }
    if (n != 0) { /* the data section is exactly the padded tensors, up to the end of the file */
        const sl_gguf_tensor *t = sl_gguf_tensor_at(g, 0);
        const sl_gguf_tensor *last = sl_gguf_tensor_at(g, n - 1);
        uint64_t padded = (last->size_bytes + alignment - 1) / alignment * alignment;
        assert_int_equal((uint64_t)(last->data - t->data) + padded, sum);
        assert_true(sum < sl_gguf_file_bytes(g));
    }
    sl_slice architecture = {0};
    CHECK_OK(sl_gguf_string(g, "general.architecture", &architecture, err));
    assert_true(sample_touch(g) != 0);
    assert_non_null(sl_gguf_find(g, "tokenizer.ggml.tokens"));
    sl_gguf_close(g);
}

static void test_golden(void **state) {
    (void)state;
    static const char *const patterns[] = {"golden/arch/*/*.gguf", "golden/quant/*.gguf",
                                           "golden/tok/vocab/*.gguf"};
    const char *shared = getenv("SLUICE_SHARED");
    size_t n = 0;
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        char pattern[512];
        glob_t files;
        (void)snprintf(pattern, sizeof(pattern), "%s/%s", shared != NULL ? shared : "../shared",
                       patterns[i]);
        if (glob(pattern, 0, NULL, &files) != 0) {
            continue;
        }
        for (size_t k = 0; k < files.gl_pathc; k++, n++) {
            check_golden(files.gl_pathv[k]);
        }
        globfree(&files);
    }
    if (n == 0) {
        skip();
    }
    print_message("%zu reference files\n", n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_alignment_version),
        cmocka_unit_test(test_typed_reads_refuse),
        cmocka_unit_test(test_f64_beyond_f32),
        cmocka_unit_test(test_show_is_harmless),
        cmocka_unit_test(test_show_value),
        cmocka_unit_test(test_file_round_trip),
        cmocka_unit_test(test_copy_keys),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_mismatches),
        cmocka_unit_test(test_no_such_file),
        cmocka_unit_test(test_failed_allocations),
        cmocka_unit_test(test_writer_failures),
        cmocka_unit_test(test_writer_arguments),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_file_shrinks),
        cmocka_unit_test(test_many_keys_and_tensors),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
