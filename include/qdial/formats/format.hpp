// SPDX-License-Identifier: Apache-2.0
//
// What a format is: a type with a name, a GGUF id, a block length and a block layout.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "qdial/config.hpp"

namespace qdial {

/// A storage format: `block_length` consecutive elements of a row are stored in one `block`.
///
///     name           the name that GGUF tools print, for example "Q4_K"
///     gguf_id        the type number in a GGUF file
///     block_length   elements per block; a row length must be a multiple of it
///     block          trivially copyable, sizeof(block) bytes, no padding, little-endian fields
template <class F>
concept format = requires {
    { F::name } -> std::convertible_to<std::string_view>;
    { F::gguf_id } -> std::convertible_to<std::uint32_t>;
    { F::block_length } -> std::convertible_to<std::size_t>;
    typename F::block;
} && std::is_trivially_copyable_v<typename F::block>;

/// Bytes of one block of `F`.
template <format F>
inline constexpr std::size_t block_bytes = sizeof(typename F::block);

/// A format whose weights can be encoded (`quantize`).
template <class F>
concept encodable_format = format<F> && F::encodable;

/// A format whose blocks can be decoded (`dequantize`).
template <class F>
concept decodable_format = format<F> && F::decodable;

/// Run-time description of a format, derived from its type (see formats/list.hpp).
struct format_info {
    std::string_view name;
    std::uint32_t gguf_id;
    std::size_t block_length;  ///< elements per block
    std::size_t block_bytes;   ///< bytes per block
    bool encodable;            ///< `quantize` exists
    bool decodable;            ///< `dequantize` exists

    /// True for float types: F64, F32, F16, BF16.
    bool is_float;

    /// Bits per element, scales included.
    [[nodiscard]] constexpr double bits_per_weight() const noexcept {
        return 8.0 * static_cast<double>(block_bytes) / static_cast<double>(block_length);
    }
};

template <format F>
inline constexpr format_info info_of{F::name,      F::gguf_id,   F::block_length, block_bytes<F>,
                                     F::encodable, F::decodable, F::is_float};

}  // namespace qdial
