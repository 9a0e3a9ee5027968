// SPDX-License-Identifier: Apache-2.0
//
// The tokens of a model, and the two algorithms that cut text into them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qdial/gguf/reader.hpp"
#include "tokenizer.hpp"

namespace engine {

/// As GGUF numbers them.
enum class token_kind : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte = 6,
};

/// Texts, kinds and scores by id, and ids by text.
class vocabulary {
public:
    explicit vocabulary(const qdial::gguf::file& file);
    vocabulary(const vocabulary&) = delete;
    vocabulary& operator=(const vocabulary&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return texts_.size(); }
    [[nodiscard]] const std::string& text(token id) const {
        return texts_[static_cast<std::size_t>(id)];
    }
    [[nodiscard]] token_kind kind(token id) const { return kinds_[static_cast<std::size_t>(id)]; }
    void set_kind(token id, token_kind kind) { kinds_[static_cast<std::size_t>(id)] = kind; }
    /// 0 where the file has no scores.
    [[nodiscard]] float score(token id) const {
        return scores_.empty() ? 0.0f : scores_[static_cast<std::size_t>(id)];
    }
    [[nodiscard]] std::optional<token> find(std::string_view text) const {
        const auto found = ids_.find(text);
        if (found == ids_.end()) return std::nullopt;
        return found->second;
    }

private:
    std::vector<std::string> texts_;
    std::vector<token_kind> kinds_;
    std::vector<float> scores_;
    std::unordered_map<std::string_view, token> ids_;  // views of texts_
};

/// Cuts text without control tokens.
class segmenter {
public:
    virtual ~segmenter() = default;
    /// Appends the ids of `text`.
    virtual void encode(std::string_view text, std::vector<token>& out) const = 0;
    /// The bytes that a token of a text stands for.
    [[nodiscard]] virtual std::string decode(token id) const = 0;
};

/// SentencePiece: of all neighbours that form a token, those with the best score merge first.
[[nodiscard]] std::unique_ptr<segmenter> make_sentence_piece(const vocabulary& tokens);

/// Byte-level BPE with the merges of the file, cut first by the regular expressions of its
/// pre-tokenizer. Throws `qdial::error` if that is unknown.
[[nodiscard]] std::unique_ptr<segmenter> make_byte_pairs(const vocabulary& tokens,
                                                         const qdial::gguf::file& file);

/// What a pre-tokenizer implies where the file says nothing: whether texts begin with bos().
[[nodiscard]] bool pre_tokenizer_adds_bos(std::string_view name);

/// Bytes of the character that starts with this byte, as far as that tells; 1 within a character.
[[nodiscard]] inline std::size_t utf8_length(char first) noexcept {
    const auto byte = static_cast<unsigned char>(first);
    return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Symbols of a text that merge two by two, the best pair first, of equal ones the left one.
/// `rank(merged text, left text)` gives the order, lower first, or nothing.
template <class Rank, class RankOf>
class merger {
public:
    explicit merger(RankOf rank_of) : rank_of_(std::move(rank_of)) {}

    /// The pieces of `text` in the end, in order.
    [[nodiscard]] const std::vector<std::string_view>& run(std::string_view text) {
        symbols_.clear();
        queue_.clear();
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t n = std::min(utf8_length(text[at]), text.size() - at);
            symbols_.push_back({text.substr(at, n), symbols_.size() - 1, symbols_.size() + 1});
            at += n;
        }
        for (std::size_t i = 0; i + 1 < symbols_.size(); ++i) propose(i, i + 1);
        while (!queue_.empty()) {
            std::pop_heap(queue_.begin(), queue_.end(), later);
            const pair best = queue_.back();
            queue_.pop_back();
            merge(best);
        }
        pieces_.clear();
        for (const symbol& s : symbols_)
            if (!s.text.empty()) pieces_.push_back(s.text);
        return pieces_;
    }

private:
    struct symbol {
        std::string_view text;  // empty: merged into the one before
        std::size_t before, after;
    };
    struct pair {
        Rank rank;
        std::size_t left, right, size;
    };
    static bool later(const pair& a, const pair& b) {
        return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
    }

    void propose(std::size_t left, std::size_t right) {
        const std::string_view a = symbols_[left].text, b = symbols_[right].text;
        const std::string_view both(a.data(), a.size() + b.size());
        if (const std::optional<Rank> rank = rank_of_(both, a.size())) {
            queue_.push_back({*rank, left, right, both.size()});
            std::push_heap(queue_.begin(), queue_.end(), later);
        }
    }

    void merge(const pair& best) {
        symbol& a = symbols_[best.left];
        symbol& b = symbols_[best.right];
        // One of them has merged with another since.
        if (a.text.empty() || b.text.empty() || a.text.size() + b.text.size() != best.size) return;
        a.text = std::string_view(a.text.data(), best.size);
        b.text = {};
        a.after = b.after;
        if (b.after < symbols_.size()) {
            symbols_[b.after].before = best.left;
            propose(best.left, b.after);
        }
        if (a.before < symbols_.size()) propose(a.before, best.left);
    }

    RankOf rank_of_;
    std::vector<symbol> symbols_;
    std::vector<pair> queue_;
    std::vector<std::string_view> pieces_;
};

}  // namespace engine
