// SPDX-License-Identifier: Apache-2.0
// hiredis reply trees to RESP bytes in a session's protocol. When that is also the protocol of the
// connection they came on, the bytes are those that L2 sent. Else RESP3 types are turned into what
// Redis itself would have sent to a RESP2 client (maps flat, doubles and big numbers as bulk
// strings). Control plane thread only; no state.
#pragma once

#include <hiredis.h>

#include <string>

#include "resp/encoder.h"

namespace cachee::controlplane {

// Deeper replies are refused: the encoder is recursive. Redis itself never nests beyond about 10.
inline constexpr int kReplyDepthMax = 64;

// REQUIRES: nothing was read yet. From here on the reader's replies keep how a null was written
// ("$-1" or "*-1"), which RESP2 clients tell apart and encode_reply() repeats.
void tell_nulls_apart(redisReader& reader);

// Appends the reply. False: nested too deeply or of an unknown type; then `out` is as before.
bool encode_reply(const redisReply& reply, resp::Protocol protocol, std::string& out);

std::string error_reply(std::string_view text);

}  // namespace cachee::controlplane
