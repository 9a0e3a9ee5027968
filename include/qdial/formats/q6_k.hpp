// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/formats/q8_k.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/interleaved.hpp"
#include "qdial/kernels/super_block_packing.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q6_K: 6-bit codes, 8-bit scale per 16; y = (d sc) (q - 32).
struct q6_k {
    static constexpr std::string_view name = "Q6_K";
    static constexpr std::uint32_t gguf_id = 14;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;
    using activation = q8_k;

    struct block {
        std::uint8_t ql[128];    ///< low nibbles: byte 64h + 32(r&1) + l, nibble r>>1
        std::uint8_t qh[64];     ///< high two bits: byte 32h + l at bits 2r
        std::int8_t scales[16];  ///< per 16 elements
        std::uint16_t d;         ///< super-block scale, binary16
    };
};
static_assert(sizeof(q6_k::block) == 210);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q6_k, Arch> {
    static constexpr bool signed_codes = false;
    static constexpr int offset = 32;
    static constexpr bool has_minimum = false;
    static constexpr std::size_t sub_block = 16;

    QDIAL_INLINE static std::uint16_t scale(const q6_k::block& b) noexcept {
        return little_endian(b.d);
    }
    QDIAL_INLINE static simd::sixteen_bytes sub_scales(const q6_k::block& b) noexcept {
        std::uint8_t bytes[16];
        std::memcpy(bytes, b.scales, 16);
        return {load_u64(bytes), load_u64(bytes + 8)};
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q6_k::block& b) noexcept {
        constexpr std::size_t half = First / 128, part = First % 128 / 32, l = First % 32;
        const auto low = V::template move_bits<part / 2 * 4, 0, 4>(
            V::load(b.ql + 64 * half + part % 2 * 32 + l));
        const auto high = V::template move_bits<2 * part, 4, 2>(V::load(b.qh + 32 * half + l));
        return V::bit_or(low, high);
    }
};

template <>
struct interleaved<q6_k> {
    static constexpr std::size_t halves_at = 208, halves = 1;
    static constexpr int code_bits = 6;
    static constexpr std::array<bit_field, 2> fields(std::size_t e) noexcept {
        return {{{e / 128 * 64 + e % 64, e % 128 < 64 ? 0 : 4, 4, 0},
                 {128 + e / 128 * 32 + e % 32, static_cast<int>(e % 128 / 32 * 2), 2, 4}}};
    }
    template <class V, class Word>
    QDIAL_INLINE static void scales(Word word, typename V::word (&out)[4]) noexcept {
        for (std::size_t i = 0; i < 4; ++i) out[i] = word(48 + i);
    }
};

template <class Arch>
struct encoder<q6_k, Arch> {
    static void rows(const float* x, std::size_t rows, std::size_t row_length,
                     const float* importance, q6_k::block* out) noexcept {
        const std::size_t per_row = row_length / q6_k::block_length;
        encode_super_blocks<q6_k, Arch>(
            x, rows * per_row, per_row, importance, out,
            [](auto& lanes, bool weighted, auto& bytes) { encode(lanes, weighted, bytes); });
    }

private:
    using F = floats<Arch>;
    using I = ints<Arch>;
    using lanes_type = super_block_lanes<Arch>;
    using family = symmetric_k<32>;

    static void encode(lanes_type& lanes, bool weighted,
                       lane_bytes<sizeof(q6_k::block), Arch>& bytes) noexcept {
        alignas(64) float scales[16 * F::width];
        // With importance the reference takes it as the weight, without the square root.
        if (!weighted) lanes.set_weights([](std::size_t, auto v) { return v * v; });
        family::template each_sub_block<lanes_type::groups>(
            lanes, scales, [](auto* x, auto* w, auto* out) {
                return search_symmetric<32, 16, Arch, lanes_type::groups>(x, w, out);
            });
        F extreme, magnitude;
        find_extreme<16>(scales, extreme, magnitude);
        const auto zero = magnitude < F(negligible);
        const F inverse = F(-128.0f) / select(zero, F(1.0f), extreme);
        const I d = scale_to_half(F(1.0f) / inverse);
        I codes[16];
        for (std::size_t s = 0; s < 16; ++s)
            codes[s] = min(I(127), nearest_int(inverse * F::load(scales + s * F::width)));
        family::requantize(lanes, from_half(d), codes);
        pack(lanes, codes, d, bytes);
        // A negligible super-block is all zero bytes.
        if (any(zero))
            for (std::size_t k = 0; k < 53; ++k)
                bytes.set_word(k, select(zero, I(0), bytes.word(k)));
    }

    static void pack(const lanes_type& lanes, const I* scale, I d,
                     lane_bytes<sizeof(q6_k::block), Arch>& bytes) noexcept {
        bytes.set_bytes(0, 32, [&](std::size_t b) {
            const std::size_t e = b / 64 * 128 + b % 64;
            return (lanes.code(e) & I(15)) | simd::shl<4>(lanes.code(e + 64) & I(15));
        });
        bytes.set_bytes(32, 16, [&](std::size_t b) {
            const std::size_t e = b / 32 * 128 + b % 32;
            const auto high = [&](std::size_t k) { return simd::sar<4>(lanes.code(k)); };
            return high(e) | simd::shl<2>(high(e + 32)) | simd::shl<4>(high(e + 64)) |
                   simd::shl<6>(high(e + 96));
        });
        bytes.set_bytes(48, 4, [&](std::size_t s) { return scale[s] & I(255); });
        bytes.set_word(52, d);
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
