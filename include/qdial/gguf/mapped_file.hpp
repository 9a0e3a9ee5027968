// SPDX-License-Identifier: Apache-2.0
//
// A whole file as read-only memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "qdial/gguf/text.hpp"

// Without mmap the file is read into the heap: correct, but as large as the file.
#if __has_include(<sys/mman.h>) && !defined(QDIAL_NO_MMAP)
#define QDIAL_HAS_MMAP 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#else
#define QDIAL_HAS_MMAP 0
#include <fstream>
#include <vector>
#endif

namespace qdial::gguf {

/// A file mapped for reading; movable, and its bytes stay where they are when it moves.
///
/// The file must not get shorter while it is mapped: reading a page that no longer exists ends
/// the program (SIGBUS), and no check in user code can rule that out. `check_unchanged()` catches
/// what happened up to now; call it before each long pass over the data. Replacing the file by
/// renaming another over it is harmless, the map keeps the old one.
class mapped_file {
public:
    /// Maps the regular file `path`. Throws `qdial::error` if it cannot be opened or mapped.
    explicit mapped_file(const std::filesystem::path& path);
    mapped_file(mapped_file&& other) noexcept { swap(other); }
    mapped_file& operator=(mapped_file&& other) noexcept {
        mapped_file taken(std::move(other));
        swap(taken);
        return *this;
    }
    mapped_file(const mapped_file&) = delete;
    mapped_file& operator=(const mapped_file&) = delete;
    ~mapped_file();

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

    /// The path as given, for messages.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

    /// Says that `part` of `bytes()` has been read and is not needed soon: its pages leave this
    /// process (they stay in the system's cache), so that a pass over a file of any size keeps a
    /// small resident set. Reading the part again is correct, only slower.
    void drop(std::span<const std::byte> part) const noexcept;

    /// Asks the system to start reading `part` of `bytes()` in the background.
    void prefetch(std::span<const std::byte> part) const noexcept;

    /// Throws `qdial::error` if the file got another size or was written to since it was mapped.
    void check_unchanged() const;

private:
    void swap(mapped_file& other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(name_, other.name_);
#if QDIAL_HAS_MMAP
        std::swap(descriptor_, other.descriptor_);
        std::swap(opened_, other.opened_);
#else
        std::swap(heap_, other.heap_);
#endif
    }

    std::span<const std::byte> bytes_;
    std::string name_;
#if QDIAL_HAS_MMAP
    void map();
    void advise(std::span<const std::byte> part, int advice) const noexcept;
    struct stat status() const;

    int descriptor_ = -1;
    struct stat opened_ {};
#else
    std::vector<std::byte> heap_;
#endif
};

#if QDIAL_HAS_MMAP

inline mapped_file::mapped_file(const std::filesystem::path& path) : name_(path.string()) {
    // Without O_NONBLOCK, opening a pipe would wait for a writer instead of reporting it.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) detail::fail_system(name_, "cannot open", errno);
    try {
        map();
    } catch (...) {
        ::close(descriptor_);
        throw;
    }
}

inline void mapped_file::map() {
    opened_ = status();
    if (!S_ISREG(opened_.st_mode))
        throw error(name_ + ": " + (S_ISDIR(opened_.st_mode) ? "a folder" : "not a regular file") +
                    ", expected a file");
    const auto size = static_cast<std::uint64_t>(opened_.st_size);
    if (size > std::numeric_limits<std::size_t>::max() / 2)
        throw error(name_ + ": " + std::to_string(size) + " bytes are too many for this system");
    if (size == 0) return;  // mmap refuses an empty range
    void* memory = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED,
                          descriptor_, 0);
    if (memory == MAP_FAILED) detail::fail_system(name_, "cannot map into memory", errno);
    bytes_ = {static_cast<const std::byte*>(memory), static_cast<std::size_t>(size)};
}

inline mapped_file::~mapped_file() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
    if (descriptor_ >= 0) ::close(descriptor_);
}

inline struct stat mapped_file::status() const {
    struct stat now {};
    if (::fstat(descriptor_, &now) != 0) detail::fail_system(name_, "cannot read its size", errno);
    return now;
}

inline void mapped_file::check_unchanged() const {
    const struct stat now = status();
    if (now.st_size != opened_.st_size)
        throw error(name_ + ": the file changed while it was being read: found " +
                    std::to_string(now.st_size) + " bytes, expected " +
                    std::to_string(opened_.st_size));
#if defined(__APPLE__)
    const timespec a = now.st_mtimespec, b = opened_.st_mtimespec;
#else
    const timespec a = now.st_mtim, b = opened_.st_mtim;
#endif
    if (a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec)
        throw error(name_ + ": the file changed while it was being read: it was written to");
}

inline void mapped_file::advise(std::span<const std::byte> part, int advice) const noexcept {
    // Rounded outwards: a page shared with a neighbour is simply read again when needed.
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (part.empty()) return;
    const auto from = static_cast<std::size_t>(part.data() - bytes_.data()) / page * page;
    const auto to = static_cast<std::size_t>(part.data() - bytes_.data()) + part.size();
    ::madvise(const_cast<std::byte*>(bytes_.data()) + from, to - from, advice);
}

inline void mapped_file::drop(std::span<const std::byte> part) const noexcept {
    advise(part, MADV_DONTNEED);
}

inline void mapped_file::prefetch(std::span<const std::byte> part) const noexcept {
    advise(part, MADV_WILLNEED);
}

#else

inline mapped_file::mapped_file(const std::filesystem::path& path) : name_(path.string()) {
    std::error_code code;
    const auto size = std::filesystem::file_size(path, code);
    if (code) detail::fail_system(name_, "cannot open", code.value());
    heap_.resize(static_cast<std::size_t>(size));
    std::ifstream stream(path, std::ios::binary);
    stream.read(reinterpret_cast<char*>(heap_.data()), static_cast<std::streamsize>(size));
    if (!stream) throw error(name_ + ": cannot read " + std::to_string(size) + " bytes");
    bytes_ = heap_;
}

inline mapped_file::~mapped_file() = default;
inline void mapped_file::drop(std::span<const std::byte>) const noexcept {}
inline void mapped_file::prefetch(std::span<const std::byte>) const noexcept {}
inline void mapped_file::check_unchanged() const {}

#endif

}  // namespace qdial::gguf

#undef QDIAL_HAS_MMAP
