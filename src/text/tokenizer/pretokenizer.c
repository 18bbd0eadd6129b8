/* The table of pre-tokenisers and the loop that applies one. Text and its length enter, marks at
 * word beginnings leave. No state; any thread.
 *
 * The expressions are those of the models' published tokenizer.json files; which name stands for
 * which is given by the GGUF key tokenizer.ggml.pre. */
#include "text/tokenizer/pretokenizer.h"

#include <string.h>

#include "base/utf8.h"

static const sl_pretokenizer PRETOKENIZERS[] = {
    {.names = {"default"}, /* also for files without the key */
     .stages = {sl_pretoken_punct_default, sl_pretoken_gpt2, sl_pretoken_digits,
                sl_pretoken_ascii_digits_3}},
    {.names = {"gpt-2",      "phi-2",        "mpt",         "olmo",        "jais",
               "jina-es",    "jina-de",      "jina-v1-en",  "jina-v2-en",  "jina-v2-es",
               "jina-v2-de", "jina-v2-code", "roberta-bpe", "modern-bert", "exaone4",
               "trillion",   "gigachat",     "a.x-4.0",     "mellum",      "granite-docling"},
     .stages = {sl_pretoken_gpt2}},
    {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
               "mellum2"},
     .stages = {sl_pretoken_digit, sl_pretoken_gpt2}},
    {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
               "lfm2", "jina-v5-nano"},
     .stages = {sl_pretoken_llama3},
     .ignore_merges = true,
     .adds_bos = true},
    {.names = {"dbrx", "smaug-bpe", "chatglm-bpe"}, .stages = {sl_pretoken_llama3}},
    {.names = {"glm4", "glm5"}, .stages = {sl_pretoken_llama3}, .ignore_merges = true},
    {.names = {"minicpm5"},
     .stages = {sl_pretoken_digits_1_3, sl_pretoken_llama3},
     .ignore_merges = true},
    {.names = {"jais-2"}, .stages = {sl_pretoken_jais2}},
    {.names = {"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "solar-open",
               "bailingmoe", "bailingmoe2", "llada-moe", "grok-2", "kormo", "f2llmv2"},
     .stages = {sl_pretoken_qwen2}},
    {.names = {"qwen35"}, .stages = {sl_pretoken_qwen35}},
    {.names = {"laguna"}, .stages = {sl_pretoken_lines, sl_pretoken_qwen2}},
    {.names = {"seed-coder"}, .stages = {sl_pretoken_seed_coder}},
    {.names = {"ufakzeka"}, .stages = {sl_pretoken_ufakzeka}},
    {.names = {"exaone-moe"}, .stages = {sl_pretoken_exaone_moe}},
    {.names = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"},
     .stages = {sl_pretoken_o200k}},
    {.names = {"granite-embed-multi-97m"}, .stages = {sl_pretoken_o200k}, .ignore_merges = true},
    {.names = {"tiny_aya", "cohere2moe"},
     .stages = {sl_pretoken_digits_of_word, sl_pretoken_o200k}},
    {.names = {"youtu"},
     .stages = {sl_pretoken_youtu_scripts, sl_pretoken_youtu},
     .ignore_merges = true},
    {.names = {"kimi-k2"}, .stages = {sl_pretoken_kimi}},
    {.names = {"tekken"}, .stages = {sl_pretoken_tekken}, .ignore_merges = true, .adds_bos = true},
    {.names = {"falcon"},
     .stages = {sl_pretoken_punct_falcon, sl_pretoken_gpt2, sl_pretoken_ascii_digits_3}},
    {.names = {"chameleon"},
     .stages = {sl_pretoken_sentinel, sl_pretoken_image, sl_pretoken_indent, sl_pretoken_digit,
                sl_pretoken_mark, sl_pretoken_gpt2},
     .adds_bos = true},
    {.names = {"bloom", "gpt3-finnish", "poro-chat"}, .stages = {sl_pretoken_bloom}},
    {.names = {"viking"}, .stages = {sl_pretoken_bloom, sl_pretoken_digit}},
    {.names = {"superbpe"}, .stages = {sl_pretoken_digits, sl_pretoken_ascii_digits_from_end}},
    {.names = {"deepseek-llm"},
     .stages = {sl_pretoken_line_break, sl_pretoken_space_cased, sl_pretoken_space_marks,
                sl_pretoken_space_at_end, sl_pretoken_han_hangul, sl_pretoken_digits}},
    {.names = {"deepseek-coder"},
     .stages = {sl_pretoken_line_break, sl_pretoken_space_letters, sl_pretoken_space_punct,
                sl_pretoken_han_hangul, sl_pretoken_digit}},
    {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
     .stages = {sl_pretoken_digits_1_3, sl_pretoken_han_kana, sl_pretoken_deepseek3}},
    {.names = {"spark2_5"},
     .stages = {sl_pretoken_digits_1_3, sl_pretoken_han_kana, sl_pretoken_spark,
                sl_pretoken_digit}},
    {.names = {"afmoe"},
     .stages = {sl_pretoken_digits_from_end, sl_pretoken_spaceless, sl_pretoken_deepseek3}},
    {.names = {"gemma4", "granite-embed-multi-311m"},
     .stages = {sl_pretoken_lines},
     .adds_bos = true,
     .always_bos = true,
     .is_raw = true},
    {.names = {"sarvam-moe"}, .stages = {sl_pretoken_lines}, .is_raw = true},
};

const sl_pretokenizer *sl_pretokenizer_find(sl_slice name) {
    for (size_t i = 0; i < sizeof(PRETOKENIZERS) / sizeof(PRETOKENIZERS[0]); i++) {
        const sl_pretokenizer *pre = &PRETOKENIZERS[i];
        for (size_t k = 0; k < SL_PRETOKEN_NAMES && pre->names[k] != NULL; k++) {
            if (sl_slice_eq_str(name, pre->names[k])) {
                return pre;
            }
        }
    }
    return NULL;
}

size_t sl_pretokenizer_classify(sl_slice text, sl_char *ch) {
    size_t n = 0;
    for (size_t i = 0; i < text.len;) {
        uint32_t code = (unsigned char)text.ptr[i];
        size_t len = 1;
        if (code >= 0x80) {
            len = sl_utf8_decode(text.ptr + i, text.len - i, &code);
        }
        if (len == 0) {
            ch[n++] = 0xFFFDu | SL_CHAR_SYMBOL | SL_CHAR_INVALID;
            i++;
        } else {
            ch[n++] = code | sl_unicode_class(code) << SL_CHAR_CLASS_SHIFT;
            i += len;
        }
    }
    return n;
}

static uint64_t pretoken_cut_piece(sl_pretoken_match match, sl_char *ch, size_t begin, size_t end) {
    sl_pretoken_piece piece = {.ch = ch, .begin = begin, .end = end};
    for (size_t pos = begin; pos < end;) {
        size_t match_end = match(&piece, pos);
        piece.work++;
        if (match_end == pos) {
            pos++;
            continue;
        }
        ch[pos] |= SL_CHAR_CUT;
        if (match_end < end) {
            ch[match_end] |= SL_CHAR_CUT;
        }
        pos = match_end;
    }
    return piece.work;
}

uint64_t sl_pretokenizer_cut(const sl_pretokenizer *pre, sl_char *ch, size_t n) {
    uint64_t work = n;
    if (n > 0) {
        ch[0] |= SL_CHAR_CUT;
    }
    for (size_t i = 0; i < SL_PRETOKEN_STAGES && pre->stages[i] != NULL; i++) {
        /* The end of a piece is found before its inside is cut further. */
        for (size_t begin = 0; begin < n;) {
            size_t end = begin + 1;
            while (end < n && (ch[end] & SL_CHAR_CUT) == 0) {
                end++;
            }
            work += pretoken_cut_piece(pre->stages[i], ch, begin, end) + (end - begin);
            begin = end;
        }
    }
    return work;
}
