// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q3_K: 3-bit codes, 6-bit signed scale per 16; y = (d sc) q.
struct q3_k {
    static constexpr std::string_view name = "Q3_K";
    static constexpr std::uint32_t gguf_id = 11;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint8_t hmask[32];   ///< third bits: element e at bit e/32 of byte e%32
        std::uint8_t qs[64];      ///< low two bits, as Q2_K
        std::uint8_t scales[12];  ///< sixteen 6-bit scales, offset 32
        std::uint16_t d;          ///< super-block scale, binary16
    };
};
static_assert(sizeof(q3_k::block) == 110);

}  // namespace qdial
