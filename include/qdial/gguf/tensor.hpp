// SPDX-License-Identifier: Apache-2.0
//
// What a GGUF file says about a tensor, and the limits that readers and writers share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "qdial/formats/format.hpp"

namespace qdial::gguf {

inline constexpr std::uint32_t max_dims = 4;
inline constexpr std::size_t max_tensor_name = 63;  ///< bytes; llama.cpp keeps names in 64
inline constexpr std::uint32_t default_alignment = 32;
/// Larger alignments are taken for damage: nothing needs them, and every tensor would be padded.
inline constexpr std::uint32_t max_alignment = 1u << 24;
inline constexpr std::string_view alignment_key = "general.alignment";

/// Elements per dimension, row length first; unused dimensions are 1. A dimension of 0 is legal.
struct tensor_shape {
    std::array<std::uint64_t, max_dims> extent{1, 1, 1, 1};
    std::uint32_t n_dims = 1;  ///< as stored in the file, 1 to 4

    [[nodiscard]] constexpr std::uint64_t operator[](std::size_t i) const { return extent[i]; }
    [[nodiscard]] constexpr std::uint64_t row_length() const noexcept { return extent[0]; }
    [[nodiscard]] constexpr std::uint64_t row_count() const noexcept {
        return extent[1] * extent[2] * extent[3];
    }
    [[nodiscard]] constexpr std::uint64_t element_count() const noexcept {
        return row_length() * row_count();
    }
    friend bool operator==(const tensor_shape& a, const tensor_shape& b) {
        return a.extent == b.extent;
    }
};

/// The shape as text, "[2048, 32000]".
[[nodiscard]] inline std::string to_string(const tensor_shape& shape) {
    std::string out = "[";
    for (std::uint32_t i = 0; i < shape.n_dims; ++i)
        out += (i ? ", " : "") + std::to_string(shape.extent[i]);
    return out + "]";
}

/// Bytes of one row; the row length must be a multiple of the format's block.
[[nodiscard]] constexpr std::uint64_t row_bytes(const format_info& format,
                                                const tensor_shape& shape) noexcept {
    return shape.row_length() / format.block_length * format.block_bytes;
}

/// Bytes of a tensor without padding; the shape must have been checked.
[[nodiscard]] constexpr std::uint64_t tensor_bytes(const format_info& format,
                                                   const tensor_shape& shape) noexcept {
    return row_bytes(format, shape) * shape.row_count();
}

namespace detail {

inline constexpr std::uint64_t int64_max = std::numeric_limits<std::int64_t>::max();

/// a * b, nothing if that exceeds what GGUF's signed 64-bit fields can say.
[[nodiscard]] constexpr std::optional<std::uint64_t> product(std::uint64_t a,
                                                             std::uint64_t b) noexcept {
    if (b != 0 && a > int64_max / b) return std::nullopt;
    return a * b;
}

/// `value` rounded up to a multiple of `alignment`, a power of two.
[[nodiscard]] constexpr std::uint64_t align_up(std::uint64_t value,
                                               std::uint64_t alignment) noexcept {
    return (value + alignment - 1) & ~(alignment - 1);
}

/// What is wrong with a tensor of this shape and format; empty if nothing is.
/// Products are taken over the dimensions that are not 0, so that those of every sub-range
/// (rows, elements per matrix) are representable too.
[[nodiscard]] inline std::string shape_problem(const format_info& format,
                                               const tensor_shape& shape) {
    std::optional<std::uint64_t> count = 1;
    for (const std::uint64_t n : shape.extent)
        if (n != 0 && count) count = product(*count, n);
    if (!count)
        return "shape: found " + to_string(shape) + ", expected at most 2^63 - 1 elements";
    if (shape.row_length() % format.block_length != 0)
        return "row length: found " + std::to_string(shape.row_length()) +
               ", expected a multiple of " + std::to_string(format.block_length) + " for " +
               std::string(format.name);
    const auto row = product(shape.row_length() / format.block_length, format.block_bytes);
    if (!row || !product(*row, shape.row_count()))
        return "shape: found " + to_string(shape) + ", expected at most 2^63 - 1 bytes as " +
               std::string(format.name);
    return {};
}

}  // namespace detail
}  // namespace qdial::gguf
