// SPDX-License-Identifier: Apache-2.0
//
// Converting a whole model: the file that llama-quantize makes, byte for byte, in bounded memory.
//
//     model_source source("model-f16.gguf");
//     conversion job(source, "model-q4_k_m.gguf", get_recipe("Q4_K_M"));
//     gguf::atomic_file out("model-q4_k_m.gguf", {.expected_bytes = job.layout().file_bytes()});
//     convert(job, [&](auto bytes) { out.write(bytes); });
//     source.check_unchanged();
//     out.commit();
//
// Rows are decoded, checked and encoded in tiles, a batch of tiles at a time; while one batch is
// encoded, the one before is written and the one after is read ahead. The bytes do not depend on
// the executor.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qdial/error.hpp"
#include "qdial/gguf/writer.hpp"
#include "qdial/kernels/executor.hpp"
#include "qdial/model/codec.hpp"
#include "qdial/model/conversion.hpp"
#include "qdial/model/tiles.hpp"

namespace qdial::model {

namespace detail {

/// The bits of the largest |x|: magnitudes order like their bits, and infinity and NaN come out
/// on top.
template <class Arch>
[[nodiscard]] std::uint32_t largest_magnitude_bits(std::span<const float> floats) noexcept {
    std::uint32_t largest = 0;
    for (const float x : floats)
        largest = std::max(largest, std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFu);
    return largest;
}

/// Index of the first float that is infinite or NaN; the size if there is none.
[[nodiscard]] inline std::size_t first_non_finite(std::span<const float> floats) noexcept {
    const auto found = std::ranges::find_if(floats, [](float x) { return !std::isfinite(x); });
    return static_cast<std::size_t>(found - floats.begin());
}

/// A tile on its way through the conversion.
struct piece {
    std::size_t tensor;  ///< index in the plan
    tile part;
    std::span<const std::byte> source;
    std::size_t out_bytes;  ///< 0 for tensors that keep their format: those are copied as they are
    std::span<std::byte> out;
    std::string problem;
};

/// Cuts the tensors of a conversion into pieces, in the order of the quantized file.
class piece_cutter {
public:
    explicit piece_cutter(const conversion& job) : job_(job) {}

    [[nodiscard]] std::optional<piece> next() {
        for (; tensor_ < job_.plan().tensors.size(); ++tensor_, tiles_.reset()) {
            const planned_tensor& planned = job_.plan().tensors[tensor_];
            const tensor_shape& shape = job_.source().shapes()[planned.source];
            if (!tiles_) tiles_.emplace(shape, needs_whole_rows(planned, shape));
            if (const std::optional<tile> part = tiles_->next()) {
                const gguf::tensor& from = *job_.source().tensors()[planned.source].tensor;
                const format_info to = find_format(planned.format).value();
                const bool copied = to.gguf_id == from.format.gguf_id;
                return piece{tensor_,
                             *part,
                             bytes_of(*part, from.format, from.data),
                             copied ? 0 : part->elements() / to.block_length * to.block_bytes,
                             {},
                             {}};
            }
        }
        return std::nullopt;
    }

private:
    /// With importance the encoders of 32-element blocks look at the spread of their whole row.
    [[nodiscard]] bool needs_whole_rows(const planned_tensor& planned,
                                        const tensor_shape& shape) const {
        return job_.importance() != nullptr && planned.format != shape.format &&
               find_format(planned.format)->block_length == 32;
    }

    const conversion& job_;
    std::size_t tensor_ = 0;
    std::optional<tile_cutter> tiles_;
};

/// Pieces that are worked on at the same time, and the memory for their encoded blocks.
class batch {
public:
    /// Takes the next pieces; leaves the batch empty at the end.
    void fill(piece_cutter& cutter) {
        pieces_.clear();
        std::size_t source_bytes = 0, out_bytes = 0;
        while (source_bytes < most_bytes && out_bytes < most_bytes) {
            std::optional<piece> taken = cutter.next();
            if (!taken) break;
            source_bytes += taken->source.size();
            out_bytes += taken->out_bytes;
            pieces_.push_back(std::move(*taken));
        }
        place();
    }

    [[nodiscard]] std::size_t size() const noexcept { return pieces_.size(); }
    [[nodiscard]] std::span<piece> pieces() noexcept { return pieces_; }

    /// Calls `fn(source tensor, bytes of the source, bytes of the result)` for every run of pieces
    /// of the same tensor.
    template <class Fn>
    void for_each_tensor(const conversion& job, Fn&& fn) const {
        for (std::size_t begin = 0; begin < pieces_.size();) {
            const piece& first = pieces_[begin];
            std::size_t source_bytes = 0, out_bytes = 0, end = begin;
            for (; end < pieces_.size() && pieces_[end].tensor == first.tensor; ++end) {
                source_bytes += pieces_[end].source.size();
                out_bytes += pieces_[end].out_bytes;
            }
            const std::span<const std::byte> source(first.source.data(), source_bytes);
            fn(job.source().tensors()[job.plan().tensors[first.tensor].source], source,
               out_bytes == 0 ? source : std::span<const std::byte>(first.out.data(), out_bytes));
            begin = end;
        }
    }

private:
    static constexpr std::size_t most_bytes = std::size_t{16} << 20;

    /// Gives every piece its place. Those of a tensor follow each other without a gap; a tensor
    /// starts where any block may.
    void place() {
        std::size_t end = 0;
        const auto advance = [&](std::size_t i) {
            if (i > 0 && pieces_[i].tensor != pieces_[i - 1].tensor) end = (end + 7) / 8 * 8;
            return std::exchange(end, end + pieces_[i].out_bytes);
        };
        for (std::size_t i = 0; i < pieces_.size(); ++i) advance(i);
        if (end > capacity_) {
            memory_ = std::make_unique_for_overwrite<std::byte[]>(end);
            capacity_ = end;
        }
        end = 0;
        for (std::size_t i = 0; i < pieces_.size(); ++i)
            pieces_[i].out = {memory_.get() + advance(i), pieces_[i].out_bytes};
    }

    std::vector<piece> pieces_;
    std::unique_ptr<std::byte[]> memory_;
    std::size_t capacity_ = 0;
};

/// Carries out one conversion.
template <class Arch>
class converter {
public:
    converter(const conversion& job, gguf::writer& out) : job_(job), out_(out) {}

    template <class Executor, class Progress>
    void run(Executor& executor, Progress&& progress) {
        piece_cutter cutter(job_);
        conversion_progress state{0, 0};
        for (const source_tensor& entry : job_.source().tensors())
            state.total += entry.tensor->data.size();
        batch next, current, previous;
        next.fill(cutter);
        do {
            std::swap(current, next);
            next.fill(cutter);  // in the memory of the batch before last, which is written
            // Reading and writing is the first task, the others are pieces to encode.
            executor(current.size() + 1, [&](std::size_t i) {
                i == 0 ? transfer(next, previous) : encode_piece(current.pieces()[i - 1]);
            });
            if (transfer_failure_) std::rethrow_exception(transfer_failure_);
            for (const piece& p : current.pieces()) {
                if (!p.problem.empty()) fail(p);
                state.done += p.source.size();
            }
            progress(state);
            std::swap(previous, current);
        } while (previous.size() != 0);
    }

private:
    void transfer(const batch& to_read, const batch& to_write) noexcept {
        try {
            to_read.for_each_tensor(job_, [](const source_tensor& from, auto source, auto) {
                from.file->prefetch(source);
            });
            to_write.for_each_tensor(job_,
                                     [&](const source_tensor& from, auto source, auto result) {
                                         out_.append(result);
                                         from.file->drop(source);
                                     });
        } catch (...) {
            transfer_failure_ = std::current_exception();
        }
    }

    void encode_piece(piece& p) noexcept {
        try {
            const planned_tensor& planned = job_.plan().tensors[p.tensor];
            const gguf::tensor& from = *job_.source().tensors()[planned.source].tensor;
            // Quantized tensors that keep their format pass through unseen.
            if (p.out_bytes == 0 && !(from.format.is_float && from.format.decodable)) return;
            const float_pool::loan loan(pool_, p.part.elements());
            decode<Arch>(from.format.gguf_id, p.source, loan.floats());
            const std::uint32_t largest = largest_magnitude_bits<Arch>(loan.floats());
            if (largest >= 0x7F800000u) {
                const std::size_t at = first_non_finite(loan.floats());
                p.problem = place(p, at) + ": found " +
                            (std::isnan(loan.floats()[at]) ? "NaN" : "an infinity") +
                            ", expected a finite weight";
                return;
            }
            if (p.out_bytes == 0) return;
            encode<Arch>(planned.format, loan.floats(), p.part.row_length, importance_of(p), p.out);
            // No scale of a format is larger than the weights, and binary16 ends at 65504.
            if (largest >= std::bit_cast<std::uint32_t>(32768.0f)) check_encoded(p, loan.floats());
        } catch (const std::exception& problem) {
            p.problem = problem.what();
        }
    }

    [[nodiscard]] std::span<const float> importance_of(const piece& p) const {
        const planned_tensor& planned = job_.plan().tensors[p.tensor];
        if (job_.importance() == nullptr || find_format(planned.format)->is_float) return {};
        const auto all =
            job_.importance()->find(job_.source().shapes()[planned.source], p.part.matrix);
        return all.empty() ? all : all.subspan(p.part.column, p.part.row_length);
    }

    /// Very large weights may not be representable. Names the largest of the first block of which
    /// that is true.
    void check_encoded(piece& p, std::span<const float> original) {
        const float_pool::loan loan(pool_, p.part.elements());
        const std::uint32_t format = job_.plan().tensors[p.tensor].format;
        decode<Arch>(format, p.out, loan.floats());
        const std::size_t bad = first_non_finite(loan.floats());
        if (bad == original.size()) return;
        const std::size_t length = find_format(format)->block_length;
        const auto block = original.subspan(bad / length * length, length);
        const auto magnitude = [](float x) { return std::fabs(x); };
        const auto largest = std::ranges::max_element(block, {}, magnitude);
        p.problem = place(p, static_cast<std::size_t>(&*largest - original.data())) + ": found " +
                    std::to_string(*largest) + ", expected weights that " + format_name(format) +
                    " can represent";
    }

    [[nodiscard]] std::string place(const piece& p, std::size_t index) const {
        const std::uint64_t row_length =
            job_.source().shapes()[job_.plan().tensors[p.tensor].source].dims[0];
        const std::uint64_t element = p.part.first + index;
        return "row " + std::to_string(element / row_length) + ", column " +
               std::to_string(element % row_length) + " (counted from 0)";
    }

    [[noreturn]] void fail(const piece& p) const {
        const source_tensor& from = job_.source().tensors()[job_.plan().tensors[p.tensor].source];
        throw error(from.file->name() + ": tensor " + gguf::detail::quoted(from.tensor->name) +
                    ": " + p.problem);
    }

    const conversion& job_;
    gguf::writer& out_;
    float_pool pool_;
    std::exception_ptr transfer_failure_;
};

}  // namespace detail

/// Carries out a conversion. `write` gets every byte of the file, in order, from one thread at a
/// time; `progress` is called on this thread after every batch. Throws `error` for weights that
/// are infinite or NaN, or too large for their format, naming tensor, row and column; what `write`
/// throws passes through.
template <class Arch = default_arch, class Executor = serial_executor>
void convert(
    const conversion& job, gguf::writer::sink write, Executor&& executor = {},
    const std::function<void(const conversion_progress&)>& progress = [](const auto&) {}) {
    gguf::writer out(job.layout(), std::move(write));
    detail::converter<Arch>(job, out).run(executor, progress);
    out.finish();
}

}  // namespace qdial::model
