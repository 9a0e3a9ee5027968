// SPDX-License-Identifier: Apache-2.0
//
// Where the K-quants put the bits of their codes, on a super-block per lane.
#pragma once

#include "qdial/kernels/encoder.hpp"
#include "qdial/kernels/super_blocks.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// Weights of Q4_K and Q5_K without importance: the root mean square of the sub-block + |x|.
template <std::size_t Length, class Arch>
void weight_by_magnitude(super_block_lanes<Arch>& lanes) noexcept {
    using F = floats<Arch>;
    F rms(0.0f);
    lanes.set_weights([&](std::size_t e, F v) {
        if (e % Length == 0)
            rms = sqrt(lanes.square_sum(e, Length) / F(static_cast<float>(Length)));
        return rms + abs(v);
    });
}

/// Byte b of the four 2-bit planes: elements 128h + 32r + l at bits 2r of byte 32h + l.
template <class Arch>
QDIAL_INLINE ints<Arch> two_bit_plane(const super_block_lanes<Arch>& lanes,
                                      std::size_t b) noexcept {
    const std::size_t e = b / 32 * 128 + b % 32;
    const auto low = [&](std::size_t k) { return lanes.code(k) & ints<Arch>(3); };
    return low(e) | simd::shl<2>(low(e + 32)) | simd::shl<4>(low(e + 64)) |
           simd::shl<6>(low(e + 96));
}

/// Byte b of the nibble planes: elements 64c + l (low) and 64c + 32 + l (high) at byte 32c + l.
template <class Arch>
QDIAL_INLINE ints<Arch> four_bit_plane(const super_block_lanes<Arch>& lanes,
                                       std::size_t b) noexcept {
    const std::size_t e = b / 32 * 64 + b % 32;
    return (lanes.code(e) & ints<Arch>(15)) | simd::shl<4>(lanes.code(e + 32) & ints<Arch>(15));
}

/// Byte l of the plane of bit `Bit`: element 32s + l at bit s.
template <int Bit, class Arch>
QDIAL_INLINE ints<Arch> bit_plane(const super_block_lanes<Arch>& lanes, std::size_t l) noexcept {
    using I = ints<Arch>;
    const auto bit = [&](std::size_t s) { return simd::sar<Bit>(lanes.code(32 * s + l)) & I(1); };
    return bit(0) | simd::shl<1>(bit(1)) | simd::shl<2>(bit(2)) | simd::shl<3>(bit(3)) |
           simd::shl<4>(bit(4)) | simd::shl<5>(bit(5)) | simd::shl<6>(bit(6)) |
           simd::shl<7>(bit(7));
}

/// Eight 6-bit scales and minima in three words from `First`: the first four whole, the others
/// as a nibble and two bits in the spare bits of the first.
template <std::size_t First, class Result, std::size_t Bytes, class Arch>
void pack_six_bit_pairs(const Result& r, lane_bytes<Bytes, Arch>& bytes) noexcept {
    using I = ints<Arch>;
    bytes.set_bytes(First, 3, [&](std::size_t b) -> I {
        if (b < 4) return r.scale[b] | simd::shl<6>(simd::sar<4>(r.scale[b + 4]));
        if (b < 8) return r.minimum[b - 4] | simd::shl<6>(simd::sar<4>(r.minimum[b]));
        return (r.scale[b - 4] & I(15)) | simd::shl<4>(r.minimum[b - 4] & I(15));
    });
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
