// SPDX-License-Identifier: Apache-2.0
//
// Tokenizers on small vocabularies; real ones against llama.cpp are in tests/engine/oracle.py.
#include <string>
#include <vector>

#include "model_files.hpp"
#include "tokenizer.hpp"

namespace {

using engine::token;
using engine::tokenizer;

struct vocabulary_entry {
    std::string text;
    std::int32_t kind = 1;
    float score = 0;
};

struct small_vocabulary {
    std::string model;
    std::vector<vocabulary_entry> tokens;
    std::vector<std::string> merges;
    qdial::gguf::metadata more;
};

tokenizer make(const small_vocabulary& v) {
    const gguf_test::scratch_folder folder;
    qdial::gguf::metadata metadata = v.more;
    std::vector<std::string> texts;
    std::vector<std::int32_t> kinds;
    std::vector<float> scores;
    for (const vocabulary_entry& entry : v.tokens) {
        texts.push_back(entry.text);
        kinds.push_back(entry.kind);
        scores.push_back(entry.score);
    }
    metadata.set("tokenizer.ggml.model", v.model);
    metadata.set("tokenizer.ggml.tokens", texts);
    metadata.set("tokenizer.ggml.token_type", kinds);
    metadata.set("tokenizer.ggml.scores", scores);
    if (!v.merges.empty()) metadata.set("tokenizer.ggml.merges", v.merges);
    model_test::write_model(folder.path / "v.gguf", metadata, {});
    return tokenizer(qdial::gguf::file(folder.path / "v.gguf"));
}

std::string byte_name(int byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    return text;
}

small_vocabulary sentence_piece() {
    small_vocabulary v{"llama", {{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}}, {}, {}};
    for (int byte = 0; byte < 256; ++byte) v.tokens.push_back({byte_name(byte), 6});
    const std::string mark = "\xE2\x96\x81";
    for (const vocabulary_entry& e :
         {vocabulary_entry{mark, 1, -10}, {"a", 1, -11}, {"b", 1, -12}, {"c", 1, -13},
          {"ab", 1, -2}, {"bc", 1, -1}, {"abc", 1, -9}, {mark + "a", 1, -3}, {"<go>", 4},
          {"<turn>", 3}})
        v.tokens.push_back(e);
    v.more.set("tokenizer.ggml.bos_token_id", 1u);
    v.more.set("tokenizer.ggml.eos_token_id", 2u);
    return v;
}

constexpr token first_piece = 3 + 256;  // "▁"; then a b c ab bc abc ▁a <go> <turn>

}  // namespace

TEST_CASE("SentencePiece merges by score, falls back to bytes and knows control tokens") {
    const tokenizer t = make(sentence_piece());
    using ids = std::vector<token>;
    constexpr token p = first_piece;
    CHECK(t.adds_bos());
    CHECK(t.bos() == 1);
    CHECK(t.is_end(2));
    CHECK_FALSE(t.is_end(1));
    // " abc": bc first, then the mark and a, as their score is better than that of abc.
    CHECK(t.encode("abc") == ids{1, p + 7, p + 5});
    CHECK(t.encode("abc", false) == ids{p + 7, p + 5});
    CHECK(t.encode("b\xC3\xA9", false) == ids{p, p + 2, 3 + 0xC3, 3 + 0xA9});
    CHECK(t.encode("\xFF", false) == ids{p, 3 + 0xFF});
    // User-defined tokens always, control tokens only if asked; a space before each text.
    CHECK(t.encode("b<go>b", false) == ids{p, p + 2, p + 8, p, p + 2});
    CHECK(t.encode("<turn>b", false, true) == ids{p + 9, p, p + 2});
    CHECK(t.encode("<turn>", false, false).size() == 7);
    CHECK(t.encode("").size() == 1);
    CHECK(t.encode("", false).empty());
    for (const char* text : {"abc", "a b  c", "caf\xC3\xA9 \xF0\x9F\x98\x80", " leading", "\n"})
        CHECK(t.decode(t.encode(text)) == text);
    CHECK(t.piece(p + 9).empty());
    CHECK(t.piece(p + 9, true) == "<turn>");
    CHECK(t.piece(3 + 10) == "\n");
    CHECK(gguf_test::error_of([&] { (void)t.piece(p + 10); }).find("found token 269") !=
          std::string::npos);
}

TEST_CASE("Byte-level BPE merges by rank within the words of its pre-tokenizer") {
    small_vocabulary v{"gpt2", {}, {"a b", "ab c", "\xC4\xA0 a", "1 2"}, {}};
    for (const char* text : {"a", "b", "c", "1", "2", "\xC4\xA0", "\xC4\x8A", "ab", "abc",
                             "\xC4\xA0" "a", "12", "\xC3\x83", "\xC2\xA9"})
        v.tokens.push_back({text});
    v.tokens.push_back({"<|im_end|>", 1});
    v.more.set("tokenizer.ggml.pre", "gpt-2");
    using ids = std::vector<token>;
    const tokenizer t = make(v);
    CHECK_FALSE(t.adds_bos());
    CHECK(t.encode("abc") == ids{8});
    CHECK(t.encode("c abc") == ids{2, 5, 8});  // ab ranks before the space and a
    CHECK(t.encode(" ac") == ids{9, 2});
    CHECK(t.encode("12a\n\nb") == ids{10, 0, 6, 6, 1});
    CHECK(t.encode("\xC3\xA9") == ids{11, 12});
    CHECK(t.decode(t.encode("a\xC3\xA9 12\nb")) == "a\xC3\xA9 12\nb");
    CHECK(t.eot() == 13);  // control by its name, whatever its type says
    CHECK(t.encode("<|im_end|>a", true, true) == ids{13, 0});

    v.more.set("tokenizer.ggml.pre", "smollm");  // digits stand alone
    CHECK(make(v).encode("12") == ids{3, 4});
    v.more.set("tokenizer.ggml.pre", "llama-bpe");
    CHECK(make(v).encode("12") == ids{10});
    v.more.set("tokenizer.ggml.pre", "qwen2");
    CHECK(make(v).encode("12") == ids{3, 4});
    v.more.set("tokenizer.ggml.pre", "unheard-of");
    CHECK(gguf_test::error_of([&] { make(v); }).find("pre-tokenizer \"unheard-of\"") !=
          std::string::npos);
}

TEST_CASE("A file without a tokenizer, or with another kind, is refused by name") {
    const gguf_test::scratch_folder folder;
    model_test::write_model(folder.path / "none.gguf", {}, {});
    const qdial::gguf::file none(folder.path / "none.gguf");
    CHECK(gguf_test::error_of([&] { tokenizer{none}; }).find("found no tokenizer") !=
          std::string::npos);
    small_vocabulary other = sentence_piece();
    other.model = "bert";
    CHECK(gguf_test::error_of([&] { make(other); }).find("\"bert\"") != std::string::npos);
}
