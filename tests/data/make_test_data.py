"""Makes the small trajectory files of this directory from the long alanine-dipeptide trajectory.

    python make_test_data.py implicit_300K.dcd implicit_300K_10k.xtc

Needs nothing but the standard library, and mdtraj with PyTables for the .h5 file. Frames 0, 500, 1000, … of the DCD are kept (200 of them), and
of the XTC, which holds every tenth frame of the DCD, the frames of the same times, so that both files
show the same conformations. The .pt, .npz and .h5 files hold the first three of these frames, in nm.
"""
import io
import pickle
import struct
import sys
import zipfile

N_ATOMS, HEADER, FRAME = 22, 276, 3 * (4 * 22 + 8)
STRIDE, N_KEPT = 500, 200


def dcd(path):
    data = open(path, "rb").read()
    header = bytearray(data[:HEADER])
    header[8:12] = struct.pack("<i", N_KEPT)
    frames = [data[HEADER + STRIDE * k * FRAME:][:FRAME] for k in range(N_KEPT)]
    open("aldp_200.dcd", "wb").write(bytes(header) + b"".join(frames))
    return frames


def xtc(path):
    """Frames of XTC are 4-byte aligned: 92 bytes of header, the number of bytes last, then these."""
    data = open(path, "rb").read()
    at, frames = 0, []
    while at < len(data):
        assert struct.unpack_from(">i", data, at)[0] == 1995
        (n_bytes,) = struct.unpack_from(">i", data, at + 88)
        size = 92 + (n_bytes + 3) // 4 * 4
        frames.append(data[at:at + size])
        at += size
    open("aldp_200.xtc", "wb").write(b"".join(frames[::STRIDE // 10]))


def positions_nm(frame):
    axes = [struct.unpack_from(f"<{N_ATOMS}f", frame, 96 * k + 4) for k in range(3)]
    return [axes[k][atom] / 10 for atom in range(N_ATOMS) for k in range(3)]


def npy(shape, values, kind):
    text = f"{{'descr': '<{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(118 - 1) + "\n"
    data = struct.pack(f"<{len(values)}{'f' if kind == 'f4' else 'd'}", *values)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


class Storage:
    """Pickled as a persistent id, as torch.save does."""

    def __init__(self, n):
        self.n = n


class Tensor:
    def __init__(self, shape, storage):
        self.shape, self.storage = shape, storage

    def __reduce__(self):
        strides = [1]
        for n in self.shape[:0:-1]:
            strides.insert(0, strides[0] * n)
        import collections
        return Rebuild(), (self.storage, 0, self.shape, tuple(strides), False, collections.OrderedDict())


class Rebuild:
    def __call__(self, *args):
        raise NotImplementedError


class FloatStorage:
    pass


class Pickler(pickle._Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", FloatStorage, "0", "cpu", obj.n)
        return None

    def save_global_as(self, module, name):
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def save(self, obj, save_persistent_id=True):
        if obj is FloatStorage:
            self.save_global_as("torch", "FloatStorage")
        elif isinstance(obj, Rebuild):
            self.save_global_as("torch._utils", "_rebuild_tensor_v2")
        else:
            super().save(obj, save_persistent_id)


def pt(path, wrap, shape, values):
    out = io.BytesIO()
    Pickler(out, protocol=2).dump(wrap(Tensor(shape, Storage(len(values)))))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", out.getvalue())
        archive.writestr("archive/data/0", struct.pack(f"<{len(values)}f", *values))
        archive.writestr("archive/version", "3\n")


if __name__ == "__main__":
    frames = dcd(sys.argv[1])
    xtc(sys.argv[2])
    values = [x for frame in frames[:3] for x in positions_nm(frame)]
    with zipfile.ZipFile("aldp_3.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("time_ps.npy", npy((3,), [0.0, 500.0, 1000.0], "f8"))
        archive.writestr("traj.npy", npy((3, N_ATOMS, 3), values, "f4"))
    pt("aldp_3.pt", lambda tensor: tensor, (3, N_ATOMS, 3), values)
    pt("aldp_3_dict.pt", lambda tensor: {"positions": tensor, "kT": 2.494}, (3, 3 * N_ATOMS), values)

    import mdtraj
    mdtraj.load("aldp_200.dcd", top="aldp.pdb")[:3].save_hdf5("aldp_3.h5")
