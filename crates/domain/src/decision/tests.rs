use super::*;
use crate::Dimension;

fn spec(name: &str, datatype: DataType, width: Option<usize>) -> TensorSpec {
    let row = Dimension::Variable(None);
    let inner = width.map(Dimension::Fixed);
    TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: std::iter::once(row).chain(inner).collect(),
        features: Vec::new(),
    }
}

/// Two features and a text go in; a label of this type and two scores come out.
fn signature(label: DataType) -> Signature {
    let mut x = spec("x", DataType::Fp32, Some(2));
    x.features = vec!["age".to_owned(), "sex".to_owned()];
    Signature {
        inputs: vec![x, spec("home", DataType::Bytes, Some(1))],
        outputs: vec![
            spec("label", label, None),
            spec("p", DataType::Fp32, Some(2)),
        ],
        rows: Rows::Outermost,
        task: None,
    }
}

fn task(by_group: &str) -> Task {
    let text = format!(
        r#"{{"type":"binary","positive":"bad","classes":["bad","good"],"scores":"p","label":"label",
            "threshold":0.6,"by_group":{by_group}}}"#
    );
    serde_json::from_str(&text).expect("a task")
}

fn decision(label: DataType, by_group: &str) -> Decision {
    let signature = signature(label).completed(&[], Some(task(by_group)));
    let decision = Decision::of(&signature.expect("a signature"));
    decision
        .expect("it can be kept")
        .expect("it says something")
}

const HOME: &str = r#"{"column":"home","thresholds":{"own":0.4,"rent":0.7}}"#;

/// Four rows: home and the score of `bad`.
fn inputs() -> Vec<Tensor> {
    let homes = ["rent", "own", "tent", "own"].map(|it| it.as_bytes().to_vec());
    let x = [30.0f32, 0.0, 40.0, 1.0, 50.0, 0.0, f32::NAN, f32::NAN];
    vec![
        Tensor::new(vec![4, 2], Elements::from_slice(&x)).expect("a tensor"),
        Tensor::new(vec![4, 1], Elements::Bytes(homes.to_vec())).expect("a tensor"),
    ]
}

fn scores() -> Tensor {
    let scores = [0.65f32, 0.35, 0.5, 0.5, 0.65, 0.35, f32::NAN, 0.0];
    Tensor::new(vec![4, 2], Elements::from_slice(&scores)).expect("a tensor")
}

#[test]
fn a_row_follows_the_threshold_of_its_group() {
    let decision = decision(DataType::Bytes, HOME);
    let own = Elements::Bytes(vec![b"bad".to_vec(); 4]);
    let mut tensors = [Tensor::new(vec![4], own).expect("a tensor"), scores()];
    let told = decision.apply(&inputs(), 4, &[0, 1], &mut tensors);
    assert_eq!(
        told.expect("four rows"),
        "home: own from 0.4, rent from 0.7, others from 0.6"
    );
    // 0.65 of 0.7, 0.5 of 0.4, 0.65 of 0.6, and what is no number is no reason.
    let want = ["good", "bad", "bad", "good"].map(|it| it.as_bytes().to_vec());
    assert_eq!(*tensors[0].elements(), Elements::Bytes(want.to_vec()));
    assert_eq!(tensors[0].shape(), [4]);
    let Elements::Fixed(left) = tensors[1].elements() else {
        panic!("numbers");
    };
    assert_eq!(left.number(0), Some(f64::from(0.65f32)), "scores are left");
}

#[test]
fn numbers_are_groups_and_labels_too() {
    let by_sex = r#"{"column":"sex","thresholds":{"0":0.7,"1.0":0.4}}"#;
    let decision = decision(DataType::Int64, by_sex);
    // Asked for in another order.
    let own = Elements::from_slice(&[0i64; 4]);
    let mut tensors = [scores(), Tensor::new(vec![4], own).expect("a tensor")];
    let told = decision.apply(&inputs(), 4, &[1, 0], &mut tensors);
    assert_eq!(
        told.expect("four rows"),
        "sex: 0 from 0.7, 1.0 from 0.4, others from 0.6"
    );
    // `bad` is at place 0.
    assert_eq!(
        *tensors[1].elements(),
        Elements::from_slice(&[1i64, 0, 1, 1])
    );
}

#[test]
fn scores_are_asked_for_where_a_label_is_wanted() {
    let decision = decision(DataType::Int64, HOME);
    assert_eq!(decision.also(&[0]), Some(1));
    assert_eq!(decision.also(&[0, 1]), None);
    assert_eq!(decision.also(&[1]), None);
    // Scores alone are answered as they are.
    let mut tensors = [scores()];
    let told = decision.apply(&inputs(), 4, &[1], &mut tensors);
    assert!(told.expect("four rows").starts_with("home: own from 0.4"));
}

#[test]
fn what_cannot_be_kept_is_refused_by_its_name() {
    let check = |label: DataType, by_group: &str, want: &str| {
        let got = signature(label).completed(&[], Some(task(by_group)));
        let got = got
            .err()
            .map_or_else(|| "ok".to_owned(), |it| it.to_string());
        assert!(got.starts_with(want), "{got}");
    };
    let int = DataType::Int64;
    check(int, HOME, "ok");
    check(int, "null", "ok");
    check(
        int,
        r#"{"column":"city","thresholds":{"a":0.5}}"#,
        "`task.by_group.column`: the model has no input of one value a row, and no feature, named `city`",
    );
    check(
        int,
        r#"{"column":"home","thresholds":{}}"#,
        "`task.by_group.thresholds`: 0 groups, want 1 to 64",
    );
    check(
        int,
        r#"{"column":"home","thresholds":{"own":1.5}}"#,
        "`task.by_group.thresholds.own`: `1.5` is not from 0 to 1",
    );
    check(
        int,
        r#"{"column":"sex","thresholds":{"female":0.5}}"#,
        "`task.by_group.thresholds`: input column `sex` is FP32; want its values, as they are",
    );
    check(
        DataType::Fp16,
        HOME,
        "`task.by_group`: output `label` is FP16",
    );
    let many: BTreeMap<String, f64> = (0..65).map(|it| (it.to_string(), 0.5)).collect();
    let many = serde_json::to_string(&many).expect("numbers");
    check(
        int,
        &format!(r#"{{"column":"home","thresholds":{many}}}"#),
        "`task.by_group.thresholds`: 65 groups, want 1 to 64",
    );
}
