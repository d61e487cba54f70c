//! The report of a synthetic run: what it says, and that it survives what is missing.

use super::section::quantity_text;
use super::synthetic;
use super::*;
use std::fs;

fn synthetic_run() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    synthetic::write_run(directory.path());
    directory
}

fn html(directory: &Path) -> String {
    fs::read_to_string(write_report(directory).unwrap().html).unwrap()
}

#[test]
fn the_report_of_a_whole_run_has_everything() {
    let run = synthetic_run();
    let summary = write_report(run.path()).unwrap();
    assert_eq!(
        summary.sections,
        [
            "headline",
            "free-energy",
            "accuracy",
            "populations",
            "surfaces",
            "profiles",
            "training",
            "sampling",
            "path",
            "distances",
            "variants",
            "numbers",
            "provenance"
        ]
    );
    assert!(summary.not_run.is_empty(), "{:?}", summary.not_run);
    let names = ["surfaces", "pmf", "pmf_dsm_alone", "loss", "validation", "sampling", "path", "overlap"];
    assert_eq!(summary.figures, names);
    for name in names {
        for extension in ["svg", "png"] {
            let path = run.path().join(format!("report/figures/{name}.{extension}"));
            assert!(fs::metadata(&path).unwrap().len() > 1000, "{}", path.display());
        }
    }
    let page = fs::read_to_string(&summary.html).unwrap().replace("&#x2f;", "/");
    let contents = Contents::read(run.path()).unwrap();
    for (name, quantity) in &contents.summary {
        let text = quantity_text(name, quantity).0;
        assert!(page.contains(name.as_str()) && page.contains(&text), "{name} = {text} is missing");
    }
    for words in [
        "The three roads agree within two combined standard errors",
        "Sequential Monte Carlo",
        "0.0068", // published
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "kirkwood run examples/alanine_dipeptide/run.toml",
        "literature = ",
        "DSM alone: The three roads agree",
        "weakest link",
    ] {
        assert!(page.contains(words), "`{words}` is missing");
    }
    assert!(summary.n_bytes < 3 << 20, "{} bytes", summary.n_bytes);
    assert!(!run.path().join("report.partial").exists());
}

#[test]
fn the_page_refers_to_nothing_outside_of_it() {
    let run = synthetic_run();
    let page = html(run.path());
    for pattern in ["href=", "src=", "@import", "<link", "<script", "url(http", "url(/"] {
        assert!(!page.contains(pattern), "`{pattern}`");
    }
    // The only address is the name of the SVG namespace.
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn tags_are_closed_and_figures_have_finite_coordinates() {
    let run = synthetic_run();
    let page = html(run.path());
    for tag in ["section", "table", "figure", "svg", "details", "tr", "td", "th", "g", "text"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
    for entry in fs::read_dir(run.path().join("report/figures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("NaN") && !text.contains("inf,"), "{}", path.display());
        }
    }
}

#[test]
fn any_one_file_may_be_missing() {
    let run = synthetic_run();
    let full = write_report(run.path()).unwrap();
    let mut files = Vec::new();
    for directory in ["", "train", "sample", "estimate", "compare"] {
        for entry in fs::read_dir(run.path().join(directory)).unwrap() {
            files.extend(Some(entry.unwrap().path()).filter(|path| path.is_file()));
        }
    }
    assert!(files.len() > 25);
    for file in files {
        let kept = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let contents = Contents::read(run.path()).unwrap();
        let (page, _) = page(&contents).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(page.sections.len() >= full.sections.len() - 2, "{}", file.display());
        fs::write(&file, kept).unwrap();
    }
}

#[test]
fn files_without_rows_or_with_one_are_no_reason_to_stop() {
    for n_lines in [1, 2] {
        let run = synthetic_run();
        for directory in ["train", "sample", "estimate", "compare"] {
            for entry in fs::read_dir(run.path().join(directory)).unwrap() {
                let path = entry.unwrap().path();
                let is_matrix = path.ends_with("overlap.csv");
                if path.extension().is_some_and(|extension| extension == "csv")
                    && (n_lines == 1 || !is_matrix)
                {
                    let text = fs::read_to_string(&path).unwrap();
                    let short: Vec<&str> = text.lines().take(n_lines).collect();
                    fs::write(&path, short.join("\n") + "\n").unwrap();
                }
            }
        }
        let summary = write_report(run.path()).unwrap();
        for name in summary.figures {
            let text = fs::read_to_string(run.path().join(format!("report/figures/{name}.svg"))).unwrap();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{name} with {n_lines} lines");
        }
    }
}

#[test]
fn a_run_with_training_alone_names_what_did_not_run() {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir_all(run.path().join("train")).unwrap();
    fs::write(run.path().join("train/loss.csv"), "step,loss\n1,2.0\n2,1.5\n3,1.25\n").unwrap();
    let summary = write_report(run.path()).unwrap();
    assert_eq!(summary.sections, ["headline", "training"]);
    assert!(summary.not_run.iter().any(|stage| stage == "replica exchange"));
    let page = fs::read_to_string(summary.html).unwrap();
    assert!(page.contains("Not run: reverse diffusion (IID), Langevin dynamics"));
}

#[test]
fn one_collective_variable_without_angles_is_enough() {
    let run = tempfile::tempdir().unwrap();
    let compare = run.path().join("compare");
    fs::create_dir_all(&compare).unwrap();
    fs::write(
        run.path().join("plan.toml"),
        "[[collective_variables]]\nname = \"end_to_end\"\nkind = \"distance\"\n",
    )
    .unwrap();
    for set in ["data", "iid"] {
        let text = "end_to_end_nm,pmf_kT,std_error_kT\n0.1,1.0,0.1\n0.2,0.0,0.1\n0.3,2.0,\n";
        fs::write(compare.join(format!("pmf_end_to_end_{set}.csv")), text).unwrap();
    }
    fs::write(
        run.path().join("summary.json"),
        r#"{"js_iid": {"value": null, "std_error": null, "unit": "", "method": ""}}"#,
    )
    .unwrap();
    let page = html(run.path());
    assert!(page.contains("end to end / nm"));
    assert!(!page.contains("degrees"));
}

#[test]
fn published_numbers_are_shown_only_where_asked_for() {
    let run = synthetic_run();
    let plan = fs::read_to_string(run.path().join("plan.toml")).unwrap();
    fs::write(run.path().join("plan.toml"), plan.replace("literature", "something_else")).unwrap();
    let page = html(run.path());
    assert!(!page.contains("0.0068") && !page.contains("2601.21025"));
}

#[test]
fn a_broken_file_is_an_error_with_its_line_and_leaves_the_old_report() {
    let run = synthetic_run();
    write_report(run.path()).unwrap();
    let breaks = [
        ("train/loss.csv", "step,loss\n1,2.0\n2,abc\n", "line 3"),
        ("estimate/free_energy.json", "{\n\"roads\": 3}", "line 2"),
        ("compare/metrics.csv", "set,metric,value\niid,js,0.1\niid,js\n", "line 3"),
        ("compare/histogram_iid.csv", "phi_rad,psi_rad,p\n0,0,1\n", "line 1"),
        ("plan.toml", "a = 1\nb = = 2\n", "line 2"),
        ("summary.json", r#"{"js_iid": {"value": "high"}}"#, "`js_iid`"),
    ];
    for (file, text, place) in breaks {
        let path = run.path().join(file);
        let kept = fs::read(&path).unwrap();
        fs::write(&path, text).unwrap();
        let error = write_report(run.path()).unwrap_err();
        assert_eq!(error.place(), place, "{error}");
        assert!(error.path().is_some_and(|at| at.ends_with(file)), "{error}");
        assert!(run.path().join("report/report.html").exists());
        fs::write(&path, kept).unwrap();
    }
    assert!(write_report(&run.path().join("nowhere")).is_err());
    assert!(write_report(tempfile::tempdir().unwrap().path()).is_err());
}

/// `KIRKWOOD_SYNTHETIC_RUN=DIR cargo test --release --lib report::tests::written -- --ignored` keeps a
/// synthetic run and its report, to be looked at.
#[test]
#[ignore = "writes files to be looked at"]
fn written_to_be_looked_at() {
    let Some(directory) = std::env::var_os("KIRKWOOD_SYNTHETIC_RUN").map(PathBuf::from) else { return };
    synthetic::write_run(&directory);
    write_report(&directory).unwrap();
}
