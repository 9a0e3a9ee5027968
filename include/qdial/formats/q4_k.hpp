// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/formats/q8_k.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/interleaved.hpp"
#include "qdial/kernels/super_block_packing.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q4_K: 4-bit codes, 6-bit scale and minimum per 32; y = (d sc) q - (dmin m).
struct q4_k {
    static constexpr std::string_view name = "Q4_K";
    static constexpr std::uint32_t gguf_id = 12;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;
    using activation = q8_k;

    struct block {
        std::uint16_t d;          ///< super-block scale of the scales, binary16
        std::uint16_t dmin;       ///< super-block scale of the minima, binary16
        std::uint8_t scales[12];  ///< eight 6-bit scales and eight 6-bit minima
        std::uint8_t qs[128];     ///< byte 32(e/64) + e%32; low nibble where e/32 is even
    };
};
static_assert(sizeof(q4_k::block) == 144);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q4_k, Arch> {
    static constexpr bool signed_codes = false;
    static constexpr int code_bits = 4;
    static constexpr int offset = 0;
    static constexpr bool has_minimum = true;
    static constexpr std::size_t sub_block = 32;

    QDIAL_INLINE static std::uint16_t scale(const q4_k::block& b) noexcept {
        return little_endian(b.d);
    }
    QDIAL_INLINE static std::uint16_t minimum(const q4_k::block& b) noexcept {
        return little_endian(b.dmin);
    }
    QDIAL_INLINE static simd::sixteen_bytes sub_scales(const q4_k::block& b) noexcept {
        return six_bit_scales(b.scales);
    }
    QDIAL_INLINE static simd::sixteen_bytes sub_minima(const q4_k::block& b) noexcept {
        return six_bit_minima(b.scales);
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q4_k::block& b) noexcept {
        return V::template move_bits<First % 64 / 32 * 4, 0, 4>(
            V::load(b.qs + First / 64 * 32 + First % 32));
    }
};

template <>
struct interleaved<q4_k> {
    static constexpr std::size_t halves_at = 0, halves = 2;
    static constexpr int code_bits = 4;
    static constexpr std::array<bit_field, 1> fields(std::size_t e) noexcept {
        return {{{16 + e / 64 * 32 + e % 32, e % 64 < 32 ? 0 : 4, 4, 0}}};
    }
    template <class V, class Word>
    QDIAL_INLINE static void scales(Word word, typename V::word (&out)[2]) noexcept {
        six_bit_scale_words<V>(word, out);
    }
    template <class V, class Word>
    QDIAL_INLINE static void minima(Word word, typename V::word (&out)[2]) noexcept {
        six_bit_minimum_words<V>(word, out);
    }
};

template <class Arch>
struct encoder<q4_k, Arch> {
    static void rows(const float* x, std::size_t rows, std::size_t row_length,
                     const float* importance, q4_k::block* out) noexcept {
        const std::size_t per_row = row_length / q4_k::block_length;
        encode_super_blocks<q4_k, Arch>(
            x, rows * per_row, per_row, importance, out,
            [](auto& lanes, bool weighted, auto& bytes) { encode(lanes, weighted, bytes); });
    }

private:
    using lanes_type = super_block_lanes<Arch>;
    using family = affine_k<15, 32, 63, false>;

    static void encode(lanes_type& lanes, bool weighted,
                       lane_bytes<sizeof(q4_k::block), Arch>& bytes) noexcept {
        if (weighted)
            lanes.weight_by_importance(2.0f);
        else
            weight_by_magnitude<32>(lanes);
        const auto r = family::encode(
            lanes, weighted ? affine_grid{-0.9f, 0.05f, 36} : affine_grid{-1.0f, 0.1f, 20},
            weighted);
        bytes.set_word(0, r.d | simd::shl<16>(r.dmin));
        pack_six_bit_pairs<1>(r, bytes);
        bytes.set_bytes(4, 32, [&](std::size_t b) { return four_bit_plane(lanes, b); });
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
