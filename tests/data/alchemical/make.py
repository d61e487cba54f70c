"""Makes the files of this folder and `expected.json` from alchemtest, with alchemlyb as the judge.

    python make.py        (needs alchemlyb 2.5, alchemtest, pandas, pyarrow)

The five Coulomb windows of benzene in water are complete (`gmx_benzene_coulomb/`); the other sets are the first rows
of a few files. All data are CC0 (alchemtest, https://github.com/alchemistry/alchemtest).
`expected.json` holds what alchemlyb reads of each file: components, λ of the columns, first and last row and means of
u_nk and dHdl. `table/` holds what pandas writes of the same frames, as CSV and as Parquet.
"""

import bz2
import glob
import gzip
import json
import os
import shutil
import warnings

import numpy as np

warnings.filterwarnings("ignore")
import alchemtest  # noqa: E402
from alchemlyb.parsing import gmx, gomc  # noqa: E402

SOURCE = os.path.dirname(alchemtest.__file__)
HERE = os.path.dirname(os.path.abspath(__file__))


def lines(path):
    opener = {".bz2": bz2.open, ".gz": gzip.open}.get(os.path.splitext(path)[1], open)
    with opener(path, "rt") as file:
        return file.readlines()


def first_rows(source, target, n_rows, opener=open):
    """The header of a file and its first rows."""
    all_lines = lines(os.path.join(SOURCE, source))
    header = [line for line in all_lines if line[0] in "#@"]
    rows = [line for line in all_lines if line[0] not in "#@"][:n_rows]
    path = os.path.join(HERE, target)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with opener(path, "wt") as file:
        file.writelines(header + rows)
    return target


def describe(module, target, temperature):
    path = os.path.join(HERE, target)
    u_nk, dhdl = module.extract_u_nk(path, temperature), module.extract_dHdl(path, temperature)
    of = lambda frame: {
        "first_row": frame.values[0].tolist(),
        "last_row": frame.values[-1].tolist(),
        "column_mean": frame.values.mean(axis=0).tolist(),
    }
    return {
        "file": target,
        "temperature": temperature,
        "rows": len(u_nk),
        "components": list(u_nk.index.names[1:]),
        "states": [list(np.atleast_1d(column)) for column in u_nk.columns],
        "first_index": list(u_nk.index[0]),
        "last_index": list(u_nk.index[-1]),
        "u_nk": of(u_nk),
        "dHdl": of(dhdl),
    }


def main():
    expected = []
    for path in sorted(glob.glob(f"{SOURCE}/gmx/benzene/Coulomb/*/dhdl.xvg.bz2")):
        name = os.path.basename(os.path.dirname(path))
        target = f"gmx_benzene_coulomb/{name}/dhdl.xvg.bz2"
        os.makedirs(os.path.join(HERE, os.path.dirname(target)), exist_ok=True)
        shutil.copyfile(path, os.path.join(HERE, target))
        expected.append(describe(gmx, target, 300))
    few = [
        ("gmx/benzene/VDW/0500/dhdl.xvg.bz2", "gmx/twin_columns.xvg", open),
        ("gmx/water_particle/with_total_energy/lambda_3.xvg.bz2", "gmx/total_energy.xvg.gz", gzip.open),
        ("gmx/expanded_ensemble/case_1/CB7_Guest3_dhdl.xvg.gz", "gmx/expanded_ensemble.xvg.bz2", bz2.open),
        ("gmx/expanded_ensemble/case_3/CB7_Guest3_dhdl_05.xvg.gz", "gmx/replica_exchange.xvg.bz2", bz2.open),
        ("gmx/ABFE/complex/dhdl_18.xvg", "gmx/three_components.xvg.bz2", bz2.open),
    ]
    for source, target, opener in few:
        expected.append(describe(gmx, first_rows(source, target, 12, opener), 300))
    for name in ["03", "17"]:
        source = f"gomc/benzene/inWater/Free_Energy_BOX_0_PRODUCTION_{name}.dat.bz2"
        expected.append(describe(gomc, first_rows(source, f"gomc/{name}.dat.bz2", 12, bz2.open), 298))

    os.makedirs(os.path.join(HERE, "table"), exist_ok=True)
    for name, source in [("one", "gmx/twin_columns.xvg"), ("two", "gmx/total_energy.xvg.gz")]:
        path = os.path.join(HERE, source)
        for kind, frame in [("u_nk", gmx.extract_u_nk(path, 300)), ("dHdl", gmx.extract_dHdl(path, 300))]:
            frame = frame.iloc[:, :6] if name == "two" else frame
            frame.to_csv(os.path.join(HERE, f"table/{name}_{kind}.csv"))
            frame.to_parquet(os.path.join(HERE, f"table/{name}_{kind}.parquet"))
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(expected, file)
        file.write("\n")


if __name__ == "__main__":
    main()
