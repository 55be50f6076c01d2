//! ONNX Runtime's sentences, made fit for a reader: no paths of the machine that built or runs it, one line,
//! of bounded length, and with the operator's name where it matters.

use super::inspect::{Facts, Operator};

const CHARS_MAX: usize = 600;

/// What an error says, without what only ONNX Runtime's own authors can use.
pub(super) fn clean(message: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut rest = message;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        if is_source_place(word) {
            rest = after_function(after);
        } else if word == "[ONNXRuntimeError]" {
            // `[ONNXRuntimeError] : 1 : FAIL : ` is an error inside another.
            rest = after.splitn(4, " : ").nth(3).unwrap_or(after);
        } else {
            kept.push(without_path(word));
        }
    }
    let mut clean = name_operator(&kept.join(" "));
    if let Some((end, _)) = clean.char_indices().nth(CHARS_MAX) {
        clean.truncate(end);
        clean.push_str(" ...");
    }
    clean
}

/// What the error of a load says: it names the operator.
pub(super) fn of_load(message: &str, facts: &Facts) -> String {
    let why = clean(message);
    let named = |it: &&Operator| mentions(&why, &it.name);
    let custom: Vec<&Operator> = facts.custom_operators().collect();
    if let Some(operator) = custom.iter().copied().find(named) {
        return format!("operator `{operator}` is not one that ONNX Runtime has: {why}");
    }
    if facts.operators.iter().any(|it| named(&it)) {
        return why;
    }
    let mut names: Vec<String> = custom.iter().map(|it| format!("`{it}`")).collect();
    names.truncate(5);
    match names.as_slice() {
        [] => why,
        names => format!("{why}; it has operators of its own: {}", names.join(", ")),
    }
}

/// Whether the sentence has the name as a whole word.
fn mentions(sentence: &str, name: &str) -> bool {
    !name.is_empty()
        && sentence
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|it| it == name)
}

fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (!text.is_empty()).then(|| text.split_at(end))
}

/// `/path/to/file.cc:123` or `file.h:45`.
fn is_source_place(word: &str) -> bool {
    let Some((file, line)) = word.rsplit_once(':') else {
        return false;
    };
    let source = [".cc", ".h", ".cpp", ".hpp", ".cu"]
        .iter()
        .any(|it| file.ends_with(it));
    source && !line.is_empty() && line.bytes().all(|it| it.is_ascii_digit())
}

/// Skips the name of the function that follows a place in the source: `Compute`, or a whole signature
/// `void onnxruntime::(anonymous namespace)::Class::Method(int, std::function<void()>) const [with T = float]`.
fn after_function(text: &str) -> &str {
    let mut rest = text.trim_start();
    if !rest.find('(').is_some_and(|it| rest[..it].contains("::")) {
        return next_word(rest).map_or("", |(_, rest)| rest);
    }
    loop {
        let Some(after) = rest
            .find('(')
            .and_then(|it| after_group(&rest[it..], '(', ')'))
        else {
            return rest;
        };
        // `::<lambda()>` ends after its parentheses.
        rest = after.trim_start_matches('>');
        if !rest.starts_with("::") {
            break;
        }
    }
    rest = rest.trim_start();
    rest = rest.strip_prefix("const ").unwrap_or(rest).trim_start();
    if rest.starts_with("[with ") {
        rest = after_group(rest, '[', ']').unwrap_or(rest);
    }
    rest
}

/// What follows the group that the text begins with; none when it does not end.
fn after_group(text: &str, open: char, close: char) -> Option<&str> {
    let mut depth = 0usize;
    for (index, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
        }
        if depth == 0 {
            return Some(&text[index + c.len_utf8()..]);
        }
    }
    None
}

/// The word with an absolute path in it shortened to the path's last part.
fn without_path(word: &str) -> &str {
    let opened = word.trim_start_matches(['"', '\'', '(', '[', '`']);
    let path = opened.starts_with('/') && opened[1..].contains('/');
    match opened.rsplit_once('/') {
        Some((_, last)) if path => last,
        _ => word,
    }
}

/// ``operator `Gather`: indices out of range`` for ONNX Runtime's way of saying it.
fn name_operator(sentence: &str) -> String {
    let parts = sentence
        .strip_prefix("Non-zero status code returned while running ")
        .and_then(|it| it.split_once(" node. Name:"))
        .and_then(|(name, rest)| Some((name, rest.split_once(" Status Message: ")?)));
    match parts {
        Some((name, ("\'\'", why))) => format!("operator `{name}`: {why}"),
        Some((name, (node, why))) => {
            format!(
                "operator `{name}` of node `{}`: {why}",
                node.trim_matches('\'')
            )
        }
        None => sentence.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_left_out() {
        let check = |message: &str, want: &str| assert_eq!(clean(message), want);
        check("plain words", "plain words");
        check(
            "Non-zero status code returned while running Gather node. Name:'' Status Message: \
             /onnxruntime_src/core/gather.cc:35 onnxruntime::common::Status onnxruntime::Gather::Run(\
             std::function<void()>, int) const indices out of range",
            "operator `Gather`: indices out of range",
        );
        check(
            "Non-zero status code returned while running MatMul node. Name:'/layer/mm' Status Message: \
             matmul_helper.h:59 Compute MatMul dimension mismatch",
            "operator `MatMul` of node `/layer/mm`: MatMul dimension mismatch",
        );
        check(
            "Exception: [ONNXRuntimeError] : 1 : FAIL : it : is\nnot good",
            "Exception: it : is not good",
        );
        check(
            "cannot open \"/home/me/models/weights.bin\"\n for reading",
            "cannot open weights.bin\" for reading",
        );
        check("a/b stays, so does /v1", "a/b stays, so does /v1");
        check(
            "/a/b.cc:7 void onnxruntime::(anonymous namespace)::F<T>::Do(int) const [with T = long] bad",
            "bad",
        );
        check(
            "/a/b.cc:7 onnxruntime::G::G(std::locale)::<lambda()> no such locale",
            "no such locale",
        );
        check("x.cc:1", "");
        check("x.cc:1 a::b((", "a::b((");
        assert!(clean(&"é".repeat(5000)).len() < 1300);
    }

    #[test]
    fn the_operator_is_named() {
        let operator = |domain: &str, name: &str| Operator {
            domain: domain.to_owned(),
            name: name.to_owned(),
        };
        let mut facts = Facts::default();
        facts.operators.insert(operator("", "Add"));
        facts.operators.insert(operator("acme", "Frob"));
        let check = |message: &str, want: &str| assert_eq!(of_load(message, &facts), want);
        check("no kernel for Add(14)", "no kernel for Add(14)");
        check(
            "acme:Frob(-1) is unknown",
            "operator `acme.Frob` is not one that ONNX Runtime has: acme:Frob(-1) is unknown",
        );
        check(
            "bad file",
            "bad file; it has operators of its own: `acme.Frob`",
        );
    }
}
