// SPDX-License-Identifier: Apache-2.0
#include "tokenizer.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "qdial/error.hpp"
#include "qdial/gguf/text.hpp"
#include "vocabulary.hpp"

namespace engine {

vocabulary::vocabulary(const qdial::gguf::file& file) {
    const auto& metadata = file.metadata();
    if (!metadata.contains("tokenizer.ggml.tokens"))
        throw qdial::error(file.name() + ": found no tokenizer (no key tokenizer.ggml.tokens)");
    texts_ = metadata.get<std::vector<std::string>>("tokenizer.ggml.tokens");
    const auto check_size = [&](std::string_view key, std::size_t n) {
        if (n != texts_.size())
            throw qdial::error(file.name() + ": key " + std::string(key) + ": found " +
                               std::to_string(n) + " elements, expected one for each of " +
                               std::to_string(texts_.size()) + " tokens");
    };
    kinds_.assign(texts_.size(), token_kind::normal);
    if (const auto kinds =
            metadata.find<std::vector<std::int32_t>>("tokenizer.ggml.token_type")) {
        check_size("tokenizer.ggml.token_type", kinds->size());
        for (std::size_t i = 0; i < kinds->size(); ++i)
            if ((*kinds)[i] >= 1 && (*kinds)[i] <= 6)
                kinds_[i] = static_cast<token_kind>((*kinds)[i]);
    }
    if (auto scores = metadata.find<std::vector<float>>("tokenizer.ggml.scores")) {
        check_size("tokenizer.ggml.scores", scores->size());
        scores_ = std::move(*scores);
    }
    ids_.reserve(texts_.size());
    for (std::size_t i = 0; i < texts_.size(); ++i)
        ids_.insert_or_assign(texts_[i], static_cast<token>(i));
}

namespace {

// What vocabularies call the ends that metadata may leave unnamed.
constexpr std::array<std::string_view, 4> ends_of_turn{"<|eot_id|>", "<|im_end|>", "<|end|>",
                                                       "<end_of_turn>"};
constexpr std::array<std::string_view, 5> other_ends{"</s>", "<|endoftext|>", "<|end_of_text|>",
                                                     "<|eom_id|>", "<|end_of_message|>"};

/// The tokens that are recognised in a text as a whole, before it is segmented.
class whole_tokens {
public:
    explicit whole_tokens(const vocabulary& tokens) : nodes_(1) {
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            const auto id = static_cast<token>(i);
            const token_kind kind = tokens.kind(id);
            if (kind == token_kind::control || kind == token_kind::user_defined ||
                kind == token_kind::unknown)
                insert(tokens.text(id), id);
        }
    }

    /// Those of which the text has at least one, the longest first.
    [[nodiscard]] std::vector<token> within(std::string_view text,
                                            const vocabulary& tokens) const {
        std::set<token> found;
        for (std::size_t at = 0; at < text.size(); ++at) {
            std::size_t node_at = 0;
            for (std::size_t k = at; k < text.size(); ++k) {
                const auto next = nodes_[node_at].next.find(text[k]);
                if (next == nodes_[node_at].next.end()) break;
                node_at = next->second;
                if (nodes_[node_at].id >= 0) found.insert(nodes_[node_at].id);
            }
        }
        std::vector<token> out(found.begin(), found.end());
        std::ranges::stable_sort(out, std::greater{},
                                 [&](token id) { return tokens.text(id).size(); });
        return out;
    }

private:
    struct node {
        std::map<char, std::size_t> next;
        token id = -1;
    };
    void insert(std::string_view text, token id) {
        if (text.empty()) return;
        std::size_t at = 0;
        for (const char c : text) {
            const auto [next, added] = nodes_[at].next.emplace(c, nodes_.size());
            at = next->second;
            if (added) nodes_.emplace_back();
        }
        nodes_[at].id = id;
    }
    std::vector<node> nodes_;
};

/// A part of a text: a token (then `text` is empty) or text still to segment.
struct fragment {
    std::string_view text;
    token id = -1;
};

}  // namespace

struct tokenizer::impl {
    explicit impl(const qdial::gguf::file& file);

    void find_ends(const qdial::gguf::file& file);
    [[nodiscard]] std::vector<fragment> split(std::string_view text, bool parse_special) const;

    vocabulary tokens;
    std::unique_ptr<segmenter> segments;
    std::unique_ptr<whole_tokens> wholes;
    std::optional<token> bos, eos, eot;
    std::set<token> ends;
    bool adds_bos = false, adds_eos = false, adds_space = false;
};

tokenizer::impl::impl(const qdial::gguf::file& file) : tokens(file) {
    const auto& metadata = file.metadata();
    const auto kind = metadata.get<std::string_view>("tokenizer.ggml.model");
    const auto pre = metadata.find<std::string_view>("tokenizer.ggml.pre").value_or("default");
    const auto id = [&](std::string_view key) -> std::optional<token> {
        const auto value = metadata.find<std::uint32_t>(key);
        if (!value || *value >= tokens.size()) return std::nullopt;
        return static_cast<token>(*value);
    };
    bos = id("tokenizer.ggml.bos_token_id");
    eos = id("tokenizer.ggml.eos_token_id");
    eot = id("tokenizer.ggml.eot_token_id");
    if (kind == "llama") {
        segments = make_sentence_piece(tokens);
        adds_bos = adds_space = true;
    } else if (kind == "gpt2") {
        segments = make_byte_pairs(tokens, file);
        adds_bos = pre_tokenizer_adds_bos(pre);
    } else {
        throw qdial::error(file.name() + ": found the tokenizer " +
                           qdial::gguf::detail::quoted(kind) +
                           ", the engine knows \"llama\" (SentencePiece) and \"gpt2\" (byte-level "
                           "BPE)");
    }
    adds_bos = metadata.find<bool>("tokenizer.ggml.add_bos_token").value_or(adds_bos) && bos;
    adds_eos = metadata.find<bool>("tokenizer.ggml.add_eos_token").value_or(false) && eos;
    adds_space = metadata.find<bool>("tokenizer.ggml.add_space_prefix").value_or(adds_space);
    if (kind != "llama") adds_space = false;
    find_ends(file);
    wholes = std::make_unique<whole_tokens>(tokens);
}

void tokenizer::impl::find_ends(const qdial::gguf::file& file) {
    for (const std::string_view name : ends_of_turn)
        if (const std::optional<token> found = tokens.find(name)) {
            if (!eot) eot = found;
            ends.insert(*found);
        }
    for (const std::string_view name : other_ends)
        if (const std::optional<token> found = tokens.find(name)) ends.insert(*found);
    if (const auto eom = file.metadata().find<std::uint32_t>("tokenizer.ggml.eom_token_id");
        eom && *eom < tokens.size())
        ends.insert(static_cast<token>(*eom));
    if (eos) ends.insert(*eos);
    if (eot) ends.insert(*eot);
    // Some files store these as ordinary text.
    for (const token id : ends) tokens.set_kind(id, token_kind::control);
}

std::vector<fragment> tokenizer::impl::split(std::string_view text, bool parse_special) const {
    std::vector<fragment> parts;
    if (!text.empty()) parts.push_back({text});
    for (const token id : wholes->within(text, tokens)) {
        if (!parse_special && tokens.kind(id) != token_kind::user_defined) continue;
        const std::string_view name = tokens.text(id);
        std::vector<fragment> next;
        for (const fragment& part : parts) {
            std::string_view rest = part.text;
            if (part.id >= 0) next.push_back(part);
            while (!rest.empty()) {
                const std::size_t at = rest.find(name);
                if (at != 0) next.push_back({rest.substr(0, at)});
                if (at == rest.npos) break;
                next.push_back({{}, id});
                rest.remove_prefix(at + name.size());
            }
        }
        parts = std::move(next);
    }
    return parts;
}

tokenizer::tokenizer(const qdial::gguf::file& file) : impl_(std::make_unique<impl>(file)) {}
tokenizer::~tokenizer() = default;
tokenizer::tokenizer(tokenizer&&) noexcept = default;
tokenizer& tokenizer::operator=(tokenizer&&) noexcept = default;

std::vector<token> tokenizer::encode(std::string_view text, bool add_special,
                                     bool parse_special) const {
    const impl& t = *impl_;
    std::vector<token> out;
    if (add_special && t.adds_bos) out.push_back(*t.bos);
    bool after_special = true;
    for (const fragment& part : t.split(text, parse_special)) {
        if (part.id >= 0) {
            out.push_back(part.id);
        } else if (t.adds_space && after_special) {
            t.segments->encode(" " + std::string(part.text), out);
        } else {
            t.segments->encode(part.text, out);
        }
        after_special = part.id >= 0;
    }
    if (add_special && t.adds_eos) out.push_back(*t.eos);
    return out;
}

std::string tokenizer::decode(std::span<const token> tokens, bool special) const {
    std::string out;
    bool strip = impl_->adds_space;
    for (const token id : tokens) {
        std::string text = piece(id, special);
        const bool control = impl_->tokens.kind(id) == token_kind::control;
        // The space that encoding put before the text.
        if (strip && !control && text.starts_with(' ')) text.erase(0, 1);
        strip = impl_->adds_space && control;
        out += text;
    }
    return out;
}

std::string tokenizer::piece(token id, bool special) const {
    const vocabulary& tokens = impl_->tokens;
    if (id < 0 || static_cast<std::size_t>(id) >= tokens.size())
        throw qdial::error("found token " + std::to_string(id) + ", expected one below " +
                           std::to_string(tokens.size()));
    switch (tokens.kind(id)) {
        case token_kind::control:
        case token_kind::unknown: return special ? tokens.text(id) : std::string();
        case token_kind::user_defined: return tokens.text(id);
        default: return impl_->segments->decode(id);
    }
}

std::size_t tokenizer::size() const noexcept { return impl_->tokens.size(); }
std::optional<token> tokenizer::bos() const noexcept { return impl_->bos; }
std::optional<token> tokenizer::eos() const noexcept { return impl_->eos; }
std::optional<token> tokenizer::eot() const noexcept { return impl_->eot; }
bool tokenizer::is_end(token id) const noexcept { return impl_->ends.contains(id); }
bool tokenizer::adds_bos() const noexcept { return impl_->adds_bos; }

}  // namespace engine
