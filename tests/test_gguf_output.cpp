// SPDX-License-Identifier: Apache-2.0
//
// The mapped input and the output that appears only when complete.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "gguf_bytes.hpp"
#include "qdial/gguf/atomic_file.hpp"
#include "qdial/gguf/mapped_file.hpp"

namespace gguf = qdial::gguf;
namespace fs = std::filesystem;
using gguf_test::error_of;
using gguf_test::read_file;
using gguf_test::scratch_folder;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

void put(const fs::path& path, std::string_view text) {
    gguf_test::write_file(path, bytes_of(text));
}

/// Runs `body` in a child process, which ends without the parent's cleanups; its wait status.
template <class Fn>
int in_child(Fn&& body) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        int code = 1;
        try {
            code = body();
        } catch (...) {
        }
        ::_exit(code);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return status;
}

using names = std::vector<std::string>;

}  // namespace

TEST_CASE("an output appears when it is committed, and not before") {
    scratch_folder folder;
    const fs::path target = folder.path / "out.gguf";
    {
        gguf::atomic_file out(target, {.overwrite = false, .expected_bytes = 11});
        out.write(bytes_of("hello "));
        out.write(bytes_of("world"));
        CHECK_FALSE(fs::exists(target));
        CHECK(out.temporary().parent_path() == folder.path);
        const std::string name = out.temporary().filename().string();
        CHECK(name.starts_with("out.gguf." + std::to_string(::getpid()) + "-"));
        CHECK(name.ends_with(".qdial-part"));
        out.commit();
        CHECK(read_file(target) == "hello world");
    }
    CHECK(folder.names() == names{"out.gguf"});
}

TEST_CASE("large and small writes keep their order, reserved room that is not used goes away") {
    scratch_folder folder;
    const fs::path target = folder.path / "out";
    std::string expected;
    gguf::atomic_file out(target, {.overwrite = false, .expected_bytes = 64u << 20});
    for (const std::size_t size : {3u, 5u, 1u << 20, 7u, (1u << 20) - 3, 3u << 20, 1u, 0u}) {
        const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
        out.write(bytes_of(piece));
        expected += piece;
    }
    out.commit();
    CHECK(read_file(target) == expected);
}

TEST_CASE("an output that is not committed leaves nothing behind") {
    scratch_folder folder;
    put(folder.path / "out", "old");
    {
        gguf::atomic_file out(folder.path / "out", {.overwrite = true, .expected_bytes = 0});
        out.write(bytes_of("new"));
    }
    CHECK(folder.names() == names{"out"});
    CHECK(read_file(folder.path / "out") == "old");
}

TEST_CASE("an existing target is replaced only when asked for") {
    scratch_folder folder;
    const fs::path target = folder.path / "out";
    put(target, "old");
    CHECK(error_of([&] { gguf::atomic_file(target, {}); }) ==
          target.string() + ": the file exists, expected a new name");
    gguf::atomic_file out(target, {.overwrite = true, .expected_bytes = 0});
    out.write(bytes_of("new"));
    out.commit();
    CHECK(read_file(target) == "new");
    CHECK(folder.names() == names{"out"});
}

TEST_CASE("a link is replaced itself, what it names stays") {
    scratch_folder folder;
    put(folder.path / "source", "old");
    fs::create_symlink("source", folder.path / "link");
    gguf::atomic_file out(folder.path / "link", {.overwrite = true, .expected_bytes = 0});
    out.write(bytes_of("new"));
    out.commit();
    CHECK(read_file(folder.path / "source") == "old");
    CHECK(read_file(folder.path / "link") == "new");
    CHECK_FALSE(fs::is_symlink(folder.path / "link"));
}

TEST_CASE("targets that cannot be written are refused at the start") {
    scratch_folder folder;
    const auto refused = [](const fs::path& path) {
        return error_of([&] { gguf::atomic_file(path, {.overwrite = true, .expected_bytes = 0}); });
    };
    CHECK(refused("/dev/null") == "/dev/null: not a regular file, refusing to replace it");
    CHECK(refused(folder.path) ==
          folder.path.string() + ": not a regular file, refusing to replace it");
    CHECK(refused("") == ": expected the name of a file");
    const std::string inside = (folder.path / "absent" / "out").string();
    CHECK(refused(inside) == inside + ": cannot write in its folder: No such file or directory");
    const std::string slash = folder.path.string() + "/";
    CHECK(refused(slash) == slash + ": expected the name of a file");
}

TEST_CASE("two outputs of the same name at once do not mix") {
    scratch_folder folder;
    const fs::path target = folder.path / "out";
    gguf::atomic_file first(target, {});
    gguf::atomic_file second(target, {});
    gguf::atomic_file third(target, {.overwrite = true, .expected_bytes = 0});
    first.write(bytes_of("first"));
    second.write(bytes_of("second"));
    third.write(bytes_of("third"));
    first.commit();
    CHECK(read_file(target) == "first");
    CHECK(error_of([&] { second.commit(); }) ==
          target.string() + ": the file exists, expected a new name");
    CHECK(read_file(target) == "first");
    third.commit();
    CHECK(read_file(target) == "third");
}

TEST_CASE("no room for the output is found before anything is written") {
    scratch_folder folder;
    const fs::path target = folder.path / "out";
    const std::string text = error_of([&] {
        gguf::atomic_file(target, {.overwrite = false, .expected_bytes = std::uint64_t{1} << 60});
    });
    CHECK(text.starts_with(target.string() +
                           ": no room for 1152921504606846976 bytes: the disk has "));
    CHECK(folder.names().empty());

    const int status = in_child([&] {
        const rlimit limit{100, 100};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        return error_of([&] { gguf::atomic_file(target, {false, 101}); }) ==
                       target.string() +
                           ": no room for 101 bytes: files are limited to 100 bytes (ulimit -f)"
                   ? 0
                   : 2;
    });
    CHECK(status == 0);
    CHECK(folder.names().empty());
}

TEST_CASE("a write that fails in the middle is reported and leaves nothing behind") {
    scratch_folder folder;
    const fs::path target = folder.path / "out";
    const int status = in_child([&] {
        const rlimit limit{1u << 20, 1u << 20};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        ::signal(SIGXFSZ, SIG_IGN);
        const std::string text = error_of([&] {
            gguf::atomic_file out(target, {});
            out.write(bytes_of(std::string(2u << 20, 'x')));
        });
        return text == target.string() +
                           ": cannot write after 1048576 bytes: File too large"
                   ? 0
                   : 2;
    });
    CHECK(status == 0);
    CHECK(folder.names().empty());
}

TEST_CASE("a signal handler removes unfinished outputs, of its own process only") {
    scratch_folder folder;
    gguf::atomic_file parents(folder.path / "parent", {});
    const int status = in_child([&] {
        gguf::atomic_file done(folder.path / "done", {});
        done.commit();
        gguf::atomic_file one(folder.path / "one", {});
        gguf::atomic_file two(folder.path / "two", {});
        ::signal(SIGTERM, [](int) {
            gguf::atomic_file::remove_unfinished();
            ::signal(SIGTERM, SIG_DFL);
            ::raise(SIGTERM);
        });
        ::raise(SIGTERM);
        return 0;
    });
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGTERM);
    CHECK(fs::exists(folder.path / "done"));
    CHECK(fs::exists(parents.temporary()));
    CHECK(folder.names().size() == 2);
}

TEST_CASE("what a killed process left is removed by the next output of that name") {
    scratch_folder folder;
    const fs::path target = folder.path / "out";
    const int status = in_child([&] {
        gguf::atomic_file out(target, {.overwrite = false, .expected_bytes = 1000});
        ::raise(SIGKILL);
        return 0;
    });
    REQUIRE(WIFSIGNALED(status));
    CHECK(folder.names().size() == 1);
    put(folder.path / "out.1-0.other", "not ours");
    put(folder.path / "out.x.1-0.qdial-part", "of the target out.x");
    gguf::atomic_file living(target, {});
    const fs::path kept = living.temporary();
    gguf::atomic_file out(target, {});
    CHECK(fs::exists(kept));
    CHECK(folder.names().size() == 4);
    out.commit();
    living.write(bytes_of("late"));
    CHECK_THROWS_AS(living.commit(), qdial::error);
}

TEST_CASE("names of the greatest length leave room for the temporary's") {
    scratch_folder folder;
    const fs::path target = folder.path / std::string(255, 'n');
    gguf::atomic_file out(target, {});
    out.write(bytes_of("x"));
    out.commit();
    CHECK(read_file(target) == "x");
}

TEST_CASE("a change of the mapped file is noticed") {
    scratch_folder folder;
    const fs::path path = folder.path / "in";
    put(path, "0123456789");
    const gguf::mapped_file map(path);
    CHECK(map.bytes().size() == 10);
    CHECK(map.name() == path.string());
    map.check_unchanged();
    fs::resize_file(path, 4);
    CHECK(error_of([&] { map.check_unchanged(); }) ==
          path.string() +
              ": the file changed while it was being read: found 4 bytes, expected 10");
    fs::resize_file(path, 10);
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(5));
    CHECK(error_of([&] { map.check_unchanged(); }) ==
          path.string() + ": the file changed while it was being read: it was written to");
}

TEST_CASE("replacing the mapped file by another one does not disturb the map") {
    scratch_folder folder;
    const fs::path path = folder.path / "in";
    put(path, "old");
    std::optional<gguf::mapped_file> map(path);
    put(folder.path / "new", "new");
    fs::rename(folder.path / "new", path);
    map->check_unchanged();
    CHECK(map->bytes()[0] == std::byte{'o'});
}

TEST_CASE("dropped parts of a mapped file leave memory and can be read again") {
    scratch_folder folder;
    const fs::path path = folder.path / "in";
    constexpr std::size_t size = std::size_t{32} << 20;
    put(path, std::string(size, 'x'));
    const gguf::mapped_file map(path);
    // Second number of /proc/self/statm: resident pages.
    const auto resident = [] {
        const std::string text = read_file("/proc/self/statm");
        return std::stoul(text.substr(text.find(' '))) *
               static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    };
    const auto read_through = [&](bool drop) {
        std::size_t sum = 0, most = 0;
        constexpr std::size_t piece = std::size_t{1} << 20;
        for (std::size_t at = 0; at < size; at += piece) {
            const auto part = map.bytes().subspan(at, piece);
            for (const std::byte b : part) sum += std::to_integer<std::size_t>(b);
            most = std::max(most, resident());
            if (drop) map.drop(part);
        }
        CHECK(sum == size * 'x');
        return most;
    };
    const std::size_t before = resident();
    const std::size_t dropping = read_through(true);
    CHECK(dropping < before + size / 4);
    CHECK(read_through(false) > before + size / 2);
}
