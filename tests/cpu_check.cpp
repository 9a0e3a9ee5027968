// SPDX-License-Identifier: Apache-2.0
//
// Ends a kernel test program with exit code 77 when this CPU lacks its backend. It runs before
// every other initialiser, because those may already have been compiled for that backend.
#include <cstdio>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace {

#if defined(__x86_64__)
[[maybe_unused]] bool cpu_has_avx2() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

[[maybe_unused]] bool cpu_has_avx512() {
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

// Asked of the CPU itself: older compilers do not know the feature's name.
[[maybe_unused]] bool cpu_has_avx_vnni() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1u << 4)) != 0;
}
#endif

bool cpu_has_backend() {
#if defined(QDIAL_TEST_BACKEND_generic) || defined(QDIAL_TEST_BACKEND_emulated)
    return true;
#elif defined(QDIAL_TEST_BACKEND_neon)
    return true;
#elif defined(QDIAL_TEST_BACKEND_neon_dotprod)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(QDIAL_TEST_BACKEND_neon_i8mm)
    return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#elif defined(QDIAL_TEST_BACKEND_sse4)
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
#elif defined(QDIAL_TEST_BACKEND_avx2)
    return cpu_has_avx2();
#elif defined(QDIAL_TEST_BACKEND_avx2_vnni)
    return cpu_has_avx2() && cpu_has_avx_vnni();
#elif defined(QDIAL_TEST_BACKEND_avx512)
    return cpu_has_avx512();
#elif defined(QDIAL_TEST_BACKEND_avx512_vnni)
    return cpu_has_avx512() && __builtin_cpu_supports("avx512vnni");
#else
#error "cpu_check.cpp does not know this backend"
#endif
}

__attribute__((constructor(101))) void skip_without_backend() {
    if (cpu_has_backend()) return;
    std::printf("SKIPPED: " QDIAL_TEST_BACKEND " not supported by this CPU\n");
    std::fflush(stdout);
    std::_Exit(77);
}

}  // namespace
