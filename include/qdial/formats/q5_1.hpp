// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q5_1: 5-bit codes, scale and minimum per 32; y = q d + m.
struct q5_1 {
    static constexpr std::string_view name = "Q5_1";
    static constexpr std::uint32_t gguf_id = 7;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint16_t d;       ///< scale, binary16
        std::uint16_t m;       ///< minimum, binary16
        std::uint8_t qh[4];    ///< fifth bits, element j at bit j (little-endian)
        std::uint8_t qs[16];   ///< low nibbles: elements 0-15, high nibbles: 16-31
    };
};
static_assert(sizeof(q5_1::block) == 24);

}  // namespace qdial
