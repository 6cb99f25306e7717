// SPDX-License-Identifier: Apache-2.0
#include "controlplane/pinned_command.h"

#include <strings.h>

#include "resp/command_table.h"

namespace cachee::controlplane {

bool starts_with(std::string_view command, std::string_view beginning) {
    return command.size() >= beginning.size() &&
           ::strncasecmp(command.data(), beginning.data(), beginning.size()) == 0;
}

bool may_block(std::string_view command) {
    const size_t length = command.find('$');
    const size_t name = command.find("\r\n", length);
    if (length == std::string_view::npos || name == std::string_view::npos) return false;
    const std::string_view rest = command.substr(name + 2);
    const std::string_view arguments[] = {rest.substr(0, rest.find("\r\n"))};
    const resp::CommandInfo* info = resp::find_command(arguments);
    return info != nullptr && (info->flags & resp::kCmdBlocking) != 0;
}

}  // namespace cachee::controlplane
