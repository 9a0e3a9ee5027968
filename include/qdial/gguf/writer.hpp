// SPDX-License-Identifier: Apache-2.0
//
// Writing GGUF files, version 3: first a plan that knows every byte's place, then the data, in
// order, in pieces of any size. The same metadata, tensors and data give the bytes that
// llama.cpp's writer gives.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qdial/formats/format.hpp"
#include "qdial/gguf/metadata.hpp"
#include "qdial/gguf/tensor.hpp"

namespace qdial::gguf {

/// A tensor to be written.
struct tensor_spec {
    std::string name;
    tensor_shape shape;  ///< trailing dimensions of 1 are dropped from the file, whatever n_dims
    format_info format;
};

/// Where everything in a file to be written goes; made without any tensor data.
class file_plan {
public:
    struct slot {
        tensor_spec spec;
        std::uint64_t bytes;   ///< of the data, without padding
        std::uint64_t offset;  ///< from the start of the file
    };

    /// Plans a file with this metadata and these tensors, both in the given order. Tensors are
    /// aligned to the metadata's `general.alignment`, or to 32 bytes without that key. `name` is
    /// the file that errors mention. Throws `qdial::error` for what readers would refuse: names
    /// or keys that are empty, repeated, too long or carry NUL, shapes that do not suit a format.
    file_plan(std::string name, const metadata& entries, std::vector<tensor_spec> tensors);

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] std::uint32_t alignment() const noexcept { return alignment_; }
    [[nodiscard]] std::uint64_t file_bytes() const noexcept { return file_bytes_; }
    [[nodiscard]] const std::vector<slot>& tensors() const noexcept { return slots_; }
    /// Everything in front of the first tensor's data, padding included.
    [[nodiscard]] std::span<const std::byte> header() const noexcept { return header_; }

private:
    void read_alignment(const metadata& entries);
    void place_tensors(std::vector<tensor_spec> tensors);
    void encode(const metadata& entries);
    void check_unique(std::vector<std::string_view> names, std::string_view kind) const;
    [[noreturn]] void fail(std::string_view kind, std::string_view name,
                           std::string_view text) const {
        throw error(name_ + ": " + std::string(kind) + " " + detail::quoted(name) + ": " +
                    std::string(text));
    }

    std::string name_;
    std::uint32_t alignment_ = default_alignment;
    std::uint64_t file_bytes_ = 0;
    std::vector<slot> slots_;
    std::vector<std::byte> header_;
};

/// Writes one file by its plan: the header at once, then the data of tensor after tensor.
///
///     gguf::writer writer(plan, [&](std::span<const std::byte> bytes) { out.write(bytes); });
///     for (…each tensor of the plan, in order…) writer.append(its bytes, in as many calls as
///     suits);
///     writer.finish();
class writer {
public:
    using sink = std::function<void(std::span<const std::byte>)>;

    /// `plan` must outlive the writer. `write` gets every byte of the file, in order.
    writer(const file_plan& plan, sink write) : plan_(plan), write_(std::move(write)) {
        write_(plan_.header());
        skip_complete();
    }

    /// Index in the plan of the tensor that the next byte belongs to; the tensor count at the
    /// end. Tensors that hold nothing are passed over.
    [[nodiscard]] std::size_t current() const noexcept { return current_; }

    /// The next bytes of the current tensor; its padding follows by itself after the last one.
    /// Throws `qdial::error` for more bytes than the tensor has left.
    void append(std::span<const std::byte> bytes);

    /// To be called after the last byte: throws `qdial::error` if data is missing.
    void finish() const;

private:
    [[nodiscard]] std::uint64_t left() const noexcept {
        return current_ < plan_.tensors().size() ? plan_.tensors()[current_].bytes - done_ : 0;
    }
    void skip_complete();

    const file_plan& plan_;
    sink write_;
    std::size_t current_ = 0;
    std::uint64_t done_ = 0;  // bytes of the current tensor
};

inline file_plan::file_plan(std::string name, const metadata& entries,
                            std::vector<tensor_spec> tensors)
    : name_(std::move(name)) {
    read_alignment(entries);
    std::vector<std::string_view> keys;
    for (const entry& e : entries) keys.push_back(e.key());
    check_unique(std::move(keys), "key");
    std::vector<std::string_view> names;
    for (const tensor_spec& t : tensors) names.push_back(t.name);
    check_unique(std::move(names), "tensor");
    place_tensors(std::move(tensors));
    encode(entries);
    const std::uint64_t start = header_.size();
    for (slot& s : slots_) s.offset += start;
    file_bytes_ += start;
}

inline void file_plan::read_alignment(const metadata& entries) {
    const auto found = std::ranges::find(entries, alignment_key, &entry::key);
    if (found == entries.end()) return;
    const value_view value = found->value();
    alignment_ = value.type() == value_type::u32 ? value.as<std::uint32_t>().value() : 0;
    if (!std::has_single_bit(alignment_) || alignment_ > max_alignment)
        fail("key", alignment_key,
             "expected a u32 that is a power of two up to " + std::to_string(max_alignment));
}

inline void file_plan::check_unique(std::vector<std::string_view> names,
                                    std::string_view kind) const {
    for (const std::string_view name : names) {
        if (name.empty()) fail(kind, name, "found an empty name, expected text");
        if (name.find('\0') != std::string_view::npos)
            fail(kind, name, "found a NUL byte in the name, expected text");
    }
    std::ranges::sort(names);
    const auto repeated = std::ranges::adjacent_find(names);
    if (repeated != names.end()) fail(kind, *repeated, "found twice, expected unique names");
}

inline void file_plan::place_tensors(std::vector<tensor_spec> tensors) {
    slots_.reserve(tensors.size());
    std::uint64_t end = 0;
    for (tensor_spec& t : tensors) {
        if (t.name.size() > max_tensor_name)
            fail("tensor", t.name,
                 "found a name of " + std::to_string(t.name.size()) +
                     " bytes, expected at most " + std::to_string(max_tensor_name));
        t.shape.n_dims = max_dims;
        while (t.shape.n_dims > 1 && t.shape[t.shape.n_dims - 1] == 1) --t.shape.n_dims;
        const std::string problem = detail::shape_problem(t.format, t.shape);
        if (!problem.empty()) fail("tensor", t.name, problem);
        const std::uint64_t bytes = tensor_bytes(t.format, t.shape);
        if (bytes > detail::int64_max - max_alignment - end)
            fail("tensor", t.name, "found more than 2^63 - 1 bytes of tensors in the file");
        slots_.push_back({std::move(t), bytes, end});
        end = detail::align_up(end + bytes, alignment_);
    }
    file_bytes_ = end;
}

inline void file_plan::encode(const metadata& entries) {
    detail::store(header_, std::array{'G', 'G', 'U', 'F'});
    detail::store(header_, std::uint32_t{3});
    detail::store(header_, static_cast<std::uint64_t>(slots_.size()));
    detail::store(header_, static_cast<std::uint64_t>(entries.size()));
    for (const entry& e : entries)
        header_.insert(header_.end(), e.encoded().begin(), e.encoded().end());
    for (const slot& s : slots_) {
        detail::store_string(header_, s.spec.name);
        detail::store(header_, s.spec.shape.n_dims);
        for (std::uint32_t i = 0; i < s.spec.shape.n_dims; ++i)
            detail::store(header_, s.spec.shape[i]);
        detail::store(header_, s.spec.format.gguf_id);
        detail::store(header_, s.offset);  // still from the start of the data
    }
    header_.resize(detail::align_up(header_.size(), alignment_));
}

inline void writer::append(std::span<const std::byte> bytes) {
    if (bytes.size() > left())
        throw error(plan_.name() + ": " +
                    (current_ < plan_.tensors().size()
                         ? "tensor " + detail::quoted(plan_.tensors()[current_].spec.name)
                         : "after the last tensor") +
                    ": found " + std::to_string(bytes.size()) + " bytes to write, expected " +
                    std::to_string(left()));
    if (bytes.empty()) return;
    write_(bytes);
    done_ += bytes.size();
    skip_complete();
}

inline void writer::skip_complete() {
    static constexpr std::array<std::byte, 4096> zeros{};
    while (current_ < plan_.tensors().size() && left() == 0) {
        std::uint64_t padding = detail::align_up(done_, plan_.alignment()) - done_;
        while (padding != 0) {
            const auto piece = std::min<std::uint64_t>(padding, zeros.size());
            write_(std::span(zeros).first(static_cast<std::size_t>(piece)));
            padding -= piece;
        }
        ++current_;
        done_ = 0;
    }
}

inline void writer::finish() const {
    if (current_ == plan_.tensors().size()) return;
    throw error(plan_.name() + ": tensor " +
                detail::quoted(plan_.tensors()[current_].spec.name) + ": found " +
                std::to_string(done_) + " bytes written, expected " +
                std::to_string(plan_.tensors()[current_].bytes));
}

}  // namespace qdial::gguf
