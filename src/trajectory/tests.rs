//! Files that are good, and every way in which they are not.

use super::*;
use crate::error::Error;
use crate::system::{Atom, MappingSettings, Topology};
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn files(topology: impl Into<PathBuf>, trajectories: &[PathBuf]) -> TrajectoryFiles {
    TrajectoryFiles {
        topology: Some(topology.into()),
        trajectories: trajectories.to_vec(),
        frames: FrameRange::default(),
        array_unit: LengthUnit::Nm,
    }
}

fn backbone() -> MappingSettings {
    MappingSettings { selection: Some("index 4 6 8 14 16".into()), ..MappingSettings::default() }
}

fn load_all(trajectory: &str) -> Ensemble {
    let files = files(data("aldp.pdb"), &[data(trajectory)]);
    load(&files, "beads", &MappingSettings::default()).expect(trajectory).ensemble
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The error of inspecting, which must also be that of loading.
fn refused(files: &TrajectoryFiles) -> String {
    let error = inspect(files).expect_err("a bad file");
    assert!(load(files, "beads", &MappingSettings::default()).is_err());
    error.to_string()
}

/// Every frame has 10 atoms: the file does not belong to the topology, rather than its last frame.
#[test]
fn atoms_of_another_molecule_are_seen_in_the_first_frame() {
    let heavy =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/alanine_dipeptide/data/implicit_300K_heavy.dcd");
    let message = refused(&files(data("aldp.pdb"), &[heavy]));
    assert!(message.contains("frame 0: expected 22 atoms as in the topology, found 10 atoms"), "{message}");
}

#[test]
fn the_beads_of_a_dcd_are_in_nm_and_have_the_dihedral_of_the_molecule() {
    let loaded = load(&files(data("aldp.pdb"), &[data("aldp_200.dcd")]), "beads", &backbone()).expect("good");
    assert_eq!((loaded.ensemble.n_frames(), loaded.ensemble.n_particles()), (200, 5));
    assert_eq!(loaded.topology.n_atoms(), 22);
    assert_eq!(loaded.topology.bonds.len(), 21);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    // First C atom of the first frame, read from the bytes of the file: x is at 276 + 4 + 4·4.
    let bytes = std::fs::read(data("aldp_200.dcd")).expect("a file");
    let x = f32::from_le_bytes(bytes[276 + 4 + 16..][..4].try_into().expect("four bytes"));
    assert!((loaded.ensemble.frame(0)[0] - f64::from(x) / 10.0).abs() < 1e-12);
    for frame in loaded.ensemble.frames() {
        for (bond, length_nm) in [(0, 0.1335), (1, 0.1449), (2, 0.1522), (3, 0.1335)] {
            let square: f64 = (0..3).map(|k| (frame[3 * bond + k] - frame[3 * bond + 3 + k]).powi(2)).sum();
            assert!((square.sqrt() - length_nm).abs() < 0.02);
        }
    }
    let phi = crate::system::collective_variable::Dihedral::new("phi", [0, 1, 2, 3]);
    let phi: &dyn crate::system::CollectiveVariable = &phi;
    let values = phi.values(5, loaded.ensemble.positions_nm()).expect("five beads");
    // L-alanine: nearly all of the ensemble has negative phi.
    assert!(values.iter().filter(|phi| **phi > 0.0).count() <= 4);
}

#[test]
fn prmtop_and_pdb_describe_the_same_atoms() {
    let pdb = read_structure(&data("aldp.pdb")).expect("good");
    let prmtop = read_structure(&data("aldp.prmtop")).expect("good");
    assert_eq!(pdb.topology.bonds, prmtop.topology.bonds);
    assert_eq!(pdb.topology.bonds, pdb.topology.guess_bonds(&pdb.positions_nm.expect("a PDB has positions")));
    assert!(prmtop.positions_nm.is_none());
    for (a, b) in pdb.topology.atoms.iter().zip(&prmtop.topology.atoms) {
        assert_eq!((&a.element, &a.residue_name, a.residue_id), (&b.element, &b.residue_name, b.residue_id));
        assert!((a.mass_da - b.mass_da).abs() < 0.01);
    }
    assert_eq!(pdb.topology.atoms[8].describe(), "CA of ALA 2");
    assert_eq!(pdb.topology.atoms[8].chain, "A");
}

#[test]
fn every_format_gives_the_same_positions() {
    let dcd = load_all("aldp_200.dcd");
    let xtc = load_all("aldp_200.xtc");
    // XTC is rounded to 0.001 nm, to the nearest.
    assert!(largest_difference(dcd.positions_nm(), xtc.positions_nm()) < 0.5001e-3);
    let first_three = dcd.select(&[0, 1, 2]);
    for name in ["aldp_3.npz", "aldp_3.pt", "aldp_3_dict.pt"] {
        let array = load_all(name);
        assert!(largest_difference(array.positions_nm(), first_three.positions_nm()) < 1e-7, "{name}");
    }
}

#[test]
fn numpy_arrays_of_both_shapes_types_and_units_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let expected = load_all("aldp_200.dcd").select(&[0, 1]);
    let angstrom: Vec<f64> = expected.positions_nm().iter().map(|x| 10.0 * x).collect();
    let path = directory.path().join("a.npy");
    for (shape, text) in [(vec![2_u64, 66], "flat"), (vec![2, 22, 3], "with three axes")] {
        write_npy(&path, &shape, &angstrom);
        let mut files = files(data("aldp.pdb"), std::slice::from_ref(&path));
        files.array_unit = LengthUnit::Angstrom;
        let loaded = load(&files, "beads", &MappingSettings::default()).expect(text);
        assert!(largest_difference(loaded.ensemble.positions_nm(), expected.positions_nm()) < 1e-14);
    }
}

fn write_npy(path: &Path, shape: &[u64], values: &[f64]) {
    use npyz::WriterBuilder;
    let file = std::fs::File::create(path).expect("a file");
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().expect("a header");
    writer.extend(values.iter().copied()).expect("values");
    writer.finish().expect("the end");
}

#[test]
fn the_wrong_unit_of_length_and_broken_molecules_give_a_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("angstrom.npy");
    let angstrom: Vec<f64> = load_all("aldp_200.dcd").frame(0).iter().map(|x| 10.0 * x).collect();
    write_npy(&path, &[1, 66], &angstrom);
    let loaded = load(&files(data("aldp.pdb"), &[path]), "beads", &backbone()).expect("readable");
    assert!(loaded.warnings[0].contains("C of ACE 1 and N of ALA 2"), "{:?}", loaded.warnings);
}

#[cfg(feature = "hdf5")]
#[test]
fn mdtraj_files_hold_topology_and_positions() {
    let expected = load_all("aldp_200.dcd").select(&[0, 1, 2]);
    let structure = read_structure(&data("aldp_3.h5")).expect("a file of mdtraj");
    let pdb = read_structure(&data("aldp.pdb")).expect("good").topology;
    assert_eq!(structure.topology, pdb);
    let loaded = load(&files(data("aldp_3.h5"), &[data("aldp_3.h5")]), "beads", &MappingSettings::default());
    let found = loaded.expect("a file of mdtraj").ensemble;
    assert!(largest_difference(found.positions_nm(), expected.positions_nm()) < 1e-7);
}

#[test]
fn frames_are_counted_over_all_files() {
    let all = load_all("aldp_200.dcd");
    let mut files = files(data("aldp.pdb"), &[data("aldp_200.dcd"), data("aldp_3.pt"), data("aldp_200.dcd")]);
    files.frames = FrameRange { start: 190, stop: Some(215), stride: 6.try_into().expect("not 0") };
    let inspection = inspect(&files).expect("good files");
    assert_eq!(inspection.n_frames, 5);
    assert_eq!(inspection.files.iter().map(|file| file.n_frames).collect::<Vec<_>>(), [200, 3, 200]);
    let loaded = load(&files, "beads", &MappingSettings::default()).expect("good files").ensemble;
    // 190, 196, then 202 in the second file, 208 and 214 in the third.
    let expected = all.select(&[190, 196, 2, 5, 11]);
    assert!(largest_difference(loaded.positions_nm(), expected.positions_nm()) < 1e-7);
    files.frames.start = 1000;
    files.frames.stop = None;
    assert!(refused(&files).contains("no frame is left of the 403"));
}

#[test]
fn what_is_written_is_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let loaded = load(&files(data("aldp.pdb"), &[data("aldp_200.dcd")]), "beads", &backbone()).expect("good");
    let (beads, ensemble) = (loaded.mapping.topology(), &loaded.ensemble);
    let pdb = directory.path().join("beads.pdb");
    write_trajectory(&pdb, beads, &ensemble.select(&[0, 1])).expect("a PDB");
    assert_eq!(&read_structure(&pdb).expect("the PDB").topology, beads);
    for (name, tolerance) in [("a.dcd", 1e-6), ("a.xtc", 0.5001e-3), ("a.pdb", 0.5001e-4), ("a.xyz", 1e-6)] {
        let path = directory.path().join(name);
        write_trajectory(&path, beads, ensemble).expect(name);
        let again = load(&files(&pdb, std::slice::from_ref(&path)), "beads", &MappingSettings::default());
        let again = again.expect(name).ensemble;
        assert!(largest_difference(again.positions_nm(), ensemble.positions_nm()) < tolerance, "{name}");
        let bytes = std::fs::read(&path).expect(name);
        write_trajectory(&path, beads, ensemble).expect(name);
        assert_eq!(bytes, std::fs::read(&path).expect(name), "{name} is written the same twice");
    }
    let names: Vec<_> = std::fs::read_dir(&directory).expect("the directory").collect();
    assert_eq!(names.len(), 5, "no partial file is left: {names:?}");

    let missing = directory.path().join("missing/a.dcd");
    let error = write_trajectory(&missing, beads, ensemble).expect_err("no such directory");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let error =
        write_trajectory(&directory.path().join("a.abc"), beads, ensemble).expect_err("no such format");
    assert!(error.to_string().contains(".dcd"), "{error}");
    assert!(!directory.path().join("a.partial.abc").exists());
}

#[test]
fn alpha_carbons_of_a_written_chain_stay_bonded() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ca.pdb");
    let atom = |residue_id: i64| Atom {
        name: "CA".into(),
        element: "C".into(),
        residue_name: "GLY".into(),
        residue_id,
        chain: "B".into(),
        mass_da: 12.011,
    };
    let topology = Topology::new((1..=3).map(atom).collect(), vec![[0, 1], [1, 2]]);
    let ensemble = Ensemble::new(3, vec![0.0, 0.0, 0.0, 0.38, 0.0, 0.0, 0.38, 0.38, 0.0]).expect("a frame");
    write_trajectory(&path, &topology, &ensemble).expect("a PDB");
    assert_eq!(read_structure(&path).expect("the PDB").topology, topology);
}

#[test]
fn missing_empty_and_mistaken_files_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let with = |trajectory: PathBuf| files(data("aldp.pdb"), &[trajectory]);

    let missing = inspect(&with(at("missing.dcd"))).expect_err("missing");
    assert!(matches!(&missing, Error::Io { path, .. } if path.ends_with("missing.dcd")), "{missing}");
    assert_eq!(missing.exit_code(), 2);
    assert!(refused(&files(at("missing.pdb"), &[data("aldp_200.dcd")])).contains("missing.pdb"));
    assert!(refused(&files(data("aldp.pdb"), &[])).contains("no trajectory"));
    assert!(refused(&with(directory.path().to_path_buf())).contains("a directory"));

    for name in ["a.dcd", "a.xtc", "a.trr", "a.nc", "a.pdb", "a.npy", "a.npz", "a.pt", "a.xyz"] {
        std::fs::write(at(name), "").expect("a file");
        let text = refused(&with(at(name)));
        assert!(text.contains(name) && text.contains("an empty file"), "{text}");
        std::fs::write(at(name), "This is a text about a trajectory, not one.\n").expect("a file");
        let text = refused(&with(at(name)));
        assert!(text.contains(name) && text.contains("expected"), "{text}");
    }
    std::fs::write(at("b.pdb"), "This is a text.\n").expect("a file");
    assert!(refused(&files(at("b.pdb"), &[data("aldp_200.dcd")])).contains("no atoms"));
    std::fs::write(at("b.abc"), "text").expect("a file");
    assert!(refused(&with(at("b.abc"))).contains("extension `abc`"));
    std::fs::write(at("b.h5"), "text").expect("a file");
    assert!(refused(&with(at("b.h5"))).contains(if cfg!(feature = "hdf5") {
        "HDF5"
    } else {
        "--features hdf5"
    }));
    // A trajectory is not a topology.
    assert!(refused(&files(data("aldp_200.dcd"), &[data("aldp_200.dcd")])).contains("names its atoms"));
    assert!(refused(&files(data("aldp_3.npz"), &[data("aldp_200.dcd")])).contains("names its atoms"));
}

#[test]
fn truncated_files_are_noticed_wherever_they_are_cut() {
    let directory = tempfile::tempdir().expect("a directory");
    let (all, pdb) = (load_all("aldp_200.dcd"), read_structure(&data("aldp.pdb")).expect("good").topology);
    for name in ["a.trr", "a.nc", "a.xyz", "a.pdb", "a.gro"] {
        write_trajectory(&directory.path().join(name), &pdb, &all.select(&[0, 1, 2, 3])).expect(name);
    }
    for name in ["aldp_200.dcd", "aldp_200.xtc", "aldp_3.npz", "aldp_3.pt"] {
        std::fs::copy(data(name), directory.path().join(name)).expect(name);
    }
    write_npy(&directory.path().join("a.npy"), &[200, 66], all.positions_nm());
    let names = "a.trr a.nc a.xyz a.pdb a.gro a.npy aldp_200.dcd aldp_200.xtc aldp_3.npz aldp_3.pt";
    for name in names.split(' ') {
        let path = directory.path().join(name);
        inspect(&files(data("aldp.pdb"), std::slice::from_ref(&path))).expect(name);
        let bytes = std::fs::read(&path).expect(name);
        for part in [0.999, 0.9, 0.51, 0.26, 0.02, 0.001] {
            let cut = directory.path().join(format!("cut_{name}"));
            let length = ((bytes.len() as f64 * part) as usize).min(bytes.len() - 40).max(1);
            std::fs::write(&cut, &bytes[..length]).expect(name);
            let text = refused(&files(data("aldp.pdb"), &[cut]));
            assert!(text.contains(&format!("cut_{name}")), "{name} cut to {length}: {text}");
        }
    }
    let text = refused_cut(&directory, &data("aldp_200.dcd"), 276 + 150 * 288 + 100);
    assert!(text.contains("200 frames") && text.contains("150 whole frames"), "{text}");
}

fn refused_cut(directory: &tempfile::TempDir, path: &Path, length: usize) -> String {
    let cut = directory.path().join("cut.dcd");
    std::fs::write(&cut, &std::fs::read(path).expect("a file")[..length]).expect("a file");
    refused(&files(data("aldp.pdb"), &[cut]))
}

#[test]
fn another_number_of_atoms_is_told_with_both_numbers() {
    let directory = tempfile::tempdir().expect("a directory");
    let beads = directory.path().join("beads.pdb");
    let loaded = load(&files(data("aldp.pdb"), &[data("aldp_200.dcd")]), "beads", &backbone()).expect("good");
    write_trajectory(&beads, loaded.mapping.topology(), &loaded.ensemble.select(&[0])).expect("a PDB");
    for name in ["aldp_200.dcd", "aldp_200.xtc"] {
        let text = refused(&files(&beads, &[data(name)]));
        assert!(text.contains("frame 0") || text.contains("frame 199"), "{text}");
        assert!(text.contains("5 atoms") && text.contains("found 22 atoms"), "{text}");
    }
    for name in ["aldp_3.npz", "aldp_3.pt", "aldp_3_dict.pt"] {
        let text = refused(&files(&beads, &[data(name)]));
        assert!(text.contains("[frames, 5, 3]") && text.contains("found [3, "), "{text}");
    }
}

#[test]
fn coordinates_that_are_not_numbers_are_located() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nan.dcd");
    let mut bytes = std::fs::read(data("aldp_200.dcd")).expect("a file");
    // y of atom 7 in frame 123, behind the header and the block of x.
    bytes[276 + 123 * 288 + 96 + 4 + 4 * 7..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("a file");
    let bad = files(data("aldp.pdb"), std::slice::from_ref(&path));
    let text = load(&bad, "beads", &backbone()).expect_err("NaN").to_string();
    assert!(text.contains("nan.dcd") && text.contains("frame 123, atom 7") && text.contains("NaN"), "{text}");

    let mut values = load_all("aldp_200.dcd").positions_nm()[..132].to_vec();
    values[70] = f64::INFINITY;
    let path = directory.path().join("inf.npy");
    write_npy(&path, &[2, 66], &values);
    let text = load(&files(data("aldp.pdb"), &[path]), "beads", &backbone()).expect_err("inf").to_string();
    assert!(text.contains("frame 1, atom 1"), "{text}");
}

#[test]
fn damaged_bytes_are_an_error_and_never_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["aldp_200.dcd", "aldp_3.npz", "aldp_3.pt", "aldp.pdb", "aldp.prmtop"] {
        let bytes = std::fs::read(data(name)).expect(name);
        for step in 0..40_usize {
            let mut damaged = bytes.clone();
            let at = (step * 7919) % (bytes.len() / if step % 2 == 0 { 1 } else { 20 });
            for byte in damaged.iter_mut().skip(at).take(8) {
                *byte ^= 0xA5;
            }
            let path = directory.path().join(format!("damaged_{name}"));
            std::fs::write(&path, &damaged).expect(name);
            // Many of these are still readable: the call has to return, with whatever outcome.
            let _ = load(&files(data("aldp.pdb"), std::slice::from_ref(&path)), "beads", &backbone());
            let _ = read_structure(&path);
        }
    }
}
