// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "qdial/config.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Converts between the host's byte order and little-endian, the order of GGUF's fields.
template <std::unsigned_integral T>
QDIAL_INLINE constexpr T little_endian(T x) noexcept {
    if constexpr (std::endian::native == std::endian::big) {
        T swapped = 0;
        for (std::size_t k = 0; k < sizeof(T); ++k, x = static_cast<T>(x >> 7 >> 1))
            swapped = static_cast<T>((swapped << 7 << 1) | (x & 0xFF));
        return swapped;
    } else {
        return x;
    }
}
/// The same for signed integers of 16 and floats of 32 bits.
template <class T>
    requires(std::signed_integral<T> && sizeof(T) == 2) || std::same_as<T, float>
QDIAL_INLINE constexpr T little_endian(T x) noexcept {
    using U = std::conditional_t<sizeof(T) == 2, std::uint16_t, std::uint32_t>;
    return std::bit_cast<T>(little_endian(std::bit_cast<U>(x)));
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
