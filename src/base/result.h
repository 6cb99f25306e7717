// SPDX-License-Identifier: Apache-2.0
// Result<T> and Status: an expected value or an error text for an operator. Cold code of both
// planes; the hot path returns enums or counts. The members are a subset of C++23 std::expected.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/assert.h"

namespace cachee::base {

// One sentence that names what failed and what to do next; no trailing newline.
struct Error {
    std::string message;
};

template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : state_(std::move(value)) {}      // NOLINT: implicit by design
    Result(Error error) : state_(std::move(error)) {}  // NOLINT: implicit by design

    bool has_value() const { return std::holds_alternative<T>(state_); }
    explicit operator bool() const { return has_value(); }

    // REQUIRES: has_value().
    T& value() & {
        CACHEE_ASSERT(has_value());
        return std::get<T>(state_);
    }
    const T& value() const& {
        CACHEE_ASSERT(has_value());
        return std::get<T>(state_);
    }
    T&& value() && {
        CACHEE_ASSERT(has_value());
        return std::get<T>(std::move(state_));
    }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    // REQUIRES: !has_value().
    const Error& error() const {
        CACHEE_ASSERT(!has_value());
        return std::get<Error>(state_);
    }

  private:
    std::variant<T, Error> state_;
};

class [[nodiscard]] Status {
  public:
    Status() = default;
    Status(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

    bool has_value() const { return !error_.has_value(); }
    explicit operator bool() const { return has_value(); }
    const Error& error() const {
        CACHEE_ASSERT(error_.has_value());
        return *error_;
    }

  private:
    std::optional<Error> error_;
};

}  // namespace cachee::base
