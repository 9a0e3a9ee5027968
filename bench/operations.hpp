// SPDX-License-Identifier: Apache-2.0
//
// One function per operation; each registers the benchmarks of its file.
#pragma once

namespace qdial::bench {

void register_quantize();     ///< quantize/FORMAT, quantize_weighted/FORMAT
void register_dequantize();   ///< dequantize/FORMAT (in L2), dequantize_memory/FORMAT
void register_activations();  ///< quantize_activations/FORMAT
void register_dot();          ///< dot/FORMAT

}  // namespace qdial::bench
