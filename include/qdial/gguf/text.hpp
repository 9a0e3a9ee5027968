// SPDX-License-Identifier: Apache-2.0
//
// Pieces of error messages shared by the GGUF headers.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

#include "qdial/error.hpp"

namespace qdial::gguf::detail {

/// `text` in double quotes on one line: bytes that a terminal could act on are written as \xNN,
/// and what exceeds 80 bytes is cut, because the text may come from a hostile file.
[[nodiscard]] inline std::string quoted(std::string_view text) {
    constexpr std::size_t longest = 80;
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text.substr(0, longest)) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte == 0x7F) {
            out += "\\x";
            out += digits[byte >> 4];
            out += digits[byte & 15];
        } else {
            out += c;
        }
    }
    out += text.size() > longest ? "...\"" : "\"";
    return out;
}

/// Throws `<file>: <action>: <what the system says about `code`>`.
[[noreturn]] inline void fail_system(std::string_view file, std::string_view action, int code) {
    throw error(std::string(file) + ": " + std::string(action) + ": " +
                std::generic_category().message(code));
}

}  // namespace qdial::gguf::detail
