// SPDX-License-Identifier: Apache-2.0
//
// Text to token ids and back, from the vocabulary that a GGUF file carries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/gguf/reader.hpp"

namespace engine {

using token = std::int32_t;

/// The two kinds that the supported models use, with llama.cpp's token ids:
///
///     llama   SentencePiece: pieces merged by score, bytes where there is no piece
///     gpt2    byte-level BPE: a regular expression cuts the text, ranked merges join bytes
class tokenizer {
public:
    /// Copies what it needs; the file may be closed afterwards. Throws `qdial::error` that names
    /// what is missing or unknown: no tokenizer, another kind, another pre-tokenizer.
    explicit tokenizer(const qdial::gguf::file& file);
    ~tokenizer();
    tokenizer(tokenizer&&) noexcept;
    tokenizer& operator=(tokenizer&&) noexcept;

    /// Ids of UTF-8 `text` (bytes that are no UTF-8 are replaced, as llama.cpp does it).
    /// `add_special`: begin (and end) of sequence where the model wants them. `parse_special`:
    /// control tokens written in the text, such as <start_of_turn>, are recognised.
    [[nodiscard]] std::vector<token> encode(std::string_view text, bool add_special = true,
                                            bool parse_special = false) const;

    /// The text of the ids; control tokens are left out unless `special`. May end within a
    /// character where the ids do.
    [[nodiscard]] std::string decode(std::span<const token> tokens, bool special = false) const;

    /// The text of one token, control tokens by their name if `special`. Throws `qdial::error`
    /// for ids outside the vocabulary.
    [[nodiscard]] std::string piece(token id, bool special = false) const;

    /// Tokens in the vocabulary.
    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] std::optional<token> bos() const noexcept;
    [[nodiscard]] std::optional<token> eos() const noexcept;
    /// End of turn, where the vocabulary has one.
    [[nodiscard]] std::optional<token> eot() const noexcept;
    /// Generation ends with this token: end of sequence, of turn, of message.
    [[nodiscard]] bool is_end(token id) const noexcept;
    /// Whether encode(…, add_special) starts with bos().
    [[nodiscard]] bool adds_bos() const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace engine
