// SPDX-License-Identifier: Apache-2.0
//
// Small models in GGUF files, with weights from a generator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gguf_bytes.hpp"
#include "qdial/gguf/metadata.hpp"
#include "qdial/gguf/writer.hpp"
#include "qdial/model/codec.hpp"

namespace model_test {

/// Weights between -1 and 1 that any machine makes alike.
inline std::vector<float> weights(std::size_t count, std::uint32_t seed) {
    std::vector<float> out(count);
    for (float& x : out) {
        seed = seed * 1664525u + 1013904223u;
        x = static_cast<float>(static_cast<std::int32_t>(seed >> 8) - (1 << 23)) / (1 << 23);
    }
    return out;
}

struct tensor {
    std::string name;
    qdial::gguf::tensor_shape shape;
    std::uint32_t format;
    std::vector<std::byte> data;
};

/// A tensor that holds these weights in a format.
inline tensor make_tensor(const std::string& name, std::vector<std::uint64_t> dims,
                          std::uint32_t format, std::span<const float> values) {
    qdial::gguf::tensor_shape shape;
    shape.n_dims = static_cast<std::uint32_t>(dims.size());
    for (std::size_t i = 0; i < dims.size(); ++i) shape.extent[i] = dims[i];
    const auto info = qdial::find_format(format).value();
    std::vector<std::byte> data(static_cast<std::size_t>(qdial::gguf::tensor_bytes(info, shape)));
    if (info.encodable)
        qdial::model::encode(format, values, static_cast<std::size_t>(dims[0]), {}, data);
    return {name, shape, format, std::move(data)};
}

inline void write_model(const std::filesystem::path& path, const qdial::gguf::metadata& metadata,
                        const std::vector<tensor>& tensors) {
    std::vector<qdial::gguf::tensor_spec> specs;
    for (const tensor& t : tensors)
        specs.push_back({t.name, t.shape, qdial::find_format(t.format).value()});
    const qdial::gguf::file_plan plan(path.string(), metadata, specs);
    std::vector<std::byte> bytes;
    qdial::gguf::writer out(plan, [&](std::span<const std::byte> piece) {
        bytes.insert(bytes.end(), piece.begin(), piece.end());
    });
    for (const tensor& t : tensors) out.append(t.data);
    out.finish();
    gguf_test::write_file(path, bytes);
}

}  // namespace model_test
