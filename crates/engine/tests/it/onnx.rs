//! ONNX Runtime on models of its own: what is refused and how it says so, external data, devices.

use domain::{DataType, Elements, Refusal, Tensor};
use engine::{Engine, Failure, Interrupt, ModelSource, Options};

use crate::build::{self, Attribute, Entry, Graph, Model, Opset, Sequence, Type};
use crate::runtime::runtime;

fn check_refused(source: &ModelSource, want: &str) {
    match runtime().load(source, &Options::one_thread()) {
        Ok(loaded) => panic!("loaded: {:?}", loaded.signature()),
        Err(refusal) => assert_eq!(refusal.to_string(), format!("the model cannot run: {want}")),
    }
}

fn model(nodes: &[&str], inputs: &[&str], outputs: &[&str]) -> Model {
    build::model(build::graph(nodes, inputs, outputs))
}

#[test]
fn a_model_that_cannot_run_is_refused_by_the_operators_name() {
    let check = |model: &Model, want: &str| check_refused(&build::source(model), want);
    let with_acme = |mut model: Model| {
        let domain = "acme".to_owned();
        model.opsets.push(Opset { domain, version: 1 });
        model
    };
    check(
        &with_acme(model(&["y = acme.Frob x"], &["x FP32 n"], &["y FP32 n"])),
        "operator `acme.Frob` is not one that ONNX Runtime has: Fatal error: acme:Frob(-1) is not a \
         registered function/op",
    );
    check(
        &model(&["y = Frob x"], &["x FP32 n"], &["y FP32 n"]),
        "This is an invalid model. In Node, (\"\", Frob, \"\", -1) : (\"x\": tensor(float),) -> (\"y\": \
         tensor(float),) , Error No Op registered for Frob with domain_version of 17",
    );
    check(
        &model(&["y = Add x x"], &["x BF16 n"], &["y BF16 n"]),
        "Could not find an implementation for Add(14) node with name ''",
    );
    check(
        &model(&["y = Add x x"], &["x BYTES n"], &["y BYTES n"]),
        "This is an invalid model. Type Error: Type 'tensor(string)' of input parameter (x) of operator \
         (Add) in node () is invalid.",
    );
    check(
        &model(&["y = Add x gone"], &["x FP32 n"], &["y FP32 n"]),
        "Invalid model. Node input 'gone' is not a graph input, initializer, or output of a previous node.",
    );
    let mut short = build::lookup();
    graph(&mut short).initializers[0].raw.truncate(5);
    check(
        &short,
        "Exception during initialization: Initializer 'table': raw_data size (5 bytes) does not match \
         expected size from shape and data type (12 bytes)",
    );
}

#[test]
fn what_is_no_tensor_of_ours_is_refused_by_its_name() {
    let sequence = |of: Type| {
        let mut zipped = build::add();
        let of = Some(Box::new(of));
        graph(&mut zipped).outputs[1].r#type = Some(Type {
            tensor: None,
            sequence: Some(Box::new(Sequence { of })),
            map: None,
        });
        build::source(&zipped)
    };
    let map = Type {
        tensor: None,
        sequence: None,
        map: Some(build::Map { key: 7 }),
    };
    check_refused(
        &sequence(map),
        "output `first` is made of maps and not a tensor; export the classifier without them: \
         `options={'zipmap': False}` of skl2onnx, `zipmap=False` of onnxmltools",
    );
    let tensor = build::port("x FP32 n").r#type.expect("has one");
    check_refused(
        &sequence(tensor),
        "output `first` is a list and not a tensor",
    );
    check_refused(
        &build::source(&model(&["y = Identity x"], &["x FP32 *"], &["y FP32 *"])),
        "input `x` does not say how many axes it has; export the model with the shape of its inputs, -1 or a \
         name for axes that vary",
    );
    let mut narrow = model(&["y = Identity x"], &["x FP32 n"], &["y FP32 n"]);
    narrow.opsets[0].version = 21;
    let Graph {
        inputs, outputs, ..
    } = graph(&mut narrow);
    for port in inputs.iter_mut().chain(outputs) {
        let tensor = port.r#type.as_mut().and_then(|it| it.tensor.as_mut());
        // FLOAT8E4M3FN
        tensor.expect("is one").element = 17;
    }
    check_refused(
        &build::source(&narrow),
        "input `x` has elements of type f8_e4m3fn, which requests cannot hold",
    );
}

#[test]
fn axes_keep_their_names() {
    let nodes = ["y = MatMul a b"];
    let model = model(
        &nodes,
        &["a FP32 rows,width", "b FP32 width,3"],
        &["y FP32 rows,3"],
    );
    let loaded = runtime().load(&build::source(&model), &Options::one_thread());
    let loaded = loaded.expect("loads");
    let show = |specs: &[domain::TensorSpec]| format!("{:?}", specs[0].shape);
    let signature = loaded.signature();
    let want = r#"[Variable(Some("rows")), Variable(Some("width"))]"#;
    assert_eq!(show(&signature.inputs), want);
    assert_eq!(
        show(&signature.outputs),
        r#"[Variable(Some("rows")), Fixed(3)]"#
    );
    assert_eq!(
        signature.rows,
        domain::signature::Rows::Whole,
        "`a` and `b` count different things"
    );
}

#[test]
fn a_run_that_fails_names_the_operator() {
    let check = |model: &Model, inputs: &[&Tensor], want: &str| {
        let loaded = runtime()
            .load(&build::source(model), &Options::one_thread())
            .expect("loads");
        let mut session = loaded.session().expect("is there");
        let got = session.run(inputs, &[0], &Interrupt::new());
        assert_eq!(got, Err(Failure::Failed(want.to_owned())));
    };
    let ones = |shape: &[usize]| {
        let count = shape.iter().product();
        Tensor::new(shape.to_vec(), Elements::from_slice(&vec![1f32; count])).expect("fits")
    };
    let nine = Tensor::new(vec![1], Elements::from_slice(&[9i64])).expect("fits");
    check(
        &build::lookup(),
        &[&nine],
        "operator `Gather`: indices element out of data bounds, idx=9 must be within the inclusive range \
         [-3,2]",
    );
    let product = model(
        &["y = MatMul a b"],
        &["a FP32 n,m", "b FP32 k,j"],
        &["y FP32 n,j"],
    );
    check(
        &product,
        &[&ones(&[2, 3]), &ones(&[2, 3])],
        "operator `MatMul`: MatMul dimension mismatch",
    );
    check(
        &product,
        &[&ones(&[2, 3]), &ones(&[2])],
        "Invalid rank for input: b Got: 1 Expected: 2 Please fix either the inputs/outputs or the model.",
    );
}

/// `lookup`, with its table in a file.
fn external(location: &str, offset: &str) -> Model {
    let mut model = build::lookup();
    let table = &mut graph(&mut model).initializers[0];
    table.raw.clear();
    table.location = 1;
    table.external = [("location", location), ("offset", offset), ("length", "12")]
        .map(|(key, value)| Entry {
            key: key.to_owned(),
            value: value.to_owned(),
        })
        .to_vec();
    model
}

#[test]
fn external_data_is_read_from_the_models_folder_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let table: Vec<u8> = [0f32, 10., 20., 30.]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect();
    std::fs::write(folder.path().join("table.bin"), table).expect("writes");
    let within = |model: &Model| ModelSource {
        folder: Some(folder.path().to_owned()),
        ..build::source(model)
    };

    let source = within(&external("table.bin", "4"));
    let files = runtime().files(&source.bytes, &source.file_name);
    assert_eq!(files, Ok(vec!["table.bin".to_owned()]));
    let loaded = runtime()
        .load(&source, &Options::one_thread())
        .expect("loads");
    let index = Tensor::new(vec![1], Elements::from_slice(&[2i64])).expect("fits");
    for _ in 0..2 {
        let mut session = loaded.session().expect("is there");
        let got = session
            .run(&[&index], &[0], &Interrupt::new())
            .expect("runs");
        assert_eq!(got[0].elements(), &Elements::from_slice(&[30f32]));
    }

    let gone = "it keeps data in the file `table.bin` beside it, which is not there";
    check_refused(&build::source(&external("table.bin", "4")), gone);
    check_refused(
        &within(&external("other.bin", "4")),
        "it keeps data in the file `other.bin` beside it, which is not there",
    );
    check_refused(
        &within(&external("table.bin", "8")),
        "Exception during initialization: External initializer: table offset: 8 size to read: 12 given \
         file_length: 16 are out of bounds or can not be read in full.",
    );
    for location in ["../table.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"] {
        let refused = runtime().load(&within(&external(location, "4")), &Options::one_thread());
        let location = location.to_owned();
        assert_eq!(
            refused.err(),
            Some(Refusal::ExternalDataOutside { location })
        );
    }
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    for device in ["cuda", "gpu", "CPU", ""] {
        let options = Options {
            threads: 1,
            device: device.to_owned(),
        };
        if runtime().devices().contains(&device) {
            continue;
        }
        let refused = runtime()
            .load(&build::source(&build::add()), &options)
            .err();
        let known = format!("`{}`", runtime().devices().join("`, `"));
        let device = device.to_owned();
        assert_eq!(refused, Some(Refusal::DeviceMissing { device, known }));
    }
}

#[test]
fn several_threads_give_the_same_answer() {
    let loaded = |threads| {
        let options = Options {
            threads,
            ..Options::one_thread()
        };
        runtime()
            .load(&build::source(&build::linear()), &options)
            .expect("loads")
    };
    let inputs = engine::sample_inputs(loaded(1).signature(), 500, 1).expect("small");
    let answer = |threads| {
        let mut session = loaded(threads).session().expect("is there");
        session
            .run(&[&inputs[0]], &[0], &Interrupt::new())
            .expect("runs")
    };
    assert_eq!(answer(1), answer(2));
    assert_eq!(answer(1)[0].datatype(), DataType::Fp32);
}

#[test]
fn a_subgraph_may_use_what_is_around_it() {
    let mut branch = build::graph(&["z = Add x x"], &[], &["z FP32 n"]);
    branch.name = "then".to_owned();
    let mut model = model(&["y = If yes"], &["x FP32 n", "yes BOOL"], &["y FP32 n"]);
    for name in ["then_branch", "else_branch"] {
        graph(&mut model).nodes[0].attributes.push(Attribute {
            name: name.to_owned(),
            kind: 5,
            graph: Some(Box::new(branch.clone())),
            ..Attribute::default()
        });
    }
    let loaded = runtime()
        .load(&build::source(&model), &Options::one_thread())
        .expect("loads");
    let mut session = loaded.session().expect("is there");
    let x = Tensor::new(vec![1], Elements::from_slice(&[2f32])).expect("fits");
    let yes = Tensor::new(vec![], Elements::from_bools(&[true])).expect("fits");
    let got = session
        .run(&[&x, &yes], &[0], &Interrupt::new())
        .expect("runs");
    assert_eq!(got[0].elements(), &Elements::from_slice(&[4f32]));
}

fn graph(model: &mut Model) -> &mut Graph {
    model.graph.as_mut().expect("has one")
}
