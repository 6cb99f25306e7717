// SPDX-License-Identifier: Apache-2.0
// Standalone commands on string values. Rules and texts as in Valkey 8.0's t_string.c. A value is
// text only: there is no integer encoding, and none is visible in these replies. Data plane, owner
// thread.
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "dataplane/standalone_call.h"

namespace cachee::dataplane::commands {
namespace {

// --- options of SET and GETEX ---

enum class ExpireForm : uint8_t { kNone, kEx, kPx, kExat, kPxat };

struct StringOptions {
    bool nx = false;
    bool xx = false;
    bool get = false;
    bool keep_ttl = false;
    bool persist = false;
    ExpireForm form = ExpireForm::kNone;
    size_t expire_index = 0;  // of the argument that holds the time; form != kNone
};

ExpireForm expire_form(std::string_view option) {
    if (equals_ignoring_case(option, "ex")) {
        return ExpireForm::kEx;
    }
    if (equals_ignoring_case(option, "px")) {
        return ExpireForm::kPx;
    }
    if (equals_ignoring_case(option, "exat")) {
        return ExpireForm::kExat;
    }
    return equals_ignoring_case(option, "pxat") ? ExpireForm::kPxat : ExpireForm::kNone;
}

// Takes the option that only SET has. False: not one, or not with what came before it.
bool take_set_option(std::string_view option, StringOptions& options) {
    if (equals_ignoring_case(option, "nx") && !options.xx) {
        options.nx = true;
    } else if (equals_ignoring_case(option, "xx") && !options.nx) {
        options.xx = true;
    } else if (equals_ignoring_case(option, "get")) {
        options.get = true;
    } else if (equals_ignoring_case(option, "keepttl") && options.form == ExpireForm::kNone) {
        options.keep_ttl = true;
    } else {
        return false;
    }
    return true;
}

// An option may be repeated (the last time wins) but not mixed with one that contradicts it.
// False after the error reply.
bool parse_string_options(Call& call, size_t first, bool is_set, StringOptions& options) {
    for (size_t i = first; i < call.args.size(); ++i) {
        const std::string_view option = c_string(call.args[i]);
        const ExpireForm form = expire_form(option);
        if (form != ExpireForm::kNone && !options.keep_ttl && !options.persist &&
            (options.form == ExpireForm::kNone || options.form == form) &&
            i + 1 < call.args.size()) {
            options.form = form;
            options.expire_index = ++i;
        } else if (!is_set && equals_ignoring_case(option, "persist") &&
                   options.form == ExpireForm::kNone) {
            options.persist = true;
        } else if (!is_set || !take_set_option(option, options)) {
            call.reply.error(kErrorSyntax);
            return false;
        }
    }
    return true;
}

// The time in argument `index` as Unix milliseconds; nothing after the error reply.
std::optional<int64_t> expire_when(Call& call, ExpireForm form, size_t index) {
    const std::optional<int64_t> argument = call.integer_argument(index);
    if (!argument) {
        return std::nullopt;
    }
    const bool seconds = form == ExpireForm::kEx || form == ExpireForm::kExat;
    const bool relative = form == ExpireForm::kEx || form == ExpireForm::kPx;
    int64_t when = 0;
    if (*argument <= 0 || __builtin_mul_overflow(*argument, seconds ? 1000 : 1, &when) ||
        __builtin_add_overflow(when, relative ? call.wall_ms : 0, &when)) {
        call.error_expire_time();
        return std::nullopt;
    }
    return when;
}

// --- SET and its relatives ---

enum class SetReply : uint8_t { kOkOrNull, kInteger };

void set_generic(Call& call, const StringOptions& options, std::string_view value,
                 SetReply reply_form) {
    std::optional<int64_t> when;
    if (options.form != ExpireForm::kNone) {
        when = expire_when(call, options.form, options.expire_index);
        if (!when) {
            return;
        }
    }
    const std::string_view key = call.args[1];
    const size_t reply_start = call.out.size();
    const Entry entry = call.find(key);
    if (options.get) {
        call.bulk_or_null(entry);
    }
    if ((options.nx && entry.found) || (options.xx && !entry.found)) {
        if (reply_form == SetReply::kInteger) {
            call.reply.integer(0);
        } else if (!options.get) {
            call.reply.null();
        }
        return;
    }
    if (when && *when <= call.wall_ms) {  // EXAT and PXAT in the past: set and gone at once
        if (entry.found) {
            call.partition.erase(entry.hash, key);
        }
    } else {
        uint64_t deadline_ms = 0;
        if (when) {
            deadline_ms = call.deadline_of(*when);
        } else if (options.keep_ttl) {
            deadline_ms = entry.deadline_ms;
        }
        const size_t after_get = call.out.size();
        if (!call.put(entry.hash, key, value, deadline_ms)) {
            call.out.erase(reply_start, after_get - reply_start);  // the error only
            return;
        }
    }
    if (reply_form == SetReply::kInteger) {
        call.reply.integer(1);
    } else if (!options.get) {
        call.ok();
    }
}

// --- counters ---

void increment(Call& call, int64_t delta) {
    const std::string_view key = call.args[1];
    const Entry entry = call.find(key);
    std::optional<int64_t> value = entry.found ? parse_int64(entry.value) : 0;
    if (!value) {
        call.reply.error(kErrorNotAnInteger);
        return;
    }
    int64_t sum = 0;
    if (__builtin_add_overflow(*value, delta, &sum)) {
        call.reply.error("ERR increment or decrement would overflow");
        return;
    }
    char digits[24];
    const char* end = std::to_chars(digits, digits + sizeof digits, sum).ptr;
    if (call.put(entry.hash, key, {digits, static_cast<size_t>(end - digits)}, entry.deadline_ms)) {
        call.reply.integer(sum);
    }
}

constexpr size_t kLongDoubleCharsMax = 5 * 1024;  // LDBL_MAX has 4933 digits before the point

// What strtold takes, all of the text, no leading space, no NaN, no overflow. The locale is "C":
// nothing in the data plane calls setlocale().
std::optional<long double> parse_long_double(std::string_view text) {
    char buffer[kLongDoubleCharsMax];
    if (text.empty() || text.size() >= sizeof buffer) {
        return std::nullopt;
    }
    std::memcpy(buffer, text.data(), text.size());
    buffer[text.size()] = '\0';
    if (std::isspace(static_cast<unsigned char>(buffer[0])) != 0) {
        return std::nullopt;
    }
    errno = 0;
    char* end = nullptr;
    const long double value = std::strtold(buffer, &end);
    const bool out_of_range = errno == ERANGE && (std::isinf(value) || value == 0);
    if (end != buffer + text.size() || out_of_range || std::isnan(value)) {
        return std::nullopt;
    }
    return value;
}

// 17 digits after the point, then without trailing zeros: Valkey's "human" form.
std::string_view print_long_double(long double value, char (&buffer)[kLongDoubleCharsMax]) {
    const int printed = std::snprintf(buffer, sizeof buffer, "%.17Lf", value);
    std::string_view text(buffer, static_cast<size_t>(printed));
    text.remove_suffix(text.size() - 1 - text.find_last_not_of('0'));
    if (text.back() == '.') {
        text.remove_suffix(1);
    }
    return text == "-0" ? "0" : text;
}

}  // namespace

void get(Call& call) { call.bulk_or_null(call.read(call.args[1])); }

void mget(Call& call) {
    call.reply.array(call.args.size() - 1);
    for (const std::string_view key : call.args.subspan(1)) {
        call.bulk_or_null(call.read(key));
    }
}

void set(Call& call) {
    StringOptions options;
    if (parse_string_options(call, 3, true, options)) {
        set_generic(call, options, call.args[2], SetReply::kOkOrNull);
    }
}

void setnx(Call& call) {
    StringOptions options;
    options.nx = true;
    set_generic(call, options, call.args[2], SetReply::kInteger);
}

void setex(Call& call) {
    StringOptions options;
    options.form = ExpireForm::kEx;
    options.expire_index = 2;
    set_generic(call, options, call.args[3], SetReply::kOkOrNull);
}

void psetex(Call& call) {
    StringOptions options;
    options.form = ExpireForm::kPx;
    options.expire_index = 2;
    set_generic(call, options, call.args[3], SetReply::kOkOrNull);
}

void getset(Call& call) {
    StringOptions options;
    options.get = true;
    set_generic(call, options, call.args[2], SetReply::kOkOrNull);
}

void getdel(Call& call) {
    const Entry entry = call.find(call.args[1]);
    call.bulk_or_null(entry);
    if (entry.found) {
        call.partition.erase(entry.hash, call.args[1]);
    }
}

void getex(Call& call) {
    StringOptions options;
    if (!parse_string_options(call, 2, false, options)) {
        return;
    }
    const std::string_view key = call.args[1];
    const Entry entry = call.read(key);
    if (!entry.found) {  // before the time is looked at, as in Valkey
        call.reply.null();
        return;
    }
    std::optional<int64_t> when;
    if (options.form != ExpireForm::kNone) {
        when = expire_when(call, options.form, options.expire_index);
        if (!when) {
            return;
        }
    }
    call.reply.bulk(entry.value);
    if (when && *when <= call.wall_ms) {
        call.partition.erase(entry.hash, key);
    } else if (when || (options.persist && entry.deadline_ms != 0)) {
        call.change_deadline(key, entry, when ? call.deadline_of(*when) : 0);
    }
}

void mset(Call& call) {
    if (call.args.size() % 2 == 0) {
        call.error_arity();
        return;
    }
    // All or nothing where that can be known beforehand: a pair that cannot fit stores none.
    for (size_t i = 1; i < call.args.size(); i += 2) {
        if (!call.value_fits(call.args[i], call.args[i + 1].size())) {
            return;
        }
    }
    for (size_t i = 1; i < call.args.size(); i += 2) {
        const std::string_view key = call.args[i];
        if (!call.put(base::hash_key(key, call.options.hash_seed), key, call.args[i + 1], 0)) {
            return;
        }
    }
    call.ok();
}

void append(Call& call) {
    const std::string_view key = call.args[1];
    const Entry entry = call.find(key);
    if (!call.value_fits(key, entry.value.size() + call.args[2].size())) {
        return;
    }
    call.scratch.assign(entry.value).append(call.args[2]);
    if (call.put(entry.hash, key, call.scratch, entry.deadline_ms)) {
        call.reply.integer(static_cast<int64_t>(call.scratch.size()));
    }
}

void strlen(Call& call) {
    call.reply.integer(static_cast<int64_t>(call.read(call.args[1]).value.size()));
}

void getrange(Call& call) {
    const std::optional<int64_t> first = call.integer_argument(2);
    if (!first) {
        return;
    }
    const std::optional<int64_t> last = call.integer_argument(3);
    if (!last) {
        return;
    }
    const Entry entry = call.read(call.args[1]);
    const auto size = static_cast<int64_t>(entry.value.size());
    if (size == 0 || (*first < 0 && *last < 0 && *first > *last)) {
        call.reply.bulk("");
        return;
    }
    // Counted from the end when negative, then clamped to the value.
    const int64_t start = std::max<int64_t>(*first < 0 ? *first + size : *first, 0);
    const int64_t stop = std::min(std::max<int64_t>(*last < 0 ? *last + size : *last, 0), size - 1);
    if (start > stop) {
        call.reply.bulk("");
        return;
    }
    call.reply.bulk(
        entry.value.substr(static_cast<size_t>(start), static_cast<size_t>(stop - start + 1)));
}

void setrange(Call& call) {
    const std::optional<int64_t> argument = call.integer_argument(2);
    if (!argument) {
        return;
    }
    if (*argument < 0) {
        call.reply.error("ERR offset is out of range");
        return;
    }
    const std::string_view key = call.args[1];
    const std::string_view piece = call.args[3];
    const Entry entry = call.find(key);
    if (piece.empty()) {
        call.reply.integer(static_cast<int64_t>(entry.value.size()));
        return;
    }
    const auto offset = static_cast<uint64_t>(*argument);
    if (!call.value_fits(key, std::max<uint64_t>(entry.value.size(), offset + piece.size()))) {
        return;
    }
    call.scratch.assign(entry.value);
    if (call.scratch.size() < offset + piece.size()) {
        call.scratch.resize(offset + piece.size(), '\0');
    }
    call.scratch.replace(offset, piece.size(), piece);
    if (call.put(entry.hash, key, call.scratch, entry.deadline_ms)) {
        call.reply.integer(static_cast<int64_t>(call.scratch.size()));
    }
}

void incr(Call& call) { increment(call, 1); }

void decr(Call& call) { increment(call, -1); }

void incrby(Call& call) {
    if (const std::optional<int64_t> delta = call.integer_argument(2)) {
        increment(call, *delta);
    }
}

void decrby(Call& call) {
    const std::optional<int64_t> delta = call.integer_argument(2);
    if (!delta) {
        return;
    }
    if (*delta == std::numeric_limits<int64_t>::min()) {
        call.reply.error("ERR decrement would overflow");
        return;
    }
    increment(call, -*delta);
}

void incrbyfloat(Call& call) {
    const std::string_view key = call.args[1];
    const Entry entry = call.find(key);
    const std::optional<long double> value = entry.found ? parse_long_double(entry.value) : 0.0L;
    const std::optional<long double> delta = parse_long_double(call.args[2]);
    if (!value || !delta) {
        call.reply.error("ERR value is not a valid float");
        return;
    }
    const long double sum = *value + *delta;
    if (std::isnan(sum) || std::isinf(sum)) {
        call.reply.error("ERR increment would produce NaN or Infinity");
        return;
    }
    char buffer[kLongDoubleCharsMax];
    const std::string_view text = print_long_double(sum, buffer);
    if (call.put(entry.hash, key, text, entry.deadline_ms)) {
        call.reply.bulk(text);
    }
}

}  // namespace cachee::dataplane::commands
