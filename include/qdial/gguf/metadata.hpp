// SPDX-License-Identifier: Apache-2.0
//
// The metadata of a GGUF file: an ordered list of keys with values, kept as encoded bytes, so
// that what a program does not know passes through unchanged.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qdial/gguf/text.hpp"
#include "qdial/gguf/value.hpp"

namespace qdial::gguf {

/// One key with its value. Its bytes are those of a file, which must outlive the entry, or its
/// own (then copies share them).
class entry {
public:
    /// An entry in bytes that somebody else keeps: key length, key, type, value, already checked.
    explicit entry(std::span<const std::byte> encoded) noexcept : encoded_(encoded) {}

    /// A new entry. T: an integer, float, double, bool, text, or a vector or span of those.
    template <class T>
    [[nodiscard]] static entry make(std::string_view key, const T& value) {
        std::vector<std::byte> bytes;
        detail::store_string(bytes, key);
        if constexpr (std::ranges::contiguous_range<T> && !detail::text<T>) {
            using element = std::ranges::range_value_t<T>;
            detail::store(bytes, value_type::array);
            detail::store(bytes, detail::stored_type<element>());
            detail::store(bytes, static_cast<std::uint64_t>(std::ranges::size(value)));
            for (const element& e : value) detail::store_value(bytes, e);
        } else {
            detail::store(bytes, detail::stored_type<T>());
            detail::store_value(bytes, value);
        }
        auto owned = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
        entry made{std::span<const std::byte>(*owned)};
        made.owner_ = std::move(owned);
        return made;
    }

    [[nodiscard]] std::string_view key() const noexcept {
        return detail::load_string(encoded_.data());
    }
    [[nodiscard]] value_view value() const noexcept {
        const std::size_t at = 8 + key().size();
        return {detail::load<value_type>(encoded_.data() + at), encoded_.subspan(at + 4)};
    }

    /// Key, type and value as a file holds them.
    [[nodiscard]] std::span<const std::byte> encoded() const noexcept { return encoded_; }

private:
    std::span<const std::byte> encoded_;
    std::shared_ptr<const std::vector<std::byte>> owner_;
};

/// Keys with values, in the order of the file. Copying is cheap; entries of a file need it open.
class metadata {
public:
    metadata() = default;
    /// `source` is the file name that errors mention.
    explicit metadata(std::string source) : source_(std::move(source)) {}

    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
    [[nodiscard]] auto begin() const noexcept { return entries_.begin(); }
    [[nodiscard]] auto end() const noexcept { return entries_.end(); }

    [[nodiscard]] bool contains(std::string_view key) const noexcept {
        return position(key) != entries_.end();
    }

    /// The value of `key` as a T (see value_view::as), nothing if there is no such key.
    /// Throws `qdial::error` if there is one and it is no T.
    template <class T>
    [[nodiscard]] std::optional<T> find(std::string_view key) const {
        const auto found = position(key);
        if (found == entries_.end()) return std::nullopt;
        std::optional<T> value = found->value().template as<T>();
        if (!value) fail_type<T>(*found);
        return value;
    }

    /// The value of `key` as a T; throws `qdial::error` if there is none or it is no T.
    template <class T>
    [[nodiscard]] T get(std::string_view key) const {
        std::optional<T> value = find<T>(key);
        if (!value) throw error(place(key) + ": not found, expected " + expected<T>());
        return *std::move(value);
    }

    /// Puts `key` with a new value at the end; an entry of the same key goes away.
    template <class T>
    void set(std::string_view key, const T& value) {
        entry made = entry::make(key, value);  // first: `key` may lie in the entry that goes away
        erase(made.key());
        entries_.push_back(std::move(made));
    }

    /// Appends an entry as it is. The caller sees to it that its key is new.
    void append(entry added) { entries_.push_back(std::move(added)); }

    /// Removes `key`, if it is there.
    void erase(std::string_view key) {
        const auto found = position(key);
        if (found != entries_.end()) entries_.erase(found);
    }

private:
    [[nodiscard]] std::vector<entry>::const_iterator position(std::string_view key) const noexcept {
        return std::ranges::find(entries_, key, &entry::key);
    }

    [[nodiscard]] std::string place(std::string_view key) const {
        return (source_.empty() ? "" : source_ + ": ") + "key " + detail::quoted(key);
    }

    template <class T>
    [[nodiscard]] static std::string expected() {
        if constexpr (std::same_as<T, array_view>) {
            return "an array";
        } else if constexpr (detail::is_vector<T>::value) {
            using element = typename T::value_type;
            return "an array of " + std::string(to_string(detail::stored_type<element>()));
        } else {
            return std::string(to_string(detail::stored_type<T>()));
        }
    }

    template <class T>
    [[noreturn]] void fail_type(const entry& found) const {
        const value_view value = found.value();
        std::string text(to_string(value.type()));
        value.visit([&](auto stored) {
            if constexpr (detail::integer<decltype(stored)>)
                text += " " + std::to_string(stored);
            else if constexpr (std::same_as<decltype(stored), array_view>)
                text += " of " + std::string(to_string(stored.element_type()));
        });
        throw error(place(found.key()) + ": found " + text + ", expected " + expected<T>());
    }

    std::vector<entry> entries_;
    std::string source_;
};

}  // namespace qdial::gguf
