// SPDX-License-Identifier: Apache-2.0
//
// qdial: low-bit weight formats, their kernels, GGUF files and the dial between size and quality.
//
// This header includes everything. A file that needs one format and one kernel compiles faster
// with just these, for example qdial/formats/q4_k.hpp and qdial/kernels/quantize.hpp.
//
// ── Formats (qdial/formats/) ────────────────────────────────────────────────────────────────
// A format is a type: f32 f16 bf16 · q4_0 q4_1 q5_0 q5_1 q8_0 · q2_k q3_k q4_k q5_k q6_k ·
// q8_1 q8_k (activations). It has a name, a GGUF id, a block_length and a block:
//
//     static_assert(qdial::q4_k::block_length == 256);
//     static_assert(sizeof(qdial::q4_k::block) == 144);
//
// At run time, by GGUF id or name:
//
//     std::optional<qdial::format_info> info = qdial::find_format("Q4_K");
//     qdial::visit(info->gguf_id, [](auto format) { using F = decltype(format); … });
//
// ── Kernels (qdial/kernels/) ────────────────────────────────────────────────────────────────
// Templates on <Format, Arch> over std::span. They allocate nothing, throw nothing and own no
// threads; sizes that do not match fail QDIAL_ASSERT, which you may define yourself.
//
//     quantize<F>(row, blocks, importance = {})                  float32 row → blocks
//     quantize_rows<F>(x, row_length, blocks, importance, executor)
//     dequantize<F, Out>(blocks, out)                            blocks → float, float16, bfloat16
//     dequantize_rows<F, Out>(blocks, row_length, out, executor)
//     quantize_activations<A>(row, blocks)                       A: q8_0, q8_1, q8_k
//     dot<F>(weights, activations)                               activations in F::activation
//
//     pack<F>(blocks, row_length, packed)                        a matrix for the next ones
//     pack_activations<A>(x, n, row_length, stride, out)         rows of activations, once for all
//                                                                matrices with this partner
//     gemv<F>({packed, rows, row_length}, activations, y)        y = W x
//     gemm<F>(…, y, ldy), gemm_experts<F>(…)                     Y = X W^T, mixture of experts
//
// Arch is the backend, by default the best that the compiler's flags allow (simd/arch.hpp). Every
// backend, compiler and flag set gives the same bits; -ffast-math is refused.
//
// ── GGUF (qdial/gguf/) ──────────────────────────────────────────────────────────────────────
//     gguf::file        reads: memory-mapped, everything checked before use
//     gguf::file_plan   lays a file out: sizes and offsets before there is data
//     gguf::writer      writes the planned file, streaming
//     gguf::atomic_file an output that appears under its name only when complete
//
// ── Models (qdial/model/) ───────────────────────────────────────────────────────────────────
//     model::make_plan  a recipe (Q4_K_M, …) applied to a model: the type of every tensor
//     model::estimate   file size and the memory to run it
//     model::importance_matrix
//     model::convert    the conversion of a whole file
//     model::compare    how far two files' weights are apart
//     model::compare_logits, model::text_quality
//                       how far a model's predictions are from a reference's on a text
//     model::importance_collector
//     model::paired_loss, model::wilson, … (statistics.hpp)  intervals of what was measured
//
// gguf/ and model/ allocate, and report errors as qdial::error with one line for a person.
#pragma once

#include "qdial/config.hpp"
#include "qdial/error.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/gguf/atomic_file.hpp"
#include "qdial/gguf/reader.hpp"
#include "qdial/gguf/writer.hpp"
#include "qdial/kernels/activations.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/dot.hpp"
#include "qdial/kernels/executor.hpp"
#include "qdial/kernels/gemm.hpp"
#include "qdial/kernels/quantize.hpp"
#include "qdial/model/architecture.hpp"
#include "qdial/model/compare.hpp"
#include "qdial/model/convert.hpp"
#include "qdial/model/dial.hpp"
#include "qdial/model/estimate.hpp"
#include "qdial/model/imatrix.hpp"
#include "qdial/model/recipes.hpp"
#include "qdial/model/statistics.hpp"
#include "qdial/model/text_quality.hpp"
#include "qdial/version.hpp"
