// SPDX-License-Identifier: Apache-2.0
//
// Work on tensors of any size in pieces of a bounded one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qdial/formats/format.hpp"
#include "qdial/model/description.hpp"

namespace qdial::model {

/// Elements of a tile, at most, unless a single row has to stay whole: as floats they fit into
/// the second-level cache of one core. A multiple of every block length.
inline constexpr std::size_t tile_elements = std::size_t{1} << 16;

/// A part of a tensor: consecutive rows of one of its matrices, or a part of one row.
struct tile {
    std::uint64_t first;     ///< its first element, counted through the tensor
    std::size_t matrix;      ///< index of the matrix in the stack (the expert)
    std::size_t column;      ///< where in its row a part of a row starts; 0 for whole rows
    std::size_t row_length;  ///< of the rows, or of the part
    std::size_t rows;

    [[nodiscard]] std::size_t elements() const noexcept { return rows * row_length; }
};

/// The bytes of a tile in a tensor's data.
[[nodiscard]] inline std::span<const std::byte> bytes_of(const tile& part,
                                                         const format_info& format,
                                                         std::span<const std::byte> data) {
    const auto bytes = [&](std::uint64_t elements) {
        return static_cast<std::size_t>(elements / format.block_length * format.block_bytes);
    };
    return data.subspan(bytes(part.first), bytes(part.elements()));
}

/// Cuts a tensor into tiles, in order.
class tile_cutter {
public:
    /// With `whole_rows` rows are never cut, however long they are: some encoders look at all of
    /// a row at once.
    explicit tile_cutter(const tensor_shape& tensor, bool whole_rows = false)
        : row_length_(static_cast<std::size_t>(tensor.dims[0])),
          matrix_rows_(tensor.dims[1]),
          elements_(tensor.elements()),
          part_length_(whole_rows ? row_length_ : std::min(row_length_, tile_elements)) {}

    [[nodiscard]] std::optional<tile> next() {
        if (next_ == elements_) return std::nullopt;
        const std::uint64_t row = next_ / row_length_;
        const auto column = static_cast<std::size_t>(next_ % row_length_);
        const std::uint64_t rows_left = matrix_rows_ - row % matrix_rows_;
        tile part{next_, static_cast<std::size_t>(row / matrix_rows_), column,
                  std::min(part_length_, row_length_ - column), 1};
        if (part.row_length == row_length_)
            part.rows = static_cast<std::size_t>(std::min<std::uint64_t>(
                rows_left, std::max<std::size_t>(tile_elements / row_length_, 1)));
        next_ += part.elements();
        return part;
    }

private:
    std::size_t row_length_;
    std::uint64_t matrix_rows_;
    std::uint64_t elements_;
    std::size_t part_length_;
    std::uint64_t next_ = 0;
};

/// Arrays of floats that tasks borrow, so that each is allocated once and not once a task.
class float_pool {
public:
    /// A borrowed array of at least the size asked for; its floats have no particular value.
    class loan {
    public:
        loan(float_pool& owner, std::size_t size) : owner_(owner) {
            const std::lock_guard lock(owner_.mutex_);
            if (!owner_.free_.empty()) {
                array_ = std::move(owner_.free_.back());
                owner_.free_.pop_back();
            }
            if (array_.capacity < size)
                array_ = {std::make_unique_for_overwrite<float[]>(size), size};
            size_ = size;
        }
        loan(const loan&) = delete;
        loan& operator=(const loan&) = delete;
        ~loan() {
            const std::lock_guard lock(owner_.mutex_);
            owner_.free_.push_back(std::move(array_));
        }
        [[nodiscard]] std::span<float> floats() const noexcept {
            return {array_.floats.get(), size_};
        }

    private:
        friend class float_pool;
        struct array {
            std::unique_ptr<float[]> floats;
            std::size_t capacity = 0;
        };
        float_pool& owner_;
        array array_;
        std::size_t size_ = 0;
    };

private:
    std::mutex mutex_;
    std::vector<loan::array> free_;
};

}  // namespace qdial::model
