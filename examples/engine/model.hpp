// SPDX-License-Identifier: Apache-2.0
//
// A language model in a GGUF file, its weights packed for the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hyper_parameters.hpp"
#include "qdial/gguf/reader.hpp"
#include "threads.hpp"

namespace engine {

struct weights;

/// Packed bytes so far and in the end.
using load_progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Weights and hyper-parameters; never changes, so that several sessions can share it.
class model {
public:
    /// Maps `path` and packs its linear layers. Throws `qdial::error` that names the
    /// architecture, tensor, type, shape or key that is not supported, missing or wrong.
    explicit model(const std::filesystem::path& path, thread_pool& threads,
                   const load_progress& progress = {});
    ~model();
    model(model&&) noexcept;
    model& operator=(model&&) noexcept;

    /// The open file: metadata (also the tokenizer's) and tensors.
    [[nodiscard]] const qdial::gguf::file& file() const noexcept;
    [[nodiscard]] const hyper_parameters& parameters() const noexcept;
    [[nodiscard]] const std::string& architecture() const noexcept;
    /// Logits per position.
    [[nodiscard]] std::size_t vocabulary() const noexcept;

    /// Bytes of the packed linear layers.
    [[nodiscard]] std::uint64_t packed_bytes() const noexcept;
    /// The types of the linear layers by their share of bytes, the largest first: "Q4_K".
    [[nodiscard]] std::vector<std::string> weight_types() const;
    /// Whether a linear layer is in a block format (other than F32, F16, BF16).
    [[nodiscard]] bool is_quantized() const noexcept;

    /// For sessions.
    [[nodiscard]] const engine::weights& weights() const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace engine
