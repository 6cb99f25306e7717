// SPDX-License-Identifier: Apache-2.0
// Takes back what a dead data plane told readers to believe. A reader may still have its file
// mapped while a new data plane, with a new file, acknowledges writes: without this it would
// believe the old values until the dead one's lease ends. Cold code, at start, before the file is
// dropped.
#pragma once

#include <string>

namespace cachee::l1 {

// Nothing happens without a file of this layout at the path, or when a living process holds it.
void revoke_trust(const std::string& path);

}  // namespace cachee::l1
