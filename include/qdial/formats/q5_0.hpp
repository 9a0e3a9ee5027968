// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/formats/q8_0.hpp"
#include "qdial/kernels/blocks_32.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/interleaved.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q5_0: 5-bit codes, one scale per 32; y = (q - 16) d.
struct q5_0 {
    static constexpr std::string_view name = "Q5_0";
    static constexpr std::uint32_t gguf_id = 6;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;
    using activation = q8_0;

    struct block {
        std::uint16_t d;      ///< scale, binary16
        std::uint8_t qh[4];   ///< fifth bits, element j at bit j (little-endian)
        std::uint8_t qs[16];  ///< low nibbles: elements 0-15, high nibbles: 16-31
    };
};
static_assert(sizeof(q5_0::block) == 22);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q5_0, Arch> {
    static constexpr bool signed_codes = false;
    static constexpr int code_bits = 5;
    static constexpr int offset = 16;
    static constexpr bool has_minimum = false;
    static constexpr std::size_t sub_block = 0;

    QDIAL_INLINE static std::uint16_t scale(const q5_0::block& b) noexcept {
        return little_endian(b.d);
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q5_0::block& b) noexcept {
        const auto fifth = V::bit_and(V::load_bit_mask(b.qh + First / 8), V::splat(16));
        return V::bit_or(V::template load_nibbles<First>(b.qs), fifth);
    }
};

template <>
struct interleaved<q5_0> : fifth_bits {
    static constexpr std::size_t halves_at = 0, halves = 1;
    static constexpr int code_bits = 5;
    static constexpr std::array<bit_field, 2> fields(std::size_t e) noexcept {
        return {{{6 + e % 16, e < 16 ? 0 : 4, 4, 0}, {2, static_cast<int>(e / 4), 1, 4}}};
    }
};

template <class Arch>
struct encoder<q5_0, Arch> : symmetric_32<q5_0, 16, Arch> {};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
