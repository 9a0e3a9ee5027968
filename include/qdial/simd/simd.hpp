// SPDX-License-Identifier: Apache-2.0
//
// Includes the backends that the compiler's flags allow.
#pragma once

#include "qdial/simd/arch.hpp"
#include "qdial/simd/ops.hpp"

#if QDIAL_WITH_AVX512
#include "qdial/simd/avx512.hpp"
#elif QDIAL_WITH_AVX2
#include "qdial/simd/avx2.hpp"
#elif QDIAL_WITH_SSE4
#include "qdial/simd/sse4.hpp"
#elif QDIAL_WITH_NEON
#include "qdial/simd/neon.hpp"
#endif
