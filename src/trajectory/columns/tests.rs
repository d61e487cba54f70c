use super::*;

fn read(text: &str) -> Columns {
    Columns::from_bytes(Path::new("t"), text.as_bytes()).unwrap()
}

fn message(text: &str) -> String {
    Columns::from_bytes(Path::new("t"), text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn each_kind_is_known_by_its_content() {
    let plumed = read("#! FIELDS time d.x\n#! SET min_d.x -pi\n 0.0 1.5\r\n 1.0 2.5\n");
    let csv = read("\"time, ps\",d\n0,1.5\n1,2.5\n");
    let semicolons = read("0;1.5\n1;2.5\n");
    let xvg =
        read("# made by\n@ title \"x\"\n@    xaxis  label \"Time (ps)\"\n@ s0 legend \"d\"\n0 1.5\n1 2.5\n");
    let commented = read("# unit nm\n# time d\n0 1.5\n1 2.5\n");
    let headed = read("time d\n0\t1.5\n1 2.5D0\n");
    let bare = read("0 1.5\n1 2.5");
    let expected = [
        (plumed, TableKind::Plumed, ["time", "d.x"]),
        (csv, TableKind::Csv, ["time, ps", "d"]),
        (semicolons, TableKind::Csv, ["1", "2"]),
        (xvg, TableKind::Xvg, ["Time (ps)", "d"]),
        (commented, TableKind::Plain, ["time", "d"]),
        (headed, TableKind::Plain, ["time", "d"]),
        (bare, TableKind::Plain, ["1", "2"]),
    ];
    for (table, kind, names) in expected {
        assert_eq!((table.kind, table.names.as_slice()), (kind, &names.map(String::from)[..]));
        assert_eq!(table.values, [[0.0, 1.0], [1.5, 2.5]], "{kind:?}");
        assert!(table.warnings.is_empty(), "{:?}", table.warnings);
    }
}

#[test]
fn columns_are_found_by_name_then_by_number() {
    let table = read("#! FIELDS time phi metad.bias\n0 1 2\n");
    assert_eq!(table.column("phi").unwrap(), [1.0]);
    assert_eq!(table.column("3").unwrap(), [2.0]);
    let error = table.column("metad.bais").unwrap_err().to_string();
    assert!(
        error.contains("time, phi, metad.bias") && error.contains("did you mean `metad.bias`"),
        "{error}"
    );
    assert!(table.column("0").is_err() && table.column("4").is_err());
    assert_eq!(table.place(0), "line 2");
    let legends = read("@ s0 legend \"2\"\n@ s1 legend \"1\"\n0 7 8\n");
    assert_eq!((legends.column("1").unwrap(), legends.column("2").unwrap()), (&[8.0][..], &[7.0][..]));
}

#[test]
fn damaged_lines_are_left_out_and_named() {
    let good = "1 2.50\n".repeat(200);
    let table = read(&format!("{good}1 2.5 3\n{good}1 2,5\n{good}1 2."));
    assert_eq!(table.n_rows(), 600);
    let texts = table.warnings.join("\n");
    assert!(texts.contains("line 201: left out, 3 columns where 2 columns"), "{texts}");
    assert!(texts.contains("line 402: left out, `2,5`") && texts.contains("line 603"), "{texts}");
    assert!(message(&format!("{good}1\n2\n{good}")).contains("line 201"));
    assert!(message("1 2\n1\n1 2\n1\n1 2\n1\n1 2\n1\n1 2\n").contains("4 of 9 lines"));
    assert!(message("# nothing\n").contains("rows of numbers"));
    // The last line is whole where it has as many decimals as the one before.
    assert_eq!(read("1 2.50\n1 2.55").n_rows(), 2);
}

#[test]
fn numbers_that_are_none_are_named_and_can_be_refused() {
    let table = read("#! FIELDS time bias\n0 1\n1 nan\n2 inf\n");
    assert!(table.warnings[0].contains("line 3: column `bias` is NaN (2 of 3"), "{:?}", table.warnings);
    let error = table.finite_column("bias").unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("NaN"), "{error}");
    assert_eq!(table.finite_column("time").unwrap().len(), 3);
    assert!(read("a,b\n1,\n2,3\n").values[1][0].is_nan());
}

#[test]
fn numpy_arrays_in_both_orders() {
    let header = |fortran: &str, kind: &str, shape: &str| {
        let dictionary = format!("{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        let padded = format!("{dictionary:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((padded.len() as u16).to_le_bytes());
        bytes.extend(padded.as_bytes());
        bytes
    };
    let data = |numbers: &[f64]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let path = Path::new("a.npy");
    for (fortran, numbers) in
        [("False", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), ("True", [1.0, 3.0, 5.0, 2.0, 4.0, 6.0])]
    {
        let bytes = [header(fortran, "<f8", "(3, 2)"), data(&numbers)].concat();
        let table = Columns::from_bytes(path, &bytes).unwrap();
        assert_eq!(table.values, [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]);
        assert_eq!((table.column("2").unwrap()[0], table.place(1)), (2.0, "row 2".into()));
        assert!(Columns::from_bytes(path, &bytes[..bytes.len() - 4]).is_err());
    }
    let bytes = [header("False", "<i4", "(2,)"), vec![7, 0, 0, 0, 9, 0, 0, 0]].concat();
    assert_eq!(Columns::from_bytes(path, &bytes).unwrap().values, [[7.0, 9.0]]);
    assert!(Columns::from_bytes(path, &header("False", "<f8", "(2, 2, 2)")).is_err());
    assert!(Columns::from_bytes(path, &header("False", "<f8", "(9999999999, 999999999)")).is_err());
}

#[test]
fn compressed_tables_and_another_data_set_behind_the_first() {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("COLVAR");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"1 2\n3 4\n").unwrap();
    std::fs::write(&path, gzip.finish().unwrap()).unwrap();
    assert_eq!(Columns::read(&path).unwrap().values, [[1.0, 3.0], [2.0, 4.0]]);
    let table = read("@ s0 legend \"a\"\n1 2\n&\n3 4\n");
    assert_eq!(table.n_rows(), 1);
    assert!(table.warnings[0].contains("line 3"));
}
