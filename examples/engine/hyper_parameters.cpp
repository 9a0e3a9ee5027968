// SPDX-License-Identifier: Apache-2.0
#include "hyper_parameters.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "qdial/error.hpp"
#include "qdial/gguf/text.hpp"
#include "qdial/model/architecture.hpp"

namespace engine {

namespace {

struct known_architecture {
    std::string_view name;
    rope_pairs pairs;
    bool qk_norms;    ///< RMS norms of queries and keys
    bool post_norms;  ///< norms after attention and feed-forward
    bool gemma;       ///< scaled embeddings, GELU, local layers
};

constexpr std::array known_architectures{
    known_architecture{"llama", rope_pairs::neighbours, false, false, false},
    known_architecture{"qwen2", rope_pairs::halves, false, false, false},
    known_architecture{"qwen3", rope_pairs::halves, true, false, false},
    known_architecture{"gemma3", rope_pairs::halves, true, true, true},
};

std::string known_names() {
    std::string out;
    for (const known_architecture& known : known_architectures)
        out += (out.empty() ? "" : ", ") + std::string(known.name);
    return out;
}

/// Typed access to the keys of an architecture.
class keys {
public:
    keys(const qdial::gguf::file& file, std::string prefix)
        : file_(file), prefix_(std::move(prefix)) {}

    template <class T>
    [[nodiscard]] std::optional<T> find(std::string_view key) const {
        return file_.metadata().find<T>(prefix_ + std::string(key));
    }
    [[nodiscard]] std::size_t count(std::string_view key) const {
        const auto value = file_.metadata().get<std::uint32_t>(prefix_ + std::string(key));
        if (value == 0) fail(key, "found 0, expected a count");
        return value;
    }
    [[noreturn]] void fail(std::string_view key, const std::string& what) const {
        throw qdial::error(file_.name() + ": key " +
                           qdial::gguf::detail::quoted(prefix_ + std::string(key)) + ": " + what);
    }

private:
    const qdial::gguf::file& file_;
    std::string prefix_;
};

const known_architecture& architecture_of(const qdial::gguf::file& file) {
    const auto name = file.metadata().get<std::string_view>("general.architecture");
    for (const known_architecture& known : known_architectures)
        if (known.name == name) return known;
    throw qdial::error(file.name() + ": found the architecture " +
                       qdial::gguf::detail::quoted(name) + ", the engine computes " +
                       known_names());
}

void read_shape(const qdial::gguf::file& file, const keys& of, hyper_parameters& p) {
    const qdial::model::architecture shape = qdial::model::architecture_from(file);
    p.layers = of.count("block_count");
    if (p.layers > file.tensors().size())
        of.fail("block_count", "found " + std::to_string(p.layers) + " for a file of " +
                                   std::to_string(file.tensors().size()) + " tensors");
    p.embedding = of.count("embedding_length");
    p.feed_forward = of.count("feed_forward_length");
    p.trained_context = shape.context_length;
    p.heads = shape.head_count[0];
    p.kv_heads = shape.head_count_kv[0];
    for (std::uint32_t layer = 0; layer < p.layers; ++layer)
        if (shape.head_count[layer] != p.heads || shape.head_count_kv[layer] != p.kv_heads)
            of.fail("attention.head_count", "found another in layer " + std::to_string(layer) +
                                                ", expected the same in all layers");
    if (p.heads == 0 || p.kv_heads == 0 || p.heads % p.kv_heads != 0)
        of.fail("attention.head_count", "found " + std::to_string(p.heads) + " heads for " +
                                            std::to_string(p.kv_heads) +
                                            " of keys and values, expected a multiple");
    p.key_length = shape.key_length;
    p.value_length = shape.value_length;
    if (p.key_length == 0 || p.value_length == 0)
        of.fail("attention.key_length", "found 0, expected the length of a head");
    const qdial::gguf::tensor* embeddings = file.find_tensor("token_embd.weight");
    if (embeddings == nullptr)
        throw qdial::error(file.name() + ": found no tensor \"token_embd.weight\"");
    p.vocabulary = embeddings->shape.row_count();
    if (of.find<std::uint32_t>("expert_count").value_or(0) != 0)
        of.fail("expert_count", "found a mixture of experts, which the engine does not compute");
    if (!of.find<bool>("attention.causal").value_or(true))
        of.fail("attention.causal", "found false, which the engine does not compute");
}

void read_rope(const keys& of, const known_architecture& known, hyper_parameters& p) {
    p.pairs = known.pairs;
    p.rope_length = of.find<std::uint32_t>("rope.dimension_count")
                        .value_or(static_cast<std::uint32_t>(p.key_length));
    if (p.rope_length == 0 || p.rope_length % 2 != 0 || p.rope_length > p.key_length)
        of.fail("rope.dimension_count", "found " + std::to_string(p.rope_length) +
                                            ", expected an even number up to " +
                                            std::to_string(p.key_length));
    p.rope.base = of.find<float>("rope.freq_base").value_or(10000.0f);
    const float factor = of.find<float>("rope.scaling.factor")
                             .value_or(of.find<float>("rope.scale_linear").value_or(0.0f));
    const auto kind = of.find<std::string_view>("rope.scaling.type").value_or("linear");
    if (kind == "linear") {
        if (factor != 0.0f) p.rope.scale = 1.0f / factor;
    } else if (kind != "none") {
        of.fail("rope.scaling.type", "found " + qdial::gguf::detail::quoted(kind) +
                                         ", the engine computes \"none\" and \"linear\"");
    }
    p.local_rope = p.rope;
}

/// Every sixth layer sees everything, the others a window, with frequencies of their own.
void read_gemma(const keys& of, hyper_parameters& p) {
    p.gelu = true;
    p.embedding_scale = std::sqrt(static_cast<float>(p.embedding));
    p.window = of.find<std::uint32_t>("attention.sliding_window").value_or(0);
    const auto pattern = of.find<std::uint32_t>("attention.sliding_window_pattern").value_or(6);
    if (pattern == 0) of.fail("attention.sliding_window_pattern", "found 0, expected a period");
    if (p.window != 0)
        for (std::size_t layer = 0; layer < p.layers; ++layer)
            p.local[layer] = layer % pattern != pattern - 1;
    p.local_rope.base = of.find<float>("rope.freq_base_swa").value_or(10000.0f);
    p.local_rope.scale = 1.0f;
    // The 27B model divides by the width per head instead of the length of a head.
    if (p.layers == 62)
        p.attention_scale =
            1.0f / std::sqrt(static_cast<float>(p.embedding) / static_cast<float>(p.heads));
}

}  // namespace

hyper_parameters read_hyper_parameters(const qdial::gguf::file& file) {
    const known_architecture& known = architecture_of(file);
    const keys of(file, std::string(known.name) + ".");
    hyper_parameters p;
    p.architecture = known.name;
    p.qk_norms = known.qk_norms;
    p.post_norms = known.post_norms;
    read_shape(file, of, p);
    p.norm_epsilon = of.find<float>("attention.layer_norm_rms_epsilon").value_or(1e-6f);
    p.attention_scale = 1.0f / std::sqrt(static_cast<float>(p.key_length));
    const auto given_scale = of.find<float>("attention.scale");
    p.attention_soft_cap = of.find<float>("attn_logit_softcapping").value_or(0.0f);
    p.logit_soft_cap = of.find<float>("final_logit_softcapping").value_or(0.0f);
    p.local.assign(p.layers, false);
    read_rope(of, known, p);
    if (known.gemma) read_gemma(of, p);
    if (given_scale && *given_scale != 0.0f) p.attention_scale = *given_scale;
    return p;
}

}  // namespace engine
