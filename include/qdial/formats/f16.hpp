// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/float16.hpp"
#include "qdial/formats/format.hpp"

namespace qdial {

/// F16: IEEE binary16.
struct f16 {
    static constexpr std::string_view name = "F16";
    static constexpr std::uint32_t gguf_id = 1;
    static constexpr std::size_t block_length = 1;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = true;

    using block = float16;
};
static_assert(sizeof(f16::block) == 2);

}  // namespace qdial
