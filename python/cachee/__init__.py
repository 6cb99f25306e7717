# SPDX-License-Identifier: Apache-2.0
"""Reads the L1 of a cachee data plane on the same host, through libcachee (ctypes, nothing compiled).

    import cachee
    with cachee.Client("main") as client:
        found = client.get(b"user:1")
        if found:
            print(found.value, found.source)

A Client is used by one thread at a time. Values are copied into bytes. docs/LIBRARY.md says what is promised.
The library is taken from $CACHEE_LIBRARY, or as libcachee.so.0 from where the system looks.
"""
import ctypes
import os
from typing import Iterable, NamedTuple, Optional

__all__ = ["Client", "Found", "CacheeError", "FROM_L1", "FROM_APPLIANCE", "FROM_NOWHERE"]

FROM_NOWHERE, FROM_L1, FROM_APPLIANCE = 0, 1, 2
OK, ABSENT, MISS = 0, 1, 2
NO_FALLBACK, NO_CHECKSUM, LAZY, NO_HINTS = 1, 2, 4, 8
NO_EXPIRY, EXPIRY_UNKNOWN = -1, -2


class CacheeError(Exception):
    """A call that ended without knowing: `status` is the cachee_status, a negative number."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Found(NamedTuple):
    """An answer: true when the key is there. `value` is None unless it is."""

    status: int
    value: Optional[bytes]
    source: int
    ttl_ms: int

    def __bool__(self):
        return self.status == OK


class _Options(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("timeout_ms", ctypes.c_uint32),
                ("reconnect_max_ms", ctypes.c_uint32), ("hint_every", ctypes.c_uint32),
                ("l1_path", ctypes.c_char_p), ("address", ctypes.c_char_p), ("user", ctypes.c_char_p),
                ("password", ctypes.c_char_p)]


class _Value(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("ttl_ms", ctypes.c_int64),
                ("source", ctypes.c_int32), ("reserved", ctypes.c_int32)]


class _Item(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char_p), ("key_size", ctypes.c_size_t), ("buffer", ctypes.c_void_p),
                ("capacity", ctypes.c_size_t), ("value", _Value), ("status", ctypes.c_int32),
                ("reserved", ctypes.c_int32)]


_STATISTICS = ("l1_hits", "l1_misses", "l1_untrusted", "l1_busy", "l1_damaged", "appliance_requests",
               "appliance_failures", "attachments", "hints_sent")


class _Statistics(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t)] + [(name, ctypes.c_uint64) for name in _STATISTICS]


def _load():
    library = ctypes.CDLL(os.environ.get("CACHEE_LIBRARY") or "libcachee.so.0")
    handle, key, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    signatures = {
        "cachee_attach": (ctypes.c_int, [key, ctypes.POINTER(_Options), ctypes.POINTER(handle)]),
        "cachee_detach": (None, [handle]),
        "cachee_get": (ctypes.c_int, [handle, key, size, ctypes.POINTER(_Value)]),
        "cachee_multi_get": (ctypes.c_int, [handle, ctypes.POINTER(_Item), size, size]),
        "cachee_exists": (ctypes.c_int, [handle, key, size, ctypes.POINTER(ctypes.c_int)]),
        "cachee_ttl": (ctypes.c_int, [handle, key, size, ctypes.POINTER(ctypes.c_int64),
                                      ctypes.POINTER(ctypes.c_int)]),
        "cachee_get_statistics": (None, [handle, ctypes.POINTER(_Statistics)]),
        "cachee_last_error": (key, []),
        "cachee_version": (key, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = None


def _lib():
    global _library
    if _library is None:
        _library = _load()
    return _library


def _bytes(text):
    if isinstance(text, str):
        return text.encode()
    return bytes(text)


def _optional(text):
    return None if text is None else os.fsencode(text)


class Client:
    """One handle of libcachee; see cachee.h for the options."""

    def __init__(self, instance=None, *, flags=0, timeout_ms=0, reconnect_max_ms=0, hint_every=0, l1_path=None,
                 address=None, user=None, password=None):
        self._handle = ctypes.c_void_p()
        self._lib = _lib()
        options = _Options(ctypes.sizeof(_Options), flags, timeout_ms, reconnect_max_ms, hint_every,
                           _optional(l1_path), _optional(address), _optional(user), _optional(password))
        self._check(self._lib.cachee_attach(_optional(instance), ctypes.byref(options),
                                            ctypes.byref(self._handle)))

    def close(self):
        self._lib.cachee_detach(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            self.close()

    def _check(self, status):
        if status < 0:
            raise CacheeError(status, self._lib.cachee_last_error().decode(errors="replace"))
        return status

    @staticmethod
    def _found(status, value):
        data = ctypes.string_at(value.data, value.size) if status == OK and value.size else b""
        return Found(status, data if status == OK else None, value.source, value.ttl_ms)

    def get(self, key) -> Found:
        """The value; false when it is absent, or not in L1 and the fall-back is off. Raises CacheeError."""
        key, value = _bytes(key), _Value()
        status = self._check(self._lib.cachee_get(self._handle, key, len(key), ctypes.byref(value)))
        return self._found(status, value)

    def multi_get(self, keys: Iterable) -> list:
        """One Found for each key; one that failed has a negative status and does not raise."""
        keys = [_bytes(key) for key in keys]
        items = (_Item * len(keys))()
        for item, key in zip(items, keys):
            item.key, item.key_size = key, len(key)
        self._check(self._lib.cachee_multi_get(self._handle, items, len(keys), ctypes.sizeof(_Item)))
        return [self._found(item.status, item.value) for item in items]

    def exists(self, key) -> bool:
        """True: it exists. False: it does not, or L1 does not have it and the fall-back is off."""
        key = _bytes(key)
        return self._check(self._lib.cachee_exists(self._handle, key, len(key), None)) == OK

    def ttl_ms(self, key) -> Optional[int]:
        """Milliseconds left, NO_EXPIRY, or None when the key is not there."""
        key, ttl = _bytes(key), ctypes.c_int64()
        status = self._check(self._lib.cachee_ttl(self._handle, key, len(key), ctypes.byref(ttl), None))
        return ttl.value if status == OK else None

    def statistics(self) -> dict:
        """What cachee_get_statistics() counts."""
        numbers = _Statistics(ctypes.sizeof(_Statistics))
        self._lib.cachee_get_statistics(self._handle, ctypes.byref(numbers))
        return {name: getattr(numbers, name) for name in _STATISTICS}


def version() -> str:
    """Of libcachee."""
    return _lib().cachee_version().decode()
