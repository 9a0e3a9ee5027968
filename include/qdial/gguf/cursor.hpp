// SPDX-License-Identifier: Apache-2.0
//
// A position in a file that is not trusted: every read is checked against what is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "qdial/gguf/text.hpp"
#include "qdial/gguf/value.hpp"

namespace qdial::gguf::detail {

/// What a position in the file belongs to, for messages: `key "general.name"`, `tensor 3`.
struct place {
    std::string_view kind;  // "key", "tensor" or nothing
    std::uint64_t index;
    std::string_view name;  // empty as long as only the index is known

    [[nodiscard]] std::string text() const {
        if (kind.empty()) return {};
        return std::string(kind) + " " + (name.empty() ? std::to_string(index) : quoted(name)) +
               ": ";
    }
};

/// Reads a file from front to back and never past its end.
class cursor {
public:
    cursor(std::span<const std::byte> bytes, std::string_view file) noexcept
        : bytes_(bytes), file_(file) {}

    [[nodiscard]] std::size_t position() const noexcept { return position_; }
    [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - position_; }
    [[nodiscard]] std::span<const std::byte> since(std::size_t begin) const noexcept {
        return bytes_.subspan(begin, position_ - begin);
    }

    [[noreturn]] void fail(std::size_t at, const place& where, std::string_view what) const {
        throw error(std::string(file_) + ": byte " + std::to_string(at) + ": " + where.text() +
                    std::string(what));
    }

    template <class T>
    T read(const place& where, std::string_view what) {
        if (sizeof(T) > left()) fail_end(where, what, sizeof(T));
        const T value = load<T>(bytes_.data() + position_);
        position_ += sizeof(T);
        return value;
    }

    std::string_view read_string(const place& where, std::string_view what) {
        const std::size_t at = position_;
        const auto length = read<std::uint64_t>(where, what);
        if (length > left())
            fail(at, where,
                 std::string(what) + ": found a length of " + std::to_string(length) +
                     ", expected at most " + std::to_string(left()) + " (bytes left in the file)");
        position_ += static_cast<std::size_t>(length);
        return load_string(bytes_.data() + at);
    }

    void skip_value(std::size_t size, const place& where) {
        if (size > left()) fail_end(where, "value", size);
        position_ += size;
    }

    /// Skips `count` elements of `size` bytes; `at` is where the count stands.
    void skip_array(std::size_t at, std::uint64_t count, std::size_t size, const place& where) {
        if (count > left() / size)
            fail(at, where,
                 "array: found " + std::to_string(count) + " elements, expected at most " +
                     std::to_string(left() / size) + " (" + std::to_string(left()) +
                     " bytes left in the file)");
        position_ += static_cast<std::size_t>(count) * size;
    }

    /// Reads the number of things of which each takes `least` bytes or more.
    std::uint64_t read_count(std::string_view what, std::size_t least) {
        const std::size_t at = position_;
        const auto count = read<std::int64_t>({}, what);
        const std::size_t most = bytes_.size() / least;
        if (count >= 0 && static_cast<std::uint64_t>(count) <= most)
            return static_cast<std::uint64_t>(count);
        fail(at, {},
             std::string(what) + ": found " + std::to_string(count) + ", expected 0 to " +
                 std::to_string(most) + " (each takes " + std::to_string(least) +
                 " bytes or more, the file has " + std::to_string(bytes_.size()) + ")");
    }

private:
    [[noreturn]] void fail_end(const place& where, std::string_view what, std::size_t size) const {
        fail(position_, where,
             std::string(what) + ": found the end of the file after " + std::to_string(left()) +
                 " bytes, expected " + std::to_string(size));
    }

    std::span<const std::byte> bytes_;
    std::string_view file_;
    std::size_t position_ = 0;
};

}  // namespace qdial::gguf::detail
