"""GGUF files taken apart and put together again, to make wrong ones of good ones.

Knows the container only (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), writes version 3
and checks nothing: every count, type, length and offset can be replaced by a wrong one."""

import copy
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?",
           U64: "<Q", I64: "<q", F64: "<d"}


class Raw(bytes):
    """A value that is written as it is, in place of what its type asks for."""


class Value:
    """One metadata entry. elem_type is None unless type is ARRAY; n None: as many as there are."""

    def __init__(self, kind, value, elem_type=None, n=None):
        self.kind, self.value, self.elem_type, self.n = kind, value, elem_type, n


class Tensor:
    """n_dims and offset are written as they are; the data is not moved."""

    def __init__(self, name, dims, kind, offset):
        self.name, self.dims, self.kind, self.offset = name, dims, kind, offset
        self.n_dims = len(dims)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def string(self):
        n = self.take("<Q")
        self.at += n
        return self.data[self.at - n:self.at]

    def value(self, kind):
        if kind == STRING:
            return self.string()
        return self.take(FORMATS[kind])


class File:
    def __init__(self, data):
        r = Reader(data)
        self.magic = r.data[:4]
        r.at = 4
        self.version = r.take("<I")
        n_tensors, n_kv = r.take("<Q"), r.take("<Q")
        self.kv = {}
        for _ in range(n_kv):
            key = r.string()
            kind = r.take("<I")
            if kind == ARRAY:
                elem = r.take("<I")
                n = r.take("<Q")
                self.kv[key] = Value(ARRAY, [r.value(elem) for _ in range(n)], elem)
            else:
                self.kv[key] = Value(kind, r.value(kind))
        self.tensors = []
        for _ in range(n_tensors):
            name = r.string()
            dims = [r.take("<Q") for _ in range(r.take("<I"))]
            self.tensors.append(Tensor(name, dims, r.take("<I"), r.take("<Q")))
        align = self.kv[b"general.alignment"].value if b"general.alignment" in self.kv else 32
        self.align = align
        self.payload = data[(r.at + align - 1) // align * align:]
        self.n_tensors = self.n_kv = None  # None: as many as there are
        self.extra = b""  # between the metadata and the tensors

    def copy(self):
        payload, self.payload = self.payload, b""
        other = copy.deepcopy(self)
        other.payload = self.payload = payload
        return other

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name)

    def put(self, name, dims, kind, data):
        """A tensor with data of its own; replaces one of that name."""
        self.tensors = [t for t in self.tensors if t.name != name]
        self.payload += bytes(-len(self.payload) % self.align)
        self.tensors.append(Tensor(name, dims, kind, len(self.payload)))
        self.payload += data

    def data(self, name, n_bytes):
        at = self.tensor(name).offset
        return self.payload[at:at + n_bytes]

    def drop(self, name):
        self.tensors.remove(self.tensor(name))

    def header(self):
        """Everything before the tensors' data, and where the parts of it begin."""
        out = bytearray(self.magic)
        out += struct.pack("<I", self.version)
        out += struct.pack("<Q", len(self.tensors) if self.n_tensors is None else self.n_tensors)
        out += struct.pack("<Q", len(self.kv) if self.n_kv is None else self.n_kv)
        for key, v in self.kv.items():
            put_string(out, key)
            out += struct.pack("<I", v.kind)
            if isinstance(v.value, Raw):
                out += v.value
            elif v.kind == ARRAY:
                out += struct.pack("<IQ", v.elem_type, len(v.value) if v.n is None else v.n)
                for x in v.value:
                    put_value(out, v.elem_type, x)
            else:
                put_value(out, v.kind, v.value)
        out += self.extra
        for t in self.tensors:
            put_string(out, t.name)
            out += struct.pack("<I", t.n_dims)
            for d in t.dims:
                out += struct.pack("<Q", d)
            out += struct.pack("<IQ", t.kind, t.offset)
        return bytes(out)

    def bytes(self):
        header = self.header()
        return header + bytes(-len(header) % self.align) + self.payload


def put_string(out, text):
    if isinstance(text, Raw):
        out += text
    else:
        out += struct.pack("<Q", len(text)) + text


def put_value(out, kind, value):
    if kind == STRING:
        put_string(out, value)
    else:
        out += struct.pack(FORMATS[kind], value)
