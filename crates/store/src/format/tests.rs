use std::os::unix::fs::symlink;

use super::*;

mod imported;
mod manifests;

/// Lays files out in a new folder: `path: content`, a line each, `\n` for a line's end. Then reads the
/// folder, or what lies in it at `path`, and shows what was found.
fn check(path: &str, files: &str, want: &str) {
    let folder = lay_out(files);
    assert_eq!(show(&folder.path().join("at").join(path)), unindent(want));
}

fn lay_out(files: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("at")).expect("made");
    for line in files.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (path, content) = line
            .split_once(": ")
            .unwrap_or((line.trim_end_matches(':'), ""));
        let path = folder.path().join("at").join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        if let Some(target) = content.strip_prefix("-> ") {
            symlink(target, path).expect("linked");
        } else if let Some(target) = content.strip_prefix("=> ") {
            std::fs::hard_link(folder.path().join("at").join(target), path).expect("linked");
        } else {
            std::fs::write(path, content.replace("\\n", "\n")).expect("written");
        }
    }
    folder
}

fn unindent(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

fn show(path: &Path) -> String {
    let shown = match read(path, &limits()) {
        Ok(packages) => packages
            .iter()
            .map(show_package)
            .collect::<Vec<_>>()
            .join("\n"),
        Err(refusal) => match refusal.hint() {
            Some(hint) => format!("{refusal}\nhint: {hint}"),
            None => refusal.to_string(),
        },
    };
    shown.replace(&path.display().to_string(), "PATH")
}

fn limits() -> Limits {
    Limits {
        files_max: 8,
        blob_bytes_max: 1000,
        ..Limits::default()
    }
}

fn show_package(package: &Package) -> String {
    let Package {
        name,
        number,
        layout,
        files,
        main,
        manifest,
        declared_inputs,
        declared_outputs,
        columns,
        notes,
    } = package;
    let number = number.map_or(String::new(), |it| format!(" number {it}"));
    let paths: Vec<&str> = files.iter().map(|it| it.path.as_str()).collect();
    let mut lines = vec![format!(
        "{name}{number}: {}, {main} of {}",
        layout.name(),
        paths.join(" ")
    )];
    if *manifest != Manifest::default() {
        lines.push(serde_json::to_string(manifest).expect("JSON"));
    }
    for (what, tensors) in [("input", declared_inputs), ("output", declared_outputs)] {
        for DeclaredTensor {
            name,
            datatype,
            shape,
        } in tensors
        {
            let shape: Vec<String> = shape
                .iter()
                .map(|it| it.map_or("-1".to_owned(), |it| it.to_string()))
                .collect();
            let name = name.as_deref().unwrap_or("-");
            lines.push(format!("{what} {name} {datatype} [{}]", shape.join(", ")));
        }
    }
    if !columns.is_empty() {
        lines.push(format!("columns {}", columns.join(" ")));
    }
    lines.extend(notes.iter().map(|it| format!("note: {it}")));
    lines.join("\n")
}

#[test]
fn a_file_by_itself_and_a_folder_with_one() {
    check(
        "m/credit.onnx",
        "m/credit.onnx: x",
        "credit: ONNX file, credit.onnx of credit.onnx",
    );
    check(
        "m",
        "m/credit.onnx: x",
        "m: ONNX folder, credit.onnx of credit.onnx",
    );
    check(
        "big",
        "
        big/model.onnx: x
        big/weights.bin: w
        big/more/w2: w
        big/.git/config: no
        ",
        "big: ONNX folder, model.onnx of model.onnx more/w2 weights.bin",
    );
    check("no", "", "nothing at `PATH`");
    check(
        "my model (2)",
        "my model (2)/a.onnx: x",
        "my-model--2: ONNX folder, a.onnx of a.onnx",
    );
    check(
        "m",
        "
        m/a.onnx: x
        m/b/c.onnx: x
        ",
        "
        a folder with 2 ONNX files (`a.onnx`, `b/c.onnx`) is not taken
        hint: name the one that is meant: its path, or `source: ./a.onnx` in `windlass.yaml`
        ",
    );
}

#[test]
fn links_and_second_names_are_refused() {
    let link = "
        m/model.onnx: x
        secret: s
        ";
    let outside = |location: &str| {
        format!(
            "external data `{location}` is not a plain file beside the model
             hint: put the file into the model's own folder and refer to it by its bare name"
        )
    };
    check(
        "m",
        &format!("{link}\nm/w.bin: -> ../secret"),
        &outside("w.bin"),
    );
    check(
        "m",
        &format!("{link}\nm/w.bin: -> nowhere"),
        &outside("w.bin"),
    );
    check("m", &format!("{link}\nm/loop: -> ."), &outside("loop"));
    check(
        "m",
        &format!("{link}\nm/w.bin: => secret"),
        &outside("w.bin"),
    );
    check(
        "m",
        "x.onnx: x\nm/model.onnx: -> ../x.onnx",
        "the model cannot run: `model.onnx` is a link",
    );
    check(
        "m",
        "x.json: x\nm/model.onnx: x\nm/e.json: -> ../x.json\nm/windlass.yaml: examples: {file: e.json}",
        &outside("e.json"),
    );
    check(
        "m",
        "x/windlass.yaml: model: a\nm/model.onnx: x\nm/windlass.yaml: -> ../x/windlass.yaml",
        &outside("windlass.yaml"),
    );
    // What the owner names may be a link.
    check(
        "l",
        "m/model.onnx: x\nl: -> m",
        "m: ONNX folder, model.onnx of model.onnx",
    );
    check(
        "l.onnx",
        "m/model.onnx: x\nl.onnx: -> m/model.onnx",
        "l: ONNX file, l.onnx of l.onnx",
    );
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = lay_out("m/model.onnx: x");
    let path = folder.path().join("at/m");
    let mode = rustix::fs::Mode::RUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path.join("w.bin"), kind, mode, 0).expect("a pipe");
    assert!(show(&path).starts_with("external data `w.bin` is not a plain file"));
    let root = path.canonicalize().expect("there");
    let opened = folder::open_below(&root, &"w.bin".parse().expect("a path"));
    assert!(
        matches!(opened, Err(Refusal::ExternalDataOutside { .. })),
        "{opened:?}"
    );
}

#[test]
fn a_folder_swapped_for_a_link_is_noticed_when_its_file_is_opened() {
    let folder = lay_out("m/model.onnx: x\nm/data/w.bin: w\nsecret/w.bin: s");
    let at = folder.path().join("at");
    let packages = read(&at.join("m"), &limits()).expect("a package");
    let file = packages[0]
        .files
        .iter()
        .find(|it| it.path.as_str() == "data/w.bin")
        .expect("there");
    file.open().expect("a plain file");
    std::fs::remove_dir_all(at.join("m/data")).expect("removed");
    symlink(at.join("secret"), at.join("m/data")).expect("linked");
    assert!(matches!(
        file.open(),
        Err(Refusal::ExternalDataOutside { .. })
    ));
}

#[test]
fn too_many_files_and_too_large_ones_are_refused() {
    let many: String = (0..9).map(|it| format!("m/f{it}: x\n")).collect();
    check(
        "m",
        &many,
        "the number of files in a model's folder is over the limit of 8",
    );
    let deep: String = (0..9).map(|it| format!("m/f{it}/x: x\n")).collect();
    check(
        "m",
        &deep,
        "the number of files in a model's folder is over the limit of 8",
    );
    let large = "x".repeat(1001);
    check(
        "m",
        &format!("m/model.onnx: {large}"),
        "a file of a model is 1001, at most 1000 is taken",
    );
    check(
        "m/model.onnx",
        &format!("m/model.onnx: {large}"),
        "a file of a model is 1001, at most 1000 is taken",
    );
}

#[test]
fn what_is_no_onnx_is_named_for_the_engine_to_look_at() {
    check(
        "model.pkl",
        "model.pkl: x",
        "model: unknown, model.pkl of model.pkl",
    );
    check(
        "m",
        "m/README.md: x\nm/model.pkl: x",
        "m: unknown, model.pkl of README.md model.pkl",
    );
    check(
        "m",
        "m/saved_model.pb: x\nm/variables/v: x",
        "m: unknown, saved_model.pb of saved_model.pb variables/v",
    );
    check(
        "m",
        "m/net.PT: x\nm/a.bin: x",
        "m: unknown, net.PT of a.bin net.PT",
    );
    let hint = "hint: give the path of an ONNX file, of a folder with one, of a Triton model repository \
                or of an MLflow model with the ONNX flavour";
    check(
        "m",
        "m/.keep: x",
        &format!("an empty folder is not taken\n{hint}"),
    );
    check(
        "m",
        "m/README.md: x\nm/LICENSE: x",
        &format!("a folder without a model is not taken\n{hint}"),
    );
}

#[test]
fn external_data_is_what_the_model_says_it_needs() {
    let folder = lay_out(
        "
        m/windlass.yaml: source: sub/model.onnx\\nexamples: {file: e.json}
        m/e.json: {}
        m/sub/model.onnx: x
        m/sub/w.bin: w
        m/sub/data/w2.bin: w
        m/sub/notes.txt: n
        m/sub/link.bin: -> ../e.json
        m/sub/twin.bin: => m/sub/w.bin
        m/outside.bin: o
        ",
    );
    let read = || {
        read(&folder.path().join("at/m"), &limits())
            .expect("a package")
            .remove(0)
    };
    let mut package = read();
    let locations = ["data/w2.bin".to_owned(), "data/w2.bin".to_owned()];
    package
        .keep_external(&locations, &limits())
        .expect("plain files");
    let paths: Vec<&str> = package.files.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["data/w2.bin", "examples.json", "model.onnx"]);
    for location in [
        "../outside.bin",
        "/etc/passwd",
        "link.bin",
        "twin.bin",
        "w.bin",
        "no.bin",
        "data",
        "data/../w.bin",
        "",
    ] {
        let got = read().keep_external(&[location.to_owned()], &limits());
        let location = location.to_owned();
        assert_eq!(got, Err(Refusal::ExternalDataOutside { location }));
    }
}

#[test]
fn the_examples_of_this_project_are_read() {
    let examples = Path::new("../../examples/credit");
    for folder in ["lightgbm", "pipeline"] {
        let packages = read(&examples.join(folder), &Limits::default()).expect(folder);
        let paths: Vec<&str> = packages[0]
            .files
            .iter()
            .map(|it| it.path.as_str())
            .collect();
        assert_eq!(paths, ["examples.json", "model.onnx"], "{folder}");
    }
}
