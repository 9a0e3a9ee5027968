// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q8_1: activations for Q4_1 and Q5_1: 8-bit codes, scale and sum per 32.
struct q8_1 {
    static constexpr std::string_view name = "Q8_1";
    static constexpr std::uint32_t gguf_id = 9;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = false;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint16_t d;  ///< scale, binary16
        std::uint16_t s;  ///< d times the sum of the codes, binary16
        std::int8_t qs[32];
    };
};
static_assert(sizeof(q8_1::block) == 36);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q8_1, Arch> {
    static constexpr bool signed_codes = true;
    static constexpr int offset = 0;
    static constexpr bool has_minimum = false;
    static constexpr std::size_t sub_block = 0;

    QDIAL_INLINE static std::uint16_t scale(const q8_1::block& b) noexcept {
        return little_endian(b.d);
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q8_1::block& b) noexcept {
        return V::load(b.qs + First);
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
