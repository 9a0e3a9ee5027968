// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/formats/q8_k.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/interleaved.hpp"
#include "qdial/kernels/super_block_packing.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q3_K: 3-bit codes, 6-bit signed scale per 16; y = (d sc) q.
struct q3_k {
    static constexpr std::string_view name = "Q3_K";
    static constexpr std::uint32_t gguf_id = 11;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;
    using activation = q8_k;

    struct block {
        std::uint8_t hmask[32];   ///< third bits: element e at bit e/32 of byte e%32
        std::uint8_t qs[64];      ///< low two bits, as Q2_K
        std::uint8_t scales[12];  ///< sixteen 6-bit scales, offset 32
        std::uint16_t d;          ///< super-block scale, binary16
    };
};
static_assert(sizeof(q3_k::block) == 110);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q3_k, Arch> {
    static constexpr bool signed_codes = false;
    static constexpr int code_bits = 3;
    static constexpr int offset = 4;
    static constexpr bool has_minimum = false;
    static constexpr std::size_t sub_block = 16;

    QDIAL_INLINE static std::uint16_t scale(const q3_k::block& b) noexcept {
        return little_endian(b.d);
    }
    QDIAL_INLINE static simd::sixteen_bytes sub_scales(const q3_k::block& b) noexcept {
        constexpr std::uint64_t nibbles = 0x0F0F0F0F0F0F0F0Fu;
        const std::uint64_t low = load_u64(b.scales);
        const std::uint32_t high = load_u32(b.scales + 8);
        return {minus_32((low & nibbles) | two_bits<0>(high) | two_bits<2>(high) << 32),
                minus_32((low >> 4 & nibbles) | two_bits<4>(high) | two_bits<6>(high) << 32)};
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q3_k::block& b) noexcept {
        const auto low = V::template move_bits<First % 128 / 32 * 2, 0, 2>(
            V::load(b.qs + First / 128 * 32 + First % 32));
        return V::bit_or(low,
                         V::template move_bits<First / 32, 2, 1>(V::load(b.hmask + First % 32)));
    }

private:
    /// Bits `Shift` and `Shift` + 1 of each byte at bits 4 and 5.
    template <int Shift>
    QDIAL_INLINE static std::uint64_t two_bits(std::uint32_t bytes) noexcept {
        return (bytes >> Shift & 0x03030303u) << 4;
    }
    /// Bytes of 0 … 63, each less 32: bit 7 keeps the borrows apart.
    QDIAL_INLINE static std::uint64_t minus_32(std::uint64_t bytes) noexcept {
        constexpr std::uint64_t ones = 0x0101010101010101u;
        return ((bytes | 0x80 * ones) - 0x20 * ones) ^ 0x80 * ones;
    }
};

template <>
struct interleaved<q3_k> {
    static constexpr std::size_t halves_at = 108, halves = 1;
    static constexpr int code_bits = 3;
    static constexpr std::array<bit_field, 2> fields(std::size_t e) noexcept {
        return {{{32 + e / 128 * 32 + e % 32, static_cast<int>(e % 128 / 32 * 2), 2, 0},
                 {e % 32, static_cast<int>(e / 32), 1, 2}}};
    }
    template <class V, class Word>
    QDIAL_INLINE static void scales(Word word, typename V::word (&out)[4]) noexcept {
        const auto low4 = V::splat(0x0F0F0F0F), high2 = V::splat(0x30303030);
        const auto a = word(24), b = word(25), c = word(26);
        out[0] = V::bit_or(V::bit_and(a, low4), V::bit_and(V::template shl<4>(c), high2));
        out[1] = V::bit_or(V::bit_and(b, low4), V::bit_and(V::template shl<2>(c), high2));
        out[2] = V::bit_or(V::bit_and(V::template shr<4>(a), low4), V::bit_and(c, high2));
        out[3] = V::bit_or(V::bit_and(V::template shr<4>(b), low4),
                           V::bit_and(V::template shr<2>(c), high2));
        for (std::size_t i = 0; i < 4; ++i) out[i] = V::sub_bytes(out[i], V::splat(0x20202020));
    }
};

template <class Arch>
struct encoder<q3_k, Arch> {
    static void rows(const float* x, std::size_t rows, std::size_t row_length,
                     const float* importance, q3_k::block* out) noexcept {
        const std::size_t per_row = row_length / q3_k::block_length;
        encode_super_blocks<q3_k, Arch>(
            x, rows * per_row, per_row, importance, out,
            [](auto& lanes, bool weighted, auto& bytes) { encode(lanes, weighted, bytes); });
    }

private:
    using F = floats<Arch>;
    using I = ints<Arch>;
    using lanes_type = super_block_lanes<Arch>;
    using family = symmetric_k<4>;
    static constexpr std::size_t G = lanes_type::groups;

    static void encode(lanes_type& lanes, bool weighted,
                       lane_bytes<sizeof(q3_k::block), Arch>& bytes) noexcept {
        alignas(64) float scales[16 * F::width];
        I codes[16], d;
        if (weighted) {
            lanes.weight_by_importance(2.0f);
            family::template each_sub_block<G>(lanes, scales, [](auto* x, auto* w, auto* out) {
                return search_symmetric<4, 16, Arch, G>(x, w, out);
            });
            d = scales_by_importance(lanes, scales, codes);
        } else {
            family::template each_sub_block<G>(lanes, scales, [](auto* x, auto*, auto* out) {
                return search_by_sweeps<4, 16, Arch, G>(x, out);
            });
            d = scales_by_largest(scales, codes);
        }
        family::requantize(lanes, from_half(d), codes);
        pack(lanes, codes, d, bytes);
    }

    /// Six-bit codes -32 .. 31 relative to the scale of largest magnitude.
    static I scales_by_largest(const float* scales, I* codes) noexcept {
        F extreme, magnitude;
        find_extreme<16>(scales, extreme, magnitude);
        const auto zero = extreme == F(0.0f);
        const F inverse = F(-32.0f) / select(zero, F(1.0f), extreme);
        for (std::size_t s = 0; s < 16; ++s) {
            // The reference passes the code through an int8.
            const I wrapped =
                simd::sar<24>(simd::shl<24>(nearest_int(inverse * F::load(scales + s * F::width))));
            codes[s] = select(zero, I(-32), min(max(wrapped, I(-32)), I(31)));
        }
        return select(zero, I(0), scale_to_half(F(1.0f) / inverse));
    }

    static I scales_by_importance(const lanes_type& lanes, const float* scales, I* codes) noexcept {
        alignas(64) float sums[16 * F::width], found[16 * F::width];
        lanes.sum_weights(16, sums);
        const F scale = search_symmetric<32, 16, Arch, 1>(scales, sums, found);
        for (std::size_t s = 0; s < 16; ++s) codes[s] = truncate(F::load(found + s * F::width));
        return scale_to_half(scale);
    }

    static void pack(const lanes_type& lanes, const I* scale, I d,
                     lane_bytes<sizeof(q3_k::block), Arch>& bytes) noexcept {
        bytes.set_bytes(0, 8, [&](std::size_t l) { return bit_plane<2>(lanes, l); });
        bytes.set_bytes(8, 16, [&](std::size_t b) { return two_bit_plane(lanes, b); });
        const auto code = [&](std::size_t s) { return scale[s] + I(32); };
        bytes.set_bytes(24, 3, [&](std::size_t b) -> I {
            if (b < 8) return (code(b) & I(15)) | simd::shl<4>(code(b + 8) & I(15));
            const auto high = [&](std::size_t s) { return simd::sar<4>(code(s)); };
            const std::size_t s = b - 8;
            return high(s) | simd::shl<2>(high(s + 4)) | simd::shl<4>(high(s + 8)) |
                   simd::shl<6>(high(s + 12));
        });
        bytes.set_word(27, d);
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
