// SPDX-License-Identifier: Apache-2.0
// The way each command goes, written by hand, with the reason of each group. Private to
// command_table.cc, which checks at compile time that every command of the table has exactly one
// route and that no name here is unknown. A container ("client") gives its route to those of its
// subcommands that are not named. Background: docs/decisions/0001-one-tracked-connection.md.
#pragma once

#include <string_view>

#include "resp/command_table.h"

namespace cachee::resp {

struct RouteGroup {
    Route route;
    std::string_view names;  // separated by single spaces
};

inline constexpr RouteGroup kRouteGroups[] = {
    // --- kRead: strings by key, what L1 holds ---
    {Route::kRead, "get mget"},

    // --- kLocal: about the session or the appliance itself; L2 would answer about our connections
    // ---
    {Route::kLocal, "hello auth ping echo quit reset"},
    {Route::kLocal,
     "client|id client|getname client|setname client|setinfo client|list client|info"},
    // Accepted and without effect: L1 does not evict clients, and hits never touch L2's LRU anyway.
    {Route::kLocal, "client client|no-evict client|no-touch client|capa client|help"},
    // The commands that cachee knows, not those of L2: clients use them for key positions only.
    {Route::kLocal, "command"},
    {Route::kLocal, "info config config|get config|help"},

    // --- kTracked: writes whose declared keys are all they touch, and whose reply is a status,
    // integer, bulk
    // string, null or error in RESP2 and RESP3 alike. Reads are not here: this connection carries
    // the
    // misses, and a read needs none of its order. ---
    {Route::kTracked, "set setex psetex setnx getset getdel getex append setrange mset msetnx"},
    {Route::kTracked, "incr incrby incrbyfloat decr decrby setbit bitop"},
    {Route::kTracked, "del unlink expire expireat pexpire pexpireat persist rename renamenx"},
    {Route::kTracked, "lpush lpushx rpush rpushx linsert lset lrem ltrim lmove rpoplpush"},
    {Route::kTracked, "hset hmset hsetnx hdel hincrby hincrbyfloat"},
    {Route::kTracked, "sadd srem smove sdiffstore sinterstore sunionstore"},
    {Route::kTracked, "zrem zremrangebylex zremrangebyrank zremrangebyscore zrangestore"},
    {Route::kTracked, "zdiffstore zinterstore zunionstore geoadd geosearchstore"},
    {Route::kTracked, "xadd xdel xtrim xack xsetid pfadd pfmerge"},
    {Route::kTracked,
     "xgroup xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy"},
    {Route::kTracked, "xgroup|setid xgroup|help"},

    // --- kPass: writes with declared keys whose reply differs between RESP2 and RESP3 (doubles,
    // sets, maps,
    // null arrays) or is an array ---
    {Route::kPass, "zadd zincrby zpopmin zpopmax zmpop spop lpop rpop lmpop bitfield"},
    {Route::kPass, "xreadgroup xclaim xautoclaim"},
    // STORE names its key: command_keys() finds it.
    {Route::kPass, "sort georadius georadiusbymember"},
    // A payload of any size, which would hold up the misses on the tracked connection.
    {Route::kPass, "restore"},

    // --- kPass: reads that L1 does not answer ---
    {Route::kPass, "strlen getrange substr getbit bitcount bitpos bitfield_ro lcs"},
    {Route::kPass, "exists ttl pttl expiretime pexpiretime type touch dump object memory|usage"},
    {Route::kPass, "hget hgetall hmget hkeys hvals hlen hexists hstrlen hrandfield hscan"},
    {Route::kPass, "lindex llen lpos lrange"},
    {Route::kPass,
     "scard sdiff sinter sintercard sismember smembers smismember srandmember sscan sunion"},
    {Route::kPass, "zcard zcount zdiff zinter zintercard zlexcount zmscore zrandmember zrange"},
    {Route::kPass,
     "zrangebylex zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank"},
    {Route::kPass, "zscan zscore zunion"},
    {Route::kPass, "geodist geohash geopos georadius_ro georadiusbymember_ro geosearch"},
    {Route::kPass, "xinfo xlen xpending xrange xread xrevrange"},  // XREAD BLOCK: needs_pinning()
    {Route::kPass, "sort_ro"},
    // The server refuses writes in them.
    {Route::kPass, "eval_ro evalsha_ro fcall_ro"},

    // --- kPass: no keys, no state in the session ---
    {Route::kPass, "dbsize keys scan randomkey time lastsave lolwut role"},
    {Route::kPass, "publish spublish pubsub"},
    {Route::kPass, "script script|load script|exists script|flush script|show script|help"},
    {Route::kPass, "function function|load function|delete function|flush function|restore"},
    {Route::kPass, "function|dump function|list function|help"},
    // The operator's business with L2; L2's own ACL judges.
    {Route::kPass, "acl config|set config|resetstat config|rewrite latency memory slowlog"},
    {Route::kPass, "save bgsave bgrewriteaof module|list module|help"},
    // Pauses our connections too: L1 stops with the lease, so that a paused L2 is soon paused here.
    {Route::kPass, "client|pause client|unpause"},
    {Route::kPass, "cluster|countkeysinslot cluster|count-failure-reports cluster|getkeysinslot"},
    {Route::kPass, "cluster|help cluster|info cluster|keyslot cluster|links cluster|myid"},
    {Route::kPass,
     "cluster|myshardid cluster|nodes cluster|replicas cluster|shards cluster|slaves"},
    {Route::kPass, "cluster|slot-stats cluster|slots"},

    // --- kFenced: may write keys that it does not declare ---
    {Route::kFenced, "eval evalsha fcall"},
    {Route::kFenced, "flushall flushdb"},
    // SWAPDB is announced by no push at all: whoever forwards it must also bump the generation of
    // L1.
    {Route::kFenced, "swapdb"},
    // The target may be in another database, which COMMAND's key positions do not say.
    {Route::kFenced, "copy move migrate"},
    // "Read-only", but they rewrite the cached cardinality (or the encoding) inside the string.
    {Route::kFenced, "pfcount pfdebug pfselftest"},

    // --- kPinned: state in L2 that belongs to one session ---
    {Route::kPinned, "multi exec discard watch unwatch select"},
    {Route::kPinned, "subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe"},
    // Wait as long as they like; on a shared connection everybody would wait with them.
    {Route::kPinned, "blpop brpop blmove brpoplpush blmpop bzpopmin bzpopmax bzmpop"},
    // Known flaw: they wait for the writes of the pinned connection, not for earlier ones on shared
    // lanes.
    {Route::kPinned, "wait waitaof"},
    {Route::kPinned, "monitor readonly readwrite asking script|debug"},
    {Route::kPinned, "client|tracking client|trackinginfo client|getredir client|caching"},
    {Route::kPinned, "client|reply"},
    // For a script that runs on a shared connection: behind it there, they would come too late.
    {Route::kPinned, "script|kill function|kill function|stats"},

    // --- kForbidden: would break the appliance or its L2 for everybody ---
    {Route::kForbidden, "shutdown failover replicaof slaveof sync psync replconf restore-asking"},
    {Route::kForbidden, "debug"},
    // New native code in L2, with commands that this table cannot know.
    {Route::kForbidden, "module module|load module|loadex module|unload"},
    // Everything of CLUSTER that changes it, and what this table does not know of it.
    {Route::kForbidden, "cluster cluster|addslots cluster|addslotsrange cluster|bumpepoch"},
    {Route::kForbidden,
     "cluster|delslots cluster|delslotsrange cluster|failover cluster|flushslots"},
    {Route::kForbidden, "cluster|forget cluster|meet cluster|replicate cluster|reset"},
    {Route::kForbidden, "cluster|saveconfig cluster|set-config-epoch cluster|setslot"},
    // Their ids and addresses name sessions of cachee; in L2 the same numbers are our own
    // connections.
    {Route::kForbidden, "client|kill client|unblock"},
    // A browser talking HTTP: Redis closes the connection, which here would be a shared one.
    {Route::kForbidden, "post host:"},
};

}  // namespace cachee::resp
