//! What an ONNX file says about itself, read without running or building anything.
//!
//! The file is untrusted. It is walked field by field, and only the facts are kept, so a small file cannot
//! take much memory (protobuf's own decoder makes 150 bytes out of two).
//!
//! R1  Any bytes give facts or a refusal: no panic, no recursion deeper than `GRAPHS_DEEP_MAX` graphs, time
//!     linear in the file's length.
//! R2  Every external file that is named anywhere, in whatever graph, function or attribute, used or not, is
//!     checked and listed.
//!
//! Field numbers are those of `onnx.proto` (ONNX 1.19, IR version 12).

use std::collections::{BTreeMap, BTreeSet};

use domain::Refusal;
use prost::encoding::decode_varint;

use super::fields::{Fields, Value, cut_short, invalid};

const GRAPHS_DEEP_MAX: usize = 32;
/// Nodes, attributes, tensors and values. The largest published models have under 100 000 nodes.
const PARTS_MAX: usize = 1 << 22;
const CLASSES_MAX: usize = 1 << 16;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The version of each operator set that is used, by its domain; ONNX's own is `""`.
    pub opsets: BTreeMap<String, u64>,
    /// Operators used anywhere, functions of the file's own included.
    pub operators: BTreeSet<Operator>,
    /// Functions that the file defines itself.
    pub functions: BTreeSet<Operator>,
    /// Names of the files beside it that hold tensors' data.
    pub external_files: BTreeSet<String>,
    /// The author's notes.
    pub metadata: BTreeMap<String, String>,
    /// The class labels of its classifier, in the order of the scores' columns; empty when it has none or
    /// several that differ.
    pub classes: Vec<String>,
    /// The graph's inputs, those with a default value among them.
    pub inputs: Vec<Port>,
    /// The graph's outputs.
    pub outputs: Vec<Port>,
}

/// An operator's name and the domain it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operator {
    /// `""` for ONNX's own.
    pub domain: String,
    /// `Conv`.
    pub name: String,
}

/// An input or an output of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// What an input or output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tensor with a shape, each axis of which is fixed or variable.
    Tensor,
    /// A tensor with any number of axes.
    TensorOfAnyRank,
    /// A list of values.
    Sequence,
    /// Names and values, or a list of them, as classifiers of scikit-learn give unless told otherwise.
    Map,
    /// A value that may be left out.
    Optional,
    /// A tensor of which only some elements are stored.
    SparseTensor,
    /// Not said; ONNX Runtime infers it.
    Unknown,
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.domain.as_str() {
            "" => f.write_str(&self.name),
            domain => write!(f, "{domain}.{}", self.name),
        }
    }
}

impl Facts {
    /// Operators of domains that neither ONNX nor ONNX Runtime has, and that the file does not define.
    pub fn custom_operators(&self) -> impl Iterator<Item = &Operator> {
        const KNOWN: [&str; 4] = ["", "ai.onnx", "com.microsoft", "com.ms.internal.nhwc"];
        self.operators.iter().filter(|it| {
            !KNOWN.contains(&it.domain.as_str())
                && !it.domain.starts_with("ai.onnx.")
                && !it.domain.starts_with("com.microsoft.")
                && !self.functions.contains(it)
        })
    }
}

/// Reads the facts. Refuses what is no ONNX model, or is cut short, nested too deeply or made of too many
/// parts, or keeps data in a file that is not beside it.
pub fn inspect(bytes: &[u8]) -> Result<Facts, Refusal> {
    if bytes.is_empty() {
        return Err(invalid("the file is empty"));
    }
    let mut walk = Walk::default();
    walk.model(bytes)?;
    if !walk.has_graph {
        return Err(invalid("the file is not an ONNX model: it has no graph"));
    }
    if walk.classes_differ {
        walk.facts.classes.clear();
    }
    Ok(walk.facts)
}

/// The location's own name when it is a plain file name, which can only be beside the model: no folder,
/// no parent, no drive, nothing that a system reads as something else. Links are for the caller to see.
pub fn check_external(location: &str) -> Result<&str, Refusal> {
    let plain = !location.is_empty()
        && location.len() <= 255
        && location != "."
        && location != ".."
        && !location.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|'])
        && !location.contains(char::is_control)
        && !location.ends_with(['.', ' '])
        && !location.starts_with([' ', '-']);
    if plain {
        return Ok(location);
    }
    Err(Refusal::ExternalDataOutside {
        location: location.escape_debug().take(300).collect(),
    })
}

#[derive(Default)]
struct Walk {
    facts: Facts,
    has_graph: bool,
    classes_differ: bool,
    parts: usize,
    depth: usize,
}

type Walked = Result<(), Refusal>;

impl Walk {
    fn model(&mut self, bytes: &[u8]) -> Walked {
        for field in Fields(bytes) {
            match field? {
                (7, Value::Bytes(graph)) => {
                    self.has_graph = true;
                    self.graph(graph)?;
                }
                (8, Value::Bytes(opset)) => {
                    let (domain, version) = opset_import(opset)?;
                    self.facts.opsets.insert(domain, version);
                }
                (14, Value::Bytes(entry)) => {
                    let (key, value) = string_entry(entry)?;
                    self.facts.metadata.insert(key, value);
                }
                (20, Value::Bytes(training)) => self.training(training)?,
                (25, Value::Bytes(function)) => self.function(function)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn training(&mut self, bytes: &[u8]) -> Walked {
        for field in Fields(bytes) {
            if let (1 | 2, Value::Bytes(graph)) = field? {
                self.graph(graph)?;
            }
        }
        Ok(())
    }

    fn function(&mut self, bytes: &[u8]) -> Walked {
        self.part()?;
        let mut name = Operator::nameless();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(text)) => name.name = string(text),
                (10, Value::Bytes(text)) => name.domain = string(text),
                (7, Value::Bytes(node)) => self.node(node)?,
                (11, Value::Bytes(attribute)) => self.attribute(attribute)?,
                _ => {}
            }
        }
        self.facts.functions.insert(name);
        Ok(())
    }

    fn graph(&mut self, bytes: &[u8]) -> Walked {
        if self.depth == GRAPHS_DEEP_MAX {
            let why = format!("its graphs are nested more than {GRAPHS_DEEP_MAX} deep");
            return Err(invalid(why));
        }
        self.depth += 1;
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(node)) => self.node(node)?,
                (5, Value::Bytes(tensor)) => self.tensor(tensor)?,
                (15, Value::Bytes(tensor)) => self.sparse_tensor(tensor)?,
                (11, Value::Bytes(input)) if self.depth == 1 => {
                    let port = self.port(input)?;
                    self.facts.inputs.push(port);
                }
                (12, Value::Bytes(output)) if self.depth == 1 => {
                    let port = self.port(output)?;
                    self.facts.outputs.push(port);
                }
                (11..=13, _) => self.part()?,
                _ => {}
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn node(&mut self, bytes: &[u8]) -> Walked {
        self.part()?;
        let mut operator = Operator::nameless();
        for field in Fields(bytes) {
            match field? {
                (4, Value::Bytes(text)) => operator.name = string(text),
                (7, Value::Bytes(text)) => operator.domain = string(text),
                (5, Value::Bytes(attribute)) => self.attribute(attribute)?,
                _ => {}
            }
        }
        self.facts.operators.insert(operator);
        Ok(())
    }

    fn attribute(&mut self, bytes: &[u8]) -> Walked {
        self.part()?;
        let mut name: &[u8] = b"";
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(text)) => name = text,
                (5 | 10, Value::Bytes(tensor)) => self.tensor(tensor)?,
                (6 | 11, Value::Bytes(graph)) => self.graph(graph)?,
                (22 | 23, Value::Bytes(tensor)) => self.sparse_tensor(tensor)?,
                _ => {}
            }
        }
        if name.starts_with(b"classlabels_") {
            self.classes(bytes)?;
        }
        Ok(())
    }

    fn classes(&mut self, attribute: &[u8]) -> Walked {
        let mut classes = Vec::new();
        for field in Fields(attribute) {
            match field? {
                (8, Value::Number(number)) => classes.push(number.cast_signed().to_string()),
                (8, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() && classes.len() <= CLASSES_MAX {
                        let number = decode_varint(&mut packed).map_err(|_| cut_short())?;
                        classes.push(number.cast_signed().to_string());
                    }
                }
                (9, Value::Bytes(text)) => classes.push(string(text)),
                _ => {}
            }
            if classes.len() > CLASSES_MAX {
                return Err(invalid(format!("it has more than {CLASSES_MAX} classes")));
            }
        }
        if self.facts.classes.is_empty() {
            self.facts.classes = classes;
        } else if !classes.is_empty() && self.facts.classes != classes {
            self.classes_differ = true;
        }
        Ok(())
    }

    fn tensor(&mut self, bytes: &[u8]) -> Walked {
        self.part()?;
        for field in Fields(bytes) {
            if let (13, Value::Bytes(entry)) = field? {
                let (key, location) = string_entry(entry)?;
                if key == "location" {
                    check_external(&location)?;
                    self.facts.external_files.insert(location);
                }
            }
        }
        Ok(())
    }

    fn sparse_tensor(&mut self, bytes: &[u8]) -> Walked {
        for field in Fields(bytes) {
            if let (1 | 2, Value::Bytes(tensor)) = field? {
                self.tensor(tensor)?;
            }
        }
        Ok(())
    }

    fn port(&mut self, bytes: &[u8]) -> Result<Port, Refusal> {
        self.part()?;
        let mut name = String::new();
        let mut kind = Kind::Unknown;
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(text)) => name = string(text),
                (2, Value::Bytes(r#type)) => kind = kind_of(r#type)?,
                _ => {}
            }
        }
        Ok(Port { name, kind })
    }

    fn part(&mut self) -> Walked {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(invalid(format!("it has more than {PARTS_MAX} parts")));
        }
        Ok(())
    }
}

impl Operator {
    fn nameless() -> Self {
        Self {
            domain: String::new(),
            name: String::new(),
        }
    }
}

fn kind_of(bytes: &[u8]) -> Result<Kind, Refusal> {
    let mut kind = Kind::Unknown;
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(tensor)) => {
                kind = Kind::TensorOfAnyRank;
                for field in Fields(tensor) {
                    if let (2, Value::Bytes(_)) = field? {
                        kind = Kind::Tensor;
                    }
                }
            }
            (4, Value::Bytes(sequence)) => kind = kind_of_sequence(sequence)?,
            (5, _) => kind = Kind::Map,
            (8, _) => kind = Kind::SparseTensor,
            (9, _) => kind = Kind::Optional,
            _ => {}
        }
    }
    Ok(kind)
}

fn kind_of_sequence(bytes: &[u8]) -> Result<Kind, Refusal> {
    for field in Fields(bytes) {
        if let (1, Value::Bytes(element)) = field? {
            for field in Fields(element) {
                if let (5, Value::Bytes(_)) = field? {
                    return Ok(Kind::Map);
                }
            }
        }
    }
    Ok(Kind::Sequence)
}

fn opset_import(bytes: &[u8]) -> Result<(String, u64), Refusal> {
    let (mut domain, mut version) = (String::new(), 0);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => domain = string(text),
            (2, Value::Number(number)) => version = number,
            _ => {}
        }
    }
    Ok((domain, version))
}

fn string_entry(bytes: &[u8]) -> Result<(String, String), Refusal> {
    let (mut key, mut value) = (String::new(), String::new());
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => key = string(text),
            (2, Value::Bytes(text)) => value = string(text),
            _ => {}
        }
    }
    Ok((key, value))
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
