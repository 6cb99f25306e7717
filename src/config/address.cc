// SPDX-License-Identifier: Apache-2.0
// Addresses in configuration values, and the URL of the L2 back end. Cold code; any thread.
#include "config/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "config/loader.h"

namespace cachee::config {
namespace {

base::Error backend_error(const std::string& why) {
    return {why + "; expected redis://[user:password@]host:port"};
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// RFC 3986 2.1: "%40" is '@'. False: a percent sign without two digits, or a NUL.
bool percent_decode(std::string_view text, std::string& out) {
    out.clear();
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out.push_back(text[i]);
            continue;
        }
        if (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) {
            return false;
        }
        out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
        i += 2;
    }
    return out.find('\0') == std::string::npos;
}

// "user:password", ":password" or, as redis-cli takes it, "password".
base::Status parse_credentials(std::string_view text, BackendAddress& address) {
    const size_t colon = text.find(':');
    const std::string_view user = colon == std::string_view::npos ? "" : text.substr(0, colon);
    const std::string_view password =
        colon == std::string_view::npos ? text : text.substr(colon + 1);
    if (!percent_decode(user, address.user) || !percent_decode(password, address.password)) {
        return backend_error(
            "the user or password has a '%' that is not followed by two hex digits");
    }
    if (address.password.empty()) {
        return backend_error("the password before '@' is empty");
    }
    return {};
}

bool valid_host(std::string_view host) {
    return !host.empty() && host.size() <= 253 &&
           std::all_of(host.begin(), host.end(), [](unsigned char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '.' || c == '_';
           });
}

// "host", "host:port", "[v6]" or "[v6]:port".
base::Status parse_host_port(std::string_view text, BackendAddress& address) {
    std::string_view port;
    bool has_port = false;
    if (text.starts_with('[')) {
        const size_t close = text.find(']');
        if (close == std::string_view::npos) {
            return backend_error("the '[' of an IPv6 address is not closed");
        }
        address.host = text.substr(1, close - 1);
        in6_addr parsed;
        if (address.host.find('\0') != std::string::npos ||
            inet_pton(AF_INET6, address.host.c_str(), &parsed) != 1) {
            return backend_error("what stands in brackets is not an IPv6 address");
        }
        const std::string_view rest = text.substr(close + 1);
        has_port = rest.starts_with(':');
        if (!rest.empty() && !has_port) {
            return backend_error("there is more than a port behind ']'");
        }
        port = has_port ? rest.substr(1) : "";
    } else {
        const size_t colon = text.find(':');
        has_port = colon != std::string_view::npos;
        address.host = text.substr(0, colon);
        port = has_port ? text.substr(colon + 1) : "";
        if (port.find(':') != std::string_view::npos) {
            return backend_error("an IPv6 address needs brackets");
        }
        if (!valid_host(address.host)) {
            return backend_error(address.host.empty() ? "the host is missing"
                                                      : "the host is not a name or an address");
        }
    }
    if (has_port) {
        uint32_t number = 0;
        const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
        if (error != std::errc{} || end != port.data() + port.size() || number < 1 ||
            number > 65535) {
            return backend_error("the port is not a number from 1 to 65535");
        }
        address.port = static_cast<uint16_t>(number);
    }
    return {};
}

}  // namespace

bool parse_ipv4(const std::string& text, uint32_t& address) {
    in_addr parsed;
    if (text.find('\0') != std::string::npos || inet_pton(AF_INET, text.c_str(), &parsed) != 1) {
        return false;
    }
    address = ntohl(parsed.s_addr);
    return true;
}

bool is_private_ipv4(uint32_t address) {
    const auto within = [address](uint32_t network, uint32_t bits) {
        return address >> (32 - bits) == network >> (32 - bits);
    };
    return within(0x7f000000, 8) || within(0x0a000000, 8) || within(0xac100000, 12) ||
           within(0xc0a80000, 16) || within(0xa9fe0000, 16) || within(0xc6120000, 15);
}

bool parse_ipv6(const std::string& text, std::array<uint8_t, 16>& address) {
    in6_addr parsed;
    if (text.find('\0') != std::string::npos || inet_pton(AF_INET6, text.c_str(), &parsed) != 1) {
        return false;
    }
    std::copy(std::begin(parsed.s6_addr), std::end(parsed.s6_addr), address.begin());
    return !IN6_IS_ADDR_V4MAPPED(&parsed) && !IN6_IS_ADDR_V4COMPAT(&parsed);
}

bool parse_ipv6_prefix(const std::string& text, Ipv6Prefix& prefix) {
    const size_t slash = text.find('/');
    if (slash == std::string::npos || !parse_ipv6(text.substr(0, slash), prefix.address)) {
        return false;
    }
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + slash + 1, end, prefix.bits);
    const auto& bytes = prefix.address;
    const bool none = std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
    const bool loopback = bytes[15] == 1 && std::all_of(bytes.begin(), bytes.end() - 1,
                                                        [](uint8_t b) { return b == 0; });
    const bool multicast = bytes[0] == 0xff;
    return error == std::errc{} && at == end && prefix.bits >= 1 && prefix.bits <= 128 && !none &&
           !loopback && !multicast;
}

bool is_private_ipv6(const std::array<uint8_t, 16>& address) {
    const bool loopback = address[15] == 1 && std::all_of(address.begin(), address.end() - 1,
                                                          [](uint8_t b) { return b == 0; });
    const bool link_local = address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
    return loopback || link_local || (address[0] & 0xfe) == 0xfc;
}

base::Result<BackendAddress> parse_backend(const std::string& url) {
    std::string_view rest = url;
    if (rest.starts_with("rediss://") || rest.starts_with("valkeys://")) {
        return backend_error("TLS to L2 is not supported");
    }
    if (rest.starts_with("redis://")) {
        rest.remove_prefix(8);
    } else if (rest.starts_with("valkey://")) {
        rest.remove_prefix(9);
    } else {
        return backend_error("it does not begin with redis://");
    }
    BackendAddress address;
    // The last '@': a password may hold one.
    if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
        if (base::Status status = parse_credentials(rest.substr(0, at), address); !status) {
            return status.error();
        }
        rest.remove_prefix(at + 1);
    }
    if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
        const std::string_view database = rest.substr(slash + 1);
        if (!database.empty() && database != "0") {
            return backend_error("only database 0 can be cached");
        }
        rest = rest.substr(0, slash);
    }
    if (base::Status status = parse_host_port(rest, address); !status) {
        return status.error();
    }
    return address;
}

}  // namespace cachee::config
