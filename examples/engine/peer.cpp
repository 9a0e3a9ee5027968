// SPDX-License-Identifier: Apache-2.0
#include "peer.hpp"

#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "qdial/error.hpp"

namespace engine {

namespace {

/// A structure of parameters that the library passes by value. It is larger than the library's:
/// what lies beyond is neither read nor written.
struct parameters {
    std::uint8_t bytes[1024];

    template <class T>
    void set(std::size_t offset, T value) noexcept {
        std::memcpy(bytes + offset, &value, sizeof value);
    }
};

// Of llama.h as node-llama-cpp 3.22 ships it.
namespace model_field {
constexpr std::size_t use_extra_buffers = 74;
}
namespace context_field {
constexpr std::size_t n_ctx = 0, flash_attention = 52, type_k = 104, type_v = 108;
}

class library {
public:
    explicit library(const std::filesystem::path& folder) {
        void* base = open(folder / "libggml-base.so");
        void* ggml = open(folder / "libggml.so");
        void* llama = open(folder / "libllama.so");
        (void)base;
        find(ggml, "ggml_backend_load_all_from_path", load_backends);
        find(llama, "llama_log_set", log_set);
        find(llama, "llama_model_default_params", model_default_params);
        find(llama, "llama_context_default_params", context_default_params);
        find(llama, "llama_model_load_from_file", model_load_from_file);
        find(llama, "llama_init_from_model", init_from_model);
        find(llama, "llama_set_n_threads", set_n_threads);
        find(llama, "llama_model_get_vocab", model_get_vocab);
        find(llama, "llama_vocab_n_tokens", vocab_n_tokens);
        find(llama, "llama_batch_get_one", batch_get_one);
        find(llama, "llama_decode", decode);
        find(llama, "llama_synchronize", synchronize);
        find(llama, "llama_get_logits_ith", get_logits_ith);
        find(llama, "llama_get_memory", get_memory);
        find(llama, "llama_memory_clear", memory_clear);
        find(llama, "llama_free", free_context);
        find(llama, "llama_model_free", free_model);
        log_set([](int, const char*, void*) {}, nullptr);
        load_backends(folder.c_str());
    }

    void (*load_backends)(const char* folder) = nullptr;
    void (*log_set)(void (*)(int, const char*, void*), void*) = nullptr;
    parameters (*model_default_params)() = nullptr;
    parameters (*context_default_params)() = nullptr;
    void* (*model_load_from_file)(const char* path, parameters) = nullptr;
    void* (*init_from_model)(void* model, parameters) = nullptr;
    void (*set_n_threads)(void* context, std::int32_t generation, std::int32_t batch) = nullptr;
    const void* (*model_get_vocab)(const void* model) = nullptr;
    std::int32_t (*vocab_n_tokens)(const void* vocab) = nullptr;
    parameters (*batch_get_one)(token* tokens, std::int32_t n) = nullptr;
    std::int32_t (*decode)(void* context, parameters batch) = nullptr;
    void (*synchronize)(void* context) = nullptr;
    float* (*get_logits_ith)(void* context, std::int32_t i) = nullptr;
    void* (*get_memory)(const void* context) = nullptr;
    void (*memory_clear)(void* memory, bool data) = nullptr;
    void (*free_context)(void* context) = nullptr;
    void (*free_model)(void* model) = nullptr;

private:
    static void* open(const std::filesystem::path& path) {
        void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
        if (handle == nullptr) throw qdial::error(std::string("the peer: ") + ::dlerror());
        return handle;
    }
    template <class Function>
    static void find(void* handle, const char* name, Function& function) {
        function = reinterpret_cast<Function>(::dlsym(handle, name));
        if (function == nullptr)
            throw qdial::error(std::string("the peer: its library has no ") + name);
    }
};

}  // namespace

struct peer_session::impl {
    const library& lib;
    void* model = nullptr;
    void* context = nullptr;
    std::size_t vocabulary = 0;

    explicit impl(const library& l) : lib(l) {}
    impl(const impl&) = delete;
    impl& operator=(const impl&) = delete;
    ~impl() {
        if (context != nullptr) lib.free_context(context);
        if (model != nullptr) lib.free_model(model);
    }
};

peer_session::peer_session(const std::filesystem::path& folder, const std::filesystem::path& model,
                           const peer_options& options) {
    // Once: its backends register themselves for the whole program.
    static const library lib(folder);
    impl_ = std::make_unique<impl>(lib);
    parameters m = lib.model_default_params();
    m.set(model_field::use_extra_buffers, static_cast<std::uint8_t>(options.repack));
    impl_->model = lib.model_load_from_file(model.c_str(), m);
    if (impl_->model == nullptr)
        throw qdial::error("the peer does not load " + model.string());
    constexpr std::int32_t types[] = {0, 1, 8};  // F32, F16, Q8_0
    const std::int32_t type = types[static_cast<int>(options.cache)];
    parameters c = lib.context_default_params();
    c.set(context_field::n_ctx, static_cast<std::uint32_t>(options.context));
    c.set(context_field::type_k, type);
    c.set(context_field::type_v, type);
    // In float32 its flash attention still rounds to binary16.
    if (options.cache == kv_format::f32) c.set(context_field::flash_attention, std::int32_t{0});
    impl_->context = lib.init_from_model(impl_->model, c);
    if (impl_->context == nullptr)
        throw qdial::error("the peer makes no context of " + model.string());
    lib.set_n_threads(impl_->context, options.threads, options.threads);
    impl_->vocabulary = static_cast<std::size_t>(
        lib.vocab_n_tokens(lib.model_get_vocab(impl_->model)));
}

peer_session::~peer_session() = default;

std::span<const float> peer_session::run(std::span<const token> tokens) {
    std::vector<token> copy(tokens.begin(), tokens.end());
    const library& lib = impl_->lib;
    if (lib.decode(impl_->context,
                   lib.batch_get_one(copy.data(), static_cast<std::int32_t>(copy.size()))) != 0)
        throw qdial::error("the peer: llama_decode failed");
    lib.synchronize(impl_->context);
    return {lib.get_logits_ith(impl_->context, -1), impl_->vocabulary};
}

void peer_session::clear() {
    impl_->lib.memory_clear(impl_->lib.get_memory(impl_->context), true);
}

}  // namespace engine
