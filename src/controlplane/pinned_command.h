// SPDX-License-Identifier: Apache-2.0
// What a pinned session's relay has to know of a command that it otherwise passes on unread: two
// looks at its first bytes. Commands are canonical RESP arrays. Control plane thread only; no
// state.
#pragma once

#include <string_view>

namespace cachee::controlplane {

// Whatever the case of its letters.
bool starts_with(std::string_view command, std::string_view beginning);

// True for a command that may wait in L2 (BLPOP, WAIT), whatever its arguments.
bool may_block(std::string_view command);

}  // namespace cachee::controlplane
