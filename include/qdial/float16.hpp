// SPDX-License-Identifier: Apache-2.0
//
// Scalar half-precision storage types. Vector conversions live in simd/.
#pragma once

#include <bit>
#include <cstdint>

#include "qdial/config.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// IEEE binary16, stored as its bits.
struct float16 {
    std::uint16_t bits;
    friend constexpr bool operator==(float16, float16) = default;
};

/// bfloat16: the upper half of a binary32, stored as its bits.
struct bfloat16 {
    std::uint16_t bits;
    friend constexpr bool operator==(bfloat16, bfloat16) = default;
};

/// Exact widening of a binary16 (subnormals and infinities included). A NaN keeps its sign and
/// payload and becomes quiet, as the processors' instructions do it.
QDIAL_INLINE constexpr float to_float(float16 h) noexcept {
    // Shift exponent and mantissa into place and rebase by 2^112: the multiplication is exact and
    // normalises subnormals. Infinity and NaN keep an all-ones exponent.
    const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16;
    const std::uint32_t magnitude = static_cast<std::uint32_t>(h.bits & 0x7FFFu) << 13;
    if ((h.bits & 0x7C00u) == 0x7C00u) {
        const std::uint32_t quiet = (h.bits & 0x3FFu) != 0 ? 0x00400000u : 0u;
        return std::bit_cast<float>(sign | magnitude | 0x7F800000u | quiet);
    }
    const float rebased = std::bit_cast<float>(magnitude) * 0x1p112f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(rebased));
}

/// Round to nearest even; values above 65504 become infinity, subnormals are kept, every NaN
/// becomes the quiet NaN of its sign.
QDIAL_INLINE constexpr float16 to_float16(float x) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    std::uint32_t half = 0;
    if (magnitude > 0x7F800000u) {
        half = 0x7E00u;
    } else if (magnitude >= 0x47800000u) {  // >= 65536
        half = 0x7C00u;
    } else if (magnitude < 0x38800000u) {  // < 2^-14: subnormal half; the addition rounds
        const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
        half = std::bit_cast<std::uint32_t>(aligned) - 0x3F000000u;
    } else {
        const std::uint32_t odd = (magnitude >> 13) & 1u;
        half = (magnitude - 0x38000000u + 0xFFFu + odd) >> 13;
    }
    return float16{static_cast<std::uint16_t>(sign | half)};
}

/// Exact widening of a bfloat16.
QDIAL_INLINE constexpr float to_float(bfloat16 b) noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(b.bits) << 16);
}

/// Round to nearest even, subnormals kept, NaN made quiet.
QDIAL_INLINE constexpr bfloat16 to_bfloat16(float x) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return bfloat16{static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
    return bfloat16{static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
