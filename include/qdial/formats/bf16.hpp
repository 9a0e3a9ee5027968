// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/float16.hpp"
#include "qdial/formats/format.hpp"

namespace qdial {

/// BF16: bfloat16, the upper half of a binary32.
struct bf16 {
    static constexpr std::string_view name = "BF16";
    static constexpr std::uint32_t gguf_id = 30;
    static constexpr std::size_t block_length = 1;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = true;

    using block = bfloat16;
};
static_assert(sizeof(bf16::block) == 2);

}  // namespace qdial
