// SPDX-License-Identifier: Apache-2.0
//
// Reading GGUF files (versions 2 and 3, little-endian). Nothing in the file is believed before
// it is checked: opening succeeds only if all metadata and every tensor lie inside the file.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "qdial/formats/list.hpp"
#include "qdial/gguf/cursor.hpp"
#include "qdial/gguf/mapped_file.hpp"
#include "qdial/gguf/metadata.hpp"
#include "qdial/gguf/tensor.hpp"

namespace qdial::gguf {

/// A tensor of an open file.
struct tensor {
    std::string_view name;
    tensor_shape shape;
    format_info format;
    std::uint64_t offset;             ///< of the data, from the start of the file
    std::span<const std::byte> data;  ///< all rows, without padding

    [[nodiscard]] std::uint64_t row_bytes() const noexcept {
        return gguf::row_bytes(format, shape);
    }
};

/// An open GGUF file. Everything it hands out (names, values, data) lies in the mapped file and
/// is valid as long as the object lives, also after it was moved.
///
/// Accepted beyond what llama.cpp accepts: tensors in any order of offsets, unused bytes between
/// them, and a last tensor without padding. Overlaps are not.
class file {
public:
    /// Maps and checks `path`. Throws `qdial::error`: file, byte, key or tensor, found, expected.
    explicit file(const std::filesystem::path& path);

    /// Checks a file in memory, which the caller keeps; `name` stands for it in messages.
    file(std::span<const std::byte> bytes, std::string name);

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] std::uint32_t version() const noexcept { return version_; }
    [[nodiscard]] std::uint32_t alignment() const noexcept { return alignment_; }
    [[nodiscard]] std::uint64_t size() const noexcept { return bytes_.size(); }
    /// Where tensor data starts, from the start of the file.
    [[nodiscard]] std::uint64_t data_offset() const noexcept { return data_offset_; }

    [[nodiscard]] const gguf::metadata& metadata() const noexcept { return metadata_; }
    /// In the order of the file.
    [[nodiscard]] const std::vector<tensor>& tensors() const noexcept { return tensors_; }
    /// The tensor of this name, or nullptr.
    [[nodiscard]] const tensor* find_tensor(std::string_view name) const noexcept;

    /// See mapped_file; for a file in memory these do nothing.
    void drop(std::span<const std::byte> part) const noexcept {
        if (map_) map_->drop(part);
    }
    void prefetch(std::span<const std::byte> part) const noexcept {
        if (map_) map_->prefetch(part);
    }
    void check_unchanged() const {
        if (map_) map_->check_unchanged();
    }

private:
    std::optional<mapped_file> map_;
    std::span<const std::byte> bytes_;
    std::string name_;
    std::uint32_t version_ = 0;
    std::uint32_t alignment_ = default_alignment;
    std::uint64_t data_offset_ = 0;
    gguf::metadata metadata_;
    std::vector<tensor> tensors_;
    std::vector<std::size_t> by_name_;  // indices of tensors_, sorted by name

    struct parser;
};

/// Fills an open file, front to back.
struct file::parser {
    file& out;
    detail::cursor in;
    std::vector<std::size_t> offset_at;  // where each tensor's offset stands, for messages
    std::vector<std::uint64_t> offset;   // of each tensor, from the start of the data

    // The smallest entries: key "x" with a u8; tensor "x" with one dimension.
    static constexpr std::size_t least_entry = 8 + 1 + 4 + 1;
    static constexpr std::size_t least_tensor = 8 + 1 + 4 + 8 + 4 + 8;

    explicit parser(file& target) : out(target), in(target.bytes_, target.name_) {}

    void run() {
        const auto magic = in.read<std::uint32_t>({}, "magic");
        if (magic != 0x46554747)
            in.fail(0, {},
                    "magic: found " + detail::quoted({reinterpret_cast<const char*>(&magic), 4}) +
                        ", expected \"GGUF\"");
        read_version();
        const std::uint64_t n_tensors = in.read_count("tensor count", least_tensor);
        const std::uint64_t n_entries = in.read_count("metadata count", least_entry);
        read_metadata(n_entries);
        read_alignment();
        for (std::uint64_t i = 0; i < n_tensors; ++i) read_tensor(i);
        index_names();
        place_data();
        check_overlaps();
    }

    void read_version() {
        const auto version = in.read<std::uint32_t>({}, "version");
        if (version != 0 && (version & 0xFFFF) == 0)
            in.fail(4, {}, "byte order: found a big-endian file, expected a little-endian one");
        if (version != 2 && version != 3)
            in.fail(4, {}, "version: found " + std::to_string(version) + ", expected 2 or 3");
        out.version_ = version;
    }

    std::size_t position_of(const char* text) const noexcept {
        return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(text) -
                                        out.bytes_.data());
    }

    /// A key or a tensor name: not empty, no NUL (C programs would see another name).
    std::string_view read_name(const detail::place& where, std::string_view what) {
        const std::size_t at = in.position();
        const std::string_view name = in.read_string(where, what);
        if (name.empty())
            in.fail(at, where, std::string(what) + ": found an empty one, expected text");
        if (name.find('\0') != std::string_view::npos)
            in.fail(at, where,
                    std::string(what) + ": found " + detail::quoted(name) +
                        ", expected text without NUL bytes");
        return name;
    }

    value_type read_type(const detail::place& where, std::string_view what) {
        const std::size_t at = in.position();
        const auto type = in.read<std::int32_t>(where, what);
        if (type < 0 || static_cast<std::uint32_t>(type) >= value_type_count)
            in.fail(at, where,
                    std::string(what) + ": found " + std::to_string(type) + ", expected 0 to " +
                        std::to_string(value_type_count - 1));
        return static_cast<value_type>(type);
    }

    void skip_array(const detail::place& where) {
        const std::size_t type_at = in.position();
        const value_type type = read_type(where, "array element type");
        if (type == value_type::array)
            in.fail(type_at, where,
                    "array element type: found 9 (array), expected another (arrays do not nest)");
        const std::size_t at = in.position();
        const auto count = in.read<std::uint64_t>(where, "array size");
        if (type != value_type::string) {
            in.skip_array(at, count, fixed_bytes(type), where);
            return;
        }
        for (std::uint64_t i = 0; i < count; ++i) in.read_string(where, "string in array");
    }

    void read_metadata(std::uint64_t n_entries) {
        out.metadata_ = gguf::metadata(out.name_);
        std::vector<std::string_view> keys;
        for (std::uint64_t i = 0; i < n_entries; ++i) {
            const std::size_t begin = in.position();
            detail::place where{"key", i, {}};
            where.name = read_name(where, "key");
            const value_type type = read_type(where, "value type");
            if (type == value_type::array)
                skip_array(where);
            else if (type == value_type::string)
                in.read_string(where, "string");
            else
                in.skip_value(fixed_bytes(type), where);
            out.metadata_.append(entry(in.since(begin)));
            keys.push_back(where.name);
        }
        sort_unique(keys, "key");
    }

    /// Indices of `names` in the order of the names; fails at the first name that came before.
    std::vector<std::size_t> sort_unique(const std::vector<std::string_view>& names,
                                         std::string_view kind) const {
        std::vector<std::size_t> order(names.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::ranges::sort(order, {}, [&](std::size_t i) { return std::tuple(names[i], i); });
        std::size_t repeated = names.size();
        for (std::size_t k = 1; k < order.size(); ++k)
            if (names[order[k - 1]] == names[order[k]]) repeated = std::min(repeated, order[k]);
        if (repeated != names.size())
            in.fail(position_of(names[repeated].data()) - 8, {kind, repeated, names[repeated]},
                    "found the same name before, expected unique names");
        return order;
    }

    void read_alignment() {
        const auto found = std::ranges::find(out.metadata_, alignment_key, &entry::key);
        if (found == out.metadata_.end()) return;
        const value_view value = found->value();
        const detail::place where{"key", 0, alignment_key};
        const std::size_t at = position_of(reinterpret_cast<const char*>(value.bytes().data()));
        if (value.type() != value_type::u32)
            in.fail(at - 4, where,
                    "value type: found " + std::string(to_string(value.type())) +
                        ", expected u32");
        const auto alignment = detail::load<std::uint32_t>(value.bytes().data());
        if (!std::has_single_bit(alignment) || alignment > max_alignment)
            in.fail(at, where,
                    "found " + std::to_string(alignment) + ", expected a power of two up to " +
                        std::to_string(max_alignment));
        out.alignment_ = alignment;
    }

    void read_tensor(std::uint64_t index) {
        detail::place where{"tensor", index, {}};
        const std::size_t begin = in.position();
        where.name = read_name(where, "name");
        if (where.name.size() > max_tensor_name)
            in.fail(begin, where,
                    "name: found " + std::to_string(where.name.size()) +
                        " bytes, expected at most " + std::to_string(max_tensor_name));
        const std::size_t shape_at = in.position();
        const tensor_shape shape = read_shape(where);
        const std::size_t type_at = in.position();
        const auto type = in.read<std::int32_t>(where, "type");
        const auto format = find_format(static_cast<std::uint32_t>(type));
        if (!format)
            in.fail(type_at, where,
                    "type: found " + std::to_string(type) +
                        ", which is unknown or removed, expected a GGUF tensor type");
        const std::string problem = detail::shape_problem(*format, shape);
        if (!problem.empty()) in.fail(shape_at, where, problem);
        offset_at.push_back(in.position());
        offset.push_back(in.read<std::uint64_t>(where, "offset"));
        out.tensors_.push_back({where.name, shape, *format, 0, {}});
    }

    tensor_shape read_shape(const detail::place& where) {
        tensor_shape shape;
        const std::size_t at = in.position();
        shape.n_dims = in.read<std::uint32_t>(where, "number of dimensions");
        if (shape.n_dims < 1 || shape.n_dims > max_dims)
            in.fail(at, where,
                    "number of dimensions: found " + std::to_string(shape.n_dims) +
                        ", expected 1 to " + std::to_string(max_dims));
        for (std::uint32_t i = 0; i < shape.n_dims; ++i) {
            const std::size_t extent_at = in.position();
            const auto extent = in.read<std::int64_t>(where, "dimension");
            if (extent < 0)
                in.fail(extent_at, where,
                        "dimension: found " + std::to_string(extent) + ", expected 0 or more");
            shape.extent[i] = static_cast<std::uint64_t>(extent);
        }
        return shape;
    }

    void index_names() {
        std::vector<std::string_view> names;
        names.reserve(out.tensors_.size());
        for (const tensor& t : out.tensors_) names.push_back(t.name);
        out.by_name_ = sort_unique(names, "tensor");
    }

    void place_data() {
        out.data_offset_ = detail::align_up(in.position(), out.alignment_);
        // A file without tensors may end before the padding that would start the data.
        const std::uint64_t available =
            out.bytes_.size() > out.data_offset_ ? out.bytes_.size() - out.data_offset_ : 0;
        for (std::size_t i = 0; i < out.tensors_.size(); ++i) {
            tensor& t = out.tensors_[i];
            const detail::place where{"tensor", i, t.name};
            const std::uint64_t size = tensor_bytes(t.format, t.shape);
            if (offset[i] % out.alignment_ != 0)
                in.fail(offset_at[i], where,
                        "offset: found " + std::to_string(offset[i]) +
                            ", expected a multiple of the alignment " +
                            std::to_string(out.alignment_));
            // A tensor that holds nothing may stand at the padded end of the data.
            const std::uint64_t end =
                size == 0 ? detail::align_up(available, out.alignment_) : available;
            if (offset[i] > end || size > end - offset[i])
                in.fail(offset_at[i], where,
                        "data: found " + std::to_string(size) + " bytes at offset " +
                            std::to_string(offset[i]) + ", expected them within the " +
                            std::to_string(available) + " bytes of data in the file");
            t.offset = out.data_offset_ + offset[i];
            if (size != 0)
                t.data = out.bytes_.subspan(static_cast<std::size_t>(t.offset),
                                            static_cast<std::size_t>(size));
        }
    }

    void check_overlaps() const {
        std::vector<std::size_t> order;
        for (std::size_t i = 0; i < out.tensors_.size(); ++i)
            if (!out.tensors_[i].data.empty()) order.push_back(i);
        std::ranges::sort(order, {}, [&](std::size_t i) { return std::tuple(offset[i], i); });
        for (std::size_t k = 1; k < order.size(); ++k) {
            const tensor& before = out.tensors_[order[k - 1]];
            const std::uint64_t end = offset[order[k - 1]] + before.data.size();
            if (offset[order[k]] < end)
                in.fail(offset_at[order[k]], {"tensor", 0, out.tensors_[order[k]].name},
                        "offset: found " + std::to_string(offset[order[k]]) +
                            ", expected at least " + std::to_string(end) +
                            ", where the data of tensor " + detail::quoted(before.name) +
                            " ends");
        }
    }
};

inline file::file(const std::filesystem::path& path)
    : map_(path), bytes_(map_->bytes()), name_(map_->name()) {
    parser(*this).run();
}

inline file::file(std::span<const std::byte> bytes, std::string name)
    : bytes_(bytes), name_(std::move(name)) {
    parser(*this).run();
}

inline const tensor* file::find_tensor(std::string_view name) const noexcept {
    const auto name_of = [this](std::size_t i) { return tensors_[i].name; };
    const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
    return found != by_name_.end() && name_of(*found) == name ? &tensors_[*found] : nullptr;
}

}  // namespace qdial::gguf
