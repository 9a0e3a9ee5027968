// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/formats/q8_0.hpp"
#include "qdial/kernels/blocks_32.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/interleaved.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q4_0: 4-bit codes, one scale per 32; y = (q - 8) d.
struct q4_0 {
    static constexpr std::string_view name = "Q4_0";
    static constexpr std::uint32_t gguf_id = 2;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;
    using activation = q8_0;

    struct block {
        std::uint16_t d;      ///< scale, binary16
        std::uint8_t qs[16];  ///< low nibbles: elements 0-15, high nibbles: 16-31
    };
};
static_assert(sizeof(q4_0::block) == 18);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q4_0, Arch> {
    static constexpr bool signed_codes = false;
    static constexpr int code_bits = 4;
    static constexpr int offset = 8;
    static constexpr bool has_minimum = false;
    static constexpr std::size_t sub_block = 0;

    QDIAL_INLINE static std::uint16_t scale(const q4_0::block& b) noexcept {
        return little_endian(b.d);
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q4_0::block& b) noexcept {
        return V::template load_nibbles<First>(b.qs);
    }
};

template <>
struct interleaved<q4_0> {
    static constexpr std::size_t halves_at = 0, halves = 1;
    static constexpr int code_bits = 4;
    static constexpr std::array<bit_field, 1> fields(std::size_t e) noexcept {
        return {{{2 + e % 16, e < 16 ? 0 : 4, 4, 0}}};
    }
};

template <class Arch>
struct encoder<q4_0, Arch> : symmetric_32<q4_0, 8, Arch> {};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
