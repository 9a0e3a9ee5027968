// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "vocabulary.hpp"

namespace engine {

namespace {

constexpr std::string_view space_mark = "\xE2\x96\x81";  // U+2581 stands for a space

std::string replaced(std::string_view text, std::string_view what, std::string_view with) {
    std::string out;
    for (std::size_t at = 0;;) {
        const std::size_t found = text.find(what, at);
        out += text.substr(at, found - at);
        if (found == text.npos) return out;
        out += with;
        at = found + what.size();
    }
}

/// "<0x0A>"
std::string byte_name(unsigned char byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    return {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
}

class sentence_piece : public segmenter {
public:
    explicit sentence_piece(const vocabulary& tokens) : tokens_(tokens) {
        for (int byte = 0; byte < 256; ++byte)
            bytes_[byte] = tokens.find(byte_name(static_cast<unsigned char>(byte)));
    }

    void encode(std::string_view text, std::vector<token>& out) const override {
        const std::string marked = replaced(text, " ", space_mark);
        const auto rank = [this](std::string_view both, std::size_t) -> std::optional<float> {
            const std::optional<token> id = tokens_.find(both);
            if (!id) return std::nullopt;
            return -tokens_.score(*id);
        };
        merger<float, decltype(rank)> merges(rank);
        for (const std::string_view piece : merges.run(marked)) append(piece, out);
    }

    [[nodiscard]] std::string decode(token id) const override {
        const std::string& text = tokens_.text(id);
        unsigned byte = 0;
        if (tokens_.kind(id) == token_kind::byte && text.size() == 6 &&
            std::from_chars(text.data() + 3, text.data() + 5, byte, 16).ec == std::errc{})
            return {static_cast<char>(byte)};
        return replaced(text, space_mark, " ");
    }

private:
    void append(std::string_view piece, std::vector<token>& out) const {
        if (const std::optional<token> id = tokens_.find(piece)) {
            out.push_back(*id);
            return;
        }
        // Only single characters are no token: every merge forms one.
        for (const char c : piece) {
            const std::optional<token> id = bytes_[static_cast<unsigned char>(c)];
            if (id) out.push_back(*id);
        }
    }

    const vocabulary& tokens_;
    std::optional<token> bytes_[256];
};

}  // namespace

std::unique_ptr<segmenter> make_sentence_piece(const vocabulary& tokens) {
    return std::make_unique<sentence_piece>(tokens);
}

}  // namespace engine
