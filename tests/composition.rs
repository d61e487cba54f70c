//! `kirkwood run` of compositions as it is typed.

use std::path::Path;

use crate::common::{json, root, run, tiny};

/// A composition with these lines, and what the program says of it.
fn attempt(home: &Path, text: &str) -> std::process::Output {
    let config = home.join("composition.toml");
    std::fs::write(&config, format!("kind = 'composition'\nname = 'c'\n{text}\n")).unwrap();
    let out = home.join("out").display().to_string();
    run(&["run", &config.display().to_string(), "--out", &out, "--json", "--quiet"])
}

fn train(home: &Path, name: &str, settings: &[&str]) {
    let (config, out) = (tiny().display().to_string(), home.join(name).display().to_string());
    let mut arguments = vec!["train", &config, "--out", &out, "--variant", "none", "--quiet"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bad_compositions_are_refused_with_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    train(home, "a", &[]);
    train(home, "warmer", &["data.temperature='400 K'"]);
    train(home, "other_noise", &["model.noise={kind='edm'}"]);
    train(home, "other_beads", &["data.selection='name CH3 O CB or (resname NME and name C)'", "states=[]"]);
    std::fs::create_dir(home.join("untrained")).unwrap();
    std::fs::copy(home.join("a/plan.toml"), home.join("untrained/plan.toml")).unwrap();
    std::fs::create_dir(home.join("empty")).unwrap();
    std::fs::create_dir(home.join("suite")).unwrap();
    let suite = root().join("examples/benchmark/small.toml");
    std::fs::copy(suite, home.join("suite/plan.toml")).unwrap();

    let part = "[[parts]]\nrun = 'a'\n";
    let guide = |lines: &str| format!("how = 'product'\n{part}[[guides]]\n{lines}\n");
    let with = |run: &str| format!("how = 'product'\n{part}[[parts]]\nrun = '{run}'\n");
    let cases = [
        ("how = 'product'".into(), vec!["parts", "no energy"]),
        (part.into(), vec!["how", "missing"]),
        (format!("how = 'sum'\n{part}"), vec!["how", "no such name"]),
        (with("nowhere"), vec!["nowhere", "parts[1].run", "no such directory"]),
        (with("empty"), vec!["empty", "no plan.toml"]),
        (with("suite"), vec!["suite", "another kind"]),
        (with("untrained"), vec!["untrained", "`train` is not finished"]),
        (with("other_beads"), vec!["bead_names", "as in the first part", "ALA CB"]),
        (with("warmer"), vec!["temperature", "300 K and of 400 K"]),
        (
            format!(
                "how = 'mixture'\n{part}[[parts]]\nrun = 'warmer'\n[[guides]]\nvariable = 'phi'\ncenter = '60 deg'\nstiffness = 1.0\nunit = 'kJ/mol'"
            ),
            vec!["guides[0].unit", "in kT"],
        ),
        (with("other_noise"), vec!["noise", "as in the first part"]),
        (format!("how = 'product'\nwieght = 2\n{part}"), vec!["wieght", "no such key"]),
        (format!("how = 'product'\n{part}wieght = 2"), vec!["parts[0].wieght", "did you mean `weight`"]),
        (format!("how = 'product'\n{part}weight = -1.0"), vec!["parts[0].weight = -1", "confinement"]),
        (format!("how = 'product'\n{part}weight = 0.0"), vec!["parts[0].weight = 0", "other than 0"]),
        (
            format!("how = 'product'\nconfinement = 1e-6\n{part}weight = -1.0"),
            vec!["confinement", "is too little"],
        ),
        (
            format!("how = 'product'\nconfinement = -1.0\n{part}"),
            vec!["confinement = -1", "must not be negative"],
        ),
        (format!("how = 'mixture'\n{part}weight = -1.0"), vec!["parts[0].weight", "must be positive"]),
        (format!("how = 'mixture'\ntemperature = '400 K'\n{part}"), vec!["temperature", "only a product"]),
        (
            format!("how = 'product'\n{part}[sample]\nsmc = {{ n_particles = 0 }}"),
            vec!["sample.smc.n_particles", "found 0"],
        ),
        (format!("how = 'product'\n{part}[sample]\nsampler = 'mc'"), vec!["sample.sampler", "no such name"]),
        (
            format!("how = 'product'\n{part}[sample]\nreplica_exchange = {{ n_ladders = 1 }}"),
            vec!["sample.replica_exchange.n_ladders", "at least 2"],
        ),
        (
            guide("variable = 'fi'\ncenter = '60 deg'\nstiffness = 1.0"),
            vec!["guides[0].variable = \"fi\"", "no collective variable", "phi"],
        ),
        (guide("variable = 'phi'\nstiffness = 1.0"), vec!["guides[0]", "`center` or `interval`"]),
        (guide("variable = 'phi'\ncenter = 1.0\nstiffness = 1.0"), vec!["guides[0].center", "60 deg"]),
        (
            guide("variable = 'phi'\ninterval = ['60 deg']\nstiffness = 1.0"),
            vec!["guides[0].interval", "[from, to]"],
        ),
        (
            guide("variable = 'phi'\ncenter = '60 deg'\nstiffness = 0.0"),
            vec!["guides[0].stiffness", "positive"],
        ),
        (
            guide("variable = 'phi'\ncenter = '60 deg'\nstiffness = 1.0\nunit = 'eV'"),
            vec!["guides[0].unit", "kJ/mol"],
        ),
    ];
    for (text, words) in cases {
        let output = attempt(home, &text);
        assert_eq!(output.status.code(), Some(2), "{text}\n{}", String::from_utf8_lossy(&output.stdout));
        let error = json(&output)["error"].clone();
        let message = error["message"].as_str().unwrap();
        words.iter().for_each(|word| assert!(message.contains(word), "{text}\n{word}: {message}"));
        assert!(!home.join("out").exists(), "{text}");
    }
    let config = home.join("composition.toml").display().to_string();
    std::fs::write(
        home.join("composition.toml"),
        format!("kind = 'composition'\nname = 'c'\nhow = 'product'\n{part}"),
    )
    .unwrap();
    let output = run(&["check", &config, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(json(&output)["sentence"].as_str().unwrap().contains("product of 1 × a, 5 beads"));
}

#[test]
fn a_ladder_without_overlap_ends_with_code_3() {
    let home = tempfile::tempdir().unwrap();
    train(home.path(), "a", &[]);
    let exchange = "{ n_levels = 2, n_ladders = 4, n_placements = 1, n_placement_sweeps = 5, n_relaxation = 10, \
                    n_sweeps = 20, keep_every = 2 }";
    let text = format!(
        "how = 'product'\nnormalize = false\n[[parts]]\nrun = 'a'\n[sample]\nsampler = 'replica_exchange'\n\
         replica_exchange = {exchange}\n[report]\nn_bootstrap = 5"
    );
    let output = attempt(home.path(), &text);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    let outcome = json(&output);
    assert_eq!(outcome["trustworthy"], false);
    assert!(outcome["verdict"].as_str().unwrap().contains("swap"), "{outcome}");
    let page = home.path().join("out/report/report.html");
    assert!(page.is_file() && home.path().join("out/composed/samples.dcd").is_file());

    // A report that is drawn again is that of a composition, and its verdict is the same.
    std::fs::write(&page, "lost").unwrap();
    let output = run(&["report", &home.path().join("out").display().to_string(), "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(json(&output)["verdict"], outcome["verdict"]);
    assert!(std::fs::read_to_string(&page).unwrap().len() > 1000);
    assert!(
        page.with_file_name("populations.csv").is_file() && !home.path().join("out/report.before").exists()
    );
}
