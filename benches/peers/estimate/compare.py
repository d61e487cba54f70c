#!/usr/bin/env python3
"""kirkwood estimate against alchemlyb, on the public data sets of alchemtest.

    pip install alchemlyb alchemtest
    python compare.py [--kirkwood PATH] [--only NAME] [--decorrelate] [--json OUT.json]

For each data set: the files go to both programs with all samples (or, with --decorrelate, with alchemlyb's
decorrelation in both), and MBAR, BAR and TI are compared: the free energy of the whole path in kT and its error.
Times are CPU seconds: of parsing, and of parsing and estimation together, alchemlyb without its imports, kirkwood
as a whole process with one thread.
"""
import argparse, json, os, resource, subprocess, sys, time, warnings

warnings.filterwarnings("ignore")
import logging
logging.disable(logging.CRITICAL)
from loguru import logger
logger.remove()
os.environ.setdefault("PYMBAR_DISABLE_JAX", "1")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def data_sets():
    """name -> (engine, temperature, files): each leg of each set is one path of λ."""
    import alchemtest.amber, alchemtest.gmx, alchemtest.gomc, alchemtest.namd
    sets = {}

    def add(engine, module, loader, temperature):
        function = getattr(module, loader, None)
        if function is None:
            return
        data = function()["data"]
        for leg, files in (data.items() if hasattr(data, "items") else [("all", data)]):
            if isinstance(files, dict):
                for part, inner in files.items():
                    sets[f"{engine}_{loader[5:]}_{leg}_{part}"] = (engine, temperature, [str(f) for f in inner])
            else:
                sets[f"{engine}_{loader[5:]}_{leg}"] = (engine, temperature, [str(f) for f in files])

    for loader, temperature in [("load_benzene", 300), ("load_ABFE", 300), ("load_expanded_ensemble_case_1", 300),
                                ("load_expanded_ensemble_case_2", 300), ("load_expanded_ensemble_case_3", 300),
                                ("load_water_particle_with_total_energy", 300),
                                ("load_water_particle_with_potential_energy", 300),
                                ("load_water_particle_without_energy", 300)]:
        add("gmx", alchemtest.gmx, loader, temperature)
    for loader, temperature in [("load_bace_improper", 298), ("load_bace_example", 298), ("load_simplesolvated", 298),
                                ("load_tyk2_example", 300)]:
        add("amber", alchemtest.amber, loader, temperature)
    for loader in ["load_tyr2ala", "load_idws", "load_restarted", "load_restarted_reversed"]:
        add("namd", alchemtest.namd, loader, 300)
    add("gomc", alchemtest.gomc, "load_benzene", 298)
    return sets


def alchemlyb_results(engine, files, temperature, decorrelate):
    import alchemlyb
    from alchemlyb.estimators import BAR, MBAR, TI
    from alchemlyb.parsing import amber, gmx, gomc, namd
    from alchemlyb.preprocessing.subsampling import decorrelate_dhdl, decorrelate_u_nk
    parsing = {"gmx": gmx, "amber": amber, "gomc": gomc, "namd": namd}[engine]
    result, start = {}, time.process_time()
    try:
        if engine == "namd":
            u_nk = [parsing.extract_u_nk(files, T=temperature)]
        else:
            u_nk = [parsing.extract_u_nk(f, T=temperature) for f in files]
    except Exception as error:
        u_nk, result["u_nk_error"] = [], str(error)[:120]
    u_nk = [table for table in u_nk if table is not None]
    try:
        dhdl = [] if engine == "namd" else [parsing.extract_dHdl(f, T=temperature) for f in files]
    except Exception as error:
        dhdl, result["dhdl_error"] = [], str(error)[:120]
    dhdl = [table for table in dhdl if table is not None]
    result["parse_s"] = time.process_time() - start
    if decorrelate and engine != "namd":
        options = dict(drop_duplicates=True, sort=True, remove_burnin=True)
        try:
            u_nk = [decorrelate_u_nk(df, method="dE", **options) for df in u_nk]
            dhdl = [decorrelate_dhdl(df, **options) for df in dhdl]
        except Exception as error:
            result["decorrelate_error"] = str(error)[:120]
            return result
    if u_nk:
        u_nk = alchemlyb.concat(u_nk)
        result["n_u_nk"] = len(u_nk)
        for name, estimator in [("mbar", MBAR), ("bar", BAR)]:
            try:
                fit = estimator().fit(u_nk)
                delta, error = fit.delta_f_.iloc[0, -1], fit.d_delta_f_.iloc[0, -1]
                if name == "bar":
                    steps = [fit.d_delta_f_.iloc[i, i + 1] for i in range(len(fit.d_delta_f_) - 1)]
                    error = sum(step**2 for step in steps) ** 0.5
                result[name] = (float(delta), float(error))
            except Exception as error:
                result[name + "_error"] = f"{type(error).__name__}: {str(error)[:100]}"
    if dhdl:
        try:
            fit = TI().fit(alchemlyb.concat(dhdl))
            result["ti"] = (float(fit.delta_f_.iloc[0, -1]), float(fit.d_delta_f_.iloc[0, -1]))
        except Exception as error:
            result["ti_error"] = f"{type(error).__name__}: {str(error)[:100]}"
    result["total_s"] = time.process_time() - start
    return result


def kirkwood_results(program, files, temperature, decorrelate):
    how = ["--decorrelate", "alchemlyb"] if decorrelate else ["--no-decorrelate"]
    command = [program, "estimate", *files, "--temperature", str(temperature), "--json", "--threads", "1", *how]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        return {"error": done.stderr[-200:], "total_s": cpu}
    if "error" in answer:
        return {"error": answer["error"]["message"][:300], "total_s": cpu}
    result = {one["estimator"]: (one["delta_f"], one["std_error"]) for one in answer["estimates"]}
    result["n_u_nk"] = sum(answer["n_samples"])
    result["verdicts"] = [v["severity"][0] + ":" + v["kind"] for v in answer["verdicts"]]
    result["total_s"], result["exit"] = cpu, done.returncode
    return result


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kirkwood", default=os.path.join(here, "../../../target/release/kirkwood"))
    parser.add_argument("--only", default="")
    parser.add_argument("--decorrelate", action="store_true")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    everything = {}
    for name, (engine, temperature, files) in data_sets().items():
        if arguments.only not in name:
            continue
        theirs = alchemlyb_results(engine, files, temperature, arguments.decorrelate)
        ours = kirkwood_results(arguments.kirkwood, files, temperature, arguments.decorrelate)
        everything[name] = {"alchemlyb": theirs, "kirkwood": ours}
        print(f"{name}: {len(files)} files, samples {theirs.get('n_u_nk')} / {ours.get('n_u_nk')}, "
              f"CPU {theirs.get('total_s', 0):.2f} s (parsing {theirs.get('parse_s', 0):.2f}) / {ours['total_s']:.3f} s", flush=True)
        for estimator in ("mbar", "bar", "ti"):
            a, b = theirs.get(estimator), ours.get(estimator)
            note = theirs.get(estimator + "_error", "")
            if a and b and None not in b:
                print(f"   {estimator:4s} {a[0]:12.6f} ± {a[1]:.6f}   difference {b[0] - a[0]:+.1e}, error ratio − 1 {b[1] / a[1] - 1 if a[1] else 0:+.1e}")
            elif a or b or note:
                print(f"   {estimator:4s} alchemlyb {a or note}   kirkwood {b}")
        for key in ("u_nk_error", "dhdl_error", "decorrelate_error"):
            if key in theirs:
                print(f"   alchemlyb {key}: {theirs[key]}")
        if "error" in ours:
            print(f"   kirkwood: {ours['error']}")
        elif ours.get("verdicts"):
            print(f"   verdicts: {' '.join(ours['verdicts'])} (exit code {ours['exit']})")
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(everything, out, indent=1)


if __name__ == "__main__":
    main()
