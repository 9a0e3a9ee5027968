// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q4_1: 4-bit codes, scale and minimum per 32; y = q d + m.
struct q4_1 {
    static constexpr std::string_view name = "Q4_1";
    static constexpr std::uint32_t gguf_id = 3;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint16_t d;       ///< scale, binary16
        std::uint16_t m;       ///< minimum, binary16
        std::uint8_t qs[16];   ///< low nibbles: elements 0-15, high nibbles: 16-31
    };
};
static_assert(sizeof(q4_1::block) == 20);

}  // namespace qdial
