// SPDX-License-Identifier: Apache-2.0
//
// How a backend adds up the products of a block: in which groups, with which form of the codes, and
// why nothing overflows. All ways give the same integers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qdial/kernels/interleaved.hpp"
#include "qdial/kernels/packed_activations.hpp"

namespace qdial::kernels {

/// Where a group's sum starts, so that codes c = q + offset may be multiplied instead of q: at
/// -offset times the sum of the group's activations.
enum class group_start {
    zero,  ///< codes have no offset, or are stored without it
    sums,  ///< one 32-bit number
    pairs  ///< two 16-bit numbers: activations at even and at odd pairs
};

/// The largest magnitude of an activation code.
inline constexpr int largest_activation = 127;

/// The plan of a super-block format F for the backend's row operations V.
///
/// A group of `group` elements is summed up to a part, which is then multiplied by its integer
/// scale. With |code| <= m, a part is at most group * m * 127 in magnitude (16-bit parts take half
/// of the group each), which must not exceed 32767 for the unsigned kinds: `group` is the largest
/// power of two of at most a sub-block for which that holds. A format with an offset (Q3_K, Q6_K)
/// starts its sums at -offset times the activations' sum; its codes may be multiplied by
/// 2^code_shift, and the block's sum is then shifted back, so that one table of starts serves both.
/// Five bits without an offset (Q5_K) get one of 16 in 32-bit parts: groups are twice as long then,
/// and 16 times the sum of scale times activation sum, at most 16 * 8 * 63 * 32 * 127 < 2^25, is
/// added at the end.
///
/// The sum of a whole block is at most 256 * max|q| * 127 * max|scale| < 2^27.0 for Q6_K, the
/// largest (256 * 32 * 127 * 128), times 2^code_shift <= 2^3 for Q3_K only (256 * 4 * 127 * 32 * 8
/// < 2^25); sums of minimum times activation sum are at most 8 * 63 * 32 * 127 < 2^22. So
/// nothing overflows 32 bits.
template <class F, class V>
struct super_block_plan {
    using D = decoder<F, arch::generic>;
    static constexpr bool is_signed = V::kind == simd::code_kind::signed_in_32;
    static constexpr bool in_16 = V::kind == simd::code_kind::unsigned_in_16;
    /// What codes exceed those of the definition by.
    static constexpr int bias =
        !is_signed && !in_16 && D::offset == 0 && interleaved<F>::code_bits == 5 ? 16 : 0;
    static constexpr int offset = D::offset + bias;
    static constexpr bool has_start = !is_signed && offset != 0;
    /// Whether the starts for groups of 8 (pairs: 16) elements are taken, which hold -32 sums;
    /// else those of groups of 16, which hold -16 sums.
    static constexpr bool offset_32 = has_start && (in_16 || offset > 16);
    static constexpr int start_offset = !has_start ? 0 : offset_32 ? 32 : 16;
    static constexpr int code_shift = [] {
        int shift = 0;
        for (int k = offset; has_start && k < start_offset; k *= 2) ++shift;
        return shift;
    }();
    static constexpr group_start start = !has_start ? group_start::zero
                                         : in_16    ? group_start::pairs
                                                    : group_start::sums;
    /// The largest magnitude of a product's code, offset included.
    static constexpr int magnitude =
        has_start ? start_offset : (1 << interleaved<F>::code_bits) - 1;
    static constexpr std::size_t group = [] {
        if (is_signed) return D::sub_block;
        if (start == group_start::pairs) return std::size_t{16};
        if (start == group_start::sums) return std::size_t{offset_32 ? 8 : 16};
        std::size_t g = D::sub_block;
        while (static_cast<int>(g / (in_16 ? 2 : 1)) * magnitude * largest_activation > 32767)
            g /= 2;
        return g;
    }();
    static_assert(is_signed ||
                  static_cast<int>(group / (in_16 ? 2 : 1)) * magnitude * largest_activation <=
                      32767);
    static constexpr std::size_t groups = 256 / group;
    static constexpr std::size_t groups_per_scale = D::sub_block / group;
    static constexpr std::size_t scales = 256 / D::sub_block;
    /// Pairs of minima.
    static constexpr std::size_t minima = D::has_minimum ? scales / 2 : 0;
    /// What is subtracted from the codes when they are unpacked.
    static constexpr int subtracted = is_signed ? D::offset : 0;
};

/// The plan of a format with blocks of 32 and one scale. A block's sum is at most
/// 32 * 128 * 127 < 2^19 in magnitude, so that it is exact as a float too.
template <class F, class V>
struct simple_block_plan {
    using D = decoder<F, arch::generic>;
    static constexpr bool is_signed = V::kind == simd::code_kind::signed_in_32;
    static constexpr bool in_16 = V::kind == simd::code_kind::unsigned_in_16;
    /// Signed bytes as they are: 16-bit parts cannot hold the sum of two products.
    static constexpr bool wide = in_16 && D::signed_codes;
    /// Signed bytes become unsigned by adding 128.
    static constexpr int offset = is_signed || wide ? 0 : D::signed_codes ? 128 : D::offset;
    static constexpr int offset_log2 = [] {
        int log2 = 0;
        for (int k = 1; k < offset; k *= 2) ++log2;
        return log2;
    }();
    static constexpr int magnitude = (1 << interleaved<F>::code_bits) - 1;
    /// Elements per part.
    static constexpr std::size_t group =
        in_16 && !wide && 16 * magnitude * largest_activation > 32767 ? 16 : 32;
    static_assert(!in_16 || wide ||
                  static_cast<int>(group / 2) * magnitude * largest_activation <= 32767);
    static constexpr int subtracted = is_signed ? D::offset : 0;
    static constexpr bool flip_sign = offset == 128;
};

}  // namespace qdial::kernels
