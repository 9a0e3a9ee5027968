// SPDX-License-Identifier: Apache-2.0
#include "tool.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "qdial/formats/list.hpp"
#include "qdial/gguf/atomic_file.hpp"

namespace tool {

std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7F)
            out += fmt::format("\\x{:02x}", byte);
        else
            out += c;
    }
    return out;
}

std::string human_bytes(double bytes) {
    constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < units.size()) {
        bytes /= 1024;
        ++unit;
    }
    return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

std::string mebibytes(std::uint64_t bytes) {
    std::string digits = fmt::format("{:.0f}", static_cast<double>(bytes) / (1 << 20));
    for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
    return digits;
}

std::uint64_t parse_size(std::string_view text) {
    double number = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string unit(end, text.data() + text.size());
    for (char& c : unit) c = qdial::detail::to_lower(c);
    constexpr std::string_view letters = "kmgt";
    const std::size_t power = unit.empty() ? letters.npos : letters.find(unit[0]);
    const std::string_view rest = std::string_view(unit).substr(unit.empty() ? 0 : 1);
    const bool known = power != letters.npos && (rest.empty() || rest == "b" || rest == "ib");
    const double bytes = known ? std::ldexp(number, static_cast<int>(10 * (power + 1))) : 0;
    if (status != std::errc{} || !(bytes >= 1) || bytes >= 0x1p62)
        throw usage_error("found the size " + qdial::gguf::detail::quoted(text) +
                          ", expected one such as 8GB or 700M");
    return static_cast<std::uint64_t>(bytes);
}

void refuse_same_file(const std::filesystem::path& out,
                      std::span<const std::filesystem::path> inputs) {
    struct stat target{}, found{};
    if (::stat(out.c_str(), &target) != 0) return;
    for (const std::filesystem::path& in : inputs)
        if (::stat(in.c_str(), &found) == 0 && found.st_dev == target.st_dev &&
            found.st_ino == target.st_ino)
            throw qdial::error(out.string() + ": is the same file as the input " + in.string() +
                               ", expected another");
}

namespace {

/// Files and, last, the folder of a scratch_folder, where a signal handler can find them.
struct {
    std::array<std::array<char, 4096>, 64> files;
    std::array<char, 4096> folder;
    std::atomic<std::size_t> count{0};
} scratch;

extern "C" void remove_output_and_die(int number) {
    qdial::gguf::atomic_file::remove_unfinished();
    for (std::size_t i = 0; i < scratch.count.load(); ++i) ::unlink(scratch.files[i].data());
    if (scratch.folder[0] != 0) ::rmdir(scratch.folder.data());
    // The handler was installed for one delivery, so this ends the process as the signal would.
    ::raise(number);
}

}  // namespace

scratch_folder::scratch_folder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "qdial-XXXXXX").string();
    if (name.size() >= scratch.folder.size() || ::mkdtemp(name.data()) == nullptr)
        throw qdial::error(name + ": cannot make a folder for temporary files");
    path_ = name;
    std::ranges::copy(name, scratch.folder.data());
}

scratch_folder::~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
    scratch.count = 0;
    scratch.folder = {};
}

std::filesystem::path scratch_folder::file(const std::string& name) {
    const std::size_t i = scratch.count.load();
    const std::string full = (path_ / name).string();
    if (i == scratch.files.size() || full.size() >= scratch.files[i].size())
        throw qdial::error(full + ": too many temporary files");
    scratch.files[i] = {};
    std::ranges::copy(full, scratch.files[i].data());
    scratch.count = i + 1;
    return full;
}

void clean_up_on_signals() {
    struct sigaction action{};
    action.sa_handler = remove_output_and_die;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGBUS}) {
        struct sigaction before{};
        // What the parent had ignored, as nohup does, stays ignored.
        if (::sigaction(number, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
            ::sigaction(number, &action, nullptr);
    }
    ::signal(SIGXFSZ, SIG_IGN);  // so that a file over its limit is an error of write()
}

void table::print() const {
    const auto width_of = [](std::string_view text) {
        std::size_t width = 0;  // code points: the bytes that do not continue one
        for (const char c : text) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
        return width;
    };
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        widths.push_back(width_of(columns_[i].title));
        for (const auto& row : rows_) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    const auto print_row = [&](const auto& cell) {
        std::string line;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            const std::string_view text = cell(i);
            const std::string padding(widths[i] - width_of(text), ' ');
            if (i != 0) line += "  ";
            line += columns_[i].right ? padding + std::string(text) : std::string(text) + padding;
        }
        line.erase(line.find_last_not_of(' ') + 1);
        fmt::print("{}\n", line);
    };
    print_row([&](std::size_t i) -> std::string_view { return columns_[i].title; });
    for (const auto& row : rows_)
        print_row([&](std::size_t i) -> std::string_view { return row[i]; });
}

namespace {

double now() {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(time).count();
}

}  // namespace

progress_display::progress_display(std::string unit)
    : unit_(std::move(unit)), started_(now()), shown_(started_), terminal_(::isatty(STDERR_FILENO) == 1) {}

progress_display::~progress_display() {
    if (bar_) std::fputs("\r\033[K", stderr);
}

double progress_display::seconds() const { return now() - started_; }

void progress_display::show(std::uint64_t done, std::uint64_t total) {
    const double time = now();
    if (done == 0 || time - shown_ < (terminal_ ? 0.1 : 10.0)) return;
    shown_ = time;
    const double part = static_cast<double>(done) / static_cast<double>(total);
    const double rate = static_cast<double>(done) / (time - started_);
    const auto left = std::lround(static_cast<double>(total - done) / rate);
    const std::string amount =
        unit_.empty() ? human_bytes(rate) : fmt::format("{:.{}f} {}", rate, rate < 10 ? 1 : 0, unit_);
    const std::string text =
        fmt::format("{:3.0f}%  {}/s  {}:{:02} left", 100 * part, amount, left / 60, left % 60);
    if (!terminal_) {
        fmt::print(stderr, "{}\n", text);
        return;
    }
    constexpr std::size_t width = 32;
    const auto filled = static_cast<std::size_t>(part * width);
    fmt::print(stderr, "\r[{:<{}}] {}\033[K", std::string(filled, '='), width, text);
    std::fflush(stderr);
    bar_ = true;
}

}  // namespace tool
