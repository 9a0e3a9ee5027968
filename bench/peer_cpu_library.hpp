// SPDX-License-Identifier: Apache-2.0
//
// Which of ggml's libraries of kernels is the one for this CPU.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "qdial/error.hpp"

namespace qdial::bench {

/// One of the peer's libraries of kernels.
struct peer_cpu_library {
    void* handle = nullptr;
    std::filesystem::path path{};
};

/// The libggml-cpu*.so in `folder` that scores best on this CPU, which is what ggml itself would
/// load, or the one that the environment variable QDIAL_PEER_CPU names ("haswell"). Null if none
/// runs on this CPU. Needs libggml-base.so, opened before with RTLD_GLOBAL.
inline peer_cpu_library find_peer_cpu_library(const std::filesystem::path& folder) {
    const char* wanted = std::getenv("QDIAL_PEER_CPU");
    std::string prefix = "libggml-cpu";
    if (wanted != nullptr && *wanted != '\0') prefix += "-" + std::string(wanted) + ".so";
    peer_cpu_library best;
    int best_score = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(prefix) || !name.ends_with(".so")) continue;
        void* library = dlopen(entry.path().c_str(), RTLD_NOW);
        if (library == nullptr) throw qdial::error(std::string("the peer: ") + dlerror());
        // Only libraries for one CPU among several tell a score; 0 means "not on this CPU".
        const auto score = reinterpret_cast<int (*)()>(dlsym(library, "ggml_backend_score"));
        const int value = score != nullptr ? score() : 1;
        if (value <= best_score) {
            dlclose(library);
            continue;
        }
        if (best.handle != nullptr) dlclose(best.handle);
        best = {library, entry.path()};
        best_score = value;
    }
    return best;
}

}  // namespace qdial::bench
