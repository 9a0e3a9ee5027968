// SPDX-License-Identifier: Apache-2.0
//
// An output file that appears under its name only when it is complete (POSIX systems).
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qdial/gguf/text.hpp"

namespace qdial::gguf {

/// Writes to a temporary file next to the target, `<target>.<process id>-<n>.qdial-part`, which
/// `commit()` syncs and renames. Without `commit()` the destructor removes it, and whatever had
/// the target's name is untouched. What a killed process left is removed by the next
/// `atomic_file` for the same target. Two processes may write the same target at once: each has
/// a temporary of its own, and the last to commit wins (the first, without `overwrite`).
class atomic_file {
public:
    struct options {
        bool overwrite = false;            ///< replace an existing target
        std::uint64_t expected_bytes = 0;  ///< reserved at once, so that a full disk shows early
    };

    /// Throws `qdial::error` if the target exists (without `overwrite`) or is no regular file, if
    /// its folder cannot be written to, or if there is no room for the expected bytes.
    atomic_file(const std::filesystem::path& target, options how);
    atomic_file(const atomic_file&) = delete;
    atomic_file& operator=(const atomic_file&) = delete;
    ~atomic_file();

    /// Appends bytes. Throws `qdial::error`, for example when the disk is full.
    void write(std::span<const std::byte> bytes);

    /// Puts the file on disk under its final name. Throws `qdial::error` if that fails, or if,
    /// without `overwrite`, somebody else made the target meanwhile.
    void commit();

    [[nodiscard]] const std::filesystem::path& temporary() const noexcept { return temporary_; }

    /// Removes the temporaries of all files of this process that are not committed. For signal
    /// handlers that end the process: async-signal-safe, and the files are unusable after it.
    static void remove_unfinished() noexcept;

private:
    struct live_name;

    void check_target() const;
    void remove_stale() const;
    void create();
    void reserve(std::uint64_t bytes);
    void write_out(std::span<const std::byte> bytes);
    void publish();
    void discard() noexcept;
    [[nodiscard]] std::filesystem::path folder() const { return target_.parent_path(); }
    /// What the names of all temporaries of this target start with.
    [[nodiscard]] std::string stem() const;

    static constexpr std::string_view suffix = ".qdial-part";
    static constexpr std::size_t buffer_bytes = std::size_t{1} << 20;
    static constexpr std::uint64_t writeback_bytes = std::uint64_t{16} << 20;

    std::filesystem::path target_;  // absolute: the program may change its folder meanwhile
    std::filesystem::path temporary_;
    std::string name_;  // of the target, for messages
    bool overwrite_;
    int descriptor_ = -1;
    live_name* live_ = nullptr;
    std::uint64_t written_ = 0;
    [[maybe_unused]] std::uint64_t started_ = 0;  // bytes that the disk was told to start on
    std::vector<std::byte> buffer_;
};

/// The path of a temporary that exists, where a signal handler can find it. Nodes are reused but
/// never freed, so that the handler can walk the list at any moment.
struct atomic_file::live_name {
    std::atomic<bool> taken{false};
    std::atomic<pid_t> owner{0};  // 0: nothing to remove; a forked child must not remove it
    std::array<char, 4096> path{};
    live_name* next = nullptr;

    static inline std::atomic<live_name*> first{nullptr};
    static_assert(std::atomic<pid_t>::is_always_lock_free &&
                  std::atomic<live_name*>::is_always_lock_free);

    static live_name* take() {
        for (live_name* node = first.load(); node; node = node->next)
            if (!node->taken.exchange(true)) return node;
        auto* node = new live_name;
        node->taken = true;
        node->next = first.load();
        while (!first.compare_exchange_weak(node->next, node)) {
        }
        return node;
    }

    void publish(const std::string& name) noexcept {
        std::memcpy(path.data(), name.c_str(), name.size() + 1);
        owner = ::getpid();
    }

    void give_back() noexcept {
        owner = 0;
        taken = false;
    }
};

inline void atomic_file::remove_unfinished() noexcept {
    for (const live_name* node = live_name::first.load(); node; node = node->next)
        if (node->owner.load() == ::getpid()) ::unlink(node->path.data());
}

inline atomic_file::atomic_file(const std::filesystem::path& target, options how)
    : name_(target.string()), overwrite_(how.overwrite) {
    std::error_code code;  // an empty path stays empty, for the check
    target_ = std::filesystem::absolute(target, code);
    check_target();
    remove_stale();
    try {
        create();
        if (how.expected_bytes != 0) reserve(how.expected_bytes);
        buffer_.reserve(buffer_bytes);
    } catch (...) {
        discard();
        throw;
    }
}

inline atomic_file::~atomic_file() { discard(); }

inline void atomic_file::discard() noexcept {
    if (descriptor_ >= 0) {
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        ::close(descriptor_);
        descriptor_ = -1;
    }
    if (live_) live_->give_back();
    live_ = nullptr;
}

inline std::string atomic_file::stem() const {
    // Names have at most 255 bytes; a process id, a counter and the suffix need about 40.
    return target_.filename().string().substr(0, 200) + ".";
}

inline void atomic_file::check_target() const {
    if (!target_.has_filename()) throw error(name_ + ": expected the name of a file");
    struct stat found {};
    if (::lstat(target_.c_str(), &found) != 0) {
        if (errno == ENOENT) return;
        detail::fail_system(name_, "cannot write", errno);
    }
    if (!overwrite_) throw error(name_ + ": the file exists, expected a new name");
    // A link is replaced, not followed, but it must not stand for a device or a folder.
    if (::stat(target_.c_str(), &found) == 0 && !S_ISREG(found.st_mode))
        throw error(name_ + ": not a regular file, refusing to replace it");
}

/// Removes temporaries of this target whose process is gone. A living one holds a lock on its
/// file, which also tells processes of other containers and recycled process ids apart; where
/// the file system knows no locks, the process id decides.
inline void atomic_file::remove_stale() const {
    std::error_code code;
    const std::string begin = stem();
    for (std::filesystem::directory_iterator it(folder(), code), end; !code && it != end;
         it.increment(code)) {
        const std::string found = it->path().filename().string();
        if (!found.starts_with(begin) || !found.ends_with(suffix)) continue;
        pid_t owner = 0;
        const char* digits = found.c_str() + begin.size();
        const auto [stop, failure] = std::from_chars(digits, found.c_str() + found.size(), owner);
        if (failure != std::errc{} || owner <= 0 || *stop != '-') continue;
        const int old = ::open(it->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (old < 0) continue;
        const bool locked = ::flock(old, LOCK_EX | LOCK_NB) == 0;
        const bool unknown = !locked && errno != EWOULDBLOCK;
        if (locked || (unknown && ::kill(owner, 0) != 0 && errno == ESRCH))
            ::unlink(it->path().c_str());
        ::close(old);
    }
}

inline void atomic_file::create() {
    static std::atomic<unsigned> counter{0};
    // Another process may take a new file for a stale one until the lock is on it: then retry.
    for (;;) {
        const std::string name = stem() + std::to_string(::getpid()) + "-" +
                                 std::to_string(counter++) + std::string(suffix);
        temporary_ = folder() / name;
        if (temporary_.native().size() >= std::tuple_size_v<decltype(live_name::path)>)
            detail::fail_system(name_, "cannot write", ENAMETOOLONG);
        descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor_ < 0 && errno == EEXIST) continue;
        if (descriptor_ < 0) detail::fail_system(name_, "cannot write in its folder", errno);
        struct stat found {};
        const bool lost = ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!lost && ::fstat(descriptor_, &found) == 0 && found.st_nlink > 0) break;
        ::close(descriptor_);
        descriptor_ = -1;
    }
    live_ = live_name::take();
    live_->publish(temporary_.native());
}

inline void atomic_file::reserve(std::uint64_t bytes) {
    const auto refuse = [&](const std::string& limit) {
        throw error(name_ + ": no room for " + std::to_string(bytes) + " bytes: " + limit);
    };
    // Without these two, the first sign of either limit may be a signal in the middle.
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        bytes > limit.rlim_cur)
        refuse("files are limited to " + std::to_string(limit.rlim_cur) + " bytes (ulimit -f)");
    struct statvfs disk {};
    if (::fstatvfs(descriptor_, &disk) == 0) {
        const std::uint64_t room = std::uint64_t{disk.f_bavail} * disk.f_frsize;
        if (bytes > room) refuse("the disk has " + std::to_string(room) + " bytes left");
    }
#if defined(__linux__)
    // Keeps others from using the room up meanwhile. Not every file system can do it.
    if (::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        refuse(std::generic_category().message(errno));
#endif
}

inline void atomic_file::write(std::span<const std::byte> bytes) {
    if (bytes.size() > buffer_bytes - buffer_.size()) {
        write_out(buffer_);
        buffer_.clear();
    }
    if (bytes.size() >= buffer_bytes)
        write_out(bytes);
    else
        buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

inline void atomic_file::write_out(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        // Linux writes at most 2 GiB - 4 KiB at once, other systems fail beyond 2 GiB.
        const std::size_t piece = std::min(bytes.size(), std::size_t{1} << 30);
        const ssize_t done = ::write(descriptor_, bytes.data(), piece);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0)
            detail::fail_system(
                name_, "cannot write after " + std::to_string(written_) + " bytes", errno);
        written_ += static_cast<std::uint64_t>(done);
        bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
#if defined(__linux__)
    // Starts the disk on what is complete, without waiting, so that commit() has little to sync.
    if (written_ - started_ >= writeback_bytes) {
        ::sync_file_range(descriptor_, static_cast<off_t>(started_),
                          static_cast<off_t>(written_ - started_), SYNC_FILE_RANGE_WRITE);
        started_ = written_;
    }
#endif
}

inline void atomic_file::commit() {
    write_out(buffer_);
    buffer_.clear();
    // Gives back what was reserved and not used.
    if (::ftruncate(descriptor_, static_cast<off_t>(written_)) != 0 ||
        ::fsync(descriptor_) != 0)
        detail::fail_system(name_, "cannot complete the file", errno);
    publish();
    temporary_.clear();
    discard();
    // The rename itself reaches the disk with its folder. Some systems cannot sync folders.
    const int parent = ::open(folder().c_str(), O_RDONLY | O_CLOEXEC);
    if (parent >= 0) {
        ::fsync(parent);
        ::close(parent);
    }
}

/// Renames the temporary to the target. Unlike rename, link refuses a target that exists.
inline void atomic_file::publish() {
    if (!overwrite_) {
        if (::link(temporary_.c_str(), target_.c_str()) == 0) {
            ::unlink(temporary_.c_str());
            return;
        }
        // A file system without links: the check is then not one step with the rename.
        struct stat found {};
        if (errno == EEXIST || ::lstat(target_.c_str(), &found) == 0)
            throw error(name_ + ": the file exists, expected a new name");
    }
    if (::rename(temporary_.c_str(), target_.c_str()) != 0)
        detail::fail_system(name_, "cannot rename the complete file", errno);
}

}  // namespace qdial::gguf
