// SPDX-License-Identifier: Apache-2.0
//
// Rounding as the reference rounds: add 1.5 * 2^23 and read the low bits.
#pragma once

#include <limits>

#include "qdial/simd/lanes.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

using simd::floats;
using simd::ints;

/// 1.5 * 2^23: adding it leaves the rounded integer in the low mantissa bits.
inline constexpr float rounding_magic = 12582912.0f;
/// Up to this magnitude `nearest_int` is round-half-even; beyond, its low bits wrap.
inline constexpr float nearest_int_limit = 4194303.0f;

/// The reference's nearest_int: round half to even for |v| <= nearest_int_limit, and its
/// particular wrapped bits outside (infinity gives -4194304, NaN 0).
template <class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> nearest_int(floats<Arch, G> v) noexcept {
    return (bits(v + floats<Arch, G>(rounding_magic)) & ints<Arch, G>(0x7FFFFF)) -
           ints<Arch, G>(0x400000);
}

/// clamp(nearest_int(v), Lo, Hi) as floats, for every v.
template <int Lo, int Hi, class Arch, std::size_t G>
QDIAL_INLINE floats<Arch, G> clamped_codes(floats<Arch, G> v) noexcept {
    return to_float(min(max(nearest_int(v), ints<Arch, G>(Lo)), ints<Arch, G>(Hi)));
}

/// The same for |v| <= nearest_int_limit only, in four operations: clamping to integers and
/// rounding commute, and the difference leaves the rounded value as a float.
template <int Lo, int Hi, class Arch, std::size_t G>
QDIAL_INLINE floats<Arch, G> clamped_codes_in_range(floats<Arch, G> v) noexcept {
    const floats<Arch, G> magic(rounding_magic);
    return (min(max(v, floats<Arch, G>(Lo)), floats<Arch, G>(Hi)) + magic) - magic;
}

/// Truncation of any value as x86-64 does it: what fits no 32-bit integer (NaN too) becomes
/// -2^31, whose low byte is 0.
QDIAL_INLINE std::int32_t truncate_as_x86(float v) noexcept {
    return v >= -0x1p31f && v < 0x1p31f ? static_cast<std::int32_t>(v)
                                        : std::numeric_limits<std::int32_t>::min();
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
