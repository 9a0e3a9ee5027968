// SPDX-License-Identifier: Apache-2.0
//
// Undoes qdial/macros_begin.hpp. No #pragma once either.
#undef QDIAL_INLINE
#undef QDIAL_INLINE_LAMBDA
#undef QDIAL_UNROLL
#undef QDIAL_NO_UNROLL
