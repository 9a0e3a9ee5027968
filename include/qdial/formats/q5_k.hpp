// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q5_K: 5-bit codes, 6-bit scale and minimum per 32; y = (d sc) q - (dmin m).
struct q5_k {
    static constexpr std::string_view name = "Q5_K";
    static constexpr std::uint32_t gguf_id = 13;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint16_t d;          ///< super-block scale of the scales, binary16
        std::uint16_t dmin;       ///< super-block scale of the minima, binary16
        std::uint8_t scales[12];  ///< eight 6-bit scales and eight 6-bit minima, as Q4_K
        std::uint8_t qh[32];      ///< fifth bits: element e at bit e/32 of byte e%32
        std::uint8_t qs[128];     ///< low nibbles, as Q4_K
    };
};
static_assert(sizeof(q5_k::block) == 176);

}  // namespace qdial
