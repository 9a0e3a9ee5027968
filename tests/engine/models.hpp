// SPDX-License-Identifier: Apache-2.0
//
// Small models of every architecture of the engine, with weights in every format.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "model_files.hpp"

namespace engine_test {

inline constexpr std::array<std::string_view, 4> architectures{"llama", "qwen2", "qwen3", "gemma3"};

inline constexpr std::uint32_t embedding = 256, feed_forward = 512, heads = 4, kv_heads = 2,
                               head = 64, layers = 6, vocabulary = 301, window = 7;

struct small_model {
    qdial::gguf::metadata metadata;
    std::vector<model_test::tensor> tensors;

    /// A matrix in the next format, or a vector near `center`.
    void add(const std::string& name, std::vector<std::uint64_t> dims, float center = 0) {
        static constexpr std::uint32_t formats[] = {1,  8,  12, 14, 2,  3,  6,
                                                    7,  10, 11, 13, 30, 0};
        std::size_t count = 1;
        for (const std::uint64_t n : dims) count *= n;
        const auto seed = static_cast<std::uint32_t>(tensors.size() + 1);
        std::vector<float> values = model_test::weights(count, seed);
        for (float& x : values) x = center + x * (dims.size() == 2 ? 0.125f : 0.25f);
        const std::uint32_t format = dims.size() == 2 ? formats[tensors.size() % 13] : 0;
        tensors.push_back(model_test::make_tensor(name, std::move(dims), format, values));
    }
};

inline small_model make_model(const std::string& arch) {
    small_model m;
    m.metadata.set("general.architecture", arch);
    const auto set = [&](const std::string& key, auto value) {
        m.metadata.set(arch + "." + key, value);
    };
    set("context_length", 128u);
    set("embedding_length", embedding);
    set("block_count", layers);
    set("feed_forward_length", feed_forward);
    set("attention.head_count", heads);
    set("attention.head_count_kv", kv_heads);
    set("attention.key_length", head);
    set("attention.value_length", head);
    set("attention.layer_norm_rms_epsilon", 1e-5f);
    set("rope.freq_base", 20000.0f);
    const bool gemma = arch == "gemma3";
    if (gemma) set("attention.sliding_window", window);

    m.add("token_embd.weight", {embedding, vocabulary});
    m.add("output_norm.weight", {embedding}, 1);
    if (!gemma) m.add("output.weight", {embedding, vocabulary});
    if (arch == "llama") m.add("rope_freqs.weight", {head / 2}, 2);
    for (std::uint32_t i = 0; i < layers; ++i) {
        const std::string at = "blk." + std::to_string(i) + ".";
        m.add(at + "attn_norm.weight", {embedding}, 1);
        m.add(at + "attn_q.weight", {embedding, heads * head});
        m.add(at + "attn_k.weight", {embedding, kv_heads * head});
        m.add(at + "attn_v.weight", {embedding, kv_heads * head});
        m.add(at + "attn_output.weight", {heads * head, embedding});
        m.add(at + "ffn_norm.weight", {embedding}, 1);
        m.add(at + "ffn_gate.weight", {embedding, feed_forward});
        m.add(at + "ffn_up.weight", {embedding, feed_forward});
        m.add(at + "ffn_down.weight", {feed_forward, embedding});
        if (arch == "qwen2") {
            m.add(at + "attn_q.bias", {heads * head});
            m.add(at + "attn_k.bias", {kv_heads * head});
            m.add(at + "attn_v.bias", {kv_heads * head});
        }
        if (arch == "qwen3" || gemma) {
            m.add(at + "attn_q_norm.weight", {head}, 1);
            m.add(at + "attn_k_norm.weight", {head}, 1);
        }
        if (gemma) {
            m.add(at + "post_attention_norm.weight", {embedding}, 1);
            m.add(at + "post_ffw_norm.weight", {embedding}, 1);
        }
    }
    return m;
}

inline std::filesystem::path write(const gguf_test::scratch_folder& folder, const small_model& m) {
    const std::filesystem::path path = folder.path / "model.gguf";
    model_test::write_model(path, m.metadata, m.tensors);
    return path;
}

}  // namespace engine_test
