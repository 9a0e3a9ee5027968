// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/formats/q8_k.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/interleaved.hpp"
#include "qdial/kernels/super_block_packing.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q2_K: 2-bit codes, 4-bit scale and minimum per 16; y = (d sc) q - (dmin m).
struct q2_k {
    static constexpr std::string_view name = "Q2_K";
    static constexpr std::uint32_t gguf_id = 10;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;
    using activation = q8_k;

    struct block {
        std::uint8_t scales[16];  ///< per 16 elements: scale (low nibble), minimum (high)
        std::uint8_t qs[64];      ///< byte 32h + l holds elements 128h + 32r + l at bits 2r
        std::uint16_t d;          ///< super-block scale of the scales, binary16
        std::uint16_t dmin;       ///< super-block scale of the minima, binary16
    };
};
static_assert(sizeof(q2_k::block) == 84);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q2_k, Arch> {
    static constexpr bool signed_codes = false;
    static constexpr int code_bits = 2;
    static constexpr int offset = 0;
    static constexpr bool has_minimum = true;
    static constexpr std::size_t sub_block = 16;

    QDIAL_INLINE static std::uint16_t scale(const q2_k::block& b) noexcept {
        return little_endian(b.d);
    }
    QDIAL_INLINE static std::uint16_t minimum(const q2_k::block& b) noexcept {
        return little_endian(b.dmin);
    }
    QDIAL_INLINE static simd::sixteen_bytes sub_scales(const q2_k::block& b) noexcept {
        constexpr std::uint64_t nibbles = 0x0F0F0F0F0F0F0F0Fu;
        return {load_u64(b.scales) & nibbles, load_u64(b.scales + 8) & nibbles};
    }
    QDIAL_INLINE static simd::sixteen_bytes sub_minima(const q2_k::block& b) noexcept {
        constexpr std::uint64_t nibbles = 0x0F0F0F0F0F0F0F0Fu;
        return {load_u64(b.scales) >> 4 & nibbles, load_u64(b.scales + 8) >> 4 & nibbles};
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q2_k::block& b) noexcept {
        return V::template move_bits<First % 128 / 32 * 2, 0, 2>(
            V::load(b.qs + First / 128 * 32 + First % 32));
    }
};

template <>
struct interleaved<q2_k> {
    static constexpr std::size_t halves_at = 80, halves = 2;
    static constexpr int code_bits = 2;
    static constexpr std::array<bit_field, 1> fields(std::size_t e) noexcept {
        return {{{16 + e / 128 * 32 + e % 32, static_cast<int>(e % 128 / 32 * 2), 2, 0}}};
    }
    template <class V, class Word>
    QDIAL_INLINE static void scales(Word word, typename V::word (&out)[4]) noexcept {
        for (std::size_t i = 0; i < 4; ++i) out[i] = V::bit_and(word(i), V::splat(0x0F0F0F0F));
    }
    template <class V, class Word>
    QDIAL_INLINE static void minima(Word word, typename V::word (&out)[4]) noexcept {
        for (std::size_t i = 0; i < 4; ++i)
            out[i] = V::bit_and(V::template shr<4>(word(i)), V::splat(0x0F0F0F0F));
    }
};

template <class Arch>
struct encoder<q2_k, Arch> {
    static void rows(const float* x, std::size_t rows, std::size_t row_length,
                     const float* importance, q2_k::block* out) noexcept {
        const std::size_t per_row = row_length / q2_k::block_length;
        encode_super_blocks<q2_k, Arch>(
            x, rows * per_row, per_row, importance, out,
            [](auto& lanes, bool weighted, auto& bytes) { encode(lanes, weighted, bytes); });
    }

private:
    using I = ints<Arch>;
    using lanes_type = super_block_lanes<Arch>;

    static void encode(lanes_type& lanes, bool weighted,
                       lane_bytes<sizeof(q2_k::block), Arch>& bytes) noexcept {
        if (weighted) {
            lanes.weight_by_importance(1.0f);
            pack(lanes, by_square::encode(lanes, {-0.9f, 0.05f, 36}, true), bytes);
        } else {
            lanes.set_weights([](std::size_t, auto v) { return abs(v); });
            pack(lanes, by_magnitude::encode(lanes, {-0.5f, 0.1f, 15}, false), bytes);
        }
    }

    // Without importance the reference minimises the absolute error here, not the square.
    using by_magnitude = affine_k<3, 16, 15, true>;
    using by_square = affine_k<3, 16, 15, false>;

    template <class Result>
    static void pack(const lanes_type& lanes, const Result& r,
                     lane_bytes<sizeof(q2_k::block), Arch>& bytes) noexcept {
        bytes.set_bytes(0, 4,
                        [&](std::size_t s) { return r.scale[s] | simd::shl<4>(r.minimum[s]); });
        bytes.set_bytes(4, 16, [&](std::size_t b) { return two_bit_plane(lanes, b); });
        bytes.set_word(20, r.d | simd::shl<16>(r.dmin));
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
