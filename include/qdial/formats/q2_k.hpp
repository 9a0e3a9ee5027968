// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q2_K: 2-bit codes, 4-bit scale and minimum per 16; y = (d sc) q - (dmin m).
struct q2_k {
    static constexpr std::string_view name = "Q2_K";
    static constexpr std::uint32_t gguf_id = 10;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint8_t scales[16];  ///< per 16 elements: scale (low nibble), minimum (high)
        std::uint8_t qs[64];      ///< byte 32h + l holds elements 128h + 32r + l at bits 2r
        std::uint16_t d;          ///< super-block scale of the scales, binary16
        std::uint16_t dmin;       ///< super-block scale of the minima, binary16
    };
};
static_assert(sizeof(q2_k::block) == 84);

}  // namespace qdial
