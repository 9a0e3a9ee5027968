// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

#include "qdial/config.hpp"

namespace qdial {

/// Converts between the host's byte order and little-endian, the order of GGUF's fields.
QDIAL_INLINE constexpr std::uint16_t little_endian(std::uint16_t x) noexcept {
    if constexpr (std::endian::native == std::endian::big)
        return static_cast<std::uint16_t>((x << 8) | (x >> 8));
    else
        return x;
}
QDIAL_INLINE constexpr std::uint32_t little_endian(std::uint32_t x) noexcept {
    if constexpr (std::endian::native == std::endian::big)
        return (x << 24) | ((x & 0xFF00u) << 8) | ((x >> 8) & 0xFF00u) | (x >> 24);
    else
        return x;
}

}  // namespace qdial
