// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <new>

#include "qdial/error.hpp"
#include "qdial/gguf/text.hpp"
#include "vocabulary.hpp"

namespace engine {

namespace {

// White space as Unicode has it (PCRE2's \s has one character more), within brackets.
#define SPACE R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})"
// The last spaces of a run before a word belong to the word, as far as other rules let them.
#define SPACES "[" SPACE "]+(?![^" SPACE "])"
#define ANY_CASE_CONTRACTIONS "'(?i:[sdmt]|ll|ve|re)"
#define SYMBOLS "[^" SPACE R"(\p{L}\p{N}])"

constexpr const char* gpt2_words =
    "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?" SYMBOLS "+|" SPACES;

constexpr const char* llama3_words =
    ANY_CASE_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?)" SYMBOLS
    "+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|" SPACES "|[" SPACE "]+";

constexpr const char* qwen2_words =
    ANY_CASE_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?)" SYMBOLS
    "+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|" SPACES "|[" SPACE "]+";

#undef SYMBOLS
#undef ANY_CASE_CONTRACTIONS
#undef SPACES
#undef SPACE

struct pre_tokenizer {
    std::string_view name;  ///< of "tokenizer.ggml.pre"
    /// One after the other: each cuts the pieces of the one before, at both ends of its matches.
    std::array<const char*, 4> expressions;
    bool whole_words = false;  ///< a word that is a token is taken without merging
    bool adds_bos = false;     ///< where the file does not say
};

constexpr std::array pre_tokenizers{
    pre_tokenizer{"gpt-2", {gpt2_words}},
    pre_tokenizer{"smollm", {R"(\p{N})", gpt2_words}},
    pre_tokenizer{"llama-bpe", {llama3_words}, true, true},
    pre_tokenizer{"llama3", {llama3_words}, true, true},
    pre_tokenizer{"llama-v3", {llama3_words}, true, true},
    pre_tokenizer{"qwen2", {qwen2_words}},
    pre_tokenizer{"deepseek-r1-qwen", {qwen2_words}},
    pre_tokenizer{"default",
                  {R"([\p{P}\$\+<=>\^~\|]+)", gpt2_words, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
};

const pre_tokenizer* find_pre_tokenizer(std::string_view name) {
    for (const pre_tokenizer& known : pre_tokenizers)
        if (known.name == name) return &known;
    return nullptr;
}

/// A regular expression over valid UTF-8.
class expression {
public:
    explicit expression(const char* pattern) {
        int error = 0;
        PCRE2_SIZE at = 0;
        code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &at, nullptr);
        if (code_ == nullptr)
            throw qdial::error("PCRE2 does not compile " + std::string(pattern));
        pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE);  // slower without
    }
    ~expression() { pcre2_code_free(code_); }
    expression(const expression&) = delete;
    expression& operator=(const expression&) = delete;

    /// Appends the matches and what lies between them.
    void cut(std::string_view text, std::vector<std::string_view>& out) const {
        const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
            pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
        if (match == nullptr) throw std::bad_alloc();
        std::size_t done = 0;
        while (done < text.size()) {
            const int found = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                          text.size(), done, PCRE2_NO_UTF_CHECK, match.get(), nullptr);
            if (found == PCRE2_ERROR_NOMATCH) break;
            if (found < 0)
                throw qdial::error("PCRE2 ended with error " + std::to_string(found) +
                                   " while cutting a text");
            const PCRE2_SIZE* at = pcre2_get_ovector_pointer(match.get());
            if (at[0] > done) out.push_back(text.substr(done, at[0] - done));
            out.push_back(text.substr(at[0], at[1] - at[0]));
            done = at[1];
        }
        if (done < text.size()) out.push_back(text.substr(done));
    }

private:
    pcre2_code* code_;
};

void append_utf8(std::string& out, std::uint32_t c) {
    const auto tail = [&](int shift) {
        out += static_cast<char>(0x80 | (c >> shift & 0x3F));
    };
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += static_cast<char>(0xC0 | c >> 6);
        tail(0);
    } else if (c < 0x10000) {
        out += static_cast<char>(0xE0 | c >> 12);
        tail(6);
        tail(0);
    } else {
        out += static_cast<char>(0xF0 | c >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
}

/// The code point at `at`, which moves on; nothing, and one byte on, where there is none.
std::optional<std::uint32_t> next_code_point(std::string_view text, std::size_t& at) {
    const auto first = static_cast<unsigned char>(text[at]);
    const std::size_t n = utf8_length(text[at]);
    ++at;
    if (first < 0x80) return first;
    if (first < 0xC0 || first >= 0xF8 || at + n - 1 > text.size()) return std::nullopt;
    std::uint32_t c = first & (0x7Fu >> n);
    for (std::size_t k = 0; k + 1 < n; ++k) {
        const auto byte = static_cast<unsigned char>(text[at + k]);
        if ((byte & 0xC0) != 0x80) return std::nullopt;
        c = c << 6 | (byte & 0x3F);
    }
    // Overlong forms and surrogates pass, as they do in llama.cpp; PCRE2's tables have the latter.
    if (c > 0x10FFFF) return std::nullopt;
    at += n - 1;
    return c;
}

/// UTF-8 as PCRE2 can read it without a check.
std::string repaired(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();)
        append_utf8(out, next_code_point(text, at).value_or(0xFFFD));
    return out;
}

/// The characters that byte-level BPE writes bytes as: printable Latin-1 ones for themselves,
/// the others from U+0100 on.
class byte_characters {
public:
    byte_characters() {
        std::uint32_t next = 0x100;
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
            const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
            const std::uint32_t c = printable ? byte : next++;
            append_utf8(texts_[byte], c);
            bytes_[c] = static_cast<char>(byte);
        }
    }
    [[nodiscard]] std::string encode(std::string_view bytes) const {
        std::string out;
        for (const char c : bytes) out += texts_[static_cast<unsigned char>(c)];
        return out;
    }
    [[nodiscard]] std::string decode(std::string_view characters) const {
        std::string out;
        for (std::size_t at = 0; at < characters.size();) {
            const std::size_t start = at;
            const std::optional<std::uint32_t> c = next_code_point(characters, at);
            const auto found = bytes_.find(c.value_or(0xFFFD));
            if (found != bytes_.end())
                out += found->second;
            else
                out += characters.substr(start, at - start);
        }
        return out;
    }

private:
    std::array<std::string, 256> texts_;
    std::unordered_map<std::uint32_t, char> bytes_;
};

class byte_pairs : public segmenter {
public:
    byte_pairs(const vocabulary& tokens, const qdial::gguf::file& file,
               const pre_tokenizer& settings)
        : tokens_(tokens), whole_words_(settings.whole_words) {
        for (const char* pattern : settings.expressions)
            if (pattern != nullptr)
                expressions_.push_back(std::make_unique<expression>(pattern));
        std::uint32_t rank = 0;
        const auto merges = file.metadata().get<qdial::gguf::array_view>("tokenizer.ggml.merges");
        for (const std::string_view merge : merges.strings()) {
            // "left right": a space is written as another character within them.
            const std::size_t space = merge.find(' ', 1);
            if (space == merge.npos)
                throw qdial::error(file.name() + ": merge " + std::to_string(rank) + ": found " +
                                   qdial::gguf::detail::quoted(merge) + ", expected two texts");
            ranks_.emplace(std::string(merge), rank++);
        }
    }

    void encode(std::string_view text, std::vector<token>& out) const override {
        const std::string whole = repaired(text);
        std::vector<std::string_view> pieces{whole}, cut;
        for (const auto& e : expressions_) {
            cut.clear();
            for (const std::string_view piece : pieces) e->cut(piece, cut);
            pieces.swap(cut);
        }
        std::string key;
        const auto rank = [&](std::string_view both,
                              std::size_t left) -> std::optional<std::uint32_t> {
            key.assign(both.substr(0, left));
            key += ' ';
            key += both.substr(left);
            const auto found = ranks_.find(key);
            if (found == ranks_.end()) return std::nullopt;
            return found->second;
        };
        merger<std::uint32_t, decltype(rank)> merges(rank);
        for (const std::string_view piece : pieces) {
            const std::string word = characters_.encode(piece);
            if (const auto id = whole_words_ ? tokens_.find(word) : std::nullopt) {
                out.push_back(*id);
                continue;
            }
            for (const std::string_view part : merges.run(word))
                if (const std::optional<token> id = tokens_.find(part)) out.push_back(*id);
        }
    }

    [[nodiscard]] std::string decode(token id) const override {
        return characters_.decode(tokens_.text(id));
    }

private:
    const vocabulary& tokens_;
    bool whole_words_;
    byte_characters characters_;
    std::vector<std::unique_ptr<expression>> expressions_;
    std::unordered_map<std::string, std::uint32_t> ranks_;  // "left right"
};

}  // namespace

std::unique_ptr<segmenter> make_byte_pairs(const vocabulary& tokens,
                                           const qdial::gguf::file& file) {
    const auto name =
        file.metadata().find<std::string_view>("tokenizer.ggml.pre").value_or("default");
    const pre_tokenizer* settings = find_pre_tokenizer(name);
    if (settings == nullptr) {
        std::string known;
        for (const pre_tokenizer& p : pre_tokenizers)
            known += (known.empty() ? "" : ", ") + std::string(p.name);
        throw qdial::error(file.name() + ": found the pre-tokenizer " +
                           qdial::gguf::detail::quoted(name) + ", the engine knows " + known);
    }
    return std::make_unique<byte_pairs>(tokens, file, *settings);
}

bool pre_tokenizer_adds_bos(std::string_view name) {
    const pre_tokenizer* settings = find_pre_tokenizer(name);
    return settings != nullptr && settings->adds_bos;
}

}  // namespace engine
