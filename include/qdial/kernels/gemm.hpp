// SPDX-License-Identifier: Apache-2.0
//
// Packed GEMV and GEMM: Y = X W^T with weights in a GGUF format and float32 results that have the
// same bits everywhere.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "qdial/kernels/executor.hpp"
#include "qdial/kernels/gemm_blocks.hpp"
#include "qdial/kernels/gemm_pairs.hpp"
#include "qdial/kernels/gemm_tiles.hpp"
#include "qdial/kernels/pack.hpp"
#include "qdial/kernels/packed_activations.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// What happens to the results' old values: they are replaced, or are what the sums start from.
enum class output { overwrite, accumulate };

/// y[i] = sum over k of w[i][k] x[k], for one row of activations (x.n == 1); y.size() == w.rows.
///
/// The result is defined to the bit, the same on every backend and for every executor, tiling,
/// alignment and number of activation rows. y starts at 0, or at its old value; then the blocks of
/// the row are added to it in their order. With S = the sum of q_w q_x (scale q_w q_x) over the
/// block, an exact integer converted to float (rounded to nearest even), M = the exact sum of
/// minimum times sum of activation codes, likewise converted, and fma rounding once:
///
///     Q4_0, Q5_0, Q8_0      y = fma(S, d_w * d_x, y)
///     Q4_1, Q5_1            y = fma(S, d_w * d_x, y), then y = fma(m_w, s_x, y)
///     Q3_K, Q6_K            y = fma(S, d_w * d_x, y)
///     Q2_K, Q4_K, Q5_K      y = fma(S, d_w * d_x, y), then y = fma(-M, dmin_w * d_x, y)
///     F32, F16, BF16        y = fma(w, x, y), element by element
///
/// A NaN or an infinity among a row's activations makes that row's results NaN for block formats,
/// and what the definition says for floats; other rows do not see it.
template <packable_format F, class Arch = default_arch, class Executor = serial_executor>
void gemv(packed_matrix<F> w, packed_activations<packed_activation<F>> x, std::span<float> y,
          output mode = output::overwrite, Executor&& executor = {});

/// y[j * ldy + i] = sum over k of w[i][k] x[j][k], for i < w.rows, j < x.n; ldy >= w.rows. Defined
/// as for gemv: row j has the bits that gemv gives it.
template <packable_format F, class Arch = default_arch, class Executor = serial_executor>
void gemm(packed_matrix<F> w, packed_activations<packed_activation<F>> x, float* y, std::size_t ldy,
          output mode = output::overwrite, Executor&& executor = {});

/// Row `x` of the activations gives row `y` of the results.
struct routed_row {
    std::uint32_t x, y;
};

/// Mixture of experts: rows[e] lists the activation rows that expert e multiplies, and where their
/// results go: y[r.y * ldy + i] = sum over k of experts[e][i][k] x[r.x][k]. All experts have the
/// same shape, the result rows are distinct. Each row has the bits that gemv gives it.
template <packable_format F, class Arch = default_arch, class Executor = serial_executor>
void gemm_experts(std::span<const packed_matrix<F>> experts,
                  std::span<const std::span<const routed_row>> rows,
                  packed_activations<packed_activation<F>> x, float* y, std::size_t ldy,
                  output mode = output::overwrite, Executor&& executor = {});

// ---- implementation

namespace kernels {

/// A column of a multiplication: a row of activations and the row of results that it gives.
struct column {
    const std::byte* x;
    float* y;
};

/// Column j is row j.
struct plain_columns {
    const std::byte* x;
    std::size_t x_bytes;
    float* y;
    std::size_t ldy;
    QDIAL_INLINE column operator()(std::size_t j) const noexcept {
        return {x + j * x_bytes, y + j * ldy};
    }
};

/// Column j is a pair of rows from a list.
struct routed_columns {
    plain_columns rows;
    const routed_row* list;
    QDIAL_INLINE column operator()(std::size_t j) const noexcept {
        return {rows(list[j].x).x, rows(list[j].y).y};
    }
};

/// The source and the panel of a format.
template <class F, class Arch, std::size_t R>
struct weights_of {
    using source = float_source<F, Arch, R>;
    using panel = float_panel<F, Arch, R>;
};
template <packable_block_format F, class Arch, std::size_t R>
struct weights_of<F, Arch, R> {
    using source = simple_block_source<F, Arch, R>;
    using panel = panel_for<Arch, simple_block_panel<F, Arch, R>>;
};
template <packable_block_format F, class Arch, std::size_t R>
requires(F::block_length == 256) struct weights_of<F, Arch, R> {
    using source = super_block_source<F, Arch, R>;
    using panel = panel_for<Arch, super_block_panel<F, Arch, R>>;
};

/// Columns that a task takes at once: their results wait in a buffer on the stack.
inline constexpr std::size_t most_columns = 192;

/// Part of a multiplication: `tiles` tiles of sixteen rows (the last one may be partial) and
/// `columns` columns.
template <class F, class Arch, class Columns>
class tile_multiplier {
public:
    tile_multiplier(packed_matrix<F> w, Columns columns, output mode) noexcept
        : w_(w), columns_(columns), mode_(mode) {}

    /// Rows from tile `tile` to `end`, columns [first, first + n), n <= most_columns. A single
    /// column reads the weights where they are, more share a panel.
    void run(std::size_t tile, std::size_t end, std::size_t first, std::size_t n) const noexcept {
        if constexpr (has_matrix_tiles) {
            // From half a tile of columns on the tiles win.
            if (n >= 8) {
                using ops = simd::tile_ops<Arch>;
                ops::template start<F::block_length == 256 ? 64 : 32>();
                for (; tile + 2 <= end; tile += 2) multiply_on_tiles(tile, first, n);
                ops::stop();
            }
        }
        // On arrays the unrolled code of a single column only costs the compiler's time.
        if constexpr (!V::is_array) {
            if (n == 1) {
                run_tiles<gemv_tiles, true>(tile, end, first, n);
                return;
            }
        }
        run_tiles<gemm_tiles, false>(tile, end, first, n);
    }
    static constexpr bool has_matrix_tiles = simd::tile_ops<Arch>::exists && !F::is_float;

    using V = simd::row_ops<Arch>;
    static constexpr std::size_t gemm_tiles = F::is_float ? V::float_gemm_tiles : V::gemm_tiles;
    static constexpr std::size_t gemv_tiles = F::is_float             ? V::float_gemv_tiles
                                              : F::block_length == 32 ? V::simple_gemv_tiles
                                                                      : V::gemv_tiles;

private:
    static constexpr std::size_t lanes = simd::interleaved_rows;

    template <std::size_t R, bool One>
    void run_tiles(std::size_t tile, std::size_t end, std::size_t first,
                   std::size_t n) const noexcept {
        for (; tile + R <= end; tile += R) {
            if constexpr (One)
                multiply_tiles<typename weights_of<F, Arch, R>::source, 1, 1>(tile, first, n);
            else
                multiply_tiles<typename weights_of<F, Arch, R>::panel, gemm_columns, most_columns>(
                    tile, first, n);
        }
        if constexpr (R > 1) run_tiles<R / 2, One>(tile, end, first, n);
    }
    static constexpr std::size_t gemm_columns =
        F::is_float ? V::float_gemm_columns : V::gemm_columns;

    template <class Weights, std::size_t AtOnce, std::size_t Most>
    void multiply_tiles(std::size_t tile, std::size_t first, std::size_t n) const noexcept {
        constexpr std::size_t R = Weights::tiles;
        constexpr std::size_t per_part = Weights::length / F::block_length;
        constexpr std::size_t x_bytes = Weights::length /
                                        packed_record<packed_activation<F>>::length *
                                        sizeof(typename Weights::record);
        alignas(64) float y[Most * R * lanes];
        alignas(64) Weights weights;
        load_results<R>(tile, first, n, y);
        const std::size_t blocks = w_.row_length / F::block_length;
        const std::size_t tile_bytes = lanes * blocks * sizeof(typename F::block);
        for (std::size_t b = 0, part = 0; b < blocks; b += per_part, ++part) {
            const std::size_t count = std::min(per_part, blocks - b);
            weights.unpack(w_.data + tile * tile_bytes, tile_bytes, blocks, part, count);
            if constexpr (Most == 1) {
                // No loop: the compiler would unpack all weights ahead of it.
                const std::byte* x[1] = {columns_(first).x + part * x_bytes};
                multiply<1>(weights, count, x, y);
            } else {
                multiply_columns<AtOnce>(weights, count, part * x_bytes, first, n, y);
            }
        }
        store_results<R>(tile, first, n, y);
    }

    /// Two tiles of rows on AMX.
    void multiply_on_tiles(std::size_t tile, std::size_t first, std::size_t n) const noexcept
        requires(has_matrix_tiles) {
        using panel_type = tile_panel<F, Arch>;
        alignas(64) float y[most_columns * 2 * lanes];
        alignas(64) panel_type panel;
        load_results<2>(tile, first, n, y);
        const std::size_t blocks = w_.row_length / F::block_length;
        const std::size_t tile_bytes = lanes * blocks * sizeof(typename F::block);
        for (std::size_t b = 0, part = 0; b < blocks; b += panel_type::blocks, ++part) {
            const std::size_t count = std::min(panel_type::blocks, blocks - b);
            panel.unpack(w_.data + tile * tile_bytes, tile_bytes, blocks, part, count);
            const std::size_t x_at =
                part * panel_type::blocks * sizeof(typename panel_type::record);
            for (std::size_t j = 0; j < n; j += 32) {
                const std::byte* x[32];
                const std::size_t at_once = std::min<std::size_t>(32, n - j);
                for (std::size_t c = 0; c < at_once; ++c) x[c] = columns_(first + j + c).x + x_at;
                float* out = y + j * 2 * lanes;
                if (at_once > 16)
                    tile_kernel<2, F, Arch>::multiply(panel, count, x, at_once, out);
                else
                    tile_kernel<1, F, Arch>::multiply(panel, count, x, at_once, out);
            }
        }
        store_results<2>(tile, first, n, y);
    }

    /// C columns at a time, then the rest with fewer.
    template <std::size_t C, class Weights>
    QDIAL_INLINE void multiply_columns(const Weights& weights, std::size_t count, std::size_t x_at,
                                       std::size_t first, std::size_t n, float* y) const noexcept {
        constexpr std::size_t step = C * Weights::tiles * lanes;
        std::size_t j = 0;
        for (; j + C <= n; j += C, y += step) {
            const std::byte* x[C];
            for (std::size_t c = 0; c < C; ++c) x[c] = columns_(first + j + c).x + x_at;
            multiply<C>(weights, count, x, y);
        }
        if constexpr (C > 1)
            multiply_columns<(C > 4 ? C * 2 / 3 : C / 2)>(weights, count, x_at, first + j, n - j,
                                                          y);
    }

    template <std::size_t R>
    void load_results(std::size_t tile, std::size_t first, std::size_t n, float* y) const noexcept {
        std::fill_n(y, n * R * lanes, 0.0f);
        if (mode_ == output::accumulate)
            for_each_column<R>(tile, first, n, [=](float* row, std::size_t j, std::size_t count) {
                std::copy_n(row, count, y + j * R * lanes);
            });
    }
    template <std::size_t R>
    void store_results(std::size_t tile, std::size_t first, std::size_t n,
                       const float* y) const noexcept {
        for_each_column<R>(tile, first, n, [=](float* row, std::size_t j, std::size_t count) {
            std::copy_n(y + j * R * lanes, count, row);
        });
    }
    /// fn(this tile's results in column j, j, how many).
    template <std::size_t R, class Fn>
    void for_each_column(std::size_t tile, std::size_t first, std::size_t n, Fn fn) const noexcept {
        const std::size_t row = tile * lanes, count = std::min(R * lanes, w_.rows - row);
        for (std::size_t j = 0; j < n; ++j) fn(columns_(first + j).y + row, j, count);
    }

    packed_matrix<F> w_;
    Columns columns_;
    output mode_;
};

constexpr std::size_t divide_up(std::size_t a, std::size_t b) noexcept { return (a + b - 1) / b; }

/// How a multiplication is cut into tasks. It shows in the speed only.
template <class F, class Arch, class Columns>
struct task_grid {
    using multiplier = tile_multiplier<F, Arch, Columns>;
    std::size_t tiles, tiles_per_task, columns, columns_per_task;

    task_grid(std::size_t rows, std::size_t row_length, std::size_t n) noexcept
        : tiles(divide_up(rows, simd::interleaved_rows)), columns(n) {
        // A task's share of the weights: much more than a task costs to start.
        constexpr std::size_t task_bytes = 96 * 1024;
        const std::size_t tile_bytes = pack_size<F>(simd::interleaved_rows, row_length);
        const std::size_t at_once = n == 1 ? multiplier::gemv_tiles : multiplier::gemm_tiles;
        tiles_per_task = divide_up(divide_up(task_bytes, tile_bytes + 1), at_once) * at_once;
        // The columns' activations are to stay in the second-level cache meanwhile.
        constexpr std::size_t cache_bytes = 768 * 1024, step = 12;
        const std::size_t column_bytes =
            packed_activations_size<packed_activation<F>>(1, row_length);
        const std::size_t fitting =
            std::clamp(cache_bytes / (column_bytes + 1) / step * step, 8 * step, most_columns);
        const std::size_t parts = divide_up(n, fitting);
        columns_per_task =
            parts == 0 ? step : std::min(divide_up(divide_up(n, parts), step) * step, most_columns);
    }
    std::size_t row_tasks() const noexcept { return divide_up(tiles, tiles_per_task); }
    std::size_t tasks() const noexcept {
        return row_tasks() * divide_up(columns, columns_per_task);
    }

    /// Runs task i: all rows for the first columns come first.
    void run(const multiplier& part, std::size_t i) const noexcept {
        const std::size_t tile = i % row_tasks() * tiles_per_task;
        const std::size_t end = std::min(tile + tiles_per_task, tiles);
        const std::size_t first = i / row_tasks() * columns_per_task;
        part.run(tile, end, first, std::min(columns_per_task, columns - first));
    }
};

}  // namespace kernels

template <packable_format F, class Arch, class Executor>
void gemv(packed_matrix<F> w, packed_activations<packed_activation<F>> x, std::span<float> y,
          output mode, Executor&& executor) {
    QDIAL_ASSERT(x.n == 1, "gemv: there is not one row of activations");
    QDIAL_ASSERT(y.size() == w.rows, "gemv: the results are not as many as the rows");
    gemm<F, Arch>(w, x, y.data(), y.size(), mode, executor);
}

template <packable_format F, class Arch, class Executor>
void gemm(packed_matrix<F> w, packed_activations<packed_activation<F>> x, float* y, std::size_t ldy,
          output mode, Executor&& executor) {
    QDIAL_ASSERT(x.row_length == w.row_length, "gemm: rows of different length");
    QDIAL_ASSERT(w.row_length % F::block_length == 0,
                 "gemm: the row length is not a multiple of the block length");
    QDIAL_ASSERT(ldy >= w.rows || x.n <= 1, "gemm: the results' rows overlap");
    const std::size_t x_bytes = kernels::packed_row_bytes<packed_activation<F>>(x.row_length);
    const kernels::plain_columns columns{x.data, x_bytes, y, ldy};
    const kernels::tile_multiplier<F, Arch, kernels::plain_columns> multiplier(w, columns, mode);
    const kernels::task_grid<F, Arch, kernels::plain_columns> grid(w.rows, w.row_length, x.n);
    executor(grid.tasks(), [&](std::size_t i) { grid.run(multiplier, i); });
}

template <packable_format F, class Arch, class Executor>
void gemm_experts(std::span<const packed_matrix<F>> experts,
                  std::span<const std::span<const routed_row>> rows,
                  packed_activations<packed_activation<F>> x, float* y, std::size_t ldy,
                  output mode, Executor&& executor) {
    QDIAL_ASSERT(experts.size() == rows.size(), "gemm_experts: not one list of rows per expert");
    if (experts.empty()) return;
    const std::size_t x_bytes = kernels::packed_row_bytes<packed_activation<F>>(x.row_length);
    for (std::size_t e = 0; e < experts.size(); ++e) {
        QDIAL_ASSERT(experts[e].rows == experts[0].rows && experts[e].row_length == x.row_length &&
                         ldy >= experts[e].rows,
                     "gemm_experts: shapes do not match");
        for (const routed_row& row : rows[e])
            QDIAL_ASSERT(row.x < x.n, "gemm_experts: no such row of activations");
    }
    // Tasks of all experts form one list, so that experts with few rows fill the threads too.
    const auto grid_of = [&](std::size_t e) {
        return kernels::task_grid<F, Arch, kernels::routed_columns>(experts[e].rows, x.row_length,
                                                                    rows[e].size());
    };
    std::size_t tasks = 0;
    for (std::size_t e = 0; e < experts.size(); ++e) tasks += grid_of(e).tasks();
    executor(tasks, [&](std::size_t i) {
        std::size_t e = 0;
        for (; i >= grid_of(e).tasks(); ++e) i -= grid_of(e).tasks();
        const kernels::routed_columns columns{{x.data, x_bytes, y, ldy}, rows[e].data()};
        const kernels::tile_multiplier<F, Arch, kernels::routed_columns> multiplier(experts[e],
                                                                                    columns, mode);
        grid_of(e).run(multiplier, i);
    });
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
