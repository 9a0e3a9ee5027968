// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q6_K: 6-bit codes, 8-bit scale per 16; y = (d sc) (q - 32).
struct q6_k {
    static constexpr std::string_view name = "Q6_K";
    static constexpr std::uint32_t gguf_id = 14;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint8_t ql[128];     ///< low nibbles: byte 64h + 32(r&1) + l, nibble r>>1
        std::uint8_t qh[64];      ///< high two bits: byte 32h + l at bits 2r
        std::int8_t scales[16];   ///< per 16 elements
        std::uint16_t d;          ///< super-block scale, binary16
    };
};
static_assert(sizeof(q6_k::block) == 210);

}  // namespace qdial
