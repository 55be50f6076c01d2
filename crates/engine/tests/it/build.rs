//! Small ONNX models, written field by field as `onnx.proto` numbers them.

use std::sync::Arc;

use domain::DataType;
use engine::ModelSource;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(int64, tag = "1")]
    pub(crate) ir_version: i64,
    #[prost(message, repeated, tag = "8")]
    pub(crate) opsets: Vec<Opset>,
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<Graph>,
    #[prost(message, repeated, tag = "14")]
    pub(crate) metadata: Vec<Entry>,
    #[prost(message, repeated, tag = "25")]
    pub(crate) functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Opset {
    #[prost(string, tag = "1")]
    pub(crate) domain: String,
    #[prost(int64, tag = "2")]
    pub(crate) version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Function {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "10")]
    pub(crate) domain: String,
    #[prost(message, repeated, tag = "7")]
    pub(crate) nodes: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(crate) nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializers: Vec<Weights>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) inputs: Vec<Port>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) outputs: Vec<Port>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) outputs: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) operator: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub(crate) domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "20")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "5")]
    pub(crate) tensor: Option<Weights>,
    #[prost(message, optional, boxed, tag = "6")]
    pub(crate) graph: Option<Box<Graph>>,
    #[prost(float, repeated, tag = "7")]
    pub(crate) floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub(crate) ints: Vec<i64>,
    #[prost(string, repeated, tag = "9")]
    pub(crate) strings: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Weights {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) shape: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(crate) datatype: i32,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) raw: Vec<u8>,
    #[prost(message, repeated, tag = "13")]
    pub(crate) external: Vec<Entry>,
    #[prost(int32, tag = "14")]
    pub(crate) location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Port {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Type {
    #[prost(message, optional, tag = "1")]
    pub(crate) tensor: Option<TensorType>,
    #[prost(message, optional, boxed, tag = "4")]
    pub(crate) sequence: Option<Box<Sequence>>,
    #[prost(message, optional, tag = "5")]
    pub(crate) map: Option<Map>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Map {
    #[prost(int32, tag = "1")]
    pub(crate) key: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sequence {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) of: Option<Box<Type>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(crate) element: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub(crate) axes: Vec<Axis>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Axis {
    #[prost(oneof = "Size", tags = "1, 2")]
    pub(crate) size: Option<Size>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Size {
    #[prost(int64, tag = "1")]
    Fixed(i64),
    #[prost(string, tag = "2")]
    Named(String),
}

/// ONNX's number for a type.
pub(crate) fn element(datatype: DataType) -> i32 {
    match datatype {
        DataType::Fp32 => 1,
        DataType::Uint8 => 2,
        DataType::Int8 => 3,
        DataType::Uint16 => 4,
        DataType::Int16 => 5,
        DataType::Int32 => 6,
        DataType::Int64 => 7,
        DataType::Bytes => 8,
        DataType::Bool => 9,
        DataType::Fp16 => 10,
        DataType::Fp64 => 11,
        DataType::Uint32 => 12,
        DataType::Uint64 => 13,
        DataType::Bf16 => 16,
    }
}

/// `x FP32 rows,2`: an input or output whose axes are sizes or names; `*` for any number of axes.
pub(crate) fn port(text: &str) -> Port {
    let words: Vec<&str> = text.split(' ').collect();
    let datatype = DataType::from_name(words[1]).expect("a type");
    let axis = |it: &str| Axis {
        size: Some(match it.parse() {
            Ok(size) => Size::Fixed(size),
            Err(_) => Size::Named(it.to_owned()),
        }),
    };
    let shape = match words.get(2) {
        Some(&"*") => None,
        Some(axes) => Some(Shape {
            axes: axes.split(',').map(axis).collect(),
        }),
        None => Some(Shape { axes: Vec::new() }),
    };
    Port {
        name: words[0].to_owned(),
        r#type: Some(Type {
            tensor: Some(TensorType {
                element: element(datatype),
                shape,
            }),
            sequence: None,
            map: None,
        }),
    }
}

/// `sum = Add a b`, or `y = acme.Frob x`.
pub(crate) fn node(text: &str) -> Node {
    let (outputs, call) = text.split_once(" = ").expect("outputs = operator inputs");
    let mut words = call.split(' ');
    let operator = words.next().expect("an operator");
    let (domain, operator) = operator.rsplit_once('.').unwrap_or(("", operator));
    Node {
        inputs: words.map(str::to_owned).collect(),
        outputs: outputs.split(' ').map(str::to_owned).collect(),
        operator: operator.to_owned(),
        attributes: Vec::new(),
        domain: domain.to_owned(),
    }
}

pub(crate) fn weights(name: &str, datatype: DataType, shape: &[i64], raw: &[u8]) -> Weights {
    Weights {
        shape: shape.to_vec(),
        datatype: element(datatype),
        name: name.to_owned(),
        raw: raw.to_vec(),
        external: Vec::new(),
        location: 0,
    }
}

pub(crate) fn graph(nodes: &[&str], inputs: &[&str], outputs: &[&str]) -> Graph {
    Graph {
        nodes: nodes.iter().map(|it| node(it)).collect(),
        name: "graph".to_owned(),
        initializers: Vec::new(),
        inputs: inputs.iter().map(|it| port(it)).collect(),
        outputs: outputs.iter().map(|it| port(it)).collect(),
    }
}

pub(crate) fn model(graph: Graph) -> Model {
    let opset = |domain: &str, version| Opset {
        domain: domain.to_owned(),
        version,
    };
    Model {
        ir_version: 8,
        opsets: vec![opset("", 17), opset("ai.onnx.ml", 3)],
        graph: Some(graph),
        metadata: Vec::new(),
        functions: Vec::new(),
    }
}

pub(crate) fn source(model: &Model) -> ModelSource {
    ModelSource {
        bytes: Arc::from(model.encode_to_vec()),
        file_name: "model.onnx".to_owned(),
        folder: None,
    }
}

pub(crate) fn add() -> Model {
    model(graph(
        &["sum = Add a b", "first = Identity a"],
        &["a FP32 rows,2", "b FP32 rows,2"],
        &["sum FP32 rows,2", "first FP32 rows,2"],
    ))
}

pub(crate) fn copy(datatype: DataType) -> Model {
    let (x, y) = (
        format!("x {datatype} rows,width"),
        format!("y {datatype} rows,width"),
    );
    model(graph(&["y = Identity x"], &[&x], &[&y]))
}

pub(crate) fn lookup() -> Model {
    let mut graph = graph(
        &["value = Gather table index"],
        &["index INT64 rows"],
        &["value FP32 rows"],
    );
    let table: Vec<u8> = [10f32, 20., 30.]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect();
    graph
        .initializers
        .push(weights("table", DataType::Fp32, &[3], &table));
    model(graph)
}

/// Adds one to `x`, as often as an INT64 can count.
pub(crate) fn endless() -> Model {
    let mut body = graph(
        &["on = Identity go", "after = Add before one"],
        &["count INT64", "go BOOL", "before FP32 rows,2"],
        &["on BOOL", "after FP32 rows,2"],
    );
    body.initializers
        .push(weights("one", DataType::Fp32, &[], &1f32.to_le_bytes()));
    let mut graph = graph(
        &["y = Loop times always x"],
        &["x FP32 rows,2"],
        &["y FP32 rows,2"],
    );
    graph.initializers.push(weights(
        "times",
        DataType::Int64,
        &[],
        &i64::MAX.to_le_bytes(),
    ));
    graph
        .initializers
        .push(weights("always", DataType::Bool, &[], &[1]));
    graph.nodes[0].attributes.push(Attribute {
        name: "body".to_owned(),
        kind: 5,
        graph: Some(Box::new(body)),
        ..Attribute::default()
    });
    model(graph)
}

/// 30 numbers in, two probabilities out.
pub(crate) fn linear() -> Model {
    let mut graph = graph(
        &["z = MatMul x w", "p = Softmax z"],
        &["x FP32 rows,30"],
        &["p FP32 rows,2"],
    );
    let raw: Vec<u8> = (0..60u8)
        .flat_map(|it| (f32::from(it) / 60.).to_le_bytes())
        .collect();
    graph
        .initializers
        .push(weights("w", DataType::Fp32, &[30, 2], &raw));
    model(graph)
}
