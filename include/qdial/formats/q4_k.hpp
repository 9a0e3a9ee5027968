// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q4_K: 4-bit codes, 6-bit scale and minimum per 32; y = (d sc) q - (dmin m).
struct q4_k {
    static constexpr std::string_view name = "Q4_K";
    static constexpr std::uint32_t gguf_id = 12;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint16_t d;          ///< super-block scale of the scales, binary16
        std::uint16_t dmin;       ///< super-block scale of the minima, binary16
        std::uint8_t scales[12];  ///< eight 6-bit scales and eight 6-bit minima
        std::uint8_t qs[128];     ///< byte 32(e/64) + e%32; low nibble where e/32 is even
    };
};
static_assert(sizeof(q4_k::block) == 144);

}  // namespace qdial
