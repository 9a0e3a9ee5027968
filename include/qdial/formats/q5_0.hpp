// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q5_0: 5-bit codes, one scale per 32; y = (q - 16) d.
struct q5_0 {
    static constexpr std::string_view name = "Q5_0";
    static constexpr std::uint32_t gguf_id = 6;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint16_t d;       ///< scale, binary16
        std::uint8_t qh[4];    ///< fifth bits, element j at bit j (little-endian)
        std::uint8_t qs[16];   ///< low nibbles: elements 0-15, high nibbles: 16-31
    };
};
static_assert(sizeof(q5_0::block) == 22);

}  // namespace qdial
