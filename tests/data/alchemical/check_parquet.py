"""Opens Parquet files that kirkwood wrote with pandas and alchemlyb and compares them with alchemlyb's own reading.

    python check_parquet.py u_nk.parquet dHdl.parquet dhdl.xvg TEMPERATURE
"""

import sys
import warnings

import pandas

warnings.filterwarnings("ignore")
from alchemlyb.parsing import gmx, parquet  # noqa: E402

u_file, d_file, source, temperature = sys.argv[1:]
temperature = float(temperature)
for file, read, original in [
    (u_file, parquet.extract_u_nk, gmx.extract_u_nk(source, temperature)),
    (d_file, parquet.extract_dHdl, gmx.extract_dHdl(source, temperature)),
]:
    frame = read(file, temperature)
    assert frame.attrs == {"temperature": temperature, "energy_unit": "kT"}, frame.attrs
    assert frame.index.names == original.index.names, frame.index.names
    assert list(frame.columns) == list(original.columns), frame.columns
    assert (frame.values == original.values).all()
    assert all((frame.index.get_level_values(n) == original.index.get_level_values(n)).all() for n in frame.index.names)
    print(file, frame.shape, "agrees; pandas", pandas.__version__)
